// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! `bysyscall enable` and `disable`: which programs load the library without being asked.
//!
//! All that can be looked at is looked at before anything is changed, each file is replaced at
//! once, and the files themselves tell what is enabled. No variable changes where they are.

mod diff;
mod dropins;
mod elf;
mod global;
mod library;
mod options;
mod probe;
mod probed;
mod root;
mod show;
mod state;
mod unit_files;
mod unit_syntax;
mod units;

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::paths;
use crate::service::{Interrupts, Lock};
use bysyscall_edit::DirLock;
use root::Root;

pub use options::{Disable, Enable};
pub use probed::{Probed, run as run_probed};
pub use show::Enabled;

/// The command line, where the program's own name says `enable` or `disable`.
pub fn command_line(mut arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let name = arguments.next().unwrap_or_else(|| "bysyscall".into());
    let called = Path::new(&name).file_name().and_then(|name| name.to_str());
    let command = called.and_then(|called| called.strip_prefix("bysyscall-")).map(OsString::from);
    match command {
        Some(command) => ["bysyscall".into(), command].into_iter().chain(arguments).collect(),
        None => [name].into_iter().chain(arguments).collect(),
    }
}

/// Held while files are changed, so that two never do it at once.
enum Held {
    Machine {
        _lock: Lock,
    },
    Image {
        _lock: DirLock,
    },
    /// Where nothing can be locked.
    Nothing,
}

fn begin(root: Option<&Path>) -> Result<(Root, Interrupts, Held)> {
    ensure!(rustix::process::geteuid().is_root(), "only root can change which programs load it");
    let (root, interrupts) = (Root::open(root)?, Interrupts::catch()?);
    let held = hold(&root, &interrupts)?;
    Ok((root, interrupts, held))
}

fn hold(root: &Root, interrupts: &Interrupts) -> Result<Held> {
    if !root.is_machine() {
        let Some(etc) = root.dir(Path::new(global::ETC))? else { return Ok(Held::Nothing) };
        return Ok(Held::Image { _lock: etc.lock(|| interrupts.check())? });
    }
    match Lock::take_at(paths::enabling_lock_file(), interrupts) {
        Ok(lock) => Ok(Held::Machine { _lock: lock }),
        // A tree without /run, in which something is removed.
        Err(error)
            if error.root_cause().downcast_ref::<io::Error>().is_some_and(|error| {
                [ErrorKind::NotFound, ErrorKind::ReadOnlyFilesystem].contains(&error.kind())
            }) =>
        {
            Ok(Held::Nothing)
        }
        Err(error) => Err(error),
    }
}

/// Has programs load the library.
///
/// # Errors
///
/// Then nothing was changed.
pub fn enable(asked: &Enable) -> Result<()> {
    let (root, interrupts, _held) = begin(asked.how.root.as_deref())?;
    let dry_run = asked.how.dry_run;
    if asked.place.global {
        return global::enable(&root, dry_run, &interrupts);
    }
    let library = library::check(&root)?;
    if root.is_machine() && !dry_run {
        probe::Probes::new(&library, &interrupts)?.run_by_environment()?;
    }
    let option = |unit: &String| (unit.clone(), format!("--service {unit}"));
    let mut units: Vec<(String, String)> = asked.place.service.iter().map(option).collect();
    if let Some(user) = &asked.place.user {
        units.push((unit_files::manager_of(&root, user)?, format!("--user {user}")));
    }
    dropins::enable(&root, &units, dry_run, &interrupts)
}

/// Undoes what `enable` has done. It needs neither the service nor the library.
///
/// # Errors
///
/// Says what could not be undone; the rest was.
pub fn disable(asked: &Disable) -> Result<()> {
    let (root, _interrupts, _held) = begin(asked.how.root.as_deref())?;
    let dry_run = asked.how.dry_run;
    if asked.everything {
        return disable_everything(&root, dry_run);
    }
    if asked.place.global {
        return global::disable(&root, dry_run);
    }
    let mut units = asked.place.service.clone();
    if let Some(user) = &asked.place.user {
        units.push(unit_files::manager_of(&root, user)?);
    }
    dropins::disable(&root, &units, dry_run)
}

fn disable_everything(root: &Root, dry_run: bool) -> Result<()> {
    let global = global::disable(root, dry_run);
    let units = dropins::find(root).and_then(|found| {
        // As they lie there: what was a unit then may be an alias of another one now.
        let mut units: Vec<String> = found.into_iter().map(|drop_in| drop_in.unit).collect();
        units.dedup();
        dropins::disable_found(root, &units, dry_run)
    });
    let remains = if dry_run { Ok(()) } else { dropins::remove_all_remains(root) };
    global.and(units).and(remains)?;
    if dry_run { Ok(()) } else { state::forget_all(root).context("cannot forget what was there") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_is_a_command() {
        let line = |words: &[&str]| command_line(words.iter().map(OsString::from));
        assert_eq!(
            line(&["/usr/sbin/bysyscall-enable", "--global"]),
            ["bysyscall", "enable", "--global"]
        );
        assert_eq!(line(&["bysyscall-disable"]), ["bysyscall", "disable"]);
        assert_eq!(line(&["/x/bysyscall", "stop"]), ["/x/bysyscall", "stop"]);
        assert_eq!(line(&[]), ["bysyscall"]);
    }
}
