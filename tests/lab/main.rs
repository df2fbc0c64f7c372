// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The tests that need a whole machine: guests of `make vm-test` run them, as
//! root, with the service where every process sees it.

mod guest;
mod refusal;
mod service;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use bysyscall_tests::{fixture, selection};
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The tests share one service, and some stop it.
    arguments.test_threads = Some(1);
    if let Err(error) = ensure_guest().and_then(|()| fixture::install()) {
        eprintln!("lab tests: {error:#}");
        return ExitCode::FAILURE;
    }
    let mut trials: Vec<Trial> =
        [guest::trials(), service::trials(), refusal::trials()].into_iter().flatten().collect();
    selection::retain(&mut trials);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn ensure_guest() -> Result<()> {
    let is_guest = std::env::var_os("BYSYSCALL_LAB").is_some();
    ensure!(is_guest, "they change the whole machine, so only `make vm-test` runs them");
    Ok(())
}
