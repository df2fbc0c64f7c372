// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! `make soak`: random trees of processes with every answer bracketed, for a
//! long time; then nobody may be registered who was not before, and the
//! kernel may not have grown.

use std::fs;
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bysyscall_tests::process::{end_command_with_us, loader, preloaded, run};
use bysyscall_tests::{built, fixture, namespace, records};
use clap::Parser;
use serde_json::Value;

/// What of `/proc/meminfo` the kernel uses for itself and cannot give back at will. BPF's task
/// storage and maps are in the first and the last.
const MEMORY: [&str; 4] = ["SUnreclaim", "KernelStack", "PageTables", "Percpu"];
/// What every process takes from the kernel, as `/proc/slabinfo` names it where that can be read.
const CACHES: [&str; 5] = ["task_struct", "cred", "cred_jar", "pid", "signal_cache"];

/// How much may be more at the end than after the warm-up: others run on the machine, and the
/// kernel keeps some of what was freed.
const MEMORY_TOLERANCE: i64 = 2 << 20;
/// And in bytes for each task that there was: the smallest object that could be lost has 32.
const TOLERANCE_PER_TASK: i64 = 8;
/// As above, in objects of one cache.
const OBJECTS_TOLERANCE: i64 = 3000;

/// Records that stay in use where the kernel hides runs of programs: until there is another process at the address.
const HIDDEN_ENDS: u64 = 5;

/// What was freed is given back some time later.
const SETTLED_AFTER: Duration = Duration::from_secs(3);
const SETTLED_AT_LAST: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Grows random trees of processes for a long time, with every answer bracketed.
#[derive(Parser)]
struct Arguments {
    /// How long, after a warm-up of a tenth of it.
    #[arg(long, default_value_t = 1800)]
    seconds: u64,
    /// Of the trees; a random one if it is not given.
    #[arg(long)]
    seed: Option<u32>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    // The service lives in a namespace of its own and ends with it, also after ^C.
    namespace::enter()?;
    end_command_with_us()?;
    loader(&["start"])?;
    let seed = arguments.seed.map_or_else(random_seed, Ok)?;
    let registered_before = registered()?;
    let records_before = records::in_use()?;
    println!("seed {seed}; warming up");
    // Other trees than those that count, so that their memory is warm and not theirs alone.
    let warm = grow(seed.wrapping_add(1), arguments.seconds / 10 + 1)?;
    let before = Kernel::settled()?;
    let grown = grow(seed, arguments.seconds)?;
    let after = Kernel::settled()?;
    let registered_after = settled_at(registered_before, registered)?;
    let records_after = settled_at(records_before, records::in_use)?;
    report_missed_runs()?;
    println!("registered processes: {registered_before} at first, {registered_after} at last");
    let hidden = if status()?["threads_added_up"] == false { HIDDEN_ENDS } else { 0 };
    println!("records of processes: {records_before} at first, {records_after} at last");
    let growth = before.report_growth(&after);
    loader(&["stop"])?;
    ensure!(warm && grown, "the trees went wrong: see above; `make soak SEED={seed}` repeats it");
    ensure!(registered_after == registered_before, "processes stay registered that have ended");
    ensure!(
        (records_before..=records_before + hidden).contains(&records_after),
        "records stay in use whose process has ended"
    );
    growth?;
    Ok(ExitCode::SUCCESS)
}

fn random_seed() -> Result<u32> {
    let mut bytes = [0; 4];
    ensure!(
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())? == bytes.len(),
        "no random numbers"
    );
    Ok(u32::from_ne_bytes(bytes))
}

/// Whether all went well.
fn grow(seed: u32, seconds: u64) -> Result<bool> {
    let mut command: Command = preloaded(built::program("soak")?)?;
    command.args(["--seed", &seed.to_string(), "--seconds", &seconds.to_string()]);
    Ok(run(&mut command)?.success())
}

fn status() -> Result<Value> {
    Ok(serde_json::from_str(&loader(&["status", "--json"])?)?)
}

fn registered() -> Result<u64> {
    fixture::registered(&status()?)
}

/// The number, once it is the wanted one or has had its time.
fn settled_at(wanted: u64, number: impl Fn() -> Result<u64>) -> Result<u64> {
    let begin = Instant::now();
    loop {
        let now = number()?;
        if now == wanted || begin.elapsed() > SETTLED_AT_LAST {
            return Ok(now);
        }
        sleep(LOOK_EVERY);
    }
}

/// Runs of a hook that the kernel left out; what they mean is in `docs/design.md`.
fn report_missed_runs() -> Result<()> {
    let status = status()?;
    for hook in status["hooks"].as_array().context("status names no hooks")? {
        if let (Some(name), Some(missed)) = (hook["name"].as_str(), hook["missed_runs"].as_u64()) {
            println!("{name}: {missed} missed runs");
        }
    }
    Ok(())
}

/// What the kernel uses.
struct Kernel {
    /// KiB by the names of `MEMORY`.
    memory: Vec<(&'static str, i64)>,
    /// Objects by those names of `CACHES` that this kernel has.
    objects: Vec<(&'static str, i64)>,
    /// Tasks that there have been since the machine was booted.
    tasks: i64,
}

impl Kernel {
    fn now() -> Result<Self> {
        let meminfo = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
        let memory = MEMORY
            .into_iter()
            .map(|name| Ok((name, number(&meminfo, &format!("{name}:")).context(name)?)))
            .collect::<Result<_>>()?;
        // Only root can read it, and not every kernel has it.
        let slabinfo = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
        let objects =
            CACHES.into_iter().filter_map(|name| Some((name, number(&slabinfo, name)?))).collect();
        let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
        let tasks = number(&stat, "processes").context("processes of /proc/stat")?;
        Ok(Self { memory, objects, tasks })
    }

    fn total(&self) -> i64 {
        self.memory.iter().map(|(_, kib)| kib).sum()
    }

    /// The least that is used before it has not become less for a while.
    fn settled() -> Result<Self> {
        let begin = Instant::now();
        let mut least = Self::now()?;
        let mut least_at = begin;
        while least_at.elapsed() < SETTLED_AFTER && begin.elapsed() < SETTLED_AT_LAST {
            sleep(LOOK_EVERY);
            let now = Self::now()?;
            if now.total() < least.total() {
                (least, least_at) = (now, Instant::now());
            }
        }
        Ok(least)
    }

    /// Prints what has grown; fails if it is more than is tolerated.
    fn report_growth(&self, after: &Self) -> Result<()> {
        for ((name, before), (_, after)) in self.memory.iter().zip(&after.memory) {
            println!("{name}: {before} KiB after the warm-up, {after} KiB at last");
        }
        let mut leaking = Vec::new();
        for (name, before) in &self.objects {
            let Some((_, after)) = after.objects.iter().find(|(other, _)| other == name) else {
                continue;
            };
            println!("{name}: {before} objects after the warm-up, {after} at last");
            if after - before > OBJECTS_TOLERANCE {
                leaking.push(*name);
            }
        }
        let growth = after.total() - self.total();
        let tasks = after.tasks - self.tasks;
        let tolerance = (MEMORY_TOLERANCE + tasks * TOLERANCE_PER_TASK) / 1024;
        println!("in sum {growth} KiB more after {tasks} tasks; up to {tolerance} are tolerated");
        if growth > tolerance {
            bail!("the kernel's memory has grown by {growth} KiB");
        }
        ensure!(leaking.is_empty(), "caches of the kernel have grown: {leaking:?}");
        Ok(())
    }
}

/// The number that follows a name at the beginning of a line.
fn number(text: &str, name: &str) -> Option<i64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok()).flatten()
    })
}
