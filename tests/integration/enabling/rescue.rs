// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! A machine on which no program starts any more, as one that preloads a library that is fatal.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bysyscall_tests::built;
use bysyscall_tests::process::{output, succeed};
use libtest_mimic::Trial;
use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::mount::{
    MountFlags, UnmountFlags, mount, mount_bind_recursive, mount_remount, unmount,
};

use crate::fixture::{library, path, says, trial};

const LIST: &str = "etc/ld.so.preload";
const LISTED: &str = "# of others\n/opt/libbysyscall.so:/opt/other.so\n";
const LEFT: &str = "# of others\n/opt/other.so\n";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("enabling::rescue_needs_no_loader", rescue_needs_no_loader),
        trial("enabling::rescue_works_from_elsewhere", rescue_works_from_elsewhere),
        trial("enabling::rescue_starts_the_machine", rescue_starts_the_machine),
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
    let mut bytes = fs::read(library())?;
    let name = b"libc.so.6\0";
    let at = bytes.windows(name.len()).position(|window| window == name);
    let at = at.context("the library needs no libc")?;
    bytes[at..at + 4].copy_from_slice(b"none");
    Ok(bytes)
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
        let mut boot = Command::new("unshare");
        boot.args(["--pid", "--fork", "chroot"]).arg(&broken.0).args(["/rescue", "single"]);
        let said = says(&mut boot, 0, "took libbysyscall.so out of /etc/ld.so.preload")?;
        ensure!(said.contains("init 1 single"), "{said}");
        let flags = statvfs(&broken.0)?.f_flag;
        ensure!(flags.contains(StatVfsMountFlags::RDONLY) == is_read_only, "{flags:?}");
        broken.ensure_rescued()?;
    }
    Ok(())
}

fn rescue_tells_what_is_wrong() -> Result<()> {
    let broken = Broken::new()?;
    let rescue = || Command::new(broken.0.join("rescue"));
    says(rescue().args(["--root", "/nowhere"]), 1, "cannot open /nowhere/etc")?;
    says(rescue().arg("--rot"), 2, "--root")?;
    mount_remount(&broken.0, MountFlags::RDONLY, "")?;
    says(&mut broken.inside(&["/rescue"]), 1, "Read-only file system")?;
    // The machine starts all the same, as the kernel would have it.
    let list = broken.0.join(LIST);
    mount_remount(&broken.0, MountFlags::empty(), "")?;
    fs::remove_file(&list)?;
    fs::create_dir(&list)?;
    let mut boot = Command::new("unshare");
    boot.args(["--pid", "--fork", "chroot"]).arg(&broken.0).arg("/rescue");
    let said = says(&mut boot, 0, "/etc/ld.so.preload is not a regular file")?;
    ensure!(said.contains("init 1 "), "{said}");
    Ok(())
}
