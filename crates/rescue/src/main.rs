// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Takes the library out of `/etc/ld.so.preload` when no other program starts any more.
//!
//! It is linked statically, so that ld.so, which reads that file for all others, has no part in it. It
//! looks at nothing but the file: a library that is broken, replaced or gone is not opened.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use bysyscall_edit::{Dir, LIST, preload};
use clap::Parser;
use rustix::fs::{
    CWD, IFlags, Mode, OFlags, ResolveFlags, StatVfsMountFlags, ioctl_getflags, ioctl_setflags,
    openat, openat2, statvfs,
};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount_remount};

const LIBRARY: &[u8] = b"libbysyscall.so";
/// What the kernel starts when nothing else is asked for (`kernel_init()` of init/main.c).
const INIT: &str = "/sbin/init";

/// Takes libbysyscall.so out of /etc/ld.so.preload, where other programs no longer start.
///
/// From a shell that is open, or as init=/usr/sbin/bysyscall-rescue on the kernel's command line, which
/// goes on to /sbin/init. Other entries stay.
#[derive(Parser)]
#[command(name = "bysyscall-rescue", version)]
struct Options {
    /// Work on the root file system that is mounted here
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

fn main() -> ExitCode {
    if std::process::id() == 1 && !has_options() {
        start_machine()
    } else {
        tell(take_out(&Options::parse().root))
    }
}

/// The first process of a container may have been given some. The kernel hands on to its first process
/// what it does not know of its own command line.
fn has_options() -> bool {
    std::env::args_os().len() > 1
        && Options::try_parse().map_or_else(|error| !error.use_stderr(), |_| true)
}

fn tell(result: Result<String>) -> ExitCode {
    let (words, code) = match result {
        Ok(done) => (done, ExitCode::SUCCESS),
        Err(error) => (format!("{error:#}"), ExitCode::FAILURE),
    };
    // A console that takes nothing must not keep the machine from starting.
    let _ = writeln!(std::io::stderr(), "bysyscall-rescue: {words}");
    code
}

/// Tells what was done.
fn take_out(root: &Path) -> Result<String> {
    let shown = root.join("etc");
    let dir = open_etc(root).with_context(|| format!("cannot open {}", shown.display()))?;
    let etc = Dir::new(dir.try_clone()?, shown);
    let shown = etc.shown(LIST);
    let was_immutable = make_mutable(&dir)?;
    let Some(original) = etc.read(LIST, false)? else {
        return Ok(format!("there is no {shown}"));
    };
    let Some(new) = preload::without_entries(&original.content, is_ours) else {
        return Ok(format!("libbysyscall.so is not in {shown}"));
    };
    let replaced = etc.prepare(LIST, Some(&original), &new).and_then(|prepared| prepared.commit());
    if let Err(error) = replaced {
        // It becomes shorter, so a full disk is no obstacle.
        overwrite(&dir, &new).with_context(|| format!("{error:#}; nor can it be overwritten"))?;
    }
    let note = if was_immutable { "; it was immutable, and is so no longer" } else { "" };
    Ok(format!("took libbysyscall.so out of {shown}: programs that start now do not load it{note}"))
}

/// Also where a link leads to it, inside of `root`.
fn open_etc(root: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, root, flags, Mode::empty())?;
    match openat2(&root, "etc", flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        // A rescue system may be an old one.
        Err(Errno::NOSYS) => openat(&root, "etc", flags, Mode::empty()),
        result => result,
    }
}

/// The list and its directory; chattr(1), which would do it, does not start. Tells whether one was not.
fn make_mutable(etc: &OwnedFd) -> Result<bool> {
    let list =
        openat(etc, LIST, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    let mut was_immutable = false;
    for file in [Some(etc), list.as_ref().ok()].into_iter().flatten() {
        let fixed = IFlags::IMMUTABLE | IFlags::APPEND;
        // File systems that know no such flags have none.
        let flags = ioctl_getflags(file).unwrap_or(IFlags::empty());
        if flags.intersects(fixed) {
            ioctl_setflags(file, flags - fixed).context("cannot make it mutable")?;
            was_immutable = true;
        }
    }
    Ok(was_immutable)
}

fn overwrite(etc: &impl AsFd, new: &[u8]) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(etc, LIST, flags, Mode::empty())?);
    file.write_all(new)?;
    file.set_len(new.len() as u64)?;
    Ok(file.sync_all()?)
}

/// By whatever path: here it is better to take out one too many.
fn is_ours(entry: &[u8]) -> bool {
    entry.rsplit(|&byte| byte == b'/').next() == Some(LIBRARY)
}

/// As the first process: does it, and becomes what is the first process otherwise.
fn start_machine() -> ExitCode {
    // As the kernel mounts it unless told otherwise.
    let is_read_only =
        statvfs("/etc").is_ok_and(|etc| etc.f_flag.contains(StatVfsMountFlags::RDONLY));
    // Where that fails, what comes next tells why.
    let is_remounted = is_read_only && remount(MountFlags::empty()).is_ok();
    tell(take_out(Path::new("/")));
    if is_remounted && let Err(error) = remount(MountFlags::RDONLY) {
        tell(Err(error).context("cannot make / read-only again"));
    }
    let error = Command::new(INIT).args(std::env::args_os().skip(1)).exec();
    tell(Err(error).context(format!("cannot run {INIT}")))
}

/// What else the root file system was mounted with stays.
fn remount(flags: MountFlags) -> Result<()> {
    const KEPT: [(StatVfsMountFlags, MountFlags); 4] = [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::SYNCHRONOUS, MountFlags::SYNCHRONOUS),
    ];
    let has = statvfs("/")?.f_flag;
    let kept = KEPT.into_iter().filter(|(flag, _)| has.contains(*flag)).map(|(_, flag)| flag);
    Ok(mount_remount("/", kept.fold(flags, |flags, flag| flags | flag), "")?)
}
