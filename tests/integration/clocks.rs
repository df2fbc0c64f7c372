// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! CPU times between two real calls: the scenarios of `tests/programs/clocks`,
//! with `rdpid` and with `lsl`, by the time stamp counter and by the clock.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use bysyscall_tests::process::{output, succeed, text};
use bysyscall_tests::{accounting, patience, records};
use libtest_mimic::{Completion, Failed, Trial};

use crate::fixture::{
    self, Verdict, adds_up_threads, as_nobody, ensure_right, ensure_success, library, limited,
    loader, plain, preloaded, start, status, stop, trial, verdict,
};

/// No scenario takes as long, by far; a hung one is ended.
const TIME_LIMIT: u64 = 60;
const NONE_WRONG: &str = " 0 wrong";
/// The scenarios that are also run with answers as of the last tick.
const AS_OF_TICK: [&str; 7] =
    ["busy", "threads", "short-threads", "sleepers", "exec", "huge-pages", "files"];

/// One test for each scenario, and more for a few: what they ask does not depend on the user.
pub fn trials() -> Result<Vec<Trial>> {
    let mut trials = vec![
        trial("clocks::finds_a_lie", finds_a_lie),
        trial("clocks::finds_old_answers", finds_old_answers),
        trial("clocks::answers_are_bypassed", answers_are_bypassed),
        trial("clocks::are_switched_off", are_switched_off),
        trial("clocks::tick::early_thread", adds_up_early_threads),
        trial("clocks::switches_are_watched_first", switches_are_watched_first),
        trial("clocks::no_record_left", no_record_left),
    ];
    for name in AS_OF_TICK {
        trials.push(trial(format!("clocks::tick::{name}"), || run_as_of_tick(name)));
    }
    for line in succeed(&mut plain("clocks", &["list"]))?.lines() {
        let (name, needs_root) = match line.strip_suffix(", root") {
            Some(name) => (name, true),
            None => (line, false),
        };
        let mut add = |user: &str, command: Command| {
            let run = move || run(command).map_err(|error| Failed::from(format!("{error:#}")));
            trials.push(Trial::ignorable_test(format!("clocks::{user}::{name}"), run));
        };
        if needs_root || ["busy", "churn", "children"].contains(&name) {
            add("root", command(name));
        }
        if !needs_root {
            add("user", as_nobody(command(name)));
        }
        if ["busy", "migrate"].contains(&name) {
            let mut by_lsl = command(name);
            by_lsl.env("BYSYSCALL_CPU_NUMBER", "lsl");
            add("lsl", by_lsl);
        }
        if ["busy", "migrate", "threads", "children"].contains(&name) {
            let mut by_clock = command(name);
            by_clock.env("BYSYSCALL_TIME", "vdso");
            add("vdso", by_clock);
        }
    }
    Ok(trials)
}

/// How long a scenario takes; less where CPUs are emulated, so that a kernel's tests take 15 minutes.
fn seconds() -> &'static str {
    if patience::scale() == 1 { "2" } else { "1" }
}

/// The scenario with the library preloaded.
fn command(scenario: &str) -> Command {
    let mut command = limited(TIME_LIMIT, "clocks", &[scenario, seconds()]);
    if scenario == "dlopen-late" {
        command.env_remove("LD_PRELOAD").env("CLOCKS_LIBRARY", library());
    }
    command
}

fn run(mut command: Command) -> Result<Completion> {
    start()?;
    adds_up_threads(status)?;
    match verdict(&mut command, NONE_WRONG)? {
        Verdict::Right => Ok(Completion::Completed),
        Verdict::Wrong(said) => bail!("{said}"),
        Verdict::Skipped(reason) => Ok(Completion::ignored_with(reason)),
    }
}

/// The scenario where getrusage() is told as of the last tick.
fn run_as_of_tick(scenario: &str) -> Result<()> {
    stop()?;
    succeed(&mut loader(&["start", "--getrusage", "tick"]))?;
    if scenario.contains("threads") {
        adds_up_threads(status)?;
    }
    let mut command = limited(TIME_LIMIT, "clocks", &[scenario, seconds(), "tick"]);
    let result = ensure_right(&mut command, NONE_WRONG);
    stop()?;
    result
}

/// Processes for which there is no record any more.
fn no_record_left() -> Result<()> {
    stop()?;
    start()?;
    records::occupy_all()?;
    let occupied = records::in_use()?;
    let result = ["threads", "children"].into_iter().try_for_each(|scenario| {
        ensure!(
            matches!(run(command(scenario))?, Completion::Completed),
            "{scenario} skips itself"
        );
        ensure!(records::in_use()? == occupied, "{scenario} has given back a record of another");
        Ok(())
    });
    stop()?;
    result
}

/// Threads are added up also where they are made before the first tick.
fn adds_up_early_threads() -> Result<()> {
    stop()?;
    succeed(&mut loader(&["start", "--getrusage", "tick"]))?;
    let result = add_up_early_threads();
    stop()?;
    result
}

fn add_up_early_threads() -> Result<()> {
    const TIMES: u64 = 100_000;
    // Emulated clocks may seem to be slewed, and then calls are real for longer than this takes.
    let enough = if patience::scale() > 1 { 0 } else { TIMES / 2 };
    enough_answers(enough, "early_thread", &[&TIMES.to_string()], ["getrusage"]).map(drop)
}

/// Clocks of several threads are real calls until the kernel was seen to hide no switch, and for good where it does.
fn switches_are_watched_first() -> Result<()> {
    const MANY: u64 = 1000;
    const STARTS: u32 = 3;
    let ask = |times: u64| {
        counts("early_thread", &[&times.to_string()], ["clock"]).map(|[of_clock]| of_clock)
    };
    // Where a start and a program take longer than the watch, nothing is shown.
    let mut was_watched = false;
    for _ in 0..STARTS {
        stop()?;
        start()?;
        let (bypassed, real) = ask(MANY)?;
        was_watched = status()?["threads_added_up"] != true;
        if was_watched {
            ensure!(bypassed == 0 && real == MANY, "at once: {bypassed} bypassed, {real} real");
            break;
        }
    }
    ensure!(was_watched, "{STARTS} programs began too late after the start");
    if adds_up_threads(status)? {
        enough_answers(MANY, "early_thread", &["100000"], ["clock"])?;
    } else {
        let (bypassed, real) = ask(MANY)?;
        ensure!(bypassed == 0 && real == MANY, "in the end: {bypassed} bypassed, {real} real");
    }
    Ok(())
}

/// The brackets can fail: a library that lies now and then is found out, whatever it lies about.
fn finds_a_lie() -> Result<()> {
    for scenario in ["busy", "sleep", "threads", "children"] {
        fixture::finds_a_lie(&mut plain("clocks", &[scenario, "1"]), NONE_WRONG)?;
    }
    for function in ["clock_gettime", "clock", "times", "getrusage", "syscall"] {
        let mut command = plain("clocks", &["busy", "1"]);
        command.env("LIE_ABOUT", function).env("LIE_EVERY", "17");
        let said = fixture::finds_a_lie(&mut command, NONE_WRONG)?;
        if function == "getrusage" {
            for kind in ["SELF", "THREAD", "CHILDREN"] {
                let total = format!("busy: getrusage(RUSAGE_{kind}): ");
                let is_total = |line: &&str| line.starts_with(&total) && line.contains(" answers");
                let line = said.lines().find(is_total).with_context(|| said.clone())?;
                // Times, and what is counted: each field by its name.
                ensure!(line.matches(" wrong ").count() == 16, "not each field: {line}");
            }
        }
    }
    Ok(())
}

/// So it is with a library that tells what was true many ticks ago, also where a tick passes for little.
fn finds_old_answers() -> Result<()> {
    let old = |arguments: &[&str]| {
        let mut command = plain("clocks", arguments);
        command.env("LIE_OLD", "300");
        command
    };
    // A machine that takes the CPU away makes much of it excusable.
    let seconds = (2 + patience::scale()).to_string();
    for mode in ["exact", "tick"] {
        fixture::finds_a_lie(&mut old(&["busy", &seconds, mode]), NONE_WRONG)?;
    }
    Ok(())
}

/// Calls that were answered and that were real, of each function, as `BYSYSCALL_LOG` tells.
fn counts<const N: usize>(
    program: &str,
    arguments: &[&str],
    functions: [&str; N],
) -> Result<[(u64, u64); N]> {
    let output = output(preloaded(program, arguments).env("BYSYSCALL_LOG", "debug"))?;
    ensure_success(program, &output)?;
    let said = text(&output.stderr);
    let count = |function: &str, before: &str, after: &str| -> Result<u64> {
        let count = said.lines().find_map(|line| {
            line.strip_prefix(&format!("{function}: {before}"))?.strip_suffix(after)
        });
        count.map_or(Ok(0), |count| count.parse().with_context(|| said.clone()))
    };
    let mut counts = [(0, 0); N];
    for (counts, function) in counts.iter_mut().zip(functions) {
        *counts = (count(function, "bypassed ", " times")?, count(function, "", " real calls")?);
    }
    Ok(counts)
}

/// What the brackets show is worth something only if the answers come from the cells.
fn answers_are_bypassed() -> Result<()> {
    const MANY: u64 = 1000;
    start()?;
    let functions = ["clock_gettime", "clock", "times"];
    for scenario in ["busy", "system", "children"] {
        let counts = enough_answers(MANY, "clocks", &[scenario, "2"], functions)?;
        for (function, (bypassed, real)) in functions.iter().zip(counts) {
            // Each new clock tick of times() is told by a real call, and a call that waits for
            // children is followed by some.
            let allowed = match scenario {
                _ if patience::scale() > 1 => u64::MAX,
                "children" => bypassed,
                _ => bypassed / 20,
            };
            ensure!(real <= allowed, "{scenario}: {function}: {bypassed} bypassed, {real} real");
        }
    }
    enough_answers(MANY, "clocks", &["threads", "2"], ["clock_gettime"]).map(drop)
}

/// [`counts`] of a run with more answers of each than these. On emulated CPUs hooks look at the clocks so late that these may
/// seem to be slewed, and then calls are real for about as long as a program takes: there it may be run again.
fn enough_answers<const N: usize>(
    enough: u64,
    program: &str,
    arguments: &[&str],
    functions: [&str; N],
) -> Result<[(u64, u64); N]> {
    let mut seen = Vec::new();
    for _ in 0..patience::scale() {
        let counts = counts(program, arguments, functions)?;
        if counts.iter().all(|(bypassed, _)| *bypassed > enough) {
            return Ok(counts);
        }
        seen.push(counts);
    }
    bail!(
        "{program} {arguments:?}: {functions:?}: bypassed and real calls of each attempt: {seen:?}"
    )
}

/// What is switched off makes real calls, and needs no hook.
fn are_switched_off() -> Result<()> {
    // The others want all of it back, whatever comes of this.
    let result = switched_off();
    stop()?;
    result
}

fn switched_off() -> Result<()> {
    stop()?;
    let names = accounting::names();
    let (last, others) = names.split_last().context("no wrapper tells CPU times")?;
    let last = format!("--off={last}");
    succeed(&mut loader(&["start", "--off", &others.join(","), &last]))?;
    // Asked once: it tells what the kernel refuses, too, and takes its time.
    let status = status()?;
    let is_attached = |hook: &str| {
        let row = status["hooks"].as_array()?.iter().find(|row| row["name"] == hook)?;
        row["attached"].as_bool()
    };
    for hook in ["tick", "wait", "itimer", "cpu_timer", "cpu_limit", "free"] {
        ensure!(is_attached(&format!("bysys_{hook}")) == Some(false), "{hook}: {status}");
    }
    ensure!(is_attached("bysys_switch") == Some(true), "{status}");
    // Of which it would otherwise tell for some seconds that their answers are yet to come.
    ensure!(status["threads_added_up"].is_null(), "{status}");
    let of_threads = "processes with several threads";
    let said = succeed(&mut loader(&["status"]))?;
    ensure!(!said.contains(of_threads), "{said}");
    let wrappers = status["wrappers"].clone();
    let off = |name: &str| {
        let row = wrappers.as_array()?.iter().find(|row| row["name"] == name)?;
        row["reason"].as_str().map(str::to_owned)
    };
    for name in names {
        ensure!(
            off(name).is_some_and(|reason| reason.contains("--off")),
            "{name}: {:?}",
            off(name)
        );
        let [(bypassed, real)] = counts("clocks", &["busy", "1"], [name])?;
        ensure!(bypassed == 0 && real > 0, "{name}: {bypassed} bypassed, {real} real");
    }
    ensure!(off("getpid").is_none(), "getpid: {:?}", off("getpid"));
    let again = output(&mut loader(&["start"]))?;
    ensure!(!again.status.success(), "starts with others off: {}", text(&again.stderr));
    let unknown = output(&mut loader(&["start", "--off", "gettimes"]))?;
    ensure!(
        unknown.status.code() == Some(2) && text(&unknown.stderr).contains("clock_gettime"),
        "an unknown wrapper: {}: {}",
        unknown.status,
        text(&unknown.stderr)
    );
    Ok(())
}
