// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Changing a file so that at each moment, whatever ends us, the old one or the new one is there.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, FlockOperation, IFlags, Mode, OFlags, Stat, StatVfsMountFlags, fchmod,
    flock, fstat, fstatvfs, fsync, ioctl_getflags, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

use crate::{LIST, attributes};

/// Longer than programs are tried.
const LOCKED_AT_MOST: Duration = Duration::from_secs(60);
/// Beside the list.
const CACHE: &str = "ld.so.cache";
/// No list that somebody wrote is longer.
const LONGEST: u64 = 1 << 20;

/// An open directory.
pub struct Dir {
    dir: OwnedFd,
    path: PathBuf,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// A file as it is before it is changed.
pub struct Original {
    /// All its bytes.
    pub content: Vec<u8>,
    file: File,
    stat: Stat,
}

/// Held while what is in a directory is changed.
pub struct DirLock(OwnedFd);

impl Drop for DirLock {
    fn drop(&mut self) {
        // Closing it would do as well, but for a child that was started meanwhile.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl Dir {
    /// `path` is for messages.
    pub fn new(dir: OwnedFd, path: PathBuf) -> Self {
        Self { dir, path }
    }

    /// How a file in it is shown.
    pub fn shown(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    /// Waits until nobody else of us changes what is in it. The directory itself is locked, so
    /// that no lock file is left in an image. Whoever can open it can lock it.
    ///
    /// # Errors
    ///
    /// If it cannot be locked for a while, or `check`, which is asked again and again, says so.
    pub fn lock(&self, check: impl Fn() -> Result<()>) -> Result<DirLock> {
        const PAUSE: Duration = Duration::from_millis(20);
        let name = || format!("cannot lock {}", self.path.display());
        let dir = self.dir.try_clone().with_context(name)?;
        let deadline = Instant::now() + LOCKED_AT_MOST;
        loop {
            ensure!(
                Instant::now() < deadline,
                "{} stays locked; see by whom: fuser -v {0}",
                self.path.display()
            );
            check()?;
            match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(DirLock(dir)),
                Err(Errno::WOULDBLOCK) => std::thread::sleep(PAUSE),
                Err(error) => return Err(error).with_context(name),
            }
        }
    }

    /// Puts on disk which names are in it.
    ///
    /// # Errors
    ///
    /// If the disk fails.
    pub fn sync(&self) -> Result<()> {
        fsync(&self.dir).with_context(|| format!("cannot write {} to disk", self.path.display()))
    }

    /// Looks, before anything is done, whether something can be.
    ///
    /// # Errors
    ///
    /// If the file system is read-only or the directory immutable.
    pub fn check_writable(&self) -> Result<()> {
        let shown = self.path.display();
        if fstatvfs(&self.dir).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY)) {
            bail!("{shown} is on a read-only file system; nothing was changed");
        }
        check_mutable(&self.dir, &shown.to_string())
    }

    /// Reads a file that is to be changed, if it is there.
    ///
    /// # Errors
    ///
    /// If it is not a regular file, or is immutable; if `trusted` also if somebody else than root can write to it.
    pub fn read(&self, name: &str, trusted: bool) -> Result<Option<Original>> {
        let shown = self.shown(name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.dir, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => bail!("{shown} is a symbolic link; put a file in its place"),
            Err(error) => return Err(error).with_context(|| format!("cannot read {shown}")),
        };
        let stat = fstat(&file).with_context(|| format!("cannot look at {shown}"))?;
        ensure!(
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile,
            "{shown} is not a regular file; remove it"
        );
        if trusted {
            ensure!(
                stat.st_uid == 0,
                "{shown} belongs to user {}, not to root; look what is in it, then: chown root {shown}",
                stat.st_uid
            );
            ensure!(
                stat.st_mode & 0o022 == 0,
                "others than root can write to {shown}; look what is in it, then: chmod go-w {shown}"
            );
        }
        check_mutable(&file, &shown)?;
        let mut content = Vec::new();
        (&file)
            .take(LONGEST + 1)
            .read_to_end(&mut content)
            .with_context(|| format!("cannot read {shown}"))?;
        ensure!(content.len() as u64 <= LONGEST, "{shown} is too long; look what is in it");
        Ok(Some(Original { content, file, stat }))
    }

    /// Writes what is to become the file `name`, beside it and to disk, with all that `like` has
    /// besides its content. What a run before us has left half written goes.
    ///
    /// # Errors
    ///
    /// Then nothing was changed.
    pub fn prepare(
        &self,
        name: &str,
        like: Option<&Original>,
        content: &[u8],
    ) -> Result<Prepared<'_>> {
        self.remove_remains(name)?;
        let prepared =
            Prepared { dir: self, name: name.to_owned(), temporary: temporary(name), done: false };
        prepared.write(like, content).with_context(|| {
            format!("cannot write {}; nothing was changed", self.shown(&prepared.temporary))
        })?;
        Ok(prepared)
    }

    /// Removes what a run that was killed has left half written.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    pub fn remove_remains(&self, name: &str) -> Result<bool> {
        let temporary = temporary(name);
        // On a read-only file system what is not there cannot be removed either.
        if matches!(statat(&self.dir, &temporary, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT)) {
            return Ok(false);
        }
        self.unlink(&temporary)
    }

    /// Removes a file; tells whether it was there.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<bool> {
        let was_there = self.unlink(name)?;
        if was_there {
            self.sync()?;
        }
        Ok(was_there)
    }

    fn unlink(&self, name: &str) -> Result<bool> {
        match unlinkat(&self.dir, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot remove {}", self.shown(name))),
        }
    }
}

fn temporary(name: &str) -> String {
    format!(".{name}.bysyscall-new")
}

/// A file that is written and waits to take its place; removed if it does not.
pub struct Prepared<'a> {
    dir: &'a Dir,
    name: String,
    temporary: String,
    done: bool,
}

impl Prepared<'_> {
    fn write(&self, like: Option<&Original>, content: &[u8]) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&self.dir.dir, &self.temporary, flags, Mode::from_raw_mode(0o600))?;
        let mut file = File::from(file);
        file.write_all(content)?;
        match like {
            Some(original) => attributes::copy(&original.file, &original.stat, &file)?,
            None => {
                fchmod(&file, Mode::from_raw_mode(0o644))?;
                if self.name == LIST {
                    self.label_as_cache(&file)?;
                }
            }
        }
        Ok(file.sync_all()?)
    }

    /// SELinux policies give the list the label of ld.so's cache, and not that of its directory.
    fn label_as_cache(&self, file: &File) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match openat(&self.dir.dir, CACHE, flags, Mode::empty()) {
            Ok(cache) => attributes::copy_label(&File::from(cache), file),
            Err(_) => Ok(()),
        }
    }

    /// Puts the file in its place, for good.
    ///
    /// # Errors
    ///
    /// If the kernel refuses; then nothing was changed.
    pub fn commit(mut self) -> Result<()> {
        let (dir, name) = (&self.dir.dir, self.name.as_str());
        renameat(dir, &self.temporary, dir, name).map_err(|error| {
            let shown = self.dir.shown(name);
            let advice = match error {
                Errno::BUSY => format!(". Something is mounted on it: umount {shown}"),
                _ => String::new(),
            };
            anyhow!(error).context(format!("cannot replace {shown}; nothing was changed{advice}"))
        })?;
        self.done = true;
        self.dir.sync()
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        if !self.done {
            // The next run tries again.
            let _ = self.dir.unlink(&self.temporary);
        }
    }
}

fn check_mutable(file: impl AsFd, shown: &str) -> Result<()> {
    // File systems that know no such flags say so, and have none.
    let flags = ioctl_getflags(file).unwrap_or(IFlags::empty());
    ensure!(
        !flags.intersects(IFlags::IMMUTABLE | IFlags::APPEND),
        "{shown} is immutable; nothing was changed. Allow it: chattr -ia {shown}"
    );
    Ok(())
}
