// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! A small image to work on with `--root`.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::fixture::{library, loader, path, says};

pub const PRELOAD: &str = "etc/ld.so.preload";
pub const LIBRARY: &str = "usr/lib64/libbysyscall.so";
pub const ENTRY: &str = "/usr/lib64/libbysyscall.so";

/// Each path with its mode, owner and content.
pub type All = BTreeMap<PathBuf, (u32, u32, Vec<u8>)>;

/// Removed when dropped.
pub struct Image(PathBuf);

impl Image {
    pub fn new(name: &str) -> Result<Self> {
        let image = Self(path(name));
        for dir in ["etc/systemd/system", "usr/lib64", "usr/lib/systemd/system", "var/lib"] {
            fs::create_dir_all(image.path(dir))?;
        }
        fs::copy(library(), image.path(LIBRARY))?;
        Ok(image)
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let path = self.path(path);
        fs::create_dir_all(path.parent().context("no parent")?)?;
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    }

    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        fs::read(self.path(path)).with_context(|| path.to_owned())
    }

    pub fn set_mode(&self, path: &str, mode: u32) -> Result<()> {
        Ok(fs::set_permissions(self.path(path), Permissions::from_mode(mode))?)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = loader(arguments);
        command.arg("--root").arg(&self.0);
        command
    }

    /// Runs it; it must say `words`.
    pub fn succeed(&self, arguments: &[&str], words: &str) -> Result<String> {
        says(&mut self.command(arguments), 0, words)
    }

    /// Runs it; it must fail, say `words`, and change nothing.
    pub fn refuse(&self, arguments: &[&str], words: &str) -> Result<()> {
        let before = self.all()?;
        says(&mut self.command(arguments), 1, words)?;
        ensure!(self.all()? == before, "{arguments:?} has changed something");
        Ok(())
    }

    /// All that is in it.
    pub fn all(&self) -> Result<All> {
        let mut all = All::new();
        collect(&self.0, &mut all)?;
        Ok(all)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A file in which the first `old` has become `new`, which is as long.
pub fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Result<Vec<u8>> {
    let at = bytes.windows(old.len()).position(|window| window == old);
    let at = at.with_context(|| format!("no {}", String::from_utf8_lossy(old)))?;
    Ok([&bytes[..at], new, &bytes[at + old.len()..]].concat())
}

fn collect(dir: &Path, all: &mut All) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let data = fs::symlink_metadata(&path)?;
        let content = if data.is_file() { fs::read(&path)? } else { Vec::new() };
        all.insert(path.clone(), (data.mode(), data.uid(), content));
        if data.is_dir() {
            collect(&path, all)?;
        }
    }
    Ok(())
}
