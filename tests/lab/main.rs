// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The tests that need a whole machine: guests of `make vm-test` run them, as
//! root, with the service where every process sees it.

mod containers;
mod foreign;
mod guest;
mod lifecycle;
mod privileges;
mod refusal;
mod service;
mod soak;
mod support;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use bysyscall_tests::{fixture, selection};
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The tests share one service, and some stop it. The soak is alone and speaks meanwhile, which
    // it may where the line of a test is printed at its end: with more than one thread.
    arguments.test_threads = Some(if std::env::var_os(soak::ARGUMENTS).is_some() { 2 } else { 1 });
    let ready = ensure_guest().and_then(|()| fixture::install()).and_then(|()| support::install());
    let code = selection::run("lab", &arguments, ready.map(|()| trials()));
    support::print_notes();
    code
}

fn trials() -> Vec<Trial> {
    let mut trials = guest::trials();
    trials.extend(service::trials());
    trials.extend(refusal::trials());
    trials.extend(privileges::trials());
    trials.extend(containers::trials());
    trials.extend(lifecycle::trials());
    trials.extend(foreign::trials());
    trials.extend(soak::trials());
    trials
}

fn ensure_guest() -> Result<()> {
    let is_guest = std::env::var_os("BYSYSCALL_LAB").is_some();
    ensure!(is_guest, "they change the whole machine, so only `make vm-test` runs them");
    Ok(())
}
