// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Where the files of a systemd unit lie.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use super::root::Root;
use super::units;

/// Where systemd looks for units, the directory that counts most first (systemd.unit(5)).
const DIRS: [&str; 14] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/local/share/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
];
/// An alias of an alias of an alias.
const LONGEST_CHAIN: usize = 8;

/// A unit and what it says, but for drop-ins of ours.
pub struct Unit {
    /// Its own name, where it was called by an alias.
    pub name: String,
    fragment: String,
    /// By their names, in the order in which systemd reads them.
    drop_ins: BTreeMap<String, String>,
}

impl Unit {
    /// Finds a service and reads its files.
    ///
    /// # Errors
    ///
    /// If there is none or it is masked.
    pub fn find(root: &Root, given: &str) -> Result<Self> {
        let mut name = units::service_name(given).map_err(|error| anyhow!(error))?;
        for _ in 0..LONGEST_CHAIN {
            let Some(path) = fragment(root, &name) else {
                bail!("there is no service {name} {}", places(root));
            };
            match root.link(&path).as_deref() {
                Some(target) if target == Path::new("/dev/null") => {
                    bail!("{name} is masked; unmask it first: systemctl unmask {name}")
                }
                Some(target) if is_alias(&name, target) => {
                    name = alias_of(&name, target);
                }
                _ => return Self::read(root, name, &path),
            }
        }
        bail!("{given} is an alias that leads to no service")
    }

    fn read(root: &Root, name: String, path: &Path) -> Result<Self> {
        let mut drop_ins = BTreeMap::new();
        for of in units::drop_in_names(&name) {
            for dir in DIRS {
                let dir = Path::new(dir).join(format!("{of}.d"));
                for file in names_in(root, &dir) {
                    if file.ends_with(".conf") && !drop_ins.contains_key(&file) {
                        drop_ins.insert(file.clone(), text(root, &dir.join(&file))?);
                    }
                }
            }
        }
        drop_ins.retain(|_, text| !units::is_drop_in_of_ours(text));
        Ok(Self { fragment: text(root, path)?, name, drop_ins })
    }

    /// What it says of `LD_PRELOAD`, and with one more drop-in.
    pub fn said(&self, more: Option<(&str, &str)>) -> units::Said {
        let mut drop_ins: BTreeMap<&str, &str> =
            self.drop_ins.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        drop_ins.extend(more);
        units::said([self.fragment.as_str()].into_iter().chain(drop_ins.into_values()))
    }
}

fn places(root: &Root) -> String {
    if root.is_machine() {
        "on this machine; `systemctl list-unit-files` lists them".to_owned()
    } else {
        format!("in {}", root.path().display())
    }
}

/// Where the file of a unit is, or of its template.
fn fragment(root: &Root, name: &str) -> Option<PathBuf> {
    let template = name.split_once('@').map(|(stem, _)| format!("{stem}@.service"));
    let names = [Some(name.to_owned()), template];
    let mut paths =
        names.iter().flatten().flat_map(|name| DIRS.map(|dir| Path::new(dir).join(name)));
    paths.find(|path| root.link(path).is_some() || root.stat(path).is_some())
}

/// A link to a unit of another name is an alias; one to the same name or to the template is how units are installed.
fn is_alias(name: &str, target: &Path) -> bool {
    let template = name.split_once('@').map(|(stem, _)| format!("{stem}@.service"));
    let target = target.file_name().and_then(|target| target.to_str()).unwrap_or_default();
    target.ends_with(".service") && target != name && Some(target) != template.as_deref()
}

/// What a unit is called by the link that it is an alias by: of a template, the same instance.
fn alias_of(name: &str, target: &Path) -> String {
    let target = target.file_name().unwrap_or_default().to_string_lossy();
    let instance = name.strip_suffix(".service").and_then(|name| name.split_once('@'));
    match (target.strip_suffix("@.service"), instance) {
        (Some(template), Some((_, instance))) => format!("{template}@{instance}.service"),
        _ => target.into_owned(),
    }
}

/// Names in a directory of the tree; none if it is not there.
pub fn names_in(root: &Root, dir: &Path) -> Vec<String> {
    let mut names = root.names(dir).unwrap_or_default();
    names.sort();
    names
}

fn text(root: &Root, path: &Path) -> Result<String> {
    let content = root.read(path)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&content).into_owned())
}

/// The service that is a user's manager.
///
/// # Errors
///
/// If there is no such user.
pub fn manager_of(root: &Root, user: &str) -> Result<String> {
    let service = |uid: u32| format!("user@{uid}.service");
    if let Ok(uid) = user.parse() {
        return Ok(service(uid));
    }
    let local = root.read(Path::new("/etc/passwd"))?.unwrap_or_default();
    let mut lines = String::from_utf8_lossy(&local).into_owned();
    if root.is_machine() {
        // It asks wherever users may come from.
        let asked = Command::new("/usr/bin/getent").args(["passwd", "--", user]).output();
        lines += &asked
            .map(|asked| String::from_utf8_lossy(&asked.stdout).into_owned())
            .unwrap_or_default();
    }
    let uid = lines.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(user)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    uid.map(service).with_context(|| format!("there is no user {user}"))
}

/// Whether systemd runs the machine.
pub fn is_systemd_running() -> bool {
    fs::symlink_metadata("/run/systemd/system").is_ok_and(|found| found.is_dir())
}
