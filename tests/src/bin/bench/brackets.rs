// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! How far from the kernel's answers those of clocks are: by how much they are outside of the bracket of two
//! real calls. A CPU that is taken away from the machine lets them be ahead, so that is told too.

use std::fs;

use anyhow::{Context, Result};
use bysyscall_tests::built;
use bysyscall_tests::process::{preloaded, succeed};

use crate::report::Report;

const SCENARIOS: [&str; 3] = ["busy", "sleep", "migrate"];
const SECONDS: &str = "10";
/// Of the clock ticks that the kernel tells (`USER_HZ`, 100 on x86-64).
const MS_PER_TICK: u64 = 10;

pub fn measure(report: &mut Report) -> Result<()> {
    for scenario in SCENARIOS {
        let before = stolen_ticks()?;
        let said = succeed(preloaded(built::program("clocks")?)?.args([scenario, SECONDS]))?;
        let stolen = (stolen_ticks()? - before) * MS_PER_TICK;
        for line in said.lines().filter(|line| line.contains(": CLOCK_")) {
            let figures = line.split_once(", median").context("a clock without figures")?;
            let (answers, by) = (figures.0.split(',').next(), figures.1.split(';').next());
            let (answers, by) = answers.zip(by).context("a clock without answers")?;
            report.tell(&format!("{answers}, outside by"), &format!("median{by}"));
        }
        report.tell(
            &format!("{scenario}: taken away from the machine meanwhile"),
            &format!("{stolen} ms"),
        );
    }
    Ok(())
}

/// What a hypervisor has taken from all CPUs, as `/proc/stat` tells it (proc(5)).
fn stolen_ticks() -> Result<u64> {
    const STEAL: usize = 8;
    let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let steal = stat.lines().next().and_then(|all| all.split_whitespace().nth(STEAL));
    steal.context("no steal in /proc/stat")?.parse().context("steal of /proc/stat")
}
