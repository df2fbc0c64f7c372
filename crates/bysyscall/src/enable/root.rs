// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The tree of files to work on: the machine's, or that of an image.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, Stat, fstat, mkdirat, open, openat, openat2};
use rustix::io::Errno;

use bysyscall_edit::Dir;

/// How often a path is looked up again.
const ATTEMPTS: usize = 1000;

/// A directory that is `/` to all paths, also to what symbolic links in it say.
pub struct Root {
    dir: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens the machine's tree, or that of the image in `dir`.
    ///
    /// # Errors
    ///
    /// If there is no such directory.
    pub fn open(dir: Option<&Path>) -> Result<Self> {
        let given = dir.unwrap_or(Path::new("/"));
        let name = || format!("cannot open {}", given.display());
        let path = given.canonicalize().with_context(name)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = open(&path, flags, Mode::empty()).with_context(name)?;
        Ok(Self { dir, path })
    }

    /// Whether this is the machine that runs, not an image.
    pub fn is_machine(&self) -> bool {
        self.path == Path::new("/")
    }

    /// Where the root itself lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How a path in the tree is shown.
    pub fn shown(&self, path: &Path) -> PathBuf {
        self.path.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Opens a path of the tree; the kernel keeps symbolic links inside.
    ///
    /// # Errors
    ///
    /// As the kernel says.
    pub fn open_at(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = match path.strip_prefix("/").unwrap_or(path) {
            top if top.as_os_str().is_empty() => Path::new("."),
            path => path,
        };
        let flags = flags | OFlags::CLOEXEC;
        let mut attempts = 0..ATTEMPTS;
        loop {
            match openat2(&self.dir, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
                // Something was renamed somewhere while the kernel followed a `..` (openat2(2)).
                Err(Errno::AGAIN) if attempts.next().is_some() => {}
                // Old kernels, and filters of containers, which refuse what they do not know.
                Err(Errno::NOSYS | Errno::PERM) if self.is_machine() => {
                    return openat(CWD, Path::new("/").join(path), flags, Mode::empty());
                }
                result => return result,
            }
        }
    }

    /// Opens a directory, if it is there.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub fn dir(&self, path: &Path) -> Result<Option<Dir>> {
        match self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(dir) => Ok(Some(Dir::new(dir, self.shown(path)))),
            Err(error) if leads_nowhere(error) => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("cannot open {}", self.shown(path).display()))
            }
        }
    }

    /// Opens a directory, and makes it and those above it where they are missing.
    ///
    /// # Errors
    ///
    /// If one cannot be made or opened.
    pub fn make_dir(&self, path: &Path) -> Result<Dir> {
        if let Some(dir) = self.dir(path)? {
            return Ok(dir);
        }
        let name = || format!("cannot create {}", self.shown(path).display());
        let parent = self.make_dir(path.parent().with_context(name)?)?;
        match mkdirat(&parent, path.file_name().with_context(name)?, Mode::from_raw_mode(0o755)) {
            Ok(()) => parent.sync()?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error).with_context(name),
        }
        self.dir(path)?.with_context(name)
    }

    /// Which file a path leads to, if any.
    pub fn stat(&self, path: &Path) -> Option<Stat> {
        fstat(self.open_at(path, OFlags::PATH).ok()?).ok()
    }

    /// What a file has in it, if it is there; links are followed, and nothing is asked of its owner.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        let name = || format!("cannot read {}", self.shown(path).display());
        let file = match self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => file,
            Err(error) if leads_nowhere(error) => return Ok(None),
            Err(error) => return Err(error).with_context(name),
        };
        let mut content = Vec::new();
        File::from(file).read_to_end(&mut content).with_context(name)?;
        Ok(Some(content))
    }

    /// What is in a directory, if it is one.
    pub fn names(&self, path: &Path) -> Option<Vec<String>> {
        let dir = self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY).ok()?;
        let entries = rustix::fs::Dir::new(dir).ok()?.flatten();
        Some(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
    }

    /// What a symbolic link says, if the path is one.
    pub fn link(&self, path: &Path) -> Option<PathBuf> {
        let link = self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW).ok()?;
        let target = rustix::fs::readlinkat(link, "", Vec::new()).ok()?;
        Some(PathBuf::from(std::ffi::OsStr::from_bytes(target.as_bytes())))
    }
}

/// Whether there is nothing at a path: also where a file or a link to itself stands in a directory's place.
fn leads_nowhere(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}
