// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! A mount namespace of one's own: a service that is started in it is seen by
//! nobody else, does not meet one that runs on the machine, and is gone with
//! the last process in it, even after SIGKILL.

use std::path::Path;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};

/// Moves this process, which must still have one thread, into a new mount
/// namespace with an empty `/run` and an empty `/sys/fs/bpf`.
///
/// # Errors
///
/// If we are not root or the kernel refuses.
pub fn enter() -> Result<()> {
    // SAFETY: changes only which mounts this process sees.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(std::io::Error::last_os_error())
            .context("cannot make a mount namespace; run it as root");
    }
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("cannot make / private")?;
    mount("tmpfs", Path::new("/run"), "tmpfs", MountFlags::NODEV, c"mode=0755")
        .context("cannot mount on /run")?;
    mount("bpf", Path::new("/sys/fs/bpf"), "bpf", MountFlags::NODEV, c"mode=0700")
        .context("cannot mount on /sys/fs/bpf")?;
    hide_configuration()
}

/// The machine's own is not that of a service in here.
fn hide_configuration() -> Result<()> {
    let configuration = Path::new("/etc/bysyscall.conf");
    if !configuration.exists() {
        return Ok(());
    }
    let empty = Path::new("/run/empty.conf");
    std::fs::write(empty, "").context("cannot write to /run")?;
    mount_bind(empty, configuration).context("cannot mount on /etc/bysyscall.conf")
}
