// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! `make demo`: ten million calls of getpid, without and with bysyscall.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use bysyscall_tests::process::{Times, count_calls, end_command_with_us, loader, preloaded, time};
use bysyscall_tests::{built, namespace};
use comfy_table::{CellAlignment, Table, presets};

const CALLS: u64 = 10_000_000;

struct Run {
    name: &'static str,
    times: Times,
    seen: u64,
}

fn main() -> Result<()> {
    // The service lives in a namespace of its own and ends with it, also after ^C.
    namespace::enter()?;
    end_command_with_us()?;
    let library = built::library()?;
    let program = built::program("getpid")?;
    let calls = CALLS.to_string();
    loader(&["start"])?;
    eprintln!(
        "getpid, {calls} times, without and with bysyscall; then both again to count the system calls..."
    );
    let runs = [
        Run {
            name: "libc",
            times: time(Command::new(&program).arg(&calls))?,
            seen: count_calls("getpid", &program, &[&calls], None)?.0,
        },
        Run {
            name: "bysyscall",
            times: time(preloaded(&program)?.arg(&calls))?,
            seen: count_calls("getpid", &program, &[&calls], Some(&library))?.0,
        },
    ];
    loader(&["stop"])?;
    println!("{}", table(&runs).context("nothing was measured")?.trim_fmt());
    println!(
        "ratio: time without bysyscall / time with it. system calls: getpid calls that the kernel saw,"
    );
    println!(
        "counted in runs of their own; the one with bysyscall is the program's check of its answers."
    );
    Ok(())
}

fn table(runs: &[Run]) -> Option<Table> {
    let libc = runs.first()?.times.real;
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header([
        "getpid by",
        "real s",
        "user s",
        "sys s",
        "ns/call",
        "ratio",
        "system calls",
    ]);
    for run in runs {
        let seconds = |time: Duration| format!("{:.3}", time.as_secs_f64());
        table.add_row([
            run.name.to_owned(),
            seconds(run.times.real),
            seconds(run.times.user),
            seconds(run.times.system),
            format!("{:.1}", run.times.real.as_secs_f64() * 1e9 / CALLS as f64),
            format!("{:.1}", libc.as_secs_f64() / run.times.real.as_secs_f64()),
            run.seen.to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Some(table)
}
