// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! All programs of a machine or an image: `/etc/ld.so.preload`.

use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use std::os::unix::ffi::OsStrExt;

use super::probe::Probes;
use super::root::Root;
use super::{diff, library, state};
use crate::paths;
use crate::service::{self, Interrupts, Lock, State};
use bysyscall_edit::{Dir, LIST, Original, preload};

pub(super) const ETC: &str = "/etc";
/// Said once it is.
const UNDONE: &str = "undone, as programs no longer ran as before";
/// What ld.so reads.
pub const FILE: &str = "/etc/ld.so.preload";
/// The loaders of programs that cannot load a 64-bit library, where distributions have them.
const OTHER_LOADERS: [&str; 4] = [
    "/lib/ld-linux.so.2",
    "/lib32/ld-linux.so.2",
    "/lib/i386-linux-gnu/ld-linux.so.2",
    "/libx32/ld-linux-x32.so.2",
];

/// Whether ld.so reads an entry of ours.
///
/// # Errors
///
/// If the file cannot be read.
pub fn is_enabled(root: &Root) -> Result<bool> {
    let content = root.read(Path::new(FILE))?.unwrap_or_default();
    let is_ours = |entry: &[u8]| library::is_ours(root, entry);
    Ok(preload::entries(&content).into_iter().any(|range| is_ours(&content[range])))
}

/// Adds the entry, with all that can be looked at looked at before.
///
/// # Errors
///
/// Then the file is as it was.
pub fn enable(root: &Root, dry_run: bool, interrupts: &Interrupts) -> Result<()> {
    let etc = root.dir(Path::new(ETC))?.context("there is no /etc")?;
    let original = etc.read(LIST, true)?;
    if is_enabled(root)? {
        log::info!("enabled already in {}", etc.shown(LIST));
        return Ok(());
    }
    if root.is_machine() {
        check_service(interrupts)?;
    }
    let library = library::check(root)?;
    etc.check_writable()?;
    let content = original.as_ref().map_or(&b""[..], |original| &original.content);
    let new =
        with_entry(root, content).with_context(|| format!("cannot add to {}", etc.shown(LIST)))?;
    warn_of_others(root);
    if dry_run {
        return diff::print(&etc.shown(LIST), content, &new);
    }
    let mut probes = Probes::new(&library, interrupts)?;
    if root.is_machine() {
        probes.run_by_environment()?;
    }
    let prepared = etc.prepare(LIST, original.as_ref(), &new)?;
    interrupts.check()?;
    let remembers = state::is_there(root);
    let remembered = state::remember(root, original.as_ref());
    let tried = remembered.and_then(|()| prepared.commit()).and_then(|()| {
        if root.is_machine() { probes.run_by_system().context(UNDONE) } else { Ok(()) }
    });
    if let Err(error) = tried {
        undo(root, &etc).with_context(|| {
            format!(
                "{error:#}; and it cannot be undone. Do it now, from this shell: bysyscall-rescue"
            )
        })?;
        if !remembers {
            state::forget_all(root)?;
        }
        return Err(error);
    }
    log::info!("enabled in {}: programs that start now load the library", etc.shown(LIST));
    if !root.is_machine() {
        log::info!("no program was tried, as it is not this machine's");
    }
    Ok(())
}

fn check_service(interrupts: &Interrupts) -> Result<()> {
    let _lock = Lock::take(interrupts)?;
    ensure!(
        matches!(service::state(), State::Running(_)),
        "the service does not run; start it first: systemctl enable --now bysyscall"
    );
    Ok(())
}

fn with_entry(root: &Root, content: &[u8]) -> Result<Vec<u8>> {
    let entry = paths::installed_library();
    preload::with_entry(content, entry.as_os_str().as_bytes(), |entry| {
        library::is_ours(root, entry)
    })
    .map_err(|preload::Unreadable| {
        anyhow!("it has a zero byte, after which ld.so reads nothing; look what is in it")
    })?
    .context("it is there already")
}

fn warn_of_others(root: &Root) {
    let Some(loader) = OTHER_LOADERS.iter().find(|path| root.stat(Path::new(path)).is_some())
    else {
        return;
    };
    let library = paths::installed_library();
    log::warn!(
        "there is {loader}: programs that are not 64-bit will run as before, but each prints on standard error \
         \"ERROR: ld.so: object '{}' from {FILE} cannot be preloaded (wrong ELF class: ELFCLASS64): ignored.\" \
         To avoid it, enable it for services (--service) or a user (--user) only",
        library.display()
    );
}

/// Removes all entries of ours, and the file if we have made it and nothing else is in it.
///
/// # Errors
///
/// Then the file is as it was.
pub fn disable(root: &Root, dry_run: bool) -> Result<()> {
    let Some(etc) = root.dir(Path::new(ETC))? else { return Ok(()) };
    if dry_run {
        let content = root.read(Path::new(FILE))?.unwrap_or_default();
        let new = without_entries(root, &content).unwrap_or_else(|| content.clone());
        return diff::print(&etc.shown(LIST), &content, &new);
    }
    if undo(root, &etc)? {
        log::info!("disabled in {}: programs that run keep what they have loaded", etc.shown(LIST));
    } else {
        log::info!("is not enabled in {}", etc.shown(LIST));
    }
    Ok(())
}

fn without_entries(root: &Root, content: &[u8]) -> Option<Vec<u8>> {
    preload::without_entries(content, |entry| library::is_ours(root, entry))
}

/// Tells whether there was something to undo.
fn undo(root: &Root, etc: &Dir) -> Result<bool> {
    etc.remove_remains(LIST)?;
    let was_enabled = is_enabled(root)?;
    let is_made = state::is_made(root);
    if (was_enabled || is_made)
        && let Some(original) = etc.read(LIST, false)?
    {
        let new = without_entries(root, &original.content);
        write(etc, &original, new, is_made)?;
    }
    state::forget_made(root)?;
    Ok(was_enabled)
}

fn write(etc: &Dir, original: &Original, new: Option<Vec<u8>>, is_made: bool) -> Result<()> {
    if is_made && new.as_ref().unwrap_or(&original.content).is_empty() {
        etc.check_writable()?;
        return etc.remove(LIST).map(drop);
    }
    match new {
        Some(new) => etc.prepare(LIST, Some(original), &new)?.commit(),
        None => Ok(()),
    }
}
