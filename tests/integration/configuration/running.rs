// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What a reload changes under running processes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bysyscall_tests::patience;
use bysyscall_tests::process::text;
use libtest_mimic::Trial;

use super::steps::Steps;
use super::{calls, is_on, is_served, reload, says, start_with, with_config};
use crate::fixture::{finish, is_attached, preloaded, spawn, start, status, stop, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial(
            "configuration::reload_switches_in_running_processes",
            reload_switches_in_running_processes,
        ),
        trial("configuration::reload_under_load", reload_under_load),
        trial("configuration::hooks_come_when_they_are_needed", hooks_come_when_they_are_needed),
        trial("configuration::what_was_not_counted_is_not_told", what_was_not_counted_is_not_told),
        trial("configuration::getrusage_by_tick_needs_a_start", getrusage_by_tick_needs_a_start),
        trial("configuration::nothing_comes_back_after_stop", nothing_comes_back_after_stop),
    ]
}

fn reload_switches_in_running_processes() -> Result<()> {
    start_with("wrappers = ['getpid']")?;
    // The second begins when all is off, and the first step of each is before the first reload.
    let mut first = Steps::preloaded()?;
    reload("wrappers = []")?;
    let mut second = Steps::preloaded()?;
    first.step()?;
    for text in ["wrappers = ['gettid', 'getpid']", "wrappers = ['gettid']", ""] {
        reload(text)?;
        first.step()?;
        second.step()?;
    }
    first.ensure_answered("getpid", 3, 5)?;
    second.ensure_answered("getpid", 2, 4)?;
    Ok(())
}

fn reload_under_load() -> Result<()> {
    start()?;
    let child = spawn(preloaded("bracket", &["load", "6"]))?;
    let begin = Instant::now();
    let configurations = [
        "",
        "wrappers = []",
        "wrappers = ['getpid', 'getppid']",
        "never = ['bracket', '/bin/cat']",
        "only = ['x']",
    ];
    for configuration in configurations.iter().cycle() {
        if begin.elapsed() > Duration::from_secs(5) {
            break;
        }
        reload(configuration)?;
    }
    let said = finish("load", child)?;
    ensure!(said.contains(" 0 mismatches"), "{said}");
    stop()
}

/// Those of wrappers that are off cost nothing, and come while processes run that will believe them.
fn hooks_come_when_they_are_needed() -> Result<()> {
    start_with("wrappers = ['getpid']")?;
    for hook in ["bysys_tick", "bysys_wait", "bysys_exit"] {
        ensure!(!is_attached(hook)?, "{hook} is attached");
    }
    let is_emulated = patience::scale() > 1;
    let run = |(program, scenario)| {
        // The clock of emulated CPUs seems to be slewed time and again beside all the others.
        let seconds = if is_emulated && scenario == "busy" { "24" } else { "8" };
        let mut command = preloaded(program, &[scenario, seconds]);
        command.env("BYSYSCALL_LOG", "info");
        Ok((scenario, spawn(command)?))
    };
    let programs = [("busy", "clocks"), ("churn", "clocks"), ("children", "clocks")];
    let others = [("threads", "clocks"), ("load", "bracket"), ("creds-overlay", "bracket")];
    let running =
        programs.iter().chain(&others).map(|(scenario, program)| run((program, scenario)));
    let running: Vec<_> = running.collect::<Result<_>>()?;
    for text in ["wrappers = ['getpid', 'clock_gettime']", "wrappers = ['times', 'getppid']", ""] {
        std::thread::sleep(Duration::from_secs(1));
        reload(text)?;
        ensure!(is_attached("bysys_tick")?, "bysys_tick is not attached with {text}");
    }
    ensure!(is_attached("bysys_wait")? && is_attached("bysys_exit")?, "hooks are not attached");
    for (scenario, child) in running {
        let output = child.wait_with_output()?;
        let (said, log) = (text(&output.stdout), text(&output.stderr));
        let is_right = said.contains(" 0 wrong") || said.contains(" 0 mismatches");
        ensure!(output.status.success() && is_right, "{scenario}: {}: {said}{log}", output.status);
        let answered = ["clock_gettime: bypassed ", "times: bypassed ", "getpid: bypassed "];
        let is_answered = match scenario {
            "busy" => log.contains(answered[0]),
            // No clock has to do with it.
            "load" => log.contains(answered[2]),
            // What it asks for is not answered where the kernel refuses fexit.
            "creds-overlay" => true,
            _ if is_emulated => true,
            "children" => log.contains(answered[0]),
            _ => answered.iter().any(|line| log.contains(line)),
        };
        ensure!(is_answered, "{scenario}: {log}");
    }
    stop()
}

/// What threads ran while nobody counted it is in no record, and nobody believes one later.
fn what_was_not_counted_is_not_told() -> Result<()> {
    start_with("wrappers = ['getrusage']")?;
    ensure!(!is_attached("bysys_tick")?, "bysys_tick is attached");
    let run = |scenario| Ok((scenario, spawn(preloaded("clocks", &[scenario, "6"]))?));
    let running: Vec<_> =
        ["siblings", "joins", "churn"].into_iter().map(run).collect::<Result<_>>()?;
    std::thread::sleep(Duration::from_secs(2));
    reload("")?;
    ensure!(is_attached("bysys_tick")?, "bysys_tick is not attached");
    for (scenario, child) in running {
        let said = finish(scenario, child)?;
        ensure!(said.contains(" 0 wrong"), "{scenario}: {said}");
    }
    stop()
}

fn getrusage_by_tick_needs_a_start() -> Result<()> {
    let tells = |age: &str| {
        let status = status()?;
        ensure!(status["configuration"]["getrusage"] == age, "{status}");
        // Not every kernel's account can be told.
        let is_told = is_on(&status, "clock")?;
        ensure!(!is_told || status["getrusage"] == age, "{status}");
        Ok(())
    };
    start_with("getrusage = 'exact'")?;
    tells("exact")?;
    says(with_config("reload", "getrusage = 'tick'")?, 1, "restart it")?;
    tells("exact")?;
    start_with("getrusage = 'tick'")?;
    for age in ["tick", "exact", "tick", "tick", "exact"] {
        if is_on(&status()?, "clock")? {
            reload(&format!("getrusage = '{age}'"))?;
            tells(age)?;
        }
    }
    stop()
}

fn nothing_comes_back_after_stop() -> Result<()> {
    start_with("")?;
    let mut steps = Steps::preloaded()?;
    reload("wrappers = ['getpid']")?;
    steps.step()?;
    stop()?;
    steps.step()?;
    says(with_config("reload", "")?, 1, "is not running")?;
    ensure!(crate::fixture::traces()?.is_empty(), "a reload leaves something behind");
    steps.step()?;
    start()?;
    reload("")?;
    steps.step()?;
    steps.ensure_answered("getpid", 2, 5)?;
    ensure!(is_served(calls("getpid"))?, "the next start serves nobody");
    Ok(())
}
