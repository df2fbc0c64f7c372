// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What CPU times cost, beside the clock of the vDSO and beside libc.

use std::hint::black_box;

use anyhow::{Context, Result};
use bysyscall_abi::{WRAPPERS, Wrapper};
use bysyscall_tests::built;
use bysyscall_tests::symbols::{Clock, Library, Plain, Times};
use libc::{CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, clockid_t};

use crate::calls::{each, elsewhere, is_on, pairs};
use crate::report::{Aim, Report};

fn clock(function: Clock, clock: clockid_t) -> impl Fn() + Copy {
    move || {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        black_box(function(clock, &raw mut time));
    }
}

fn plain(function: Plain) -> impl Fn() + Copy {
    move || {
        black_box(function(0));
    }
}

fn times(function: Times) -> impl Fn() + Copy {
    move || {
        let mut times = libc::tms { tms_utime: 0, tms_stime: 0, tms_cutime: 0, tms_cstime: 0 };
        black_box(function(&raw mut times));
    }
}

pub fn measure(report: &mut Report) -> Result<()> {
    let (libc, ours) = (Library::libc()?, Library::open(&built::library()?)?);
    let (libc_clock, our_clock) = (libc.clock_gettime()?, ours.clock_gettime()?);
    let monotonic = clock(libc_clock, CLOCK_MONOTONIC);

    let forwarded = pairs(monotonic, clock(our_clock, CLOCK_MONOTONIC));
    let theirs = each(&forwarded, |pair| pair.0);
    let cost = each(&forwarded, |pair| pair.1 - pair.0);
    report.tell("CLOCK_MONOTONIC of the vDSO, by libc", &format!("{:.2} ns", theirs.median));
    report.add("  by the library: slower by", cost, "ns", Aim::AtMost(1.0));

    for (name, id, most) in [
        ("CLOCK_THREAD_CPUTIME_ID", CLOCK_THREAD_CPUTIME_ID, 1.1),
        ("CLOCK_PROCESS_CPUTIME_ID", CLOCK_PROCESS_CPUTIME_ID, 2.0),
    ] {
        let row = Row { name, wrapper: "clock_gettime", most, least: 15.0 };
        row.measure(report, clock(libc_clock, id), clock(our_clock, id), monotonic)?;
    }
    let row = Row { name: "clock", wrapper: "clock", most: 2.0, least: 10.0 };
    row.measure(report, plain(libc.plain("clock")?), plain(ours.plain("clock")?), monotonic)?;
    let row = Row { name: "times", wrapper: "times", most: 2.0, least: 10.0 };
    row.measure(report, times(libc.times()?), times(ours.times()?), monotonic)?;
    if is_on(wrapper("clock_gettime")?)? {
        let without_rdpid = elsewhere("thread-clock", ("BYSYSCALL_CPU_NUMBER", "lsl"))?;
        let what = "CLOCK_THREAD_CPUTIME_ID without rdpid: time of CLOCK_MONOTONIC";
        report.add(what, without_rdpid, "x", Aim::AtMost(1.1));
        let by_clock = elsewhere("thread-clock", ("BYSYSCALL_TIME", "vdso"))?;
        let what = "CLOCK_THREAD_CPUTIME_ID by the vDSO's clock";
        report.tell(what, &format!("{:.2} x CLOCK_MONOTONIC", by_clock.median));
    }
    Ok(())
}

/// How many times the time of `CLOCK_MONOTONIC` the thread's takes, a line a pair.
pub fn print_thread_clock() -> Result<()> {
    let (libc, ours) = (Library::libc()?, Library::open(&built::library()?)?);
    let monotonic = clock(libc.clock_gettime()?, CLOCK_MONOTONIC);
    let thread = clock(ours.clock_gettime()?, CLOCK_THREAD_CPUTIME_ID);
    for (theirs, own) in pairs(monotonic, thread) {
        println!("{}", own / theirs);
    }
    Ok(())
}

fn wrapper(name: &str) -> Result<&'static Wrapper> {
    WRAPPERS.iter().find(|row| row.name == name).context("no such wrapper")
}

/// A call, and what it should cost: at most so many times `CLOCK_MONOTONIC`, at
/// least so many times less than libc's.
struct Row {
    name: &'static str,
    wrapper: &'static str,
    most: f64,
    least: f64,
}

impl Row {
    fn measure(
        &self,
        report: &mut Report,
        libc: impl Fn(),
        ours: impl Fn() + Copy,
        monotonic: impl Fn(),
    ) -> Result<()> {
        let Self { name, most, least, .. } = self;
        if !is_on(wrapper(self.wrapper)?)? {
            report.tell(name, "off on this kernel");
            return Ok(());
        }
        let against_libc = pairs(libc, ours);
        let (theirs, own) =
            (each(&against_libc, |pair| pair.0), each(&against_libc, |pair| pair.1));
        report.tell(name, &format!("{:.2} ns, libc {:.1} ns", own.median, theirs.median));
        let ratio = each(&against_libc, |pair| pair.0 / pair.1);
        report.add(&format!("  {name}: times faster than libc"), ratio, "x", Aim::AtLeast(*least));
        let ratio = each(&pairs(monotonic, ours), |pair| pair.1 / pair.0);
        report.add(&format!("  {name}: time of CLOCK_MONOTONIC"), ratio, "x", Aim::AtMost(*most));
        Ok(())
    }
}
