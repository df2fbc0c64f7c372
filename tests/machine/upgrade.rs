// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! A new version is installed while programs run with the old one.

use std::fs;

use anyhow::{Result, ensure};
use bysyscall_tests::fixture::trial;
use bysyscall_tests::log::most_bypassed;
use libtest_mimic::Trial;

use crate::support::{Version, ensure_bypasses, is_enabled, package, property, said_by, sh};

const CONFIG: &str = "/etc/bysyscall.conf";
const EDIT: &str = "\n# An administrator was here.\n";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("upgrade::keeps_processes_right", keeps_processes_right),
        trial("upgrade::keeps_what_is_enabled", || keeps_what_is_enabled(Version::Next)),
        trial("upgrade::restarts_for_another_abi", restarts_for_another_abi),
        trial("upgrade::goes_on_by_another_abi", || keeps_what_is_enabled(Version::OtherAbi)),
    ]
}

/// Some that ask all the time, with their answers bracketed, and one that is older than the new version and
/// asks when that is there.
const MEANWHILE: &str = "
    cd /var/tmp
    rm -f go done load; mkfifo --mode=666 go
    trap 'touch done; kill $old 2>/dev/null || true' EXIT
    while [ ! -e done ]; do as_lab $LAB/target/programs/bracket load 15 || echo wrong; done >load 2>&1 &
    load=$!
    as_lab BYSYSCALL_LOG=info python3 -c 'import os, sys
sys.stdin.readline()
pid = int(os.readlink(\"/proc/self\"))
assert all(os.getpid() == pid for _ in range(100000))' <>go >old 2>&1 &
    old=$!
    sleep 10
    apt-get install --yes $NEXT
    echo go >go
    wait $old
    touch done
    wait $load
    cat load
    if grep --invert-match ' 0 mismatches' load; then exit 1; fi
    cat old >&2";

/// Since when the service runs, and what its processes hold.
fn service() -> Result<(String, String)> {
    Ok((property("bysyscall", "ActiveEnterTimestamp")?, sh("ls /run/bysyscall-hold")?))
}

/// Installs it under load; what the old process has logged. None may have got a wrong answer.
fn upgrade(version: Version) -> Result<String> {
    let (said, log) = said_by(&format!("NEXT='{}'{MEANWHILE}", package(version)?.display()))?;
    ensure!(said.contains(" 0 mismatches"), "{said}");
    Ok(log)
}

fn keeps_processes_right() -> Result<()> {
    let config = fs::read_to_string(CONFIG)?;
    fs::write(CONFIG, config + EDIT)?;
    let before = service()?;
    let log = upgrade(Version::Next)?;
    ensure!(most_bypassed(&log, "getpid") >= 90_000, "the old process: {log}");
    let after = service()?;
    ensure!(before == after, "the service was restarted: {before:?}, {after:?}");
    Ok(())
}

/// It serves none that begins then, so the installation restarts it.
fn restarts_for_another_abi() -> Result<()> {
    let before = service()?;
    upgrade(Version::OtherAbi)?;
    let after = service()?;
    ensure!(before.0 != after.0 && before.1 != after.1, "the service was not restarted: {after:?}");
    let state = property("bysyscall", "ActiveState")?;
    ensure!(state == "active", "bysyscall is {state}");
    Ok(())
}

fn keeps_what_is_enabled(version: Version) -> Result<()> {
    let installed = "dpkg-query --show --showformat='${Version}' bysyscall";
    sh(&format!(
        "[ \"$({installed})\" = \"$(dpkg-deb --field {} Version)\" ]",
        package(version)?.display()
    ))?;
    ensure!(is_enabled()?, "the upgrade has disabled it");
    ensure_bypasses("as_lab BYSYSCALL_LOG=info $LAB/target/programs/getpid 100000")?;
    ensure!(fs::read_to_string(CONFIG)?.ends_with(EDIT), "{CONFIG} is another");
    let enabled = property("bysyscall", "UnitFileState")?;
    ensure!(enabled == "enabled", "the service is {enabled}");
    Ok(())
}
