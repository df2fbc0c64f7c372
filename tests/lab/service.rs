// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The service where every process of the machine sees it.

use std::env;

use anyhow::{Context, Result, ensure};
use bysyscall_tests::fixture::{ensure_no_traces, preloaded, start, status, stop, trial};
use bysyscall_tests::log::most_bypassed;
use bysyscall_tests::process::{output, text};
use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("service::all_is_on", all_is_on),
        trial("service::finds_the_cpu_number", finds_the_cpu_number),
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
    let output = output(preloaded("getpid", &["100000"]).env("BYSYSCALL_LOG", "debug"))?;
    let said = text(&output.stderr);
    // While a task is preempted inside a hook, calls on its CPU are real.
    ensure!(most_bypassed(&said, "getpid") >= 90_000, "{said}");
    Ok(())
}

fn leaves_nothing() -> Result<()> {
    start()?;
    stop()?;
    ensure_no_traces()
}
