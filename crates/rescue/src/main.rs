// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Takes the library out of `/etc/ld.so.preload` when no other program starts any more.
//!
//! It is linked statically, so that ld.so, which reads that file for all others, has no part in it. It
//! looks at nothing but the file: a library that is broken, replaced or gone is not opened.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use bysyscall_edit::{Dir, preload};
use clap::Parser;
use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags, openat, statvfs};
use rustix::mount::{MountFlags, mount_remount};

const NAME: &str = "ld.so.preload";
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
    // The kernel hands on what it does not know of its own command line.
    if std::process::id() == 1 { start_machine() } else { tell(take_out(&Options::parse().root)) }
}

fn tell(result: Result<String>) -> ExitCode {
    match result {
        Ok(done) => {
            eprintln!("bysyscall-rescue: {done}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bysyscall-rescue: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Tells what was done.
fn take_out(root: &Path) -> Result<String> {
    let etc = root.join("etc");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(CWD, &etc, flags, Mode::empty())
        .with_context(|| format!("cannot open {}", etc.display()))?;
    let etc = Dir::new(dir, etc);
    let shown = etc.shown(NAME);
    let Some(original) = etc.read(NAME, false)? else {
        return Ok(format!("there is no {shown}"));
    };
    let Some(new) = preload::without_entries(&original.content, is_ours) else {
        return Ok(format!("libbysyscall.so is not in {shown}"));
    };
    etc.prepare(NAME, Some(&original), &new)?.commit()?;
    Ok(format!("took libbysyscall.so out of {shown}: programs that start now do not load it"))
}

/// By whatever path: here it is better to take out one too many.
fn is_ours(entry: &[u8]) -> bool {
    entry.rsplit(|&byte| byte == b'/').next() == Some(LIBRARY)
}

/// As the first process: does it, and becomes what is the first process otherwise.
fn start_machine() -> ExitCode {
    tell(take_out_writable());
    let error = Command::new(INIT).args(std::env::args_os().skip(1)).exec();
    tell(Err(error).context(format!("cannot run {INIT}")))
}

/// The kernel mounts the root file system read-only unless told otherwise; it is left as it was.
fn take_out_writable() -> Result<String> {
    let is_read_only = statvfs("/")?.f_flag.contains(StatVfsMountFlags::RDONLY);
    if !is_read_only {
        return take_out(Path::new("/"));
    }
    mount_remount("/", MountFlags::empty(), "").context("cannot make / writable")?;
    let result = take_out(Path::new("/"));
    mount_remount("/", MountFlags::RDONLY, "").context("cannot make / read-only again")?;
    result
}
