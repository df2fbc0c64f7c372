// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! A machine whose list of preloaded libraries and configuration are garbage.

use anyhow::{Result, ensure};
use bysyscall_tests::fixture::trial;
use libtest_mimic::Trial;

use crate::support::{Version, package, said_by, sh};
use crate::units;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("garbage::is_written", is_written),
        // After a boot.
        trial("garbage::machine_works", machine_works),
        trial("garbage::is_told_of", is_told_of),
    ]
}

/// With our entry, and the library as it was before it was broken.
fn is_written() -> Result<()> {
    let package = package(Version::This)?;
    sh(&format!("dpkg --install {}; systemctl enable bysyscall", package.display()))?;
    sh("for file in /etc/ld.so.preload /etc/bysyscall.conf; do
            head --bytes=300 /dev/urandom >$file
        done
        printf '\\n/usr/lib64/libbysyscall.so\\n' >>/etc/ld.so.preload")
    .map(drop)
}

/// But for the service, which says why it does not start.
fn machine_works() -> Result<()> {
    let failed = units::failed()?;
    ensure!(failed == "bysyscall.service\n", "failed: {failed}");
    sh("test \"$(as_lab id -un)\" = lab
        test \"$(python3 -c 'print(6 * 7)')\" = 42
        dpkg --version
        systemctl restart cron nginx")
    .map(drop)
}

fn is_told_of() -> Result<()> {
    let (said, complaint) = said_by("bysyscall check-config || echo refused")?;
    ensure!(said.trim() == "refused", "{said}");
    ensure!(complaint.contains("/etc/bysyscall.conf"), "{complaint}");
    let journal = sh("journalctl --boot --no-pager --output=cat --unit=bysyscall")?;
    ensure!(journal.contains("/etc/bysyscall.conf"), "{journal}");
    sh("bysyscall-disable --global; bysyscall-rescue").map(drop)
}
