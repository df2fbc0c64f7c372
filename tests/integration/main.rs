// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The integration tests: the built library and loader against the kernel that
//! runs, in a mount namespace of their own. Needs root.

mod bracket;
mod cli;
mod clocks;
mod configuration;
mod enabling;
mod library;
mod lifecycle;
mod manual;
mod sharing;
mod witness;

use std::process::ExitCode;

use bysyscall_tests::{fixture, namespace, selection};
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The tests share one service, and some stop it.
    arguments.test_threads = Some(1);
    let trials = namespace::enter().and_then(|()| fixture::install()).and_then(|()| trials());
    selection::run("integration", &arguments, trials)
}

fn trials() -> anyhow::Result<Vec<Trial>> {
    let mut trials = library::trials();
    trials.extend(cli::trials());
    trials.extend(configuration::trials());
    trials.extend(manual::trials());
    trials.extend(sharing::trials());
    trials.extend(bracket::trials()?);
    trials.extend(clocks::trials()?);
    trials.extend(witness::trials());
    trials.extend(enabling::trials());
    trials.extend(lifecycle::trials());
    Ok(trials)
}
