// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! How far from the kernel's answers those of clocks are: by how much they are outside of the bracket of two
//! real calls. A CPU that is taken away from the machine lets them be ahead, so that is told too.
//! Hours would show more than these minutes; a scenario of `clocks` takes as many seconds as it is told.

use std::fs;

use anyhow::{Context, Result};
use bysyscall_tests::built;
use bysyscall_tests::process::{preloaded, succeed};

use crate::report::{Aim, Report, Spread};

const SCENARIOS: [&str; 4] = ["busy", "system", "sleep", "migrate"];
const SECONDS: &str = "30";
/// Of the clock ticks that the kernel tells (`USER_HZ`, 100 on x86-64).
const MS_PER_TICK: u64 = 10;

pub fn measure(report: &mut Report) -> Result<()> {
    let (mut answers_of_all, mut far_of_all, mut most_of_all) = (0, 0, 0);
    for scenario in SCENARIOS {
        let before = stolen_ticks()?;
        let said = succeed(preloaded(built::program("clocks")?)?.args([scenario, SECONDS]))?;
        let stolen = (stolen_ticks()? - before) * MS_PER_TICK;
        for line in said.lines().filter(|line| line.contains(": CLOCK_")) {
            let figures = line.split_once(", median").context("a clock without figures")?;
            answers_of_all += number_before(line, " answers")?;
            far_of_all += number_before(line, " by more than")?;
            most_of_all = most_of_all.max(number_before(line, " ns; ")?);
            let (answers, by) = (figures.0.split(',').next(), figures.1.split(';').next());
            let (answers, by) = answers.zip(by).context("a clock without answers")?;
            report.tell(&format!("{answers}, outside by"), &format!("median{by}"));
        }
        report.tell(
            &format!("{scenario}: taken away from the machine meanwhile"),
            &format!("{stolen} ms"),
        );
    }
    let of_a_million = far_of_all as f64 * 1e6 / answers_of_all as f64;
    report.add(
        &format!("outside by more than 2 µs, of {answers_of_all} answers"),
        Spread::of(vec![of_a_million]),
        "of a million",
        Aim::AtMost(1.0),
    );
    let tick = rustix::time::clock_getres(rustix::time::ClockId::MonotonicCoarse).tv_nsec;
    report.add(
        "outside at most by",
        Spread::of(vec![most_of_all as f64 / tick as f64]),
        "ticks",
        Aim::AtMost(1.0),
    );
    Ok(())
}

/// The number that stands before a word.
fn number_before(line: &str, word: &str) -> Result<u64> {
    let number = line.split_once(word).and_then(|(before, _)| before.rsplit(' ').next());
    number.and_then(|number| number.parse().ok()).with_context(|| format!("{word:?} in {line:?}"))
}

/// What a hypervisor has taken from all CPUs, as `/proc/stat` tells it (proc(5)).
fn stolen_ticks() -> Result<u64> {
    const STEAL: usize = 8;
    let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let steal = stat.lines().next().and_then(|all| all.split_whitespace().nth(STEAL));
    steal.context("no steal in /proc/stat")?.parse().context("steal of /proc/stat")
}
