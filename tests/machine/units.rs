// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The units of the machine: those that fail, and those that are confined.

use std::process::Command;

use anyhow::{Result, ensure};
use bysyscall_tests::fixture::{trial, wait_until};
use bysyscall_tests::process::{output, succeed, text};
use libtest_mimic::Trial;

use crate::support::{property, sh, write_down, written_down};

/// Options that confine a unit, of the kinds that a preloaded library meets.
const CONFINING: [&str; 8] = [
    "NoNewPrivileges",
    "SystemCallFilter",
    "MemoryDenyWriteExecute",
    "ProtectSystem",
    "PrivateTmp",
    "PrivateDevices",
    "RestrictNamespaces",
    "ProtectKernelModules",
];
/// Whoever restarts these ends the machine's sessions, or us.
const LEFT_ALONE: [&str; 4] = ["dbus", "lab", "bysyscall", "user@"];

pub fn trials() -> Vec<Trial> {
    vec![
        trial("before::comes_up", comes_up_before),
        trial("before::confined_units_restart", confined_units_restart_before),
        trial("before::confined_units_start_on_demand", confined_units_start_on_demand_before),
    ]
}

/// Waits until all has been started that is to be; which units have failed.
pub fn failed() -> Result<String> {
    // It tells by its exit code that some have.
    let state = output(Command::new("systemctl").args(["is-system-running", "--wait"]))?;
    let state = text(&state.stdout);
    ensure!(matches!(state.trim(), "running" | "degraded"), "the system is {state}");
    Ok(listed(&["--failed"])?.iter().map(|name| format!("{name}\n")).collect())
}

/// Fails if a unit has failed that had not before our package was there.
pub fn ensure_no_new_failure() -> Result<()> {
    let before = written_down("failed")?;
    let new: Vec<String> = failed()?
        .lines()
        .filter(|unit| !before.lines().any(|known| known == *unit))
        .map(|unit| {
            let log = sh(&format!("journalctl --boot --no-pager --unit='{unit}' --lines=20"));
            format!("{unit}\n{}", log.unwrap_or_default())
        })
        .collect();
    ensure!(new.is_empty(), "failed, but not before: {}", new.join("\n"));
    Ok(())
}

fn comes_up_before() -> Result<()> {
    // What a boot says is looked at in the next ones.
    sh(
        "mkdir -p /var/log/journal; systemd-tmpfiles --create --prefix /var/log/journal; journalctl --flush",
    )?;
    write_down("failed", &failed()?)
}

/// Those of the services that are confined.
fn confined(units: impl Iterator<Item = String>) -> Result<Vec<String>> {
    let mut confined = Vec::new();
    for unit in units.filter(|unit| !LEFT_ALONE.iter().any(|name| unit.starts_with(name))) {
        for option in CONFINING {
            if !matches!(property(&unit, option)?.as_str(), "" | "no") {
                confined.push(unit);
                break;
            }
        }
    }
    Ok(confined)
}

/// First words of what systemctl lists.
fn listed(arguments: &[&str]) -> Result<Vec<String>> {
    let list = ["--plain", "--no-legend", "--no-pager"];
    let list = succeed(Command::new("systemctl").args(arguments).args(list))?;
    Ok(list.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect())
}

fn confined_units_restart_before() -> Result<()> {
    let running = listed(&["list-units", "--type=service", "--state=running"])?;
    let units = confined(running.into_iter())?;
    ensure!(units.len() >= 3, "only {units:?} are confined, so little is shown");
    restart(&units)?;
    write_down("confined", &units.join("\n"))
}

/// Those that timers and D-Bus start when they are needed.
fn on_demand() -> Result<Vec<String>> {
    let mut units = Vec::new();
    for timer in listed(&["list-unit-files", "--type=timer"])? {
        if !timer.contains('@') {
            units.push(property(&timer, "Unit")?);
        }
    }
    for unit in listed(&["list-unit-files", "--type=service", "--state=static"])? {
        if !unit.contains('@') && property(&unit, "Type")? == "dbus" {
            units.push(unit);
        }
    }
    confined(units.into_iter().filter(|unit| unit.ends_with(".service")))
}

fn starts(unit: &str) -> Result<bool> {
    Ok(output(Command::new("timeout").args(["60", "systemctl", "start", unit]))?.status.success())
}

fn confined_units_start_on_demand_before() -> Result<()> {
    let mut start = Vec::new();
    for unit in on_demand()? {
        if starts(&unit)? {
            start.push(unit);
        }
    }
    ensure!(start.len() >= 3, "only {start:?} start, so little is shown");
    write_down("on-demand", &start.join("\n"))
}

/// Those that did before our package was there.
pub fn ensure_confined_units_start_on_demand() -> Result<()> {
    for unit in written_down("on-demand")?.lines() {
        let log = || sh(&format!("journalctl --boot --no-pager --unit='{unit}' --lines=20"));
        ensure!(starts(unit)?, "{unit} no longer starts: {}", log()?);
    }
    Ok(())
}

/// Those of the machine as it was before; all of them must run.
pub fn ensure_confined_units_restart() -> Result<()> {
    let units = written_down("confined")?;
    restart(&units.lines().map(str::to_owned).collect::<Vec<_>>())
}

fn restart(units: &[String]) -> Result<()> {
    for unit in units {
        succeed(Command::new("systemctl").args(["restart", unit]))?;
        wait_until(unit, || Ok(property(unit, "ActiveState")? == "active"))?;
    }
    Ok(())
}
