// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Power cuts: the guest is killed at a random moment of an operation, and must come up again. What it
//! has not yet written to its disk is lost. The boot that looks at the damage is the one
//! in which the next operation is interrupted.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::boot::Selection;
use crate::machine::boot;
use crate::qemu::Guest;
use crate::results::Report;

const OPERATIONS: [&str; 4] = ["enable", "disable", "upgrade", "remove"];

/// Where the power of one kernel's machine is to be cut.
pub struct Cuts {
    number: u32,
    random: Random,
}

/// So many, shared by kernels. Those of one seed are the same again, on a machine that is as fast.
pub fn shares(number: u32, seed: Option<u32>, kernels: usize) -> impl Iterator<Item = Cuts> {
    let seed = seed.unwrap_or_else(std::process::id);
    let kernels = u32::try_from(kernels).unwrap_or(u32::MAX);
    (0..kernels).map(move |kernel| Cuts {
        number: number / kernels + u32::from(kernel < number % kernels),
        random: Random::new(seed, kernel),
    })
}

impl Cuts {
    /// Cuts the power of a machine on which the package is installed.
    pub fn run(mut self, machine: &Guest<'_>) -> Result<Report> {
        let number = self.number;
        let mut report = Report::default();
        if number == 0 {
            return Ok(report);
        }
        println!(
            "{} cuts | {number} power cuts; --seed {}",
            machine.kernel().name,
            self.random.seed
        );
        let mut lengths = HashMap::new();
        for cut in 0..number {
            let operation = self.random.choose(&OPERATIONS);
            let fraction = self.random.fraction();
            // How long it takes, nobody knows at first: then it is cut right after its end.
            let delay =
                lengths.get(operation).map(|length: &Duration| length.mul_f64(1.1 * fraction));
            println!(
                "{} cut {} of {number} | {operation}, {}",
                machine.kernel().name,
                cut + 1,
                delay.map_or("at its end".to_owned(), |delay| format!(
                    "after {} ms",
                    delay.as_millis()
                ))
            );
            let mut begin = None;
            report += machine.run_until(&boot("cut", Selection::Operation(operation)), |line| {
                if line == format!("cut: begin {operation}") {
                    begin = Some(Instant::now());
                    return delay;
                }
                if line == format!("cut: end {operation}")
                    && let Some(begin) = begin
                {
                    lengths.insert(operation, begin.elapsed());
                    return delay.is_none().then_some(Duration::ZERO);
                }
                None
            })?;
        }
        // What the last one has left.
        report += machine.run(&boot("after", Selection::Machine("cut::")))?;
        Ok(report)
    }
}

/// A generator of numbers that a seed repeats (xorshift).
struct Random {
    seed: u32,
    state: u64,
}

impl Random {
    /// Of one seed there are several, each with numbers of its own.
    fn new(seed: u32, series: u32) -> Self {
        // It must not begin with 0, and neighbours must not resemble each other.
        let number = (u64::from(seed) << 32) | (u64::from(series) + 1);
        let state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { seed, state }
    }

    fn next(&mut self) -> u32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 32) as u32
    }

    /// From 0 up to 1.
    fn fraction(&mut self) -> f64 {
        f64::from(self.next()) / f64::from(u32::MAX)
    }

    fn choose<'items>(&mut self, items: &[&'items str]) -> &'items str {
        items[self.next() as usize % items.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kernel_gets_its_share() {
        let numbers = |number, kernels| -> Vec<u32> {
            shares(number, Some(1), kernels).map(|cuts| cuts.number).collect()
        };
        assert_eq!(numbers(100, 3), [34, 33, 33]);
        assert_eq!(numbers(0, 1), [0]);
    }

    #[test]
    fn a_seed_repeats_the_moments() {
        let numbers = |seed, series| {
            let mut random = Random::new(seed, series);
            [random.next(), random.next(), random.next()]
        };
        assert_eq!(numbers(7, 0), numbers(7, 0));
        assert_ne!(numbers(7, 0), numbers(8, 0));
        assert_ne!(numbers(7, 0), numbers(7, 1));
        let mut random = Random::new(0, 0);
        assert!((0..100).all(|_| (0.0..=1.0).contains(&random.fraction())));
    }
}
