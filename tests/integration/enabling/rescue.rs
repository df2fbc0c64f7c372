// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! A machine on which no program starts any more, as one that preloads a library that is fatal.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use bysyscall_tests::built;
use bysyscall_tests::process::{output, succeed, text};
use libtest_mimic::Trial;
use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::mount::{
    MountFlags, UnmountFlags, mount, mount_bind_recursive, mount_remount, unmount,
};

use super::image::{PRELOAD as LIST, replaced};
use crate::fixture::{library, path, says, trial};

const LISTED: &str = "# of others\n/opt/libbysyscall.so:/opt/other.so\n";
const LEFT: &str = "# of others\n/opt/other.so\n";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("enabling::rescue_needs_no_loader", rescue_needs_no_loader),
        trial("enabling::rescue_works_from_elsewhere", rescue_works_from_elsewhere),
        trial("enabling::rescue_starts_the_machine", rescue_starts_the_machine),
        trial("enabling::rescue_starts_it_whatever_happens", rescue_starts_it_whatever_happens),
        trial("enabling::rescue_needs_no_space", rescue_needs_no_space),
        trial("enabling::rescue_makes_it_mutable", rescue_makes_it_mutable),
        trial("enabling::rescue_tells_what_is_wrong", rescue_tells_what_is_wrong),
    ]
}

/// The programs of this machine on a file system of its own, gone when dropped.
struct Broken(PathBuf);

impl Broken {
    fn new() -> Result<Self> {
        let broken = Self(path("broken"));
        fs::create_dir_all(&broken.0)?;
        mount("tmpfs", &broken.0, "tmpfs", MountFlags::empty(), None)?;
        for dir in ["etc", "opt", "sbin", "usr", "dev"] {
            fs::create_dir(broken.0.join(dir))?;
        }
        mount_bind_recursive("/usr", broken.0.join("usr"))?;
        for dir in ["bin", "lib", "lib64"] {
            symlink(format!("usr/{dir}"), broken.0.join(dir))?;
        }
        fs::copy(built::rescue()?, broken.0.join("rescue"))?;
        let init = broken.0.join("sbin/init");
        fs::write(&init, "#!/bin/sh\necho \"init $$ $*\"\n")?;
        fs::set_permissions(init, Permissions::from_mode(0o755))?;
        fs::write(broken.0.join("opt/libbysyscall.so"), fatal()?)?;
        // One that stops nothing: ld.so prints a line, and runs on.
        fs::write(broken.0.join("opt/other.so"), "")?;
        fs::write(broken.0.join(LIST), LISTED)?;
        let status = output(&mut broken.inside(&["/bin/true"]))?.status;
        ensure!(status.code() == Some(127), "a program starts: {status}");
        Ok(broken)
    }

    fn inside(&self, command: &[&str]) -> Command {
        let mut inside = Command::new("chroot");
        inside.arg(&self.0).args(command);
        inside
    }

    /// As the first process.
    fn boot(&self, arguments: &[&str]) -> Command {
        let mut boot = Command::new("unshare");
        boot.args(["--pid", "--fork", "chroot"]).arg(&self.0).arg("/rescue").args(arguments);
        boot
    }

    fn ensure_rescued(&self) -> Result<()> {
        let list = fs::read_to_string(self.0.join(LIST))?;
        ensure!(list == LEFT, "{list:?}");
        succeed(&mut self.inside(&["/bin/true"])).map(drop)
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        let _ = unmount(self.0.join("usr"), UnmountFlags::DETACH);
        let _ = unmount(&self.0, UnmountFlags::DETACH);
        let _ = fs::remove_dir(&self.0);
    }
}

/// The library, in need of another that there is not.
fn fatal() -> Result<Vec<u8>> {
    replaced(&fs::read(library())?, b"libc.so.6\0", b"none.so.6\0")
}

fn rescue_needs_no_loader() -> Result<()> {
    let broken = Broken::new()?;
    says(&mut broken.inside(&["/rescue"]), 0, "took libbysyscall.so out of /etc/ld.so.preload")?;
    broken.ensure_rescued()?;
    says(&mut broken.inside(&["/rescue"]), 0, "libbysyscall.so is not in /etc/ld.so.preload")?;
    fs::remove_file(broken.0.join(LIST))?;
    says(&mut broken.inside(&["/rescue"]), 0, "there is no /etc/ld.so.preload").map(drop)
}

fn rescue_works_from_elsewhere() -> Result<()> {
    let broken = Broken::new()?;
    says(Command::new(broken.0.join("rescue")).arg("--root").arg(&broken.0), 0, "took")?;
    broken.ensure_rescued()
}

/// As `init=` of a kernel that mounts the root file system read-only.
fn rescue_starts_the_machine() -> Result<()> {
    for is_read_only in [true, false] {
        let broken = Broken::new()?;
        if is_read_only {
            mount_remount(&broken.0, MountFlags::RDONLY, "")?;
        }
        let mut boot = broken.boot(&["single"]);
        let said = says(&mut boot, 0, "took libbysyscall.so out of /etc/ld.so.preload")?;
        ensure!(said.contains("init 1 single"), "{said}");
        let flags = statvfs(&broken.0)?.f_flag;
        ensure!(flags.contains(StatVfsMountFlags::RDONLY) == is_read_only, "{flags:?}");
        broken.ensure_rescued()?;
    }
    Ok(())
}

/// As the kernel would have it without us.
fn rescue_starts_it_whatever_happens() -> Result<()> {
    let broken = Broken::new()?;
    let full = File::options().write(true).open("/dev/full")?;
    let said = broken.boot(&[]).stderr(full).output()?;
    ensure!(text(&said.stdout).contains("init 1 "), "with a console that fails: {said:?}");
    broken.ensure_rescued()?;
    let list = broken.0.join(LIST);
    fs::remove_file(&list)?;
    fs::create_dir(&list)?;
    let said = says(&mut broken.boot(&[]), 0, "/etc/ld.so.preload is not a regular file")?;
    ensure!(said.contains("init 1 "), "{said}");
    Ok(())
}

fn rescue_needs_no_space() -> Result<()> {
    let broken = Broken::new()?;
    mount_remount(&broken.0, MountFlags::empty(), "size=8m")?;
    let mut filler = File::create(broken.0.join("filler"))?;
    while filler.write(&[0; 4096]).is_ok() {}
    // A new file has no room, nor has a page of one.
    ensure!(fs::write(broken.0.join("etc/new"), "new").is_err(), "the disk is not full");
    fs::remove_file(broken.0.join("etc/new"))?;
    says(&mut broken.inside(&["/rescue"]), 0, "took libbysyscall.so out")?;
    broken.ensure_rescued()
}

fn rescue_makes_it_mutable() -> Result<()> {
    // tmpfs has such flags only since Linux 6.6, overlayfs hands them on.
    let image = path("immutable");
    fs::create_dir_all(image.join("etc"))?;
    let list = image.join(LIST);
    fs::write(&list, LISTED)?;
    let chattr = |flags: &str| {
        Command::new("chattr").args([flags]).arg(&list).arg(image.join("etc")).output()
    };
    let has_flags = chattr("+i")?.status.success();
    let words = if has_flags { "is so no longer" } else { "do not load it" };
    let said = says(Command::new(built::rescue()?).arg("--root").arg(&image), 0, words);
    chattr("-i")?;
    let left = fs::read_to_string(&list)?;
    fs::remove_dir_all(&image)?;
    said?;
    ensure!(left == LEFT, "{left:?}");
    Ok(())
}

fn rescue_tells_what_is_wrong() -> Result<()> {
    let broken = Broken::new()?;
    let rescue = || Command::new(broken.0.join("rescue"));
    says(rescue().args(["--root", "/nowhere"]), 1, "cannot open /nowhere/etc")?;
    says(rescue().arg("--rot"), 2, "--root")?;
    mount_remount(&broken.0, MountFlags::RDONLY, "")?;
    says(&mut broken.inside(&["/rescue"]), 1, "Read-only file system")?;
    // In a container it is the first process, too.
    let said = says(&mut broken.boot(&["--help"]), 0, "Usage: ")?;
    ensure!(!said.contains("init 1"), "{said}");
    Ok(())
}
