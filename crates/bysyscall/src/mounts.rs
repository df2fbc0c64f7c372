// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The mounts of the service: the public bpffs and the hold.
//!
//! The hold makes it impossible that the hooks vanish while a process believes
//! the cells. A bpffs of its own holds a second pin of each link. It is the
//! lower layer of a read-only overlay, whose other layer is a tmpfs with one
//! file; each process maps that file. The mapping keeps the overlay alive, the
//! overlay the bpffs, the bpffs the links, whatever becomes of pins and mounts.
//!
//! What others have mounted where we would mount is left alone.

use std::ffi::{CString, OsStr};
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatVfsMountFlags, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, MountFlags, UnmountFlags, fsopen, mount, mount_remount, unmount};

/// Shown as the source of our mounts, so that users see whose they are.
const SOURCE: &str = "bysyscall";
const FLAGS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// What is mounted right at a path, topmost.
#[derive(Debug, PartialEq, Eq)]
pub enum Mounted {
    /// Nothing.
    Nothing,
    /// A file system of this kind, by us.
    Ours(String),
    /// A file system of this kind, by somebody else.
    Foreign(String),
}

/// Looks what is mounted at `path`. What only the table of mounts still shows,
/// as something is mounted over a directory above it, is not there.
///
/// # Errors
///
/// If the table of mounts cannot be read or the kernel does not tell the mount
/// (`STATX_MNT_ID`, Linux 5.8).
pub fn mounted(path: &Path) -> Result<Mounted> {
    const TABLE: &str = "/proc/thread-self/mountinfo";
    let stat = match statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID) {
        Err(Errno::NOENT) => return Ok(Mounted::Nothing),
        result => result.with_context(|| format!("cannot examine {}", path.display()))?,
    };
    ensure!(
        stat.stx_mask & StatxFlags::MNT_ID.bits() != 0,
        "the kernel does not tell on which mount {} is",
        path.display()
    );
    let table = fs::read_to_string(TABLE).with_context(|| format!("cannot read {TABLE}"))?;
    Ok(find(&table, stat.stx_mnt_id, path))
}

/// The same from the text of `/proc/self/mountinfo` (proc(5)) and the mount on which `path` lies.
fn find(table: &str, mount: u64, path: &Path) -> Mounted {
    let is_it = |line: &&str| {
        let mut words = line.split(' ');
        words.next().and_then(|id| id.parse().ok()) == Some(mount)
            && words.nth(3).is_some_and(|point| Path::new(point) == path)
    };
    let Some((_, rest)) = table.lines().find(is_it).and_then(|line| line.split_once(" - ")) else {
        return Mounted::Nothing;
    };
    let mut words = rest.split(' ');
    let (kind, source) = (words.next().unwrap_or_default().to_owned(), words.next());
    if source == Some(SOURCE) { Mounted::Ours(kind) } else { Mounted::Foreign(kind) }
}

fn foreign(path: &Path, kind: &str) -> anyhow::Error {
    anyhow!(
        "a {kind} file system that is not of bysyscall is mounted on {0}; unmount it: umount {0}",
        path.display()
    )
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

/// Lets everyone use a file of root's as `mode` says, or of the others only a group.
///
/// # Errors
///
/// If the kernel refuses.
pub fn give_to(path: &Path, mode: u32, group: Option<u32>) -> Result<()> {
    let give = |group| {
        chown(path, Some(0), Some(group))
            .with_context(|| format!("cannot set the group of {}", path.display()))
    };
    // In this order nobody who may use it before and after may not meanwhile.
    match group {
        Some(group) => give(group).and_then(|()| set_mode(path, mode & 0o770)),
        None => set_mode(path, mode).and_then(|()| give(0)),
    }
}

/// Mounts the bpffs with what every user may open, unless we have.
///
/// # Errors
///
/// If the directory cannot be made, something else is mounted there, or the
/// kernel refuses the mount.
pub fn mount_public(path: &Path) -> Result<()> {
    create_dir(path)?;
    match mounted(path)? {
        Mounted::Ours(kind) if kind == "bpf" => return Ok(()),
        Mounted::Nothing => {}
        Mounted::Ours(kind) | Mounted::Foreign(kind) => return Err(foreign(path, &kind)),
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
    let ours = mounted(path).is_ok_and(|mounted| mounted == Mounted::Ours("bpf".to_owned()));
    let empty = || {
        fs::read_dir(path)
            .is_ok_and(|dir| dir.flatten().all(|entry| is_debug_file(&entry.file_name())))
    };
    if ours && empty() {
        // Busy or gone: then it is somebody's.
        let _ = unmount(path, UnmountFlags::NOFOLLOW);
    }
}

/// Whether the kernel has overlayfs; asking makes it load the module.
pub fn has_overlay() -> bool {
    fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).is_ok()
}

/// Mounts the bpffs with the second pins on `links`; `pin` makes them in the
/// directory that it is given. With a `file` also the overlay on `hold`;
/// without, the pins outlive all but the unmounting of `links`.
///
/// # Errors
///
/// If a pin cannot be made or the kernel refuses a mount.
pub fn mount_hold(
    links: &Path,
    hold: &Path,
    file: Option<&str>,
    pin: impl Fn(&Path) -> Result<()>,
) -> Result<()> {
    create_dir(links)?;
    mount_at(links, "bpf", FLAGS, "mode=0700")?;
    pin(links)?;
    make_read_only(links)?;
    let Some(file) = file else { return Ok(()) };
    create_dir(hold)?;
    let open = || {
        rustix::fs::open(links, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    };
    let link_layer = open()?;
    // Only the overlay may be found at `hold`, however often that is unmounted.
    mount_at(links, "tmpfs", FLAGS, "mode=0755,size=4k")?;
    let file_layer = open()?;
    let file = links.join(file);
    fs::write(&file, "Mapped by processes that use bysyscall; keeps its hooks attached.\n")
        .with_context(|| format!("cannot write {}", file.display()))?;
    set_mode(&file, 0o444)?;
    let layers = format!(
        "lowerdir=/proc/self/fd/{}:/proc/self/fd/{}",
        file_layer.as_raw_fd(),
        link_layer.as_raw_fd()
    );
    mount_at(hold, "overlay", FLAGS | MountFlags::RDONLY, &layers)?;
    detach(links)
}

/// Unmounts the overlay; processes that have mapped its file keep it alive.
///
/// # Errors
///
/// If something else is mounted there, or the kernel refuses.
pub fn unmount_hold(path: &Path) -> Result<()> {
    unmount_ours(path, |_| Ok(()))
}

/// Removes the second pins and unmounts their bpffs, whatever of it is there;
/// before, `stop` is given the directory.
///
/// # Errors
///
/// If something else is mounted there, `stop` fails, or a pin cannot be removed.
pub fn unmount_links(path: &Path, stop: impl Fn(&Path) -> Result<()>) -> Result<()> {
    unmount_ours(path, |path| {
        stop(path)?;
        if rustix::fs::statvfs(path)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
            make_writable(path)?;
        }
        remove_pins(path)
    })
}

/// Has `change` change the second pins.
///
/// # Errors
///
/// If they are not to be found where they were mounted, or `change` fails.
pub fn change_links(path: &Path, change: impl FnOnce() -> Result<()>) -> Result<()> {
    ensure!(
        matches!(mounted(path)?, Mounted::Ours(kind) if kind == "bpf"),
        "{} is no longer mounted; restart the service",
        path.display()
    );
    make_writable(path)?;
    let result = change();
    make_read_only(path)?;
    result
}

fn make_writable(path: &Path) -> Result<()> {
    mount_remount(path, MountFlags::BIND | FLAGS, c"")
        .with_context(|| format!("cannot make the mount on {} writable", path.display()))
}

/// So that nobody removes the pins in it by accident.
fn make_read_only(path: &Path) -> Result<()> {
    mount_remount(path, MountFlags::BIND | MountFlags::RDONLY | FLAGS, c"")
        .with_context(|| format!("cannot make the mount on {} read-only", path.display()))
}

/// Removes the public bpffs with all in it.
///
/// # Errors
///
/// If something else is mounted there, or a pin cannot be removed.
pub fn unmount_public(path: &Path) -> Result<()> {
    unmount_ours(path, remove_pins)
}

/// Unmounts all that we have mounted at `path` and removes the directory;
/// `empty` is called when a bpffs of ours is topmost.
fn unmount_ours(path: &Path, empty: impl Fn(&Path) -> Result<()>) -> Result<()> {
    loop {
        match mounted(path)? {
            Mounted::Ours(kind) => {
                if kind == "bpf" {
                    empty(path)?;
                }
                detach(path)?;
            }
            Mounted::Foreign(kind) => return Err(foreign(path, &kind)),
            Mounted::Nothing => return remove_dir(path),
        }
    }
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
fn detach(path: &Path) -> Result<()> {
    unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .with_context(|| format!("cannot unmount {}", path.display()))
}

/// Removes an empty directory, if it is there. One where something is mounted in
/// a copy of its file system's tree, as in a chroot with `/run`, stays.
///
/// # Errors
///
/// If it is not empty or may not be removed.
pub fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            log::warn!(
                "{} stays: its parent directory is also mounted elsewhere, with what was mounted on it",
                path.display()
            );
            Ok(())
        }
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
    fn the_mount_right_at_the_path_counts() {
        let ours = "31 25 0:40 / /sys/fs/bpf rw,nosuid shared:7 - bpf bysyscall rw,mode=700\n";
        let other = "32 25 0:41 / /sys/fs/bpf rw,nosuid - tmpfs bpf rw,mode=700\n";
        let elsewhere = "33 25 0:42 / /run/bysyscall rw,nosuid - bpf bysyscall rw\n";
        let table = [other, ours, elsewhere].concat();
        let path = Path::new("/sys/fs/bpf");
        assert_eq!(find(&table, 31, path), Mounted::Ours("bpf".to_owned()));
        assert_eq!(find(&table, 32, path), Mounted::Foreign("tmpfs".to_owned()));
        assert_eq!(find(&table, 25, path), Mounted::Nothing);
        assert_eq!(find(&table, 33, path), Mounted::Nothing);
        assert_eq!(find("", 31, path), Mounted::Nothing);
    }

    #[test]
    fn a_mount_is_seen_only_where_it_is_to_be_found() -> Result<()> {
        assert_eq!(mounted(Path::new("/proc"))?, Mounted::Foreign("proc".to_owned()));
        assert_eq!(mounted(Path::new("/proc/self"))?, Mounted::Nothing);
        assert_eq!(mounted(Path::new("/there/is/no/such/thing"))?, Mounted::Nothing);
        Ok(())
    }
}
