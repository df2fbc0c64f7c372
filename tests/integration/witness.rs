// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! CPU time by an independent witness: `perf stat` counts what the library tells.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use bysyscall_tests::patience;
use bysyscall_tests::process::{output, succeed, text};
use libtest_mimic::Trial;

use crate::fixture::{ensure_success, library, path, start, trial};

/// Of the two, in parts of the time: 0.1 %. Emulated CPUs take ten times as long for what perf
/// counts at the ends of the loop.
const TOLERANCE: f64 = 0.001;
/// What is stolen is told in ticks of so many ms, so some may be told later or not at all.
const ATTEMPTS: u32 = 3;

pub fn trials() -> Vec<Trial> {
    vec![trial("witness::perf_counts_the_same", perf_counts_the_same)]
}

/// A loop of two seconds.
struct Loop {
    /// By the library.
    told_ms: f64,
    /// By perf.
    counted_ms: f64,
    /// From the CPU by a hypervisor, which perf counts too.
    stolen_ms: f64,
}

fn perf_counts_the_same() -> Result<()> {
    start()?;
    let mut seen = Vec::new();
    for _ in 0..ATTEMPTS {
        let Loop { told_ms, counted_ms, stolen_ms } = busy()?;
        let tolerance = TOLERANCE * told_ms * f64::from(patience::scale().min(10));
        let more = counted_ms - told_ms;
        if (-tolerance..=stolen_ms + tolerance).contains(&more) {
            return Ok(());
        }
        seen.push(format!(
            "told {told_ms} ms, perf counted {counted_ms}; {stolen_ms} were stolen, {tolerance} may be more or less"
        ));
    }
    bail!("{}", seen.join("\n"));
}

fn busy() -> Result<Loop> {
    let fifos = [path("control"), path("acknowledge")];
    succeed(Command::new("mkfifo").args(&fifos))?;
    let mut perf = Command::new("timeout");
    let limit = patience::seconds(60).as_secs().to_string();
    perf.args(["--signal=KILL", &limit, "perf", "stat", "-x,", "-e", "task-clock", "--delay=-1"]);
    perf.arg(format!("--control=fifo:{},{}", fifos[0].display(), fifos[1].display()));
    perf.args(["--", "env", "BYSYSCALL_LOG=info"]);
    perf.arg(format!("LD_PRELOAD={}", library().display())).arg(path("witness"));
    let output = output(perf.args(&fifos).arg("2"));
    for fifo in &fifos {
        fs::remove_file(fifo)?;
    }
    let output = output?;
    ensure_success("perf", &output)?;
    let (told, said) = (text(&output.stdout), text(&output.stderr));
    ensure!(said.contains("clock_gettime: bypassed"), "no answers of ours: {said}");
    let counted = said.lines().find_map(|line| line.split_once(",msec,task-clock"));
    let counted_ms = counted.with_context(|| said.clone())?.0.parse()?;
    let (told_ns, rest) = told.split_once(" ns, ").with_context(|| told.clone())?;
    let stolen = rest.split_once(" ms stolen").with_context(|| told.clone())?.0;
    let told_ms = told_ns.parse::<f64>()? / 1e6;
    Ok(Loop { told_ms, counted_ms, stolen_ms: stolen.parse()? })
}
