// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! `bysyscall run`: a command with the library preloaded.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths;

/// Becomes the command; returns only if that fails.
///
/// # Errors
///
/// If there is no library, or the command cannot be executed.
pub fn run(command: &[OsString], log: Option<&str>) -> Result<std::convert::Infallible> {
    let Some((program, arguments)) = command.split_first() else { bail!("no command given") };
    let library = find_library()?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("LD_PRELOAD", preload(&library, std::env::var_os("LD_PRELOAD").as_deref()));
    if let Some(level) = log {
        command.env("BYSYSCALL_LOG", level);
    }
    Err(command.exec()).with_context(|| format!("cannot run {}", program.display()))
}

/// As env(1) and its like exit: 127 if there is no such command, 126 if it cannot be executed.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match error.root_cause().downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(ErrorKind::NotFound) => 127,
        Some(_) => 126,
        None => 1,
    }
}

fn find_library() -> Result<OsString> {
    let candidates = paths::library_candidates();
    if let Some(library) = candidates.iter().find(|path| path.is_file()) {
        return Ok(library.clone().into_os_string());
    }
    let tried: Vec<String> =
        candidates.iter().map(|path: &PathBuf| path.display().to_string()).collect();
    bail!(
        "library not found, tried {}; install the package again, or run `make`",
        tried.join(" and ")
    )
}

/// What is preloaded already keeps its place before ours: fakeroot and its like
/// answer in the kernel's place, and must go on doing so.
fn preload(library: &OsStr, existing: Option<&OsStr>) -> OsString {
    let mut list = existing.unwrap_or_default().to_owned();
    if !list.is_empty() {
        list.push(":");
    }
    list.push(library);
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_preload_is_kept_before_ours() {
        let list = |existing: Option<&str>| preload(OsStr::new("/l.so"), existing.map(OsStr::new));
        assert_eq!(list(None), "/l.so");
        assert_eq!(list(Some("")), "/l.so");
        assert_eq!(list(Some("/a.so /b.so")), "/a.so /b.so:/l.so");
    }
}
