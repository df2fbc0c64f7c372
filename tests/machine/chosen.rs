// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The library in single services and in what a user's manager starts.

use std::path::Path;

use anyhow::{Result, ensure};
use bysyscall_tests::fixture::trial;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::support::{PRELOAD, ensure_bypasses, ensure_served, maps, said_by, sh, status};

const OTHER: &str = "/lib/x86_64-linux-gnu/libm.so.6";
/// One that somebody has put another library into.
const WITH_OTHER: &str = "cron";
const MANAGER: &str = "user@1000.service";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("chosen::service", service),
        trial("chosen::service_with_another_library", service_with_another_library),
        trial("chosen::user", user),
        trial("chosen::status_tells", status_tells),
        trial("chosen::is_undone", is_undone),
    ]
}

fn service() -> Result<()> {
    let (_, said) = said_by("bysyscall-enable --service nginx")?;
    ensure!(said.contains("systemctl restart nginx.service"), "not told what to restart: {said}");
    ensure!(!maps("nginx")?.contains("libbysyscall.so"), "it was restarted");
    sh("systemctl restart nginx")?;
    ensure_served("nginx")?;
    ensure!(!Path::new(PRELOAD).exists(), "{PRELOAD} was made");
    Ok(())
}

fn service_with_another_library() -> Result<()> {
    sh(&format!(
        "mkdir -p /etc/systemd/system/{WITH_OTHER}.service.d
         printf '[Service]\\nEnvironment=LD_PRELOAD={OTHER}\\n' >/etc/systemd/system/{WITH_OTHER}.service.d/10-own.conf
         systemctl daemon-reload
         bysyscall-enable --service {WITH_OTHER}
         systemctl restart {WITH_OTHER}"
    ))?;
    ensure_served(WITH_OTHER)?;
    ensure!(maps(WITH_OTHER)?.contains("libm.so.6"), "the other library is gone");
    Ok(())
}

fn user() -> Result<()> {
    let (_, said) = said_by("bysyscall-enable --user lab")?;
    ensure!(said.contains(MANAGER), "not told what to restart: {said}");
    sh(&format!("systemctl restart {MANAGER}"))?;
    ensure_served(MANAGER)?;
    ensure_bypasses(
        "as_lab XDG_RUNTIME_DIR=/run/user/1000 systemd-run --user --wait --pipe --quiet \
         --setenv=BYSYSCALL_LOG=info $LAB/target/programs/getpid 100000",
    )
}

fn enabled() -> Result<Value> {
    Ok(status()?["enabled"].clone())
}

fn status_tells() -> Result<()> {
    let enabled = enabled()?;
    let path = |unit: &str| format!("/etc/systemd/system/{unit}.d/bysyscall.conf");
    let services = enabled["services"].as_array().cloned().unwrap_or_default();
    for unit in ["nginx.service", "cron.service"] {
        ensure!(
            services.iter().any(|told| told["unit"] == unit && told["path"] == path(unit)),
            "{unit}: {enabled}"
        );
    }
    let user = &enabled["users"][0];
    ensure!(user["uid"] == 1000 && user["path"] == path(MANAGER), "{enabled}");
    let said = sh("bysyscall status")?;
    for words in ["enabled for nginx.service, in /etc", "enabled for user 1000, in /etc"] {
        ensure!(said.contains(words), "no `{words}` in {said}");
    }
    Ok(())
}

/// But for nginx: that goes with the package.
fn is_undone() -> Result<()> {
    sh(&format!(
        "bysyscall-disable --service {WITH_OTHER}
         bysyscall-disable --user lab
         systemctl restart {WITH_OTHER}
         systemctl stop {MANAGER}"
    ))?;
    let maps = maps(WITH_OTHER)?;
    ensure!(!maps.contains("libbysyscall.so"), "{WITH_OTHER} still loads the library");
    ensure!(maps.contains("libm.so.6"), "the other library is gone");
    let enabled = enabled()?;
    ensure!(enabled["services"].as_array().is_some_and(|left| left.len() == 1), "{enabled}");
    ensure!(enabled["users"].as_array().is_some_and(Vec::is_empty), "{enabled}");
    sh(&format!("rm -r /etc/systemd/system/{WITH_OTHER}.service.d; systemctl daemon-reload"))?;
    ensure!(!Path::new("/etc/systemd/system/user@1000.service.d").exists(), "a directory is left");
    sh(&format!("systemctl restart {WITH_OTHER}")).map(drop)
}
