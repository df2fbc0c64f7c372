// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Services and users: drop-ins of systemd that put the library into the environment.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::fs::{AtFlags, unlinkat};

use super::root::Root;
use super::unit_files::{Unit, is_systemd_running, names_in};
use super::{diff, library, units};
use crate::paths;
use crate::service::Interrupts;
use bysyscall_edit::Dir;

const DIR: &str = "/etc/systemd/system";
/// The second where a drop-in that systemd reads after the first sets `LD_PRELOAD` as well.
const NAMES: [&str; 2] = ["bysyscall.conf", "zz-bysyscall.conf"];

/// A drop-in of ours that is there.
pub struct DropIn {
    /// The service that it is for.
    pub unit: String,
    /// Its name.
    name: &'static str,
}

impl DropIn {
    fn dir(unit: &str) -> PathBuf {
        Path::new(DIR).join(format!("{unit}.d"))
    }

    /// Where it is in the tree.
    pub fn path(&self) -> PathBuf {
        Self::dir(&self.unit).join(self.name)
    }
}

/// All drop-ins of ours that are there.
///
/// # Errors
///
/// If one cannot be read.
pub fn find(root: &Root) -> Result<Vec<DropIn>> {
    let mut found = Vec::new();
    for unit in units_with_dirs(root) {
        found.extend(find_of(root, &unit)?);
    }
    Ok(found)
}

fn find_of(root: &Root, unit: &str) -> Result<Vec<DropIn>> {
    let mut found = Vec::new();
    for name in NAMES {
        let drop_in = DropIn { unit: unit.to_owned(), name };
        let content = root.read(&drop_in.path())?.unwrap_or_default();
        if units::is_drop_in_of_ours(&String::from_utf8_lossy(&content)) {
            found.push(drop_in);
        }
    }
    Ok(found)
}

/// Removes what runs that were killed have left half written.
///
/// # Errors
///
/// If one cannot be removed.
pub fn remove_all_remains(root: &Root) -> Result<()> {
    for unit in units_with_dirs(root) {
        let Some(dir) = root.dir(&DropIn::dir(&unit))? else { continue };
        if remove_remains(&dir)? {
            remove_if_empty(root, &unit)?;
        }
    }
    Ok(())
}

/// Tells whether there were some.
fn remove_remains(dir: &Dir) -> Result<bool> {
    NAMES.iter().try_fold(false, |was_there, name| Ok(was_there | dir.remove_remains(name)?))
}

/// Services that have a directory for drop-ins.
fn units_with_dirs(root: &Root) -> Vec<String> {
    let names = names_in(root, Path::new(DIR)).into_iter();
    let units = names.filter_map(|dir| dir.strip_suffix(".d").map(str::to_owned));
    units.filter(|unit| unit.ends_with(".service")).collect()
}

/// A drop-in that is to be written.
struct Planned {
    unit: String,
    name: &'static str,
    text: String,
    /// What is there in its place, with what others have added.
    old: Option<Vec<u8>>,
}

/// Adds a drop-in to each of the units; all or none.
///
/// # Errors
///
/// Then none was added.
pub fn enable(
    root: &Root,
    asked: &[(String, String)],
    dry_run: bool,
    interrupts: &Interrupts,
) -> Result<()> {
    let mut planned = Vec::new();
    for (unit, option) in asked {
        planned.extend(plan(root, unit, option)?);
    }
    if dry_run {
        return planned.iter().try_for_each(|planned| {
            let path = DropIn { unit: planned.unit.clone(), name: planned.name }.path();
            let old = planned.old.clone().unwrap_or_default();
            diff::print(&root.shown(&path).display().to_string(), &old, planned.text.as_bytes())
        });
    }
    let mut written = Vec::new();
    let mut write_all = || {
        for planned in &planned {
            interrupts.check()?;
            write(root, planned, planned.text.as_bytes())?;
            written.push(planned);
        }
        if planned.is_empty() { Ok(()) } else { reload(root) }
    };
    if let Err(error) = write_all() {
        for planned in written {
            let undone = match &planned.old {
                Some(old) => write(root, planned, old),
                None => remove(root, &planned.unit).map(drop),
            };
            undone.with_context(|| format!("{error:#}; and it cannot be undone"))?;
        }
        return Err(error);
    }
    for planned in &planned {
        log::info!("enabled for {}; it takes effect {}", planned.unit, when(&planned.unit));
    }
    Ok(())
}

/// When what was changed takes effect.
fn when(unit: &str) -> String {
    if unit.ends_with("@.service") {
        return "in each instance that is started anew".to_owned();
    }
    if units::uid_of(unit).is_some() {
        return format!(
            "when the user logs in anew, or, which ends what the user's manager runs, with: systemctl restart {unit}"
        );
    }
    format!("with: systemctl restart {unit}")
}

/// Nothing if it is enabled already.
fn plan(root: &Root, given: &str, option: &str) -> Result<Option<Planned>> {
    let unit = Unit::find(root, given)?;
    let library = paths::installed_library().display().to_string();
    let is_ours = |entry: &str| library::is_ours(root, entry.as_bytes());
    let said = unit.said(None);
    let value = said.value.unwrap_or_default();
    if !said.is_unset && units::entries(&value).any(is_ours) {
        log::info!("{} has it in its own environment already", unit.name);
        return Ok(None);
    }
    ensure!(
        !said.is_unset,
        "{0} has UnsetEnvironment=LD_PRELOAD, so that it cannot be enabled for it; see: systemctl cat {0}",
        unit.name
    );
    for file in &said.files {
        let content = root.read(Path::new(file)).ok().flatten().unwrap_or_default();
        let content = String::from_utf8_lossy(&content);
        ensure!(
            !content.lines().any(|line| line.trim_start().starts_with("LD_PRELOAD=")),
            "{file}, a file of {}, sets LD_PRELOAD itself; add {library} to it there",
            unit.name
        );
    }
    let others: Vec<&str> = units::entries(&value).collect();
    let text = units::drop_in(option, &others, &library);
    let is_effective = |name: &str, text: &str| {
        let value = unit.said(Some((name, text))).value.unwrap_or_default();
        units::entries(&value).any(is_ours)
    };
    let Some(&name) = NAMES.iter().find(|name| is_effective(name, &text)) else {
        bail!("a drop-in of {0} takes LD_PRELOAD back; see: systemctl cat {0}", unit.name);
    };
    let existing = find_of(root, &unit.name)?;
    let old = match existing.iter().find(|drop_in| drop_in.name == name) {
        Some(drop_in) => root.read(&drop_in.path())?,
        None => None,
    };
    let text = text + &old.as_deref().and_then(|old| added(root, old)).unwrap_or_default();
    ensure!(
        is_effective(name, &text),
        "{} has an LD_PRELOAD of somebody else; add {library} to it there",
        root.shown(&DropIn { unit: unit.name.clone(), name }.path()).display()
    );
    if existing.len() == 1 && old.as_deref() == Some(text.as_bytes()) {
        log::info!("enabled already for {}", unit.name);
        return Ok(None);
    }
    Ok(Some(Planned { unit: unit.name, name, text, old }))
}

fn write(root: &Root, planned: &Planned, text: &[u8]) -> Result<()> {
    let path = DropIn::dir(&planned.unit);
    let dir = root.make_dir(&path)?;
    dir.check_writable()?;
    let existing = dir.read(planned.name, true)?;
    if let Some(existing) = &existing {
        ensure!(
            units::is_drop_in_of_ours(&String::from_utf8_lossy(&existing.content)),
            "{} is there and not of bysyscall; give it another name",
            dir.shown(planned.name)
        );
    }
    let result =
        dir.prepare(planned.name, existing.as_ref(), text).and_then(|prepared| prepared.commit());
    if result.is_err() {
        remove_if_empty(root, &planned.unit)?;
    }
    result
}

/// Removes the drop-ins of the units.
///
/// # Errors
///
/// If one cannot be removed; the others are.
pub fn disable(root: &Root, asked: &[String], dry_run: bool) -> Result<()> {
    let mut names = Vec::new();
    for given in asked {
        let literal = units::service_name(given).map_err(|error| anyhow!(error))?;
        // The unit itself may be gone, or may have become an alias since.
        let unit = Unit::find(root, given).map_or_else(|_| literal.clone(), |unit| unit.name);
        let is_literal = literal != unit && !find_of(root, &literal)?.is_empty();
        if !is_literal || !find_of(root, &unit)?.is_empty() {
            names.push(unit);
        }
        if is_literal {
            names.push(literal);
        }
    }
    disable_found(root, &names, dry_run)
}

/// The same of units that are called as the directories of their drop-ins are.
///
/// # Errors
///
/// As of [`disable`].
pub fn disable_found(root: &Root, units: &[String], dry_run: bool) -> Result<()> {
    let mut failed = Ok(());
    let mut is_changed = false;
    for unit in units {
        if dry_run {
            show_removal(root, unit)?;
            continue;
        }
        match remove(root, unit) {
            Ok(true) => {
                is_changed = true;
                log::info!("disabled for {unit}; it takes effect {}", when(unit));
            }
            Ok(false) => log::info!("is not enabled for {unit}"),
            Err(error) => failed = Err(error),
        }
    }
    if is_changed && let Err(error) = reload(root) {
        log::warn!("{error:#}");
    }
    failed
}

fn show_removal(root: &Root, unit: &str) -> Result<()> {
    for drop_in in find_of(root, unit)? {
        let path = drop_in.path();
        let content = root.read(&path)?.unwrap_or_default();
        let rest = rest(root, unit, &content).unwrap_or_default();
        diff::print(&root.shown(&path).display().to_string(), &content, rest.as_bytes())?;
    }
    Ok(())
}

/// Tells whether there was a drop-in.
fn remove(root: &Root, unit: &str) -> Result<bool> {
    let Some(dir) = root.dir(&DropIn::dir(unit))? else { return Ok(false) };
    remove_remains(&dir)?;
    let found = find_of(root, unit)?;
    for drop_in in &found {
        remove_one(root, &dir, drop_in)?;
    }
    remove_if_empty(root, unit)?;
    Ok(!found.is_empty())
}

fn remove_one(root: &Root, dir: &Dir, drop_in: &DropIn) -> Result<()> {
    let Some(original) = dir.read(drop_in.name, false)? else { return Ok(()) };
    dir.check_writable()?;
    match rest(root, &drop_in.unit, &original.content) {
        Some(rest) => dir.prepare(drop_in.name, Some(&original), rest.as_bytes())?.commit(),
        None => dir.remove(drop_in.name).map(drop),
    }
}

fn rest(root: &Root, unit: &str, content: &[u8]) -> Option<String> {
    let value = Unit::find(root, unit).ok().and_then(|unit| unit.said(None).value);
    rest_beside(root, &value.unwrap_or_default(), content)
}

/// What others have added, to be written after what is ours. The unit may have preloaded other
/// libraries when we copied them, so all of a list with ours in it counts as ours.
fn added(root: &Root, content: &[u8]) -> Option<String> {
    let written = units::said([&*String::from_utf8_lossy(content)]).value.unwrap_or_default();
    let has_ours = units::entries(&written).any(|entry| library::is_ours(root, entry.as_bytes()));
    let rest = rest_beside(root, if has_ours { &written } else { "" }, content)?;
    Some(rest.strip_prefix("[Service]\n").map(str::to_owned).unwrap_or(rest))
}

/// What is left of a drop-in of ours beside what `value` has and we have copied.
fn rest_beside(root: &Root, value: &str, content: &[u8]) -> Option<String> {
    let others: Vec<&str> = units::entries(value).collect();
    units::added_by_others(&String::from_utf8_lossy(content), &others, |entry| {
        library::is_ours(root, entry.as_bytes())
    })
}

fn remove_if_empty(root: &Root, unit: &str) -> Result<()> {
    if let Some(dir) = root.dir(Path::new(DIR))? {
        // Somebody's drop-ins may be there.
        let _ = unlinkat(&dir, format!("{unit}.d"), AtFlags::REMOVEDIR);
    }
    Ok(())
}

/// Lets systemd read what was changed.
fn reload(root: &Root) -> Result<()> {
    if !root.is_machine() || !is_systemd_running() {
        return Ok(());
    }
    let status = Command::new("/usr/bin/systemctl").arg("daemon-reload").env_clear().status();
    ensure!(
        status.context("cannot run systemctl")?.success(),
        "systemd does not read its files again; do it: systemctl daemon-reload"
    );
    Ok(())
}
