// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What a call costs: pairs of batches, one after the other, in one process.

use std::env;
use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use bysyscall_abi::{WRAPPERS, Wrapper};
use bysyscall_tests::accounting::tells_account;
use bysyscall_tests::built;
use bysyscall_tests::process::{loader, succeed};
use bysyscall_tests::symbols::{Library, Plain, Syscall, ThreeIds};
use libc::{SCHED_OTHER, SYS_sched_get_priority_max, c_long};

use crate::report::{Aim, Report, Spread};

const ROUNDS: usize = 101;
const CALLS: usize = 20_000;

/// Nanoseconds a call, in one batch.
fn batch(call: &impl Fn()) -> f64 {
    let begin = Instant::now();
    for _ in 0..CALLS {
        call();
    }
    begin.elapsed().as_nanos() as f64 / CALLS as f64
}

/// Nanoseconds of both, measured in turn, the order swapped each time.
pub fn pairs(first: impl Fn(), second: impl Fn()) -> Vec<(f64, f64)> {
    let pair = |round: usize| {
        if round.is_multiple_of(2) {
            let a = batch(&first);
            (a, batch(&second))
        } else {
            let b = batch(&second);
            (batch(&first), b)
        }
    };
    (0..ROUNDS).map(pair).collect()
}

pub fn each(pairs: &[(f64, f64)], figure: impl Fn(&(f64, f64)) -> f64) -> Spread {
    Spread::of(pairs.iter().map(figure).collect())
}

fn plain(function: Plain) -> impl Fn() {
    move || {
        black_box(function(0));
    }
}

fn three_ids(function: ThreeIds) -> impl Fn() {
    move || {
        let mut ids = [0; 3];
        let [real, effective, saved] = &mut ids;
        black_box(function(real, effective, saved));
    }
}

/// Pairs of a function of one library and one of another. Each combination of
/// types has a loop of its own: a common one would add its call to both.
fn named_pairs(first: (&Library, &str), second: (&Library, &str)) -> Result<Vec<(f64, f64)>> {
    let has_ids = |name: &str| name.starts_with("getres");
    let ((first, name), (second, second_name)) = (first, second);
    Ok(match (has_ids(name), has_ids(second_name)) {
        (false, false) => pairs(plain(first.plain(name)?), plain(second.plain(second_name)?)),
        (false, true) => {
            pairs(plain(first.plain(name)?), three_ids(second.three_ids(second_name)?))
        }
        (true, false) => {
            pairs(three_ids(first.three_ids(name)?), plain(second.plain(second_name)?))
        }
        (true, true) => {
            pairs(three_ids(first.three_ids(name)?), three_ids(second.three_ids(second_name)?))
        }
    })
}

/// Whether a wrapper is on.
pub fn is_on(wrapper: &Wrapper) -> Result<bool> {
    let status: serde_json::Value = serde_json::from_str(&loader(&["status", "--json"])?)?;
    let wrappers = status["wrappers"].as_array().context("no wrappers")?;
    Ok(wrappers.iter().any(|row| row["name"] == wrapper.name && row["on"] == true))
}

/// The wrappers that tell identities; those of CPU time are measured elsewhere.
pub fn identities() -> impl Iterator<Item = &'static Wrapper> {
    WRAPPERS.iter().filter(|wrapper| !tells_account(wrapper))
}

pub fn measure(report: &mut Report) -> Result<()> {
    let (libc, bysyscall) = (Library::libc()?, Library::open(&built::library()?)?);
    for wrapper in identities() {
        let name = wrapper.name;
        let against_libc = named_pairs((&libc, name), (&bysyscall, name))?;
        let ours = each(&against_libc, |pair| pair.1);
        let theirs = each(&against_libc, |pair| pair.0);
        if !is_on(wrapper)? {
            let cost = each(&against_libc, |pair| pair.1 - pair.0);
            report.tell(
                name,
                &format!("off on this kernel; its real call takes {:+.1} ns", cost.median),
            );
            continue;
        }
        report.tell(name, &format!("{:.2} ns, libc {:.1} ns", ours.median, theirs.median));
        let ratio = each(&against_libc, |pair| pair.0 / pair.1);
        report.add(&format!("  {name}: times faster than libc"), ratio, "x", Aim::AtLeast(50.0));
        let against_getcpu = named_pairs((&libc, "sched_getcpu"), (&bysyscall, name))?;
        let ratio = each(&against_getcpu, |pair| pair.1 / pair.0);
        report.add(&format!("  {name}: time of sched_getcpu()"), ratio, "x", Aim::AtMost(1.0));
    }
    let (libc_call, our_call) = (libc.syscall()?, bysyscall.syscall()?);
    let forward = |syscall: Syscall| {
        move || {
            black_box(syscall(SYS_sched_get_priority_max, c_long::from(SCHED_OTHER)));
        }
    };
    let forwarded = pairs(forward(libc_call), forward(our_call));
    let cost = each(&forwarded, |pair| pair.1 - pair.0);
    report.add("syscall() of another number: slower by", cost, "ns", Aim::AtMost(2.0));

    let by_lsl = elsewhere("getpid", ("BYSYSCALL_CPU_NUMBER", "lsl"))?;
    report.add("getpid by lsl: times faster than libc", by_lsl, "x", Aim::AtLeast(3.0));
    Ok(())
}

/// The ratios that this program prints, a line each, with a variable that the library reads when it is loaded.
pub fn elsewhere(what: &str, (variable, value): (&str, &str)) -> Result<Spread> {
    let figures = succeed(Command::new(env::current_exe()?).arg(what).env(variable, value))?;
    let ratios: Result<Vec<f64>, _> = figures.lines().map(str::parse).collect();
    Ok(Spread::of(ratios?))
}

/// How many times faster than libc, a line a pair.
pub fn print_getpid() -> Result<()> {
    let (libc, bysyscall) = (Library::libc()?, Library::open(&built::library()?)?);
    for (theirs, ours) in named_pairs((&libc, "getpid"), (&bysyscall, "getpid"))? {
        println!("{}", theirs / ours);
    }
    Ok(())
}
