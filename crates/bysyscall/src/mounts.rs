// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The mounts of the service: the public bpffs and the hold.
//!
//! The hold makes it impossible that the hooks vanish while a process believes
//! the cells. A bpffs of its own holds a second pin of each link. It is the
//! lower layer of a read-only overlay, whose other layer is a tmpfs with one
//! file; each process maps that file. The mapping keeps the overlay alive, the
//! overlay the bpffs, the bpffs the links, whatever becomes of pins and mounts.

use std::ffi::{CString, OsStr};
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatVfsMountFlags, StatxAttributes, StatxFlags};
use rustix::mount::{FsOpenFlags, MountFlags, UnmountFlags, fsopen, mount, mount_remount, unmount};

/// Shown as the source of our mounts, so that users see whose they are.
const SOURCE: &str = "bysyscall";
const FLAGS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Whether a file system is mounted right at `path`.
pub fn is_mounted(path: &Path) -> bool {
    rustix::fs::statx(
        CWD,
        path,
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
        StatxFlags::BASIC_STATS,
    )
    .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Whether `path` lies on a bpffs (`BPF_FS_MAGIC`, `include/uapi/linux/magic.h`).
pub fn is_bpffs(path: &Path) -> bool {
    const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type as u64 == BPF_FS_MAGIC)
}

fn mount_at(path: &Path, kind: &str, flags: MountFlags, options: &str) -> Result<()> {
    let options = CString::new(options)?;
    mount(SOURCE, path, kind, flags, options.as_c_str())
        .with_context(|| format!("cannot mount a {kind} file system on {}", path.display()))
}

fn create_dir(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot create {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Sets the permission bits of a file.
///
/// # Errors
///
/// If the kernel refuses.
pub fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

/// Mounts the bpffs with what every user may open, unless one is mounted there.
///
/// # Errors
///
/// If the directory cannot be made or the kernel refuses the mount.
pub fn mount_public(path: &Path) -> Result<()> {
    create_dir(path)?;
    if is_mounted(path) && is_bpffs(path) {
        return Ok(());
    }
    mount_at(path, "bpf", FLAGS, "mode=0755")?;
    // A bpffs makes its root sticky whatever the mount options say.
    set_mode(path, 0o755)
}

/// Mounts the system's bpffs where no init has done so.
///
/// # Errors
///
/// If the kernel refuses the mount.
pub fn mount_system_bpffs(path: &Path) -> Result<()> {
    if is_bpffs(path) {
        return Ok(());
    }
    mount_at(path, "bpf", FLAGS, "mode=0700")
}

/// Unmounts the system's bpffs if we mounted it and nobody else uses it.
pub fn unmount_system_bpffs(path: &Path) {
    let ours =
        fs::read_to_string("/proc/self/mountinfo").is_ok_and(|table| topmost_is_ours(&table, path));
    let empty = || {
        fs::read_dir(path)
            .is_ok_and(|dir| dir.flatten().all(|entry| is_debug_file(&entry.file_name())))
    };
    if ours && empty() {
        // Busy or gone: then it is somebody's.
        let _ = unmount(path, UnmountFlags::NOFOLLOW);
    }
}

/// Whether the last mount at `path` is a bpffs of ours, by `/proc/self/mountinfo` (proc(5)).
fn topmost_is_ours(table: &str, path: &Path) -> bool {
    let at_path =
        |line: &&str| line.split(' ').nth(4).is_some_and(|point| Path::new(point) == path);
    let topmost = table.lines().rev().find(at_path);
    let kind_and_source = topmost.and_then(|line| line.split_once(" - ")).map(|(_, rest)| rest);
    kind_and_source.is_some_and(|rest| rest.starts_with(&format!("bpf {SOURCE} ")))
}

/// Whether the kernel has overlayfs; asking makes it load the module.
pub fn has_overlay() -> bool {
    fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).is_ok()
}

/// Mounts the hold; `pin` makes the pins in the directory that it is given.
/// Without a `file` only the bpffs: it outlives the pins, not its own unmounting.
///
/// # Errors
///
/// If a pin cannot be made or the kernel refuses a mount.
pub fn mount_hold(
    path: &Path,
    file: Option<&str>,
    pin: impl Fn(&Path) -> Result<()>,
) -> Result<()> {
    create_dir(path)?;
    mount_at(path, "bpf", FLAGS, "mode=0700")?;
    pin(path)?;
    // Nobody shall remove these pins by accident; unmount_hold() lifts it again.
    mount_remount(path, MountFlags::BIND | MountFlags::RDONLY | FLAGS, c"")
        .with_context(|| format!("cannot make the mount on {} read-only", path.display()))?;
    let Some(file) = file else { return Ok(()) };
    let open = || {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    };
    let links = open()?;
    mount_at(path, "tmpfs", FLAGS, "mode=0755,size=4k")?;
    let files = open()?;
    fs::write(
        path.join(file),
        "Mapped by processes that use bysyscall; keeps its hooks attached.\n",
    )
    .with_context(|| format!("cannot write {}", path.join(file).display()))?;
    set_mode(&path.join(file), 0o444)?;
    let layers =
        format!("lowerdir=/proc/self/fd/{}:/proc/self/fd/{}", files.as_raw_fd(), links.as_raw_fd());
    mount_at(path, "overlay", FLAGS | MountFlags::RDONLY, &layers)
}

/// Removes the pins of the hold and unmounts it, whatever of it is there.
///
/// # Errors
///
/// If a pin cannot be removed or a mount cannot be detached.
pub fn unmount_hold(path: &Path) -> Result<()> {
    while is_mounted(path) {
        if is_bpffs(path) {
            let flags = rustix::fs::statvfs(path)?.f_flag;
            if flags.contains(StatVfsMountFlags::RDONLY) {
                mount_remount(path, MountFlags::BIND | FLAGS, c"").with_context(|| {
                    format!("cannot make the mount on {} writable", path.display())
                })?;
            }
            remove_pins(path)?;
        }
        unmount_dir(path)?;
    }
    remove_dir(path)
}

/// What the kernel itself puts into each bpffs, for good (`kernel/bpf/preload`).
fn is_debug_file(name: &OsStr) -> bool {
    name == "maps.debug" || name == "progs.debug"
}

/// Removes every pin in a directory of a bpffs.
///
/// # Errors
///
/// If one cannot be removed.
pub fn remove_pins(dir: &Path) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("cannot read {}", dir.display()))?,
    };
    for entry in entries {
        let entry = entry?;
        if is_debug_file(&entry.file_name()) {
            continue;
        }
        let path = entry.path();
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Detaches what is mounted at `path`, also while it is in use.
///
/// # Errors
///
/// If the kernel refuses.
pub fn unmount_dir(path: &Path) -> Result<()> {
    unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .with_context(|| format!("cannot unmount {}", path.display()))
}

/// Removes an empty directory, if it is there.
///
/// # Errors
///
/// If it is not empty or may not be removed.
pub fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_topmost_bpffs_of_ours_is_ours() {
        let ours = "31 25 0:40 / /sys/fs/bpf rw,nosuid shared:7 - bpf bysyscall rw,mode=700\n";
        let other = "32 25 0:41 / /sys/fs/bpf rw,nosuid - bpf bpf rw,mode=700\n";
        let elsewhere = "33 25 0:42 / /run/bysyscall rw,nosuid - bpf bysyscall rw\n";
        let path = Path::new("/sys/fs/bpf");
        assert!(topmost_is_ours(ours, path));
        assert!(topmost_is_ours(&[other, ours, elsewhere].concat(), path));
        assert!(!topmost_is_ours(&[ours, other].concat(), path));
        assert!(!topmost_is_ours(elsewhere, path));
        assert!(!topmost_is_ours("", path));
    }
}
