// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The configuration file.

mod parse;
mod program;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by it")]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use nix::unistd::Group;

pub use parse::{Config, Getrusage};
pub use program::Program;

use crate::paths;

/// Bytes of the largest file that is read.
const LARGEST: u64 = 1 << 20;

/// Which file to read.
#[derive(Clone, Debug)]
pub enum Source {
    /// [`paths::config`], if there is one.
    Default,
    /// One that must be there.
    Named(PathBuf),
}

impl From<Option<PathBuf>> for Source {
    fn from(named: Option<PathBuf>) -> Self {
        named.map_or(Self::Default, Self::Named)
    }
}

impl Source {
    /// Where the file is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Default => paths::config(),
            Self::Named(path) => path,
        }
    }

    /// What the file says.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is wrong: then with line and column.
    pub fn load(&self) -> Result<Config> {
        let path = self.path();
        let bytes = match read(path) {
            Err(error) if matches!(self, Self::Default) && is_missing(&error) => {
                return Ok(Config::default());
            }
            bytes => bytes?,
        };
        parse(path, &bytes)
    }
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let failed = || format!("cannot read {}", path.display());
    // Nobody may ever write to a fifo.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file: File =
        OpenOptions::new().read(true).custom_flags(nonblocking).open(path).with_context(failed)?;
    ensure!(
        file.metadata().with_context(failed)?.is_file(),
        "cannot read {}: it is not a regular file",
        path.display()
    );
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).with_context(failed)?;
    ensure!(
        bytes.len() as u64 <= LARGEST,
        "cannot read {}: it is larger than {LARGEST} bytes",
        path.display()
    );
    Ok(bytes)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Config> {
    let wrong = |error: parse::Error| anyhow!("{}:{error}", path.display());
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default());
        let (line, column) = parse::position(&valid, valid.len());
        wrong(parse::Error {
            line,
            column,
            message: "this is not UTF-8".to_owned(),
            suggestion: None,
        })
    })?;
    let group_id =
        |name: &str| Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
    parse::parse(text, group_id).map_err(wrong)
}
