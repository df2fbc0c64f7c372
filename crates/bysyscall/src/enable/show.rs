// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What `status` tells of enabling.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

use super::root::Root;
use super::{dropins, global, units};

/// All that is enabled on this machine, and where.
#[derive(Serialize)]
pub struct Enabled {
    global: Global,
    services: Vec<Service>,
    users: Vec<User>,
}

#[derive(Serialize)]
struct Global {
    path: &'static str,
    enabled: bool,
}

#[derive(Serialize)]
struct Service {
    unit: String,
    path: String,
}

#[derive(Serialize)]
struct User {
    uid: u32,
    path: String,
}

impl Enabled {
    /// Looks into the files.
    ///
    /// # Errors
    ///
    /// If one cannot be read.
    pub fn find() -> Result<Self> {
        let root = Root::open(None)?;
        let global = Global { path: global::FILE, enabled: global::is_enabled(&root)? };
        let mut enabled = Self { global, services: Vec::new(), users: Vec::new() };
        for drop_in in dropins::find(&root)? {
            let path = drop_in.path().display().to_string();
            match units::uid_of(&drop_in.unit) {
                Some(uid) => enabled.users.push(User { uid, path }),
                None => enabled.services.push(Service { unit: drop_in.unit, path }),
            }
        }
        Ok(enabled)
    }
}

impl fmt::Display for Enabled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let global = self
            .global
            .enabled
            .then(|| format!("enabled for all programs, in {}", self.global.path));
        let services = self
            .services
            .iter()
            .map(|service| format!("enabled for {}, in {}", service.unit, service.path));
        let users = self
            .users
            .iter()
            .map(|user| format!("enabled for user {}, in {}", user.uid, user.path));
        let lines: Vec<String> = global.into_iter().chain(services).chain(users).collect();
        match lines.as_slice() {
            [] => f.write_str("enabled for no program but those that ask for it"),
            lines => f.write_str(&lines.join("\n")),
        }
    }
}
