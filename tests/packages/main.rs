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

use bysyscall_tests::{fixture, namespace, selection};
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They share /etc, /run and the service.
    arguments.test_threads = Some(1);
    let ready = namespace::enter()
        .and_then(|()| support::spare_the_machine())
        .and_then(|()| fixture::install());
    selection::run("package", &arguments, ready.map(|()| trials()))
}

fn trials() -> Vec<Trial> {
    let mut trials = unit::trials();
    trials.extend(deb::trials());
    trials.extend(scripts::trials());
    trials.extend(rpm::trials());
    trials.extend(dnf::trials());
    trials.extend(again::trials());
    trials
}
