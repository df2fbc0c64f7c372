// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Where `make` has put what is under test.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The top of the repository; in a guest of the kernel lab, of what it has of it.
pub fn repository() -> PathBuf {
    match std::env::var_os("BYSYSCALL_REPOSITORY") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
    }
}

/// Something that the build has made, by its path below `target/`.
///
/// # Errors
///
/// If it is not there.
pub fn target(path: &str) -> Result<PathBuf> {
    let path = repository().join("target").join(path);
    if !path.exists() {
        bail!("{} does not exist; run `make`", path.display());
    }
    Ok(path.canonicalize()?)
}

/// The preloaded library.
///
/// # Errors
///
/// If it has not been built.
pub fn library() -> Result<PathBuf> {
    target("release/libbysyscall.so")
}

/// The loader.
///
/// # Errors
///
/// If it has not been built.
pub fn loader() -> Result<PathBuf> {
    target("release/bysyscall")
}

/// The program that needs no ld.so.
///
/// # Errors
///
/// If it has not been built.
pub fn rescue() -> Result<PathBuf> {
    target("static/release/bysyscall-rescue")
}

/// A program of `tests/programs/`.
///
/// # Errors
///
/// If it has not been built.
pub fn program(name: &str) -> Result<PathBuf> {
    target(&format!("programs/{name}"))
}
