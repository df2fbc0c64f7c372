// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What `--dry-run` shows.

use std::io::{ErrorKind, Write};

use anyhow::{Context, Result};
use diffy::DiffOptions;

/// Prints what would become of a file.
///
/// # Errors
///
/// If it cannot be printed.
pub fn print(shown: &str, old: &[u8], new: &[u8]) -> Result<()> {
    let (old, new) = (String::from_utf8_lossy(old), String::from_utf8_lossy(new));
    let mut options = DiffOptions::new();
    options.set_original_filename(shown.to_owned()).set_modified_filename(shown.to_owned());
    match write!(std::io::stdout(), "{}", options.create_patch(&old, &new)) {
        // Whoever read it has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot print the difference"),
    }
}
