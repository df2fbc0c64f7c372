// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The machine after a power cut in the middle of enabling, disabling, an upgrade or a removal.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use bysyscall_tests::fixture::trial;
use libtest_mimic::Trial;

use crate::support::{LIBRARY, PRELOAD, Version, is_enabled, package, said_by, sh, status};
use crate::units;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("cut::programs_run", programs_run),
        trial("cut::enabled_or_not", enabled_or_not),
        trial("cut::machine_is_up", units::ensure_no_new_failure),
        trial("cut::dpkg_completes", dpkg_completes),
        trial("cut::programs_run_afterwards", programs_run),
        trial("rescued::library_is_no_longer_listed", library_is_no_longer_listed),
    ]
}

/// Programs of several kinds start and say nothing of the library.
fn programs_run() -> Result<()> {
    for program in [
        "/bin/true",
        "ls / >/dev/null",
        "bash -c 'echo $(id -u)' >/dev/null",
        "python3 -c 'import os; os.getpid()'",
        "perl -e '$$'",
        "as_lab sh -c 'id -un' >/dev/null",
        "dpkg --version >/dev/null",
        "systemctl --version >/dev/null",
    ] {
        let (_, said) = said_by(program)?;
        ensure!(said.is_empty(), "{program}: {said}");
    }
    Ok(())
}

/// It is the old file or the new one, and what it names is there.
fn enabled_or_not() -> Result<()> {
    let content = fs::read_to_string(PRELOAD).ok();
    ensure!(
        content.as_ref().is_none_or(|content| *content == format!("{LIBRARY}\n")),
        "{PRELOAD}: {content:?}"
    );
    let is_enabled = is_enabled()?;
    ensure!(!is_enabled || Path::new(LIBRARY).exists(), "enabled, but {LIBRARY} is gone");
    if !Path::new("/usr/sbin/bysyscall").exists() {
        return Ok(());
    }
    let status = status()?;
    ensure!(status["enabled"]["global"]["enabled"] == is_enabled, "{}", status["enabled"]);
    Ok(())
}

/// As an administrator does it who finds a package half installed.
fn dpkg_completes() -> Result<()> {
    sh("dpkg --configure --pending")?;
    let broken = sh("dpkg --audit")?;
    if !broken.is_empty() {
        sh(&format!("dpkg --install '{}'", package(Version::This)?.display()))?;
    }
    let broken = sh("dpkg --audit; apt-get check --quiet=2")?;
    ensure!(broken.is_empty(), "{broken}");
    Ok(())
}

/// The machine was booted by bysyscall-rescue after a library was installed with which no program starts.
fn library_is_no_longer_listed() -> Result<()> {
    ensure!(fs::read(PRELOAD)?.is_empty(), "{PRELOAD} still has an entry");
    let (_, said) = said_by(&format!("LD_PRELOAD={LIBRARY} /bin/true || test $? = 127"))?;
    ensure!(said.contains("none.so.6"), "the library is not broken: {said}");
    Ok(())
}
