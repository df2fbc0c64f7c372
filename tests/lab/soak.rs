// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! `make soak KERNELS=…`: the same random trees as natively, with the hooks
//! that only the lab's kernels take.

use std::env;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bysyscall_tests::built;
use bysyscall_tests::fixture::trial;
use libtest_mimic::Trial;

/// The variable with its arguments.
pub const ARGUMENTS: &str = "BYSYSCALL_SOAK";

pub fn trials() -> Vec<Trial> {
    vec![trial("soak::random_trees", random_trees)]
}

fn random_trees() -> Result<()> {
    let arguments = env::var(ARGUMENTS).context(ARGUMENTS)?;
    let mut soak = Command::new(built::target("lab/soak")?);
    let status = soak.args(arguments.split(' ')).status().context("cannot run the soak")?;
    ensure!(status.success(), "{status}");
    Ok(())
}
