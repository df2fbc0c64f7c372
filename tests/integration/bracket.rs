// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Each answer between two real calls: the scenarios of `tests/programs/bracket`,
//! as root and as an unprivileged user, with `rdpid` and with `lsl`.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use bysyscall_tests::patience;
use bysyscall_tests::process::{count_calls, succeed};
use bysyscall_tests::selection::skip;
use libtest_mimic::Trial;

use crate::fixture::{
    self, as_nobody, ensure_right, is_attached, library, limited, path, plain, start, status, trial,
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
        trial("bracket::finds_an_old_answer", finds_an_old_answer),
        trial("bracket::answers_are_bypassed", answers_are_bypassed),
        trial("bracket::answers_stay_bypassed", answers_stay_bypassed),
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
        // Which it is to load itself, and late.
        command.env_remove("LD_PRELOAD").arg(library());
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
    ensure_right(&mut command, NONE_WRONG)
}

/// The brackets can fail: a library that lies now and then is found out.
fn finds_a_lie() -> Result<()> {
    let part = if patience::scale() == 1 { 1 } else { 3 };
    for scenario in
        ["single", "fork", "vfork", "threads", "exec-thread", "load"].into_iter().step_by(part)
    {
        fixture::finds_a_lie(&mut plain("bracket", &[scenario]), NONE_WRONG)?;
    }
    Ok(())
}

/// What changes in these scenarios, and a function that tells of it.
const CHANGES: &[(&str, &str)] = &[
    ("fork", "getpid"),
    ("fork-tree", "getppid"),
    ("double-fork", "getppid"),
    ("parents", "getppid"),
    ("children", "getppid"),
    ("sessions", "getpgrp"),
    ("groups", "getsid"),
    ("groups", "getpgrp"),
    ("moved-by-parent", "getpgid"),
    ("creds", "getresuid"),
    ("creds", "getegid"),
    ("creds-broadcast", "getuid"),
    ("creds-exec", "geteuid"),
    ("pid-namespace", "getpid"),
    ("pid-namespace-relations", "getsid"),
    ("user-namespace", "getuid"),
    ("own-id-map", "getgid"),
    ("id-maps", "getuid"),
    ("id-maps-nested", "getgid"),
    ("setns", "getuid"),
];

/// So can they where an answer was right a moment ago, which is how a cell is wrong that a hook has missed.
fn finds_an_old_answer() -> Result<()> {
    // Of those that judge, so a part is enough where each takes longer.
    let part = if patience::scale() == 1 { 1 } else { 5 };
    for (scenario, function) in CHANGES.iter().step_by(part) {
        let mut command = plain("bracket", &[scenario]);
        command.env("LIE_OLD", "1000").env("LIE_ABOUT", function);
        fixture::finds_a_lie(&mut command, NONE_WRONG)
            .with_context(|| format!("{function}() in {scenario}"))?;
    }
    Ok(())
}

/// What the brackets show is worth something only if the answers come from the cells.
fn answers_are_bypassed() -> Result<()> {
    start()?;
    for call in ["getpid", "gettid"] {
        for mode in [&["100000"][..], &["100000", "fork"], &["100000", "pthread"]] {
            let (seen, _) = count_calls(call, &path(call), mode, Some(&library()))?;
            // A tick in the middle of the registration leaves calls real until the next one, which
            // on emulated CPUs is not rare.
            let allowed = if patience::scale() > 1 { 10_000 } else { 10 };
            ensure!(seen <= allowed, "{call} {mode:?}: the kernel has seen {seen} calls");
            let (without, _) = count_calls(call, &path(call), mode, None)?;
            ensure!(
                without > 100_000,
                "{call} {mode:?}: without the library the kernel has seen {without} calls"
            );
        }
    }
    Ok(())
}

/// Scenarios after which a task might have lost what it is answered from, each with a number for it and a
/// function that tells of what it changes.
const STAY_BYPASSED: &[(&str, &str, &str)] = &[
    ("fork-tree", "5", "getppid"),
    ("vfork", "10", "getuid"),
    ("exec-thread", "3", "getgid"),
    ("children", "3", "getppid"),
    ("parents", "1", "getppid"),
    ("sessions", "10", "getpgrp"),
    ("groups", "3", "getsid"),
    ("moved-by-parent", "2000", "getpgid"),
    ("creds", "1", "getresuid"),
    ("creds", "1", "getegid"),
    ("creds-overlay", "1", "getuid"),
    ("within-pid-namespaces", "1", "getpgrp"),
    ("pid-namespace-relations", "5", "getsid"),
    ("own-id-map", "2", "getgid"),
    ("id-maps-nested", "2", "getuid"),
];

/// Brackets around real calls would all be right, so most answers must not be those in each scenario.
fn answers_stay_bypassed() -> Result<()> {
    start()?;
    let status = status()?;
    let wrappers = status["wrappers"].as_array().context("no wrappers in the status")?;
    let is_on = |name: &str| wrappers.iter().any(|row| row["name"] == name && row["on"] == true);
    // What differs between kernels shows in half of them.
    let part = if patience::scale() == 1 { 1 } else { 2 };
    for (scenario, number, function) in
        STAY_BYPASSED.iter().step_by(part).filter(|(.., function)| is_on(function))
    {
        let (seen, said) =
            count_calls(function, &path("bracket"), &[scenario, number], Some(&library()))?;
        let answers: u64 = said
            .split_once(" answers")
            .and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok())
            .with_context(|| format!("{scenario}: {said}"))?;
        // Two answers of each of the 16 ways to ask are among three real calls: one and a half for each
        // that is bypassed, else two and a half.
        let ways = if ["getpgid", "getsid"].contains(function) { 3 } else { 1 };
        let asked = answers / 16 * ways;
        ensure!(
            seen < 2 * asked,
            "{function} in {scenario}: the kernel has seen {seen} calls, and was to be asked {asked} times: {said}"
        );
    }
    Ok(())
}
