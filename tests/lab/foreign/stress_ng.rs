// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! stress-ng, which verifies what it does.

use std::process::Command;

use anyhow::{Result, ensure};
use bysyscall_tests::fixture::{spawn, start, status, trial, wait_until};
use bysyscall_tests::log::bypassed;
use bysyscall_tests::process::{output, text};
use libtest_mimic::Trial;

use crate::support::{as_user, script};

/// Those that ask for or change identities, make processes of all kinds, or
/// come between a process and its system calls.
const STRESSORS: &str = "get set clone fork vfork vforkmany pthread exec daemon session zombie unshare \
     prctl ptrace seccomp usersyscall";
const SECONDS: u32 = 4;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("foreign::stress_ng_as_root", || verify(|command| command)),
        trial("foreign::stress_ng_as_user", || verify(as_user)),
    ]
}

fn verify(user: impl Fn(Command) -> Command) -> Result<()> {
    start()?;
    let options: String =
        STRESSORS.split_whitespace().map(|stressor| format!(" --{stressor} 1")).collect();
    let run = || {
        let text = "cd /tmp; exec stress-ng --verify --timeout $SECONDS $OPTIONS";
        let mut command = script(text);
        command.env("SECONDS", format!("{SECONDS}s")).env("OPTIONS", &options);
        user(command)
    };
    let with = spawn(run())?;
    // Its children end without a word, so only the first process tells what it has bypassed.
    let stressors = STRESSORS.split_whitespace().count() as u64;
    wait_until("its stressors are registered", || {
        Ok(status()?["registered"]["processes"].as_u64() > Some(stressors / 2))
    })?;
    let with = with.wait_with_output()?;
    let without = output(run().env_remove("LD_PRELOAD"))?;
    let (said, said_without) =
        (text(&with.stdout) + &text(&with.stderr), text(&without.stdout) + &text(&without.stderr));
    ensure!(
        verdicts(&said) == verdicts(&said_without) && with.status == without.status,
        "with the library {}: {said}\nwithout {}: {said_without}",
        with.status,
        without.status
    );
    ensure!(
        verdicts(&said).iter().any(|verdict| PASSED.iter().any(|it| verdict.starts_with(it))),
        "no verdicts: {said}"
    );
    ensure!(bypassed(&said, "getpid").sum::<u64>() > 0, "getpid was not bypassed: {said}");
    ensure!(!said_without.contains(": bypassed "), "the library was not left out: {said_without}");
    Ok(())
}

/// That of the stressors which passed; up to 0.15, all have.
const PASSED: [&str; 2] = ["passed:", "successful run completed"];

/// Which stressors passed, failed or were skipped; or that all passed, and what failed else.
fn verdicts(said: &str) -> Vec<String> {
    let verdict = |line: &str| {
        let (level, verdict) = line.split_once("] ")?;
        let verdict = verdict.split(" in ").next()?;
        let is_one =
            PASSED.iter().chain(&["failed:", "skipped:"]).any(|it| verdict.starts_with(it));
        (is_one || level.starts_with("stress-ng: fail:")).then(|| verdict.to_owned())
    };
    said.lines().filter_map(verdict).collect()
}
