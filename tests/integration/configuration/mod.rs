// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The configuration: what is told of mistakes, and what a service makes of it at its start and while it runs.

mod files;
mod running;
mod steps;
mod users;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bysyscall_tests::process::{output, text};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::fixture::{self, is_attached, loader, path, preloaded, status, stop, trial};

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("configuration::start_reads_it", start_reads_it),
        trial("configuration::options_win", options_win),
        trial("configuration::start_tells_of_another", start_tells_of_another),
    ];
    trials.extend(files::trials());
    trials.extend(running::trials());
    trials.extend(users::trials());
    trials
}

fn write(name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf> {
    let file = path(name);
    fs::write(&file, text)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    Ok(file)
}

fn with_config(command: &str, text: &str) -> Result<Command> {
    let mut loader = loader(&[command, "--config"]);
    loader.arg(write("configuration", text)?);
    Ok(loader)
}

fn says(mut command: Command, code: i32, words: &str) -> Result<()> {
    fixture::says(&mut command, code, words).map(drop)
}

fn start_with(text: &str) -> Result<()> {
    stop()?;
    says(with_config("start", text)?, 0, "started")
}

fn reload(text: &str) -> Result<()> {
    says(with_config("reload", text)?, 0, "reloaded")
}

fn is_on(status: &Value, wrapper: &str) -> Result<bool> {
    let wrappers = status["wrappers"].as_array().context("no wrappers")?;
    let found =
        wrappers.iter().find(|entry| entry["name"] == wrapper).context("no such wrapper")?;
    Ok(found["on"] == true)
}

/// Whether a program's calls are answered, by what the library says of them.
fn is_served(mut command: Command) -> Result<bool> {
    let output = output(command.env("BYSYSCALL_LOG", "debug"))?;
    let said = text(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {said}", output.status);
    let served = said.contains(": bypassed 100 times");
    ensure!(served || said.contains(": 100 real calls"), "{command:?}: {said}");
    Ok(served)
}

fn calls(program: &str) -> Command {
    preloaded(program, &["100"])
}

fn start_reads_it() -> Result<()> {
    start_with(
        "wrappers = ['getpid']\nnever = ['cat', '/bin/ls']\nonly = ['getpid']\nlog_level = 'debug'",
    )?;
    let status = status()?;
    let configuration = &status["configuration"];
    ensure!(configuration["never"] == 2 && configuration["only"] == 1, "{configuration}");
    ensure!(
        configuration["log_level"] == "debug" && configuration["group"].is_null(),
        "{configuration}"
    );
    ensure!(
        configuration["off"].as_array().is_some_and(|off| off.contains(&json!("gettid"))),
        "{configuration}"
    );
    ensure!(is_on(&status, "getpid")? && !is_on(&status, "gettid")?, "{status}");
    says(loader(&["status"]), 0, "off: off by the configuration")?;
    says(loader(&["status"]), 0, "2 programs never, 1 program only, log level debug")?;
    ensure!(is_attached("bysys_switch")? && !is_attached("bysys_wait")?, "{status}");
    start_with("wrappers = []\nlog_level = 'info'")?;
    ensure!(!is_served(calls("getpid"))?, "getpid is served");
    // It is quiet where it is told to be.
    stop()?;
    let quiet = output(&mut with_config("start", "log_level = 'warn'")?)?;
    ensure!(quiet.status.success() && quiet.stderr.is_empty(), "{}", text(&quiet.stderr));
    let quiet = output(&mut loader(&["stop"]))?;
    ensure!(quiet.status.success() && quiet.stderr.is_empty(), "{}", text(&quiet.stderr));
    Ok(())
}

fn options_win() -> Result<()> {
    stop()?;
    let mut command =
        with_config("start", "getrusage = 'tick'\nwrappers = ['getpid', 'gettid', 'getrusage']")?;
    command.args(["--off", "gettid", "--getrusage", "exact"]);
    says(command, 0, "started")?;
    let check = || {
        let status = status()?;
        ensure!(is_on(&status, "getpid")? && !is_on(&status, "gettid")?, "{status}");
        ensure!(status["configuration"]["getrusage"] == "exact", "{status}");
        Ok(())
    };
    check()?;
    reload("getrusage = 'tick'")?;
    check()?;
    says(loader(&["start"]), 1, "is running with other options")?;
    stop()?;
    let mut command = with_config("start", "wrappers = []")?;
    command.args(["--getrusage", "tick", "--off", "getpid"]);
    says(command, 0, "started")?;
    reload("getrusage = 'exact'")?;
    ensure!(status()?["configuration"]["getrusage"] == "tick", "{}", status()?);
    stop()
}

fn start_tells_of_another() -> Result<()> {
    const RUNNING: &str = "never = ['getpid']";
    let differs = |text: &str| -> Result<bool> {
        let said = fixture::says(&mut with_config("start", text)?, 0, "is running already")?;
        Ok(said.contains("run `bysyscall reload`"))
    };
    start_with(RUNNING)?;
    ensure!(!differs(RUNNING)?, "tells of the configuration that is in effect");
    for other in ["", "never = ['gettid']", "only = ['getpid']", "log_level = 'debug'"] {
        ensure!(differs(other)?, "does not tell of: {other}");
    }
    reload("")?;
    ensure!(differs(RUNNING)? && !differs("")?, "tells of the configuration before the reload");
    Ok(())
}
