// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The guest is what the boot asked for, so what is tested in it means something.

use std::env;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bysyscall_abi::arch::has_rdpid;
use bysyscall_tests::fixture::trial;
use bysyscall_tests::process::succeed;
use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    vec![trial("guest::has_the_cpus", has_the_cpus), trial("guest::is_locked_down", is_locked_down)]
}

fn asked(variable: &str) -> Result<String> {
    env::var(variable).with_context(|| variable.to_owned())
}

fn has_the_cpus() -> Result<()> {
    let count = succeed(&mut Command::new("nproc"))?;
    ensure!(count.trim() == asked("LAB_CPUS")?, "{count} CPUs");
    ensure!(has_rdpid().to_string() == asked("LAB_RDPID")?, "rdpid: {}", has_rdpid());
    Ok(())
}

fn is_locked_down() -> Result<()> {
    let states = std::fs::read_to_string("/sys/kernel/security/lockdown")?;
    let state = asked("LAB_LOCKDOWN")?;
    ensure!(states.contains(&format!("[{state}]")), "lockdown: {states}");
    Ok(())
}
