// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What is downloaded and built once, by the content that it is made of.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::command;

/// What nobody has used for so long is removed.
const KEPT_UNUSED: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// A directory in [`Cache::scratch`] is named after the process that made it.
const SCRATCH: &str = "scratch-";

/// The directory that keeps it.
pub struct Cache {
    dir: PathBuf,
    scratch: PathBuf,
}

impl Cache {
    /// Finds or makes it: `$BYSYSCALL_VM_CACHE`, or where users' caches are.
    pub fn open() -> Result<Self> {
        let dir = match std::env::var_os("BYSYSCALL_VM_CACHE") {
            Some(dir) => PathBuf::from(dir),
            None => caches()?.join("bysyscall/vm"),
        };
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let scratch = dir.join(format!("{SCRATCH}{}", std::process::id()));
        remove_abandoned(&dir)?;
        Ok(Self { dir, scratch })
    }

    /// For this run alone; on the same file system.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// A directory that is kept whatever is in it.
    pub fn dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(dir)
    }

    /// The directory `name-key`, built now if it is not there. It appears
    /// complete or not at all.
    pub fn get(
        &self,
        name: &str,
        key: &str,
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let dir = self.dir.join(format!("{name}-{key}"));
        if !dir.exists() {
            let half = self.scratch.join(name);
            fs::create_dir(&half).with_context(|| format!("cannot create {}", half.display()))?;
            build(&half).with_context(|| format!("cannot build {name}"))?;
            // Another run may have been faster.
            fs::rename(&half, &dir)
                .or_else(|error| if dir.exists() { Ok(()) } else { Err(error) })?;
        }
        File::open(&dir)?.set_modified(SystemTime::now())?;
        self.remove_unused(&format!("{name}-"))?;
        Ok(dir)
    }

    fn remove_unused(&self, prefix: &str) -> Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
            if entry.file_name().to_string_lossy().starts_with(prefix) && age > KEPT_UNUSED {
                command::remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

fn caches() -> Result<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(home)
        .context("neither BYSYSCALL_VM_CACHE nor HOME is set")
}

/// Scratch directories of runs that were killed.
fn remove_abandoned(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(pid) = name.strip_prefix(SCRATCH)
            && !Path::new("/proc").join(pid).exists()
        {
            command::remove(&path)?;
        }
    }
    Ok(())
}
