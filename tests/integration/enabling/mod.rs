// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Which programs load the library by themselves: on images, and on this machine behind overlays
//! that only the namespace sees.

mod global;
mod image;
mod killed;
mod machine;
mod refusals;
mod rescue;
mod services;

use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    let mut trials = global::trials();
    trials.extend(refusals::trials());
    trials.extend(services::trials());
    trials.extend(killed::trials());
    trials.extend(machine::trials());
    trials.extend(rescue::trials());
    trials
}
