// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The packages on a machine of their own, over several boots: guests of `make package-test` run these
//! tests, as root. Each boot runs those of a stage, in this order; `stage.rs` of the driver tells which.

mod after_cut;
mod bracket;
mod chosen;
mod enabled;
mod garbage;
mod install;
mod journal;
mod programs;
mod refused;
mod removal;
mod service;
mod support;
mod units;
mod upgrade;

use std::process::ExitCode;

use bysyscall_tests::selection;
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each goes on where the one before it has stopped.
    arguments.test_threads = Some(1);
    if std::env::var_os("BYSYSCALL_LAB").is_none() {
        eprintln!("they change the whole machine, so only `make package-test` runs them");
        return ExitCode::FAILURE;
    }
    selection::run("machine", &arguments, Ok(trials()))
}

fn trials() -> Vec<Trial> {
    let mut trials = units::trials();
    trials.extend(install::trials());
    trials.extend(service::trials());
    trials.extend(refused::trials());
    trials.extend(chosen::trials());
    trials.extend(enabled::trials());
    trials.extend(programs::trials());
    trials.extend(bracket::trials());
    trials.extend(upgrade::trials());
    trials.extend(journal::trials());
    trials.extend(removal::trials());
    trials.extend(after_cut::trials());
    trials.extend(garbage::trials());
    trials
}
