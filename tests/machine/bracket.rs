// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Each answer between two real calls, with the library of the package as each program gets it.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use bysyscall_tests::built;
use bysyscall_tests::fixture::trial;
use bysyscall_tests::process::succeed;
use libtest_mimic::Trial;

use crate::support::{LIBRARY, ensure_bypasses, is_enabled, sh};

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![trial("bracket::library_is_preloaded", library_is_preloaded)];
    match scenarios() {
        Ok(scenarios) => trials.extend(scenarios.into_iter().map(|(name, script)| {
            trial(format!("bracket::{name}"), move || {
                let said = sh(&script)?;
                ensure!(said.contains(" 0 mismatches"), "{said}");
                Ok(())
            })
        })),
        Err(error) => trials.push(trial("bracket::scenarios", || Err(error))),
    }
    trials
}

/// What `bracket list` names, each as a script: by an ordinary user, where that may do what it takes.
fn scenarios() -> Result<Vec<(String, String)>> {
    let list = succeed(Command::new(built::program("bracket")?).arg("list"))?;
    let scenario = |line: &str| {
        let name = line.split(' ').next()?.to_owned();
        let user = if line.ends_with(", root") { "" } else { "as_lab" };
        let library = if line.contains("LIBRARY") { LIBRARY } else { "" };
        let script = format!("{user} $LAB/target/programs/bracket {name} {library}");
        Some((name, script))
    };
    list.lines()
        .map(|line| scenario(line).with_context(|| format!("bracket list: {line}")))
        .collect()
}

fn library_is_preloaded() -> Result<()> {
    ensure!(is_enabled()?, "nothing is preloaded");
    ensure_bypasses("as_lab BYSYSCALL_LOG=info $LAB/target/programs/getpid 100000")
}
