// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The file system of a machine that somebody could use, for the packages to be installed on.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::cache::Cache;
use crate::command::{output, remove};
use crate::debian::{self, Suite};
use crate::image;
use crate::kernel::Kernel;

const PACKAGES: &str = include_str!("../../../vm/stock-packages");
const REPOSITORY_PACKAGES: &str = include_str!("../../../vm/repository-packages");
/// Where the guest finds packages to install: it has no network.
const REPOSITORY: &str = "srv/repository";
/// For what is installed and made.
const FREE_MIB: u64 = 1024;

/// What is done to the file system after the packages are in it: users with
/// passwords, and nothing that a first boot would have to do.
const HOOKS: [&str; 5] = [
    "chroot \"$1\" useradd --uid 1000 --create-home --shell /bin/bash --groups sudo,systemd-journal lab; \
     printf 'lab:lab\\nroot:root\\n' | chroot \"$1\" chpasswd",
    "echo stock >\"$1/etc/hostname\"; echo '127.0.0.1 localhost stock' >\"$1/etc/hosts\"",
    "chroot \"$1\" systemctl --quiet set-default multi-user.target",
    "chroot \"$1\" systemd-machine-id-setup; touch \"$1/etc/.updated\" \"$1/var/.updated\"; mkdir \"$1/lab\"",
    // What asks the network, or begins at a time of day.
    "rm \"$1\"/etc/apt/sources.list; echo 'deb [trusted=yes] file:/srv/repository ./' >\"$1/etc/apt/sources.list\"; \
     for unit in apt-daily.timer apt-daily-upgrade.timer podman-auto-update.timer e2scrub_all.timer fstrim.timer; \
     do ln -sf /dev/null \"$1/etc/systemd/system/$unit\"; done",
];

/// The file system of a guest of this kernel, without our packages.
pub fn root(cache: &Cache, kernel: &Kernel) -> Result<PathBuf> {
    let suite = Suite::open(cache, kernel.root_suite)?;
    let wanted = image::listed(PACKAGES);
    let offered = suite.resolve(&image::listed(REPOSITORY_PACKAGES))?;
    let recipe = [&HOOKS.join("\n"), REPOSITORY_PACKAGES].concat();
    let key = debian::key(&suite.resolve(&wanted)?, &recipe)?;
    let dir = cache.get(&format!("stock-{}", kernel.root_suite), &key, |dir| {
        println!("{}: building a stock file system of {}", kernel.name, kernel.root_suite);
        let tree = dir.join("tree");
        suite.debootstrap("minbase", &wanted, &HOOKS, &tree)?;
        let repository = tree.join(REPOSITORY);
        suite.download(&offered, &repository)?;
        let mut index = Command::new("sh");
        index.args(["-c", "dpkg-scanpackages --multiversion . >Packages"]);
        output(index.current_dir(&repository))?;
        image::make_lasting(&tree, &dir.join("root.ext4"), FREE_MIB)?;
        remove(&tree)
    })?;
    Ok(dir.join("root.ext4"))
}
