// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Each answer between two real calls, with the library of the package as each program gets it.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use bysyscall_tests::fixture::{ensure_right, trial};
use bysyscall_tests::process::succeed;
use bysyscall_tests::{built, patience};
use libtest_mimic::Trial;

use crate::support::{LIBRARY, TIME_LIMIT, ensure_bypasses, is_enabled};

/// A program whose scenarios bracket answers.
struct Judge {
    program: &'static str,
    /// In the names of the tests.
    prefix: &'static str,
    /// What each scenario is told.
    arguments: &'static [&'static str],
    none_wrong: &'static str,
}

const JUDGES: [Judge; 2] = [
    Judge { program: "bracket", prefix: "bracket", arguments: &[], none_wrong: " 0 mismatches" },
    Judge {
        program: "clocks",
        prefix: "bracket::clocks",
        arguments: &["1"],
        none_wrong: " 0 wrong",
    },
];

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![trial("bracket::library_is_preloaded", library_is_preloaded)];
    for judge in &JUDGES {
        match judge.scenarios() {
            Ok(scenarios) => trials.extend(scenarios.into_iter().map(|(name, mut command)| {
                trial(format!("{}::{name}", judge.prefix), move || {
                    ensure_right(&mut command, judge.none_wrong)
                })
            })),
            Err(error) => {
                trials.push(trial(format!("{}::scenarios", judge.prefix), || Err(error)));
            }
        }
    }
    trials
}

impl Judge {
    /// Names, and what runs them: as an ordinary user, where that may do what it takes.
    fn scenarios(&self) -> Result<Vec<(String, Command)>> {
        let program = built::program(self.program)?;
        let limit = patience::seconds(TIME_LIMIT).as_secs().to_string();
        let list = succeed(Command::new(&program).arg("list"))?;
        let scenario = |line: &str| {
            let name = line.split([' ', ',']).next()?;
            let mut command = Command::new("timeout");
            command.args(["--signal=KILL", &limit]).current_dir("/");
            if !line.ends_with(", root") {
                command.args(["runuser", "-u", "lab", "--"]);
            }
            command.arg(&program).arg(name).args(self.arguments);
            if line.contains("LIBRARY") {
                command.arg(LIBRARY);
            }
            command.env("CLOCKS_LIBRARY", LIBRARY);
            Some((name.to_owned(), command))
        };
        list.lines()
            .map(|line| scenario(line).with_context(|| format!("{} list: {line}", self.program)))
            .collect()
    }
}

fn library_is_preloaded() -> Result<()> {
    ensure!(is_enabled()?, "nothing is preloaded");
    ensure_bypasses("as_lab BYSYSCALL_LOG=info $LAB/target/programs/getpid 100000")
}
