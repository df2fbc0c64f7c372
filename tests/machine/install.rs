// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Installing the package changes nothing for anybody; then the service is to start at the next boot.

use std::path::Path;

use anyhow::{Result, ensure};
use bysyscall_tests::fixture::trial;
use libtest_mimic::Trial;

use crate::support::{LIBRARY, PRELOAD, Version, package, property, scripted, sh};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("install::by_apt", by_apt),
        trial("install::starts_and_enables_nothing", starts_and_enables_nothing),
        scripted(
            "install::says_how_to_go_on",
            "if bysyscall-enable --global 2>/var/tmp/said; then exit 1; fi; grep -q 'bysyscall' /var/tmp/said; rm /var/tmp/said",
        ),
        scripted("install::enable_the_service", "systemctl enable bysyscall"),
    ]
}

/// As a person does who has the file.
fn by_apt() -> Result<()> {
    sh("apt-get --quiet=2 update")?;
    let package = package(Version::This)?;
    sh(&format!(
        "cd '{}'; apt-get install --yes ./bysyscall_*.deb",
        package.with_file_name("").display()
    ))?;
    ensure!(Path::new(LIBRARY).exists(), "{LIBRARY} is not there");
    Ok(())
}

fn starts_and_enables_nothing() -> Result<()> {
    let active = property("bysyscall", "ActiveState")?;
    let enabled = property("bysyscall", "UnitFileState")?;
    ensure!((active.as_str(), enabled.as_str()) == ("inactive", "disabled"), "{active}, {enabled}");
    ensure!(!Path::new(PRELOAD).exists(), "{PRELOAD} was made");
    Ok(())
}
