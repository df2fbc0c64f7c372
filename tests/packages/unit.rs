// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The unit of the service: hardened, and not too much.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use bysyscall_tests::built;
use bysyscall_tests::fixture::{ensure_no_traces, loader, trial};
use bysyscall_tests::process::{succeed, text};
use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("unit::is_hardened", is_hardened),
        trial("unit::has_no_mounts_of_its_own", has_no_mounts_of_its_own),
        trial("unit::allows_the_calls_of_loading", allows_the_calls_of_loading),
        trial("unit::capabilities_suffice", capabilities_suffice),
    ]
}

fn path() -> PathBuf {
    built::repository().join("systemd/bysyscall.service")
}

/// Values of an option, in their order.
fn values(option: &str) -> Result<Vec<String>> {
    let unit = fs::read_to_string(path())?;
    let lines = unit.lines().filter_map(|line| line.strip_prefix(option)?.strip_prefix('='));
    Ok(lines.map(str::to_owned).collect())
}

fn is_hardened() -> Result<()> {
    succeed(
        Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--threshold=30", "--no-pager"])
            .arg(path()),
    )?;
    Ok(())
}

/// Mounts that a unit with a mount namespace makes are seen by nobody else.
fn has_no_mounts_of_its_own() -> Result<()> {
    let unit = fs::read_to_string(path())?;
    let namespaced = [
        "BindPaths",
        "BindReadOnlyPaths",
        "DynamicUser",
        "ExecPaths",
        "InaccessiblePaths",
        "LogNamespace",
        "MountFlags",
        "MountImages",
        "NoExecPaths",
        "PrivateDevices",
        "PrivateIPC",
        "PrivateTmp",
        "PrivateUsers",
        "ProcSubset",
        "ProtectControlGroups",
        "ProtectHome",
        "ProtectKernelLogs",
        "ProtectKernelModules",
        "ProtectKernelTunables",
        "ProtectProc",
        "ProtectSystem",
        "ReadOnlyPaths",
        "ReadWritePaths",
        "RootDirectory",
        "RootImage",
        "TemporaryFileSystem",
    ];
    for option in namespaced {
        ensure!(
            !unit.lines().any(|line| line.starts_with(&format!("{option}="))),
            "{option} gives the unit a mount namespace"
        );
    }
    ensure!(values("PrivateMounts")? == ["no"], "PrivateNetwork implies PrivateMounts");
    Ok(())
}

/// System calls that a set of systemd has, with those of the sets in it.
fn calls_in(set: &str) -> Result<BTreeSet<String>> {
    if !set.starts_with('@') {
        return Ok(BTreeSet::from([set.to_owned()]));
    }
    let list =
        succeed(Command::new("systemd-analyze").args(["syscall-filter", "--no-pager", set]))?;
    let mut calls = BTreeSet::new();
    for member in list.lines().skip(1).map(str::trim).filter(|line| !line.starts_with('#')) {
        if !member.is_empty() {
            calls.extend(calls_in(member)?);
        }
    }
    Ok(calls)
}

fn allowed() -> Result<BTreeSet<String>> {
    let mut allowed = BTreeSet::new();
    for value in values("SystemCallFilter")? {
        let takes = value.starts_with('~');
        for set in value.trim_start_matches('~').split(' ') {
            for call in calls_in(set)? {
                if takes {
                    allowed.remove(&call)
                } else {
                    allowed.insert(call)
                };
            }
        }
    }
    allowed.extend(calls_in("@default")?);
    Ok(allowed)
}

fn allows_the_calls_of_loading() -> Result<()> {
    let allowed = allowed()?;
    let trace = "/run/trace";
    for command in ["start", "status", "stop"] {
        let program = loader(&[command]).get_program().to_owned();
        succeed(
            Command::new("strace")
                .args(["--follow-forks", "--output", trace])
                .arg(program)
                .arg(command),
        )?;
        let lines = text(&fs::read(trace)?);
        let called: BTreeSet<&str> = lines
            .lines()
            .filter_map(|line| {
                line.split_once(' ')?.1.trim_start().split_once('(').map(|call| call.0)
            })
            .filter(|name| name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()))
            .collect();
        let forbidden: Vec<_> = called.iter().filter(|&&call| !allowed.contains(call)).collect();
        ensure!(called.contains("openat") && forbidden.is_empty(), "{command} calls {forbidden:?}");
    }
    ensure_no_traces()
}

fn capabilities_suffice() -> Result<()> {
    let capabilities = values("CapabilityBoundingSet")?.join(" ").to_lowercase();
    let set = capabilities.replace("cap_", "+").replace(' ', ",");
    for command in ["start", "status", "stop"] {
        let program = loader(&[]).get_program().to_owned();
        let mut confined = Command::new("setpriv");
        confined
            .args(["--no-new-privs", "--inh-caps=-all", &format!("--bounding-set=-all,{set}")])
            .args(["sh", "-c", "umask 077; exec \"$@\"", "sh"])
            .arg(program)
            .arg(command);
        succeed(&mut confined)?;
    }
    ensure_no_traces()
}
