// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The service as systemd runs it, in its sandbox.

use std::fs;

use anyhow::{Result, ensure};
use bysyscall_tests::fixture::trial;
use bysyscall_tests::log::most_bypassed;
use libtest_mimic::Trial;

use crate::support::{ensure_bypasses, property, said_by, scripted, sh};
use crate::units;

const CONFIG: &str = "/etc/bysyscall.conf";
/// An ordinary user's program.
const BY_USER: &str = "as_lab LD_PRELOAD=/usr/lib64/libbysyscall.so BYSYSCALL_LOG=info $LAB/target/programs/getpid 100000";
/// Somebody else's, who is in no group.
const BY_NOBODY: &str = "runuser -u nobody -- env LD_PRELOAD=/usr/lib64/libbysyscall.so BYSYSCALL_LOG=info \
     $LAB/target/programs/getpid 100000";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("service::is_started_by_the_boot", is_started_by_the_boot),
        trial("service::serves_a_user", || ensure_bypasses(BY_USER)),
        scripted(
            "service::manual_shows",
            "for page in bysyscall bysyscall-enable bysyscall-disable bysyscall-rescue bysyscall.conf libbysyscall; do
                 as_lab man -P cat $page >/var/tmp/page 2>/var/tmp/said
                 grep -q '^SEE ALSO' /var/tmp/page
                 [ ! -s /var/tmp/said ]
             done",
        ),
        trial("service::status_and_journal_read_well", status_and_journal_read_well),
        trial("service::restarts", restarts),
        trial("service::serves_a_group", serves_a_group),
        trial("service::keeps_what_it_has", keeps_what_it_has),
        trial("service::stops_and_starts", stops_and_starts),
        trial("service::nothing_new_fails", units::ensure_no_new_failure),
    ]
}

fn is_started_by_the_boot() -> Result<()> {
    units::failed()?;
    let state = property("bysyscall", "ActiveState")?;
    ensure!(
        state == "active",
        "bysyscall is {state}: {}",
        sh("journalctl --boot --unit=bysyscall")?
    );
    Ok(())
}

fn status_and_journal_read_well() -> Result<()> {
    let status = sh("systemctl status --no-pager --full bysyscall")?;
    for words in ["Active: active (exited)", "man:bysyscall(8)", "started, "] {
        ensure!(status.contains(words), "no `{words}` in {status}");
    }
    let journal = sh("journalctl --boot --no-pager --output=cat --unit=bysyscall")?;
    let own: Vec<&str> =
        journal.lines().filter(|line| !line.contains("bysyscall.service")).collect();
    ensure!(own.len() == 1 && own[0].starts_with("started, "), "{journal}");
    let levels = "--boot --no-pager --output=cat --priority=warning --unit=bysyscall";
    let bad = sh(&format!("journalctl {levels} --quiet"))?;
    ensure!(bad.is_empty(), "warnings or worse: {bad}");
    Ok(())
}

/// As old hands do it.
fn restarts() -> Result<()> {
    sh("PATH=/usr/sbin:/usr/bin:/sbin:/bin
        service bysyscall stop; service bysyscall start; service bysyscall restart")?;
    ensure_bypasses(BY_USER)
}

/// What `reload` does under the unit's filter, with the group of a file.
fn serves_a_group() -> Result<()> {
    fs::rename(CONFIG, "/etc/bysyscall.conf.shipped")?;
    fs::write(
        CONFIG,
        "group = \"sudo\"\nwrappers = [\"getpid\", \"gettid\"]\nnever = [\"sleep\"]\n",
    )?;
    sh("systemctl reload bysyscall")?;
    ensure_bypasses(BY_USER)?;
    let (_, log) = said_by(BY_NOBODY)?;
    ensure!(most_bypassed(&log, "getpid") == 0, "nobody is in no group, and was served: {log}");
    // The same from the start.
    sh("systemctl restart bysyscall")?;
    ensure_bypasses(BY_USER)?;
    let (_, log) = said_by(BY_NOBODY)?;
    ensure!(most_bypassed(&log, "getpid") == 0, "nobody is in no group, and was served: {log}");
    fs::rename("/etc/bysyscall.conf.shipped", CONFIG)?;
    sh("systemctl reload bysyscall")?;
    ensure_bypasses(BY_NOBODY)
}

/// A configuration that is wrong is refused, and the journal says where it is.
fn keeps_what_it_has() -> Result<()> {
    fs::rename(CONFIG, "/etc/bysyscall.conf.shipped")?;
    fs::write(CONFIG, "wrappers = [\"getpit\"]\n")?;
    let reload = sh("if systemctl reload bysyscall 2>/dev/null; then exit 1; fi
        journalctl --sync; journalctl --boot --no-pager --output=cat --unit=bysyscall --lines=8");
    fs::rename("/etc/bysyscall.conf.shipped", CONFIG)?;
    let journal = reload?;
    ensure!(journal.contains("bysyscall.conf:1:") && journal.contains("getpid"), "{journal}");
    ensure_bypasses(BY_USER)?;
    let state = property("bysyscall", "ActiveState")?;
    ensure!(state == "active", "bysyscall is {state}");
    sh("systemctl reload bysyscall").map(drop)
}

fn stops_and_starts() -> Result<()> {
    sh("systemctl stop bysyscall")?;
    let left = sh(
        "ls -d /run/bysyscall* /sys/fs/bpf/bysyscall* 2>/dev/null || true; grep bysyscall /proc/mounts || true",
    )?;
    ensure!(left.is_empty(), "left behind: {left}");
    let (_, log) = said_by(BY_USER)?;
    ensure!(most_bypassed(&log, "getpid") == 0, "served by nobody: {log}");
    sh("systemctl start bysyscall")?;
    ensure_bypasses(BY_USER)
}
