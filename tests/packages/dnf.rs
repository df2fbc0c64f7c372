// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What dnf does with the rpm packages, from a repository, in a root directory.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use bysyscall_tests::fixture::trial;
use bysyscall_tests::process::succeed;
use libtest_mimic::Trial;

use crate::rpm::{next_release, prepare_root, stub};
use crate::support::{VERSION, rpm};

pub fn trials() -> Vec<Trial> {
    vec![trial("dnf::installs_upgrades_and_removes", installs_upgrades_and_removes)]
}

const ROOT: &str = "/run/dnf-root";
const REPOSITORY: &str = "/run/dnf-repository";

/// dnf, which knows this repository alone; what the scripts of the packages have called.
fn dnf(arguments: &[&str]) -> Result<Vec<String>> {
    let log = Path::new(ROOT).join("log");
    fs::write(&log, "")?;
    let mut dnf = Command::new("dnf");
    dnf.args(["--assumeyes", "--quiet", "--installroot", ROOT, "--releasever=1", "--nogpgcheck"]);
    dnf.args(["--setopt=reposdir=/nowhere", "--setopt=plugins=0", "--refresh"]);
    dnf.arg(format!("--repofrompath=local,file://{REPOSITORY}"));
    succeed(dnf.args(arguments))?;
    Ok(fs::read_to_string(log)?.lines().map(str::to_owned).collect())
}

/// Adds a package to what the repository offers.
fn offer(package: &Path) -> Result<()> {
    fs::create_dir_all(REPOSITORY)?;
    let name = package.file_name().unwrap_or_default();
    fs::copy(package, Path::new(REPOSITORY).join(name))?;
    succeed(Command::new("createrepo_c").args(["--quiet", REPOSITORY])).map(drop)
}

fn version() -> Result<String> {
    let query = ["-q", "--qf", "%{VERSION}-%{RELEASE}", "bysyscall"];
    succeed(Command::new("rpm").args(["--root", ROOT]).args(query))
}

fn installs_upgrades_and_removes() -> Result<()> {
    prepare_root(Path::new(ROOT))?;
    let package = rpm("bysyscall")?;
    offer(&stub(&package)?)?;
    offer(&package)?;

    // With the stub, which has what it requires.
    let called = dnf(&["install", "bysyscall"])?;
    ensure!(called == ["systemctl --no-reload preset bysyscall.service"], "{called:#?}");
    ensure!(version()? == format!("{VERSION}-1"), "{}", version()?);
    let library = Path::new(ROOT).join("usr/lib64/libbysyscall.so");
    ensure!(library.exists(), "{} is not there", library.display());

    offer(&next_release()?)?;
    let called = dnf(&["upgrade", "bysyscall"])?;
    ensure!(version()? == format!("{VERSION}-2"), "{}", version()?);
    ensure!(
        !called.iter().any(|call| call.contains("disable")),
        "an upgrade disables: {called:#?}"
    );

    let called = dnf(&["remove", "bysyscall"])?;
    let first = called.first().is_some_and(|call| call == "bysyscall disable --everything");
    ensure!(first && !called.iter().any(|call| call == "too late"), "{called:#?}");
    ensure!(!library.exists(), "{} is still there", library.display());
    Ok(())
}
