// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The package goes, and with it all that was enabled.

use std::path::Path;

use anyhow::{Result, ensure};
use bysyscall_tests::fixture::trial;
use libtest_mimic::Trial;

use crate::journal::is_clean;
use crate::support::{PRELOAD, Version, package, said_by, sh};
use crate::units;

/// Files and mounts with our name, but for what dpkg and the journal remember and the tests themselves.
const TRACES: &str = "
    find / -xdev -path /lab -prune -o -path /var/log -prune -o -path /proc -prune -o \
        -name '*bysyscall*' -print
    find /run /dev /sys/fs/bpf /tmp /var/tmp -name '*bysyscall*'
    grep bysyscall /proc/mounts || true";

/// What an administrator may have written to.
const CONFIGURATION: [&str; 2] =
    ["/etc/bysyscall.conf", "/etc/apparmor.d/abstractions/base.d/bysyscall"];

pub fn trials() -> Vec<Trial> {
    vec![
        trial("removal::leaves_the_configuration", leaves_the_configuration),
        trial("removal::next_process_loads_nothing", next_process_loads_nothing),
        trial("removal::purge_takes_the_configuration", purge_takes_the_configuration),
        trial("removal::nothing_fails", units::ensure_no_new_failure),
        trial("removal::services_restart", units::ensure_confined_units_restart),
        trial("removal::journal_is_clean", || is_clean("0")),
        // In the journal are complaints then.
        trial("removal::of_what_is_only_unpacked", of_what_is_only_unpacked),
    ]
}

fn leaves_the_configuration() -> Result<()> {
    // Whoever starts meanwhile complains of nothing either.
    let (said, complaints) = said_by(
        "touch /run/removing
         while [ -e /run/removing ]; do /bin/true; done &
         apt-get remove --yes bysyscall || echo failed
         rm /run/removing; wait",
    )?;
    ensure!(!said.contains("failed\n"), "{said}{complaints}");
    ensure!(!complaints.contains("ld.so"), "{said}{complaints}");
    ensure!(!Path::new(PRELOAD).exists(), "{PRELOAD} is still there");
    let traces = sh(TRACES)?;
    let mut unexpected: Vec<&str> = traces
        .lines()
        // What dpkg keeps to purge it.
        .filter(|line| !line.starts_with("/var/lib/dpkg/info/bysyscall."))
        .collect();
    unexpected.retain(|line| !CONFIGURATION.contains(line));
    ensure!(unexpected.is_empty(), "left behind: {unexpected:?}");
    for file in CONFIGURATION {
        ensure!(Path::new(file).exists(), "{file} is gone already");
    }
    Ok(())
}

fn next_process_loads_nothing() -> Result<()> {
    for user in ["", "as_lab"] {
        let maps = sh(&format!("{user} cat /proc/self/maps"))?;
        ensure!(!maps.contains("bysyscall"), "{maps}");
        let (_, log) =
            said_by(&format!("{user} env BYSYSCALL_LOG=info $LAB/target/programs/getpid 1000"))?;
        ensure!(log.is_empty(), "{log}");
    }
    Ok(())
}

/// As after an upgrade that was interrupted: dpkg calls no prerm, so complaints cannot be helped until it is done.
fn of_what_is_only_unpacked() -> Result<()> {
    sh(&format!(
        "dpkg --install {0}
         systemctl --quiet enable --now bysyscall
         bysyscall-enable --global; bysyscall-enable --service cron
         dpkg --unpack {0}
         apt-get purge --yes bysyscall
         systemctl restart cron",
        package(Version::This)?.display()
    ))?;
    ensure!(!Path::new(PRELOAD).exists(), "{PRELOAD} is still there");
    let traces = sh(TRACES)?;
    ensure!(traces.is_empty(), "left behind: {traces}");
    let (_, complaints) = said_by("/bin/true; as_lab /bin/true; systemctl restart cron")?;
    ensure!(complaints.is_empty(), "{complaints}");
    Ok(())
}

fn purge_takes_the_configuration() -> Result<()> {
    sh("apt-get purge --yes bysyscall")?;
    let traces = sh(TRACES)?;
    ensure!(traces.is_empty(), "left behind: {traces}");
    Ok(())
}
