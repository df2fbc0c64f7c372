// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The service where every process of the machine sees it.

use std::{env, fs};

use anyhow::{Context, Result, ensure};
use bysyscall_abi::arch::has_counter;
use bysyscall_tests::fixture::{
    ensure_no_traces, ensure_right, preloaded, start, status, stop, trial,
};
use bysyscall_tests::log::most_bypassed;
use bysyscall_tests::process::{output, text};
use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("service::all_is_on", all_is_on),
        trial("service::finds_the_cpu_number", finds_the_cpu_number),
        trial("service::needs_a_clock_of_the_vdso", needs_a_clock_of_the_vdso),
        trial("service::outlives_a_change_of_the_clock", outlives_a_change_of_the_clock),
        trial("service::leaves_nothing", leaves_nothing),
    ]
}

/// Each kernel of the lab takes each hook, whatever it is locked down to.
fn all_is_on() -> Result<()> {
    start()?;
    let status = status()?;
    for (rows, state) in [("hooks", "attached"), ("wrappers", "on")] {
        let rows = status[rows].as_array().context("no rows")?;
        ensure!(!rows.is_empty() && rows.iter().all(|row| row[state] == true), "{rows:?}");
    }
    ensure!(status["held"] == true, "{status}");
    Ok(())
}

/// By `rdpid` where there is one; either way the answers come from the cells.
fn finds_the_cpu_number() -> Result<()> {
    start()?;
    let has_rdpid: bool = env::var("LAB_RDPID").context("LAB_RDPID")?.parse()?;
    let status = status()?;
    ensure!(
        status["cpu_number_by"] == if has_rdpid { "rdpid" } else { "lsl" },
        "cpu_number_by: {}",
        status["cpu_number_by"]
    );
    let by = if has_counter() { "rdtscp" } else { "vdso" };
    ensure!(status["time_by"] == by, "time_by: {}", status["time_by"]);
    let output = output(preloaded("getpid", &["100000"]).env("BYSYSCALL_LOG", "debug"))?;
    let said = text(&output.stderr);
    // While a task is preempted inside a hook, calls on its CPU are real.
    ensure!(most_bypassed(&said, "getpid") >= 90_000, "{said}");
    Ok(())
}

/// By what the kernel tells the time, while this lives.
struct Clocksource(String);

impl Clocksource {
    const CURRENT: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    const OTHER: &str = "acpi_pm";

    /// Has it told by one that the vDSO cannot read.
    fn unreadable() -> Result<Self> {
        let before = fs::read_to_string(Self::CURRENT).context(Self::CURRENT)?;
        let changed = Self(before);
        fs::write(Self::CURRENT, Self::OTHER).context(Self::OTHER)?;
        ensure!(fs::read_to_string(Self::CURRENT)?.trim() == Self::OTHER, "{}", changed.0);
        Ok(changed)
    }
}

impl Drop for Clocksource {
    fn drop(&mut self) {
        if let Err(error) = fs::write(Self::CURRENT, self.0.trim()) {
            eprintln!("{}: {error}", Self::CURRENT);
        }
    }
}

fn ensure_clocks_are_right() -> Result<()> {
    const SCENARIO: [&str; 2] = ["busy", "2"];
    ensure_right(&mut preloaded("clocks", &SCENARIO), " 0 wrong")
}

/// Else CPU times would be told by a system call.
fn needs_a_clock_of_the_vdso() -> Result<()> {
    stop()?;
    let other = Clocksource::unreadable()?;
    start()?;
    let status = status()?;
    let rows = status["wrappers"].as_array().context("no rows")?;
    for wrapper in ["clock_gettime", "clock", "times"] {
        let row = rows.iter().find(|row| row["name"] == wrapper).context(wrapper)?;
        let reason = row["reason"].as_str().unwrap_or_default();
        ensure!(row["on"] == false && reason.contains(Clocksource::OTHER), "{row}");
    }
    ensure_clocks_are_right()?;
    stop()?;
    drop(other);
    start()
}

/// Answers are right when it changes while the service runs, and afterwards.
fn outlives_a_change_of_the_clock() -> Result<()> {
    start()?;
    let other = Clocksource::unreadable()?;
    let result = ensure_clocks_are_right();
    drop(other);
    result?;
    ensure_clocks_are_right()
}

fn leaves_nothing() -> Result<()> {
    start()?;
    stop()?;
    ensure_no_traces()
}
