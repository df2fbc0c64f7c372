// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What the hook on context switches costs, by the kernel's own statistics,
//! minus what they report for an empty program in the same run.

use std::env;
use std::io::{Read, Write, pipe};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bysyscall_tests::built;
use bysyscall_tests::process::{stay_on_one_cpu, succeed};
use libbpf_rs::{ObjectBuilder, libbpf_sys, query::ProgInfoIter};

use crate::report::{Aim, Report, Spread};

const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/empty.bpf.o"));
const SWITCHES: &str = "100000";
const ROUNDS: usize = 11;

pub fn measure(report: &mut Report) -> Result<()> {
    // SAFETY: makes a descriptor; the statistics are on until it is closed.
    let statistics = unsafe { libbpf_sys::bpf_enable_stats(libbpf_sys::BPF_STATS_RUN_TIME) };
    ensure!(statistics >= 0, "cannot switch BPF statistics on");
    // SAFETY: the descriptor is new and ours.
    let _statistics = unsafe { OwnedFd::from_raw_fd(statistics) };
    let object = ObjectBuilder::default().open_memory(OBJECT)?.load()?;
    let program = object.progs_mut().next().context("no program")?;
    let _link = program.attach()?;

    let (library, empty) = (built::library()?, built::program("empty.so")?);
    let (mut unregistered, mut registered) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        unregistered.push(cost_of_a_switch(&empty)?);
        registered.push(cost_of_a_switch(&library)?);
    }
    report.add(
        "sched_switch hook, unregistered tasks",
        Spread::of(unregistered),
        "ns",
        Aim::AtMost(40.0),
    );
    report.add(
        "sched_switch hook, registered tasks",
        Spread::of(registered),
        "ns",
        Aim::AtMost(120.0),
    );
    Ok(())
}

/// Mean nanoseconds of our program over those of the empty one, while two
/// processes with this library switch to and fro.
fn cost_of_a_switch(library: &Path) -> Result<f64> {
    let before = (totals("bysys_switch")?, totals("empty_switch")?);
    succeed(
        Command::new(env::current_exe()?).args(["ping-pong", SWITCHES]).env("LD_PRELOAD", library),
    )?;
    let after = (totals("bysys_switch")?, totals("empty_switch")?);
    let mean = |before: (u64, u64), after: (u64, u64)| {
        (after.0 - before.0) as f64 / (after.1 - before.1) as f64
    };
    Ok(mean(before.0, after.0) - mean(before.1, after.1))
}

/// Nanoseconds and runs of the newest program of this name.
fn totals(name: &str) -> Result<(u64, u64)> {
    let newest = ProgInfoIter::default()
        .filter(|program| program.name == name)
        .max_by_key(|program| program.id);
    let newest = newest.with_context(|| format!("no program {name}"))?;
    Ok((newest.run_time_ns, newest.run_cnt))
}

/// Two processes on one CPU that wake each other by pipes.
pub fn ping_pong(switches: u32) -> Result<()> {
    stay_on_one_cpu()?;
    let ((mut to_child_end, mut to_child), (mut to_parent_end, mut to_parent)) = (pipe()?, pipe()?);
    // SAFETY: this process has one thread; the child only reads and writes, and ends.
    let child = unsafe { libc::fork() };
    ensure!(child >= 0, "cannot fork");
    let mut byte = [0];
    for _ in 0..switches / 2 {
        if child == 0 {
            to_child_end.read_exact(&mut byte)?;
            to_parent.write_all(&byte)?;
        } else {
            to_child.write_all(&byte)?;
            to_parent_end.read_exact(&mut byte)?;
        }
    }
    if child == 0 {
        // SAFETY: ends this process.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: waits for our own child.
    ensure!(unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) } == child, "cannot wait");
    Ok(())
}
