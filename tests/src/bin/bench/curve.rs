// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What is told of a whole process, by how many threads it has, beside the kernel's, which looks at each.
//! The other threads sleep. Each number of threads is a process of its own, with the library from its start.

use std::env;
use std::hint::black_box;
use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use bysyscall_abi::WRAPPERS;
use bysyscall_tests::built;
use bysyscall_tests::fixture::adds_up_threads;
use bysyscall_tests::process::{loader, succeed};
use bysyscall_tests::symbols::{Clock, Library, Usage};
use libc::{
    CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, RUSAGE_CHILDREN, RUSAGE_SELF, RUSAGE_THREAD,
};

use crate::calls::is_on;
use crate::report::{Aim, Report, Spread};

/// Few, as each of the kernel's calls may take some microseconds for a thousand threads.
const CALLS: u32 = 2000;
const ROUNDS: usize = 51;

/// What is asked, its wrapper, and whether it is told of all threads.
const ASKED: [(&str, &str, bool); 4] = [
    ("CLOCK_PROCESS_CPUTIME_ID", "clock_gettime", true),
    ("getrusage(RUSAGE_SELF)", "getrusage", true),
    ("getrusage(RUSAGE_THREAD)", "getrusage", false),
    ("getrusage(RUSAGE_CHILDREN)", "getrusage", false),
];

/// The one that may be told of several threads only where the kernel does not hide when they run.
const CLOCK: usize = 0;

/// Nanoseconds of three calls in turn: `CLOCK_MONOTONIC`, libc's and ours.
type Round = [f64; 3];

pub fn measure(report: &mut Report) -> Result<()> {
    // By default most of getrusage() is the kernel's to tell, so it is measured as of the last tick.
    loader(&["stop"])?;
    loader(&["start", "--getrusage", "tick"])?;
    are_added_up()?;
    for (number, (name, wrapper, is_of_all)) in ASKED.iter().enumerate() {
        let is_answered =
            WRAPPERS.iter().find(|row| row.name == *wrapper).map_or(Ok(false), is_on)?;
        for count in if *is_of_all { &[1, 64, 1000][..] } else { &[1] } {
            let rounds = rounds_of(number, *count)?;
            let of =
                |figure: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(figure).collect());
            let (theirs, ours) = (of(&|round| round[1]), of(&|round| round[2]));
            let by_theirs = of(&|round| round[1] / round[0]);
            let by_ours = of(&|round| round[2] / round[0]);
            let threads =
                if *count == 1 { "1 thread".to_owned() } else { format!("{count} threads") };
            let when = if number == CLOCK { "" } else { " by tick" };
            report.tell(
                &format!("{name}{when}, {threads}"),
                &format!("{:.1} ns, libc {:.1} ns", ours.median, theirs.median),
            );
            report.tell("  libc: time of CLOCK_MONOTONIC", &format!("{:.2} x", by_theirs.median));
            let what = "  by the library: time of CLOCK_MONOTONIC";
            if is_answered {
                report.add(what, by_ours, "x", Aim::AtMost(2.0));
            } else {
                report.tell(what, &format!("{:.2} x, off on this kernel", by_ours.median));
            }
            if number == CLOCK && *count > 1 && !are_added_up()? {
                report.tell("    real calls", "as this kernel hides switches");
            }
        }
    }
    loader(&["stop"])?;
    loader(&["start"])?;
    for (number, (name, ..)) in ASKED.iter().enumerate().skip(1) {
        let rounds = rounds_of(number, 1)?;
        let cost = Spread::of(rounds.iter().map(|round| round[2] - round[1]).collect());
        report.tell(&format!("{name}, exact: slower by"), &format!("{:.1} ns", cost.median));
    }
    Ok(())
}

fn are_added_up() -> Result<bool> {
    adds_up_threads(|| Ok(serde_json::from_str(&loader(&["status", "--json"])?)?))
}

fn rounds_of(number: usize, threads: usize) -> Result<Vec<Round>> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["curve", &number.to_string(), &threads.to_string()]);
    let figures = succeed(command.env("LD_PRELOAD", built::library()?))?;
    let round = |line: &str| -> Result<Round> {
        let figures: Result<Vec<f64>, _> = line.split(' ').map(str::parse).collect();
        figures?.try_into().ok().with_context(|| line.to_owned())
    };
    figures.lines().map(round).collect()
}

/// Prints the rounds, a line each; run with the library preloaded.
pub fn print(number: usize, threads: usize) -> Result<()> {
    for _ in 1..threads {
        thread::Builder::new().stack_size(64 << 10).spawn(|| {
            loop {
                thread::park();
            }
        })?;
    }
    let (libc, ours) = (Library::libc()?, Library::open(&built::library()?)?);
    let (libc_clock, our_clock) = (libc.clock_gettime()?, ours.clock_gettime()?);
    let monotonic = clock(libc_clock, CLOCK_MONOTONIC);
    let who = match number {
        CLOCK => {
            let (theirs, ours) = (
                clock(libc_clock, CLOCK_PROCESS_CPUTIME_ID),
                clock(our_clock, CLOCK_PROCESS_CPUTIME_ID),
            );
            print_rounds(monotonic, theirs, ours);
            return Ok(());
        }
        1 => RUSAGE_SELF,
        2 => RUSAGE_THREAD,
        _ => RUSAGE_CHILDREN,
    };
    print_rounds(monotonic, usage(libc.getrusage()?, who), usage(ours.getrusage()?, who));
    Ok(())
}

fn clock(function: Clock, id: libc::clockid_t) -> impl Fn() {
    move || {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        black_box(function(id, &raw mut time));
    }
}

fn usage(function: Usage, who: libc::c_int) -> impl Fn() {
    move || {
        let mut usage = std::mem::MaybeUninit::uninit();
        black_box(function(who, usage.as_mut_ptr()));
    }
}

fn print_rounds(monotonic: impl Fn(), theirs: impl Fn(), ours: impl Fn()) {
    for _ in 0..ROUNDS {
        println!("{} {} {}", batch(&monotonic), batch(&theirs), batch(&ours));
    }
}

/// Nanoseconds a call.
fn batch(call: &impl Fn()) -> f64 {
    let begin = Instant::now();
    for _ in 0..CALLS {
        call();
    }
    begin.elapsed().as_nanos() as f64 / f64::from(CALLS)
}
