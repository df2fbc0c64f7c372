// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What the hooks on context switches and ticks cost, by the kernel's own statistics,
//! minus what they report for an empty program in the same run.

use std::env;
use std::io::{Read, Write, pipe};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bysyscall_tests::process::{loader, stay_on_one_cpu, succeed};
use bysyscall_tests::{accounting, built};
use libbpf_rs::{Link, Object, ObjectBuilder, libbpf_sys, query::ProgInfoIter};

use crate::report::{Aim, Report, Spread};

const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/empty.bpf.o"));
/// The empty programs.
const EMPTY: &str = "empty_switch";
const EMPTY_TICK: &str = "empty_tick";
const SWITCHES: &str = "100000";
const FAULTS: &str = "200000";
const ROUNDS: usize = 11;

pub fn measure(report: &mut Report) -> Result<()> {
    // SAFETY: makes a descriptor; the statistics are on until it is closed.
    let statistics = unsafe { libbpf_sys::bpf_enable_stats(libbpf_sys::BPF_STATS_RUN_TIME) };
    ensure!(statistics >= 0, "cannot switch BPF statistics on");
    // SAFETY: the descriptor is new and ours.
    let _statistics = unsafe { OwnedFd::from_raw_fd(statistics) };
    let _attached = attach(EMPTY)?;

    let (library, empty) = (built::library()?, built::program("empty.so")?);
    let (mut unregistered, mut registered) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        unregistered.push(cost_of("bysys_switch", &empty, "ping-pong", SWITCHES)?);
        registered.push(cost_of("bysys_switch", &library, "ping-pong", SWITCHES)?);
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
    for (hook, tasks, workload) in [
        ("bysys_switch", "asking tasks", "asking-ping-pong"),
        ("bysys_tick", "registered tasks", "ping-pong"),
        ("bysys_tick", "asking tasks", "asking-ping-pong"),
    ] {
        let costs: Result<Vec<f64>> =
            (0..ROUNDS).map(|_| cost_of(hook, &library, workload, SWITCHES)).collect();
        let cost = Spread::of(costs?);
        report.tell(&format!("{hook} hook, {tasks}"), &format!("{:.2} ns", cost.median));
    }
    Ok(())
}

/// Attaches an empty program, until what this returns is dropped.
fn attach(name: &str) -> Result<(Link, Object)> {
    let object = ObjectBuilder::default().open_memory(OBJECT)?.load()?;
    let program = object.progs_mut().find(|program| program.name() == name);
    let link = program.with_context(|| format!("no program {name}"))?.attach()?;
    Ok((link, object))
}

/// What accounting adds to two processes that wake each other, without and after they have asked for
/// CPU time, and to one that does nothing but fault: the service with and without it, in turn. And what the service does.
pub fn measure_accounting(report: &mut Report) -> Result<()> {
    let library = built::library()?;
    let start = |off: &[&str]| {
        loader(&["stop"])?;
        loader(&[&["start"], off].concat())
    };
    let off = ["--off", &accounting::names().join(",")];
    for (workload, times) in
        [("ping-pong", SWITCHES), ("asking-ping-pong", SWITCHES), ("fault-loop", FAULTS)]
    {
        let costs = compare(|with| {
            start(if with { &[] } else { &off })?;
            time(&library, workload, times)
        })?;
        let what = format!("{workload} with accounting: slower by");
        report.add(&what, Spread::of(costs), "%", Aim::AtMost(3.0));
    }
    for (workload, times) in [("ping-pong", SWITCHES), ("fault-loop", FAULTS)] {
        let costs = compare(|with| {
            let changed = if with { start(&[]) } else { loader(&["stop"]) };
            changed?;
            time(&library, workload, times)
        })?;
        let what = format!("{workload} with the service: slower by");
        report.add(&what, Spread::of(costs), "%", Aim::AtMost(3.0));
    }
    start(&off)?;
    let costs = compare(|with| {
        let _attached = with.then(|| attach(EMPTY_TICK)).transpose()?;
        time(&library, "ping-pong", SWITCHES)
    })?;
    // So much of it is the kernel's own way to any program.
    let cost = Spread::of(costs).median;
    report
        .tell("ping-pong with an empty sched_stat_runtime hook", &format!("slower by {cost:.2} %"));
    Ok(())
}

/// By how many per cent something takes longer with than without, a pair of runs each.
fn compare(mut run: impl FnMut(bool) -> Result<f64>) -> Result<Vec<f64>> {
    const PAIRS: usize = 20;
    let pair = |pair: usize| {
        let with_first = pair % 2 == 1;
        let (first, second) = (run(with_first)?, run(!with_first)?);
        let ratio = if with_first { first / second } else { second / first };
        Ok(100.0 * (ratio - 1.0))
    };
    (0..PAIRS).map(pair).collect()
}

/// Nanoseconds that a process with this library takes to do something so many times.
fn time(library: &Path, workload: &str, times: &str) -> Result<f64> {
    let begin = Instant::now();
    run_with(library, workload, times)?;
    Ok(begin.elapsed().as_nanos() as f64)
}

/// Has a process with this library do something so many times.
fn run_with(library: &Path, workload: &str, times: &str) -> Result<()> {
    let mut command = Command::new(env::current_exe()?);
    succeed(command.args([workload, times]).env("LD_PRELOAD", library)).map(drop)
}

/// Mean nanoseconds of a hook over those of the empty one, while two processes with this library switch
/// to and fro, or the like.
fn cost_of(hook: &str, library: &Path, workload: &str, times: &str) -> Result<f64> {
    let before = (totals(hook)?, totals(EMPTY)?);
    run_with(library, workload, times)?;
    let after = (totals(hook)?, totals(EMPTY)?);
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

/// The same by processes that are accounted for at each switch, as one has asked for its CPU time.
pub fn asking_ping_pong(switches: u32) -> Result<()> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: stores to a place of ours.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    ensure!(failed == 0, "cannot ask for CPU time");
    ping_pong(switches)
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
