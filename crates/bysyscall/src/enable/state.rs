// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What is remembered of enabling: `/var/lib/bysyscall`. What is enabled is not among it, as the
//! files themselves tell.

use std::path::Path;

use anyhow::Result;
use rustix::fs::{AtFlags, unlinkat};

use super::root::Root;
use bysyscall_edit::Original;

const DIR: &str = "/var/lib/bysyscall";
/// The first `ld.so.preload` that was there before us; kept until all is removed.
const ORIGINAL: &str = "ld.so.preload.original";
/// There while `ld.so.preload` is a file that we have made.
const MADE: &str = "ld.so.preload.made";

/// Remembers what was there before the first change.
///
/// # Errors
///
/// If it cannot be written.
pub fn remember(root: &Root, original: Option<&Original>) -> Result<()> {
    let dir = root.make_dir(Path::new(DIR))?;
    match original {
        Some(_) if root.stat(&Path::new(DIR).join(ORIGINAL)).is_some() => Ok(()),
        Some(original) => dir.prepare(ORIGINAL, Some(original), &original.content)?.commit(),
        None => dir.prepare(MADE, None, b"")?.commit(),
    }
}

/// Whether something is remembered.
pub fn is_there(root: &Root) -> bool {
    root.stat(Path::new(DIR)).is_some()
}

/// Whether we have made `ld.so.preload`.
pub fn is_made(root: &Root) -> bool {
    root.stat(&Path::new(DIR).join(MADE)).is_some()
}

/// The file that we have made is gone, or has become somebody's.
///
/// # Errors
///
/// If this cannot be written.
pub fn forget_made(root: &Root) -> Result<()> {
    let Some(dir) = root.dir(Path::new(DIR))? else { return Ok(()) };
    dir.remove(MADE)?;
    dir.remove_remains(MADE)?;
    remove_if_empty(root)
}

/// Removes all that is remembered.
///
/// # Errors
///
/// If it cannot be removed.
pub fn forget_all(root: &Root) -> Result<()> {
    let Some(dir) = root.dir(Path::new(DIR))? else { return Ok(()) };
    for name in [ORIGINAL, MADE] {
        dir.remove(name)?;
        dir.remove_remains(name)?;
    }
    remove_if_empty(root)
}

fn remove_if_empty(root: &Root) -> Result<()> {
    if let Some(parent) = root.dir(Path::new("/var/lib"))? {
        // Others may keep something there.
        let _ = unlinkat(&parent, "bysyscall", AtFlags::REMOVEDIR);
    }
    Ok(())
}
