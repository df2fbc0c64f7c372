// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What the tests on a machine share.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use bysyscall_tests::log::most_bypassed;
use bysyscall_tests::process::{output, succeed, text};
use bysyscall_tests::{built, fixture, patience};
use libtest_mimic::Trial;
use serde_json::Value;

/// As ld.so is told of it.
pub const LIBRARY: &str = "/usr/lib64/libbysyscall.so";
/// Which libraries ld.so preloads into each program.
pub const PRELOAD: &str = "/etc/ld.so.preload";
/// What the tests of one boot leave for those of the next.
const NOTES: &str = "/var/tmp/machine-test";
/// No script and no scenario takes so many seconds of a machine.
pub const TIME_LIMIT: u64 = 45;

/// A shell script that must succeed, as a test.
pub fn scripted(name: &'static str, script: &'static str) -> Trial {
    fixture::trial(name, move || sh(script).map(drop))
}

/// Runs a shell script as root, which ends at its first error; what it printed. `$LAB` is what is tested,
/// `as_lab COMMAND...` runs a command as an ordinary user.
pub fn sh(script: &str) -> Result<String> {
    Ok(said_by(script)?.0)
}

/// The same, with what it printed to its standard error.
pub fn said_by(script: &str) -> Result<(String, String)> {
    let mut command = Command::new("timeout");
    let limit = patience::seconds(TIME_LIMIT).as_secs().to_string();
    command.args(["--kill-after=5", &limit, "/bin/sh", "-euc"]);
    let prelude =
        "as_lab() { runuser -u lab -- env HOME=/home/lab USER=lab LOGNAME=lab \"$@\"; }\n";
    command.arg(format!("{prelude}{script}")).current_dir("/");
    command.env("LAB", built::repository()).env("DEBIAN_FRONTEND", "noninteractive");
    let output = output(&mut command)?;
    let (printed, complained) = (text(&output.stdout), text(&output.stderr));
    if !output.status.success() {
        bail!("{}\n{printed}{complained}", output.status);
    }
    Ok((printed, complained))
}

/// Asks systemd for a property of a unit.
pub fn property(unit: &str, property: &str) -> Result<String> {
    let value =
        succeed(Command::new("systemctl").args(["show", "--value", "--property", property, unit]))?;
    Ok(value.trim().to_owned())
}

/// Which Debian package.
#[derive(Clone, Copy)]
pub enum Version {
    /// The one under test.
    This,
    /// The next one, which is the same otherwise.
    Next,
    /// The one after that, of another ABI.
    OtherAbi,
}

/// A Debian package of ours.
pub fn package(version: Version) -> Result<PathBuf> {
    let dir = built::target(match version {
        Version::This => "package/debian",
        Version::Next => "package/next",
        Version::OtherAbi => "package/other-abi",
    })?;
    for entry in fs::read_dir(&dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("bysyscall_") {
            return Ok(path);
        }
    }
    bail!("no package in {}", dir.display())
}

/// Writes down what a later boot compares with.
pub fn write_down(what: &str, content: &str) -> Result<()> {
    fs::create_dir_all(NOTES)?;
    Ok(fs::write(Path::new(NOTES).join(what), content)?)
}

/// What an earlier boot has written down.
pub fn written_down(what: &str) -> Result<String> {
    let path = Path::new(NOTES).join(what);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Runs something that asks for its pid 100000 times, and says by `BYSYSCALL_LOG=info` how it came to the
/// answers: nearly all of them must be bypassed.
pub fn ensure_bypasses(script: &str) -> Result<()> {
    let (_, log) = said_by(script)?;
    // While a task is preempted inside a hook, calls on its CPU are real.
    ensure!(most_bypassed(&log, "getpid") >= 90_000, "{script}: {log}");
    Ok(())
}

/// What `bysyscall status` tells, whether the service runs or not.
pub fn status() -> Result<Value> {
    let output = output(Command::new("bysyscall").args(["status", "--json"]))?;
    ensure!(
        matches!(output.status.code(), Some(0 | 3)),
        "status: {}{}",
        output.status,
        text(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What the main process of a unit has mapped.
pub fn maps(unit: &str) -> Result<String> {
    Ok(fs::read_to_string(format!("/proc/{}/maps", property(unit, "MainPID")?))?)
}

/// The main process of a unit must have loaded the library, and map the answers, which only those do that
/// were registered.
pub fn ensure_served(unit: &str) -> Result<()> {
    let maps = maps(unit)?;
    ensure!(maps.contains("libbysyscall.so"), "{unit} has not loaded the library");
    ensure!(maps.contains("/run/bysyscall-hold/"), "{unit} makes real calls: {maps}");
    Ok(())
}

/// Whether the library is preloaded into each program.
pub fn is_enabled() -> Result<bool> {
    if !Path::new(PRELOAD).exists() {
        return Ok(false);
    }
    let content = fs::read_to_string(PRELOAD)?;
    Ok(content.split_whitespace().any(|entry| entry == LIBRARY))
}
