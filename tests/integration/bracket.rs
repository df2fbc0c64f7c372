// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Each answer between two real calls: the scenarios of `tests/programs/bracket`,
//! as root and as an unprivileged user, with `rdpid` and with `lsl`.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use bysyscall_tests::patience;
use bysyscall_tests::process::{count_calls, succeed};
use bysyscall_tests::selection::skip;
use libtest_mimic::Trial;

use crate::fixture::{
    self, Verdict, as_nobody, is_attached, library, limited, path, plain, start, trial, verdict,
};

/// No scenario takes as long, by far; a hung one is ended.
const TIME_LIMIT: u64 = 120;
const NONE_WRONG: &str = " 0 mismatches";

/// A scenario that `bracket list` names.
struct Scenario {
    name: String,
    /// How often, or for how many seconds.
    number: u32,
    needs_root: bool,
    needs_library: bool,
}

fn scenarios() -> Result<Vec<Scenario>> {
    let list = succeed(&mut plain("bracket", &["list"]))?;
    let scenario = |line: &str| {
        Some(Scenario {
            name: line.split(' ').next()?.to_owned(),
            number: line.split(' ').find_map(|word| word.parse().ok())?,
            needs_root: line.ends_with(", root"),
            needs_library: line.contains("LIBRARY"),
        })
    };
    list.lines()
        .map(|line| scenario(line).with_context(|| format!("bracket list: {line}")))
        .collect()
}

/// One test for each scenario and user.
pub fn trials() -> Result<Vec<Trial>> {
    start()?;
    let dispatch_is_noticed = is_attached("bysys_dispatch")?;
    let mut trials = vec![
        trial("bracket::finds_a_lie", finds_a_lie),
        trial("bracket::answers_are_bypassed", answers_are_bypassed),
    ];
    for scenario in scenarios()? {
        // Only a kernel that takes fexit can notice it; without, the test names what is missing.
        let refused = scenario.name == "user-dispatch-raw" && !dispatch_is_noticed;
        let name = scenario.name.as_str();
        let mut add = |user: &str, command: Command| {
            let trial = trial(format!("bracket::{user}::{name}"), move || run(command));
            trials.push(if refused { skip(trial, "fexit", (5, 19)) } else { trial });
        };
        // A minute of it where a minute is worth something.
        let long = name == "migrate" && patience::scale() == 1;
        let number = if long { 60 } else { scenario.number };
        add("root", command(&scenario, number));
        if !scenario.needs_root {
            add("user", as_nobody(command(&scenario, scenario.number)));
        }
        if ["threads", "migrate", "signals", "load", "getresuid-pointers"].contains(&name) {
            let mut by_lsl = command(&scenario, scenario.number);
            by_lsl.env("BYSYSCALL_CPU_NUMBER", "lsl");
            add("lsl", by_lsl);
        }
    }
    Ok(trials)
}

/// The scenario with the library preloaded.
fn command(scenario: &Scenario, number: u32) -> Command {
    let mut command = limited(TIME_LIMIT, "bracket", &[&scenario.name]);
    if scenario.needs_library {
        command.arg(library());
    }
    // Where CPUs are emulated less of what is done often, so that a kernel's tests take 15 minutes.
    let part = match number {
        _ if patience::scale() == 1 => 1,
        1000.. => 4,
        10.. => 2,
        _ => 1,
    };
    command.arg((number / part).to_string());
    command
}

fn run(mut command: Command) -> Result<()> {
    start()?;
    match verdict(&mut command, NONE_WRONG)? {
        Verdict::Right => Ok(()),
        Verdict::Wrong(said) => bail!("{said}"),
        Verdict::Skipped(reason) => bail!("skipped itself: {reason}"),
    }
}

/// The brackets can fail: a library that lies now and then is found out.
fn finds_a_lie() -> Result<()> {
    for scenario in ["single", "threads", "fork", "vfork", "exec-thread", "load"] {
        fixture::finds_a_lie(&mut plain("bracket", &[scenario]), NONE_WRONG)?;
    }
    Ok(())
}

/// What the brackets show is worth something only if the answers come from the cells.
fn answers_are_bypassed() -> Result<()> {
    start()?;
    for call in ["getpid", "gettid"] {
        for mode in [&["100000"][..], &["100000", "fork"], &["100000", "pthread"]] {
            let seen = count_calls(call, &path(call), mode, Some(&library()))?;
            // A tick in the middle of the registration leaves calls real until the next one, which
            // on emulated CPUs is not rare.
            let allowed = if patience::scale() > 1 { 10_000 } else { 10 };
            ensure!(seen <= allowed, "{call} {mode:?}: the kernel has seen {seen} calls");
            let without = count_calls(call, &path(call), mode, None)?;
            ensure!(
                without > 100_000,
                "{call} {mode:?}: without the library the kernel has seen {without} calls"
            );
        }
    }
    Ok(())
}
