// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! File systems: the guests' root, what is tested, and what starts the kernel.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use bysyscall_tests::built;

use crate::cache::Cache;
use crate::command::output;
use crate::debian::{self, Suite};
use crate::kernel::{Files, Kernel};

const PACKAGES: &str = include_str!("../../../vm/packages");
/// For what tests write.
const FREE_MIB: u64 = 2048;

/// What is done to the file system after the packages are in it. `lab` is the
/// user for what root does not do.
const HOOKS: [&str; 6] = [
    "chroot \"$1\" useradd --uid 1000 --create-home --shell /bin/bash lab",
    "echo 'lab ALL=(ALL) NOPASSWD: ALL' >\"$1/etc/sudoers.d/lab\"",
    "echo lab >\"$1/etc/hostname\"; echo '127.0.0.1 localhost lab' >\"$1/etc/hosts\"",
    "chroot \"$1\" systemctl --quiet set-default multi-user.target",
    // What systemd does at a first boot has been done.
    "chroot \"$1\" systemd-machine-id-setup; touch \"$1/etc/.updated\" \"$1/var/.updated\"",
    // They cost time at each boot, and whoever wants one starts it.
    "for unit in postgresql.service getty@.service serial-getty@.service podman.service podman-restart.service \
     podman-auto-update.timer apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_reap.service \
     fstrim.timer e2scrub_all.timer systemd-pstore.service; \
     do ln -sf /dev/null \"$1/etc/systemd/system/$unit\"; done; \
     rm -f \"$1\"/etc/systemd/system/multi-user.target.wants/postgresql.service",
];

/// The lines of a list of packages.
pub fn listed(list: &str) -> Vec<&str> {
    list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// Makes an ext4 image of a directory, for what nobody writes to or misses afterwards.
pub fn make(dir: &Path, image: &Path, free_mib: u64) -> Result<()> {
    make_with(&["-O", "^has_journal"], dir, image, free_mib)
}

/// The same with a journal: after a power cut it is as whole as that of a real machine.
pub fn make_lasting(dir: &Path, image: &Path, free_mib: u64) -> Result<()> {
    make_with(&[], dir, image, free_mib)
}

fn make_with(options: &[&str], dir: &Path, image: &Path, free_mib: u64) -> Result<()> {
    let size = output(Command::new("du").args(["-sm", "--apparent-size"]).arg(dir))?;
    let size: u64 = size.split_whitespace().next().context("no size")?.parse()?;
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-t", "ext4"]).args(options).args(["-m", "0", "-i", "8192", "-d"]);
    let size = size * 5 / 4 + 16 + free_mib;
    output(mke2fs.arg(dir).arg(image).arg(format!("{size}M"))).map(drop)
}

/// The root file system of a guest.
pub fn root(cache: &Cache, kernel: &Kernel) -> Result<PathBuf> {
    let suite = Suite::open(cache, kernel.root_suite)?;
    let wanted = listed(PACKAGES);
    let key = debian::key(&suite.resolve(&wanted)?, &HOOKS.join("\n"))?;
    let dir = cache.get(&format!("root-{}", kernel.root_suite), &key, |dir| {
        println!("{}: building a file system of {}", kernel.name, kernel.root_suite);
        let tree = dir.join("tree");
        suite.debootstrap("minbase", &wanted, &HOOKS, &tree)?;
        make(&tree, &dir.join("root.ext4"), FREE_MIB)?;
        crate::command::remove(&tree)
    })?;
    Ok(dir.join("root.ext4"))
}

/// The initial file system, which puts the others together.
pub fn initial(cache: &Cache, kernel: &Kernel, files: &Files) -> Result<PathBuf> {
    let dir = cache.scratch().join(format!("initial-{}", kernel.name));
    for sub in ["bin", "dev", "modules", "proc", "root", "sys"] {
        fs::create_dir_all(dir.join(sub))?;
    }
    let busybox = Path::new("/bin/busybox");
    fs::copy(busybox, dir.join("bin/busybox")).context("needs busybox-static")?;
    symlink("busybox", dir.join("bin/sh"))?;
    fs::copy(built::repository().join("tests/vm/init"), dir.join("init"))?;
    for module in &files.early {
        let name = module.file_name().context("a module has a name")?;
        fs::copy(module, dir.join("modules").join(name))?;
    }
    let image = cache.scratch().join(format!("initial-{}.cpio", kernel.name));
    let mut archive = Command::new("sh");
    archive.args(["-c", "find . | cpio --create --quiet --format=newc >\"$1\"", "sh"]);
    output(archive.arg(&image).current_dir(&dir))?;
    Ok(image)
}
