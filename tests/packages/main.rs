// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The packages that `make deb` and `make rpm` have built: what is in them, what their scripts do, and
//! whether they come out the same elsewhere. In a mount namespace; needs root.

mod again;
mod deb;
mod dnf;
mod rpm;
mod scripts;
mod support;
mod unit;

use std::process::ExitCode;

use bysyscall_tests::selection::selected;
use bysyscall_tests::{fixture, namespace};
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They share /etc, /run and the service.
    arguments.test_threads = Some(1);
    let ready = namespace::enter()
        .and_then(|()| support::spare_the_machine())
        .and_then(|()| fixture::install())
        .and_then(|()| trials());
    match ready {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            eprintln!("package tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn trials() -> anyhow::Result<Vec<Trial>> {
    let mut trials = unit::trials();
    trials.extend(deb::trials());
    trials.extend(scripts::trials());
    trials.extend(rpm::trials());
    trials.extend(dnf::trials());
    trials.extend(again::trials());
    selected(trials)
}
