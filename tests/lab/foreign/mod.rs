// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Programs that nobody here wrote: with the library they do what they do without.

mod cpython;
mod postgresql;
mod stress_ng;

use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    let mut trials = stress_ng::trials();
    trials.extend(postgresql::trials());
    trials.extend(cpython::trials());
    trials
}
