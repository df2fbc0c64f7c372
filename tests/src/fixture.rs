// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What is under test, where every user can reach it, and its service.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use bysyscall_abi::{HOLD_DIR, LINKS_DIR, PIN_DIR, PUBLIC_DIR};
use libtest_mimic::{Failed, Trial};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::process::{output, text};
use crate::{built, patience, process};

/// On the tmpfs of the namespace, so that it is gone with it. The checkout may
/// lie where only root can look.
const DIR: &str = "/run/under-test";
/// The user `nobody`.
pub const NOBODY: u32 = 65534;

/// Copies what has been built to where every user can reach it.
pub fn install() -> Result<()> {
    if Path::new(DIR).exists() {
        // Another test program has, in this guest of the kernel lab.
        return Ok(());
    }
    fs::create_dir(DIR)?;
    let mut files = vec![built::library()?, built::loader()?];
    for entry in fs::read_dir(built::target("programs")?)? {
        files.push(entry?.path());
    }
    for file in files {
        let name = file.file_name().context("a file has a name")?;
        fs::copy(&file, Path::new(DIR).join(name))
            .with_context(|| format!("cannot copy {}", file.display()))?;
    }
    Ok(())
}

/// Something under test, by its file name.
pub fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// The preloaded library.
pub fn library() -> PathBuf {
    path("libbysyscall.so")
}

/// A test of which errors are failures.
pub fn trial(name: impl Into<String>, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || test().map_err(|error| Failed::from(format!("{error:#}"))))
}

/// The loader with these arguments.
pub fn loader(arguments: &[&str]) -> Command {
    let mut command = Command::new(path("bysyscall"));
    command.args(arguments);
    command
}

/// A program under test without the library.
pub fn plain(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(path(name));
    // For the programs that are linked with the library.
    command.args(arguments).env("LD_LIBRARY_PATH", DIR);
    command
}

/// A program under test with the library preloaded.
pub fn preloaded(name: &str, arguments: &[&str]) -> Command {
    let mut command = plain(name, arguments);
    command.env("LD_PRELOAD", library());
    command
}

/// Has each task of a bracket sleep twenty times as long as it asks: when all tasks always want to run, most of
/// the time goes to waiting until each has run, which the kernel does before it takes hooks away.
pub fn resting(mut command: Command) -> Command {
    command.env("BRACKET_IDLE", "20");
    command
}

/// Has the command run by an unprivileged user.
pub fn as_nobody(mut command: Command) -> Command {
    command.uid(NOBODY).gid(NOBODY).current_dir("/");
    command
}

/// Starts the service, if it does not run.
pub fn start() -> Result<()> {
    process::succeed(&mut loader(&["start"])).map(drop)
}

/// Waits until the service knows whether it may add up the run time of threads, and says whether it may;
/// `status`: as of [`status`].
pub fn adds_up_threads(status: impl Fn() -> Result<Value>) -> Result<bool> {
    let mut known = None;
    wait_until("threads_added_up is known", || {
        known = status()?["threads_added_up"].as_bool();
        Ok(known.is_some())
    })?;
    Ok(known == Some(true))
}

/// Stops the service, if it runs.
pub fn stop() -> Result<()> {
    process::succeed(&mut loader(&["stop"])).map(drop)
}

/// What `status --json` says; the exit code must agree with it.
pub fn status() -> Result<Value> {
    let output = output(&mut loader(&["status", "--json"]))?;
    let status: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("status: {}{}", text(&output.stdout), text(&output.stderr)))?;
    let expected = if status["running"] == true { 0 } else { 3 };
    ensure!(
        output.status.code() == Some(expected),
        "status exits with {}, says {status}",
        output.status
    );
    Ok(status)
}

/// How many processes a service knows, by its status.
pub fn registered(status: &Value) -> Result<u64> {
    status["registered"]["processes"].as_u64().context("status names no registered processes")
}

/// Whether a hook is attached.
pub fn is_attached(hook: &str) -> Result<bool> {
    let status = status()?;
    let hooks = status["hooks"].as_array().context("no hooks in the status")?;
    let hook = hooks
        .iter()
        .find(|entry| entry["name"] == hook)
        .with_context(|| format!("no hook {hook}"))?;
    Ok(hook["attached"] == true)
}

/// What of the service can be seen: its mounts and directories.
pub fn traces() -> Result<Vec<String>> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut traces: Vec<String> =
        mounts.lines().filter(|line| line.contains("bysyscall")).map(str::to_owned).collect();
    for path in [PUBLIC_DIR, HOLD_DIR, LINKS_DIR, PIN_DIR, "/run/bysyscall.lock"] {
        if Path::new(path).exists() {
            traces.push(path.to_owned());
        }
    }
    Ok(traces)
}

/// Fails if anything of the service can be seen.
pub fn ensure_no_traces() -> Result<()> {
    let traces = traces()?;
    ensure!(traces.is_empty(), "left behind: {traces:?}");
    Ok(())
}

/// Fails unless the command exits with 0.
pub fn ensure_success(what: &str, output: &Output) -> Result<()> {
    if !output.status.success() {
        bail!("{what}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr));
    }
    Ok(())
}

/// What a program that judges answers has found.
pub enum Verdict {
    /// All are right.
    Right,
    /// Some are not; what it said.
    Wrong(String),
    /// It could not look, for this reason.
    Skipped(String),
}

/// Runs a program that judges answers. Its exit code must agree with whether it says `none_wrong`.
pub fn verdict(command: &mut Command, none_wrong: &str) -> Result<Verdict> {
    let output = output(command)?;
    let said = text(&output.stdout);
    match output.status.code() {
        Some(0) if said.contains(none_wrong) => Ok(Verdict::Right),
        Some(1) if !said.contains(none_wrong) => Ok(Verdict::Wrong(said + &text(&output.stderr))),
        Some(77) => {
            let reason = said.split_once(": skipped: ").context("no reason")?.1;
            Ok(Verdict::Skipped(reason.trim_end().to_owned()))
        }
        _ => bail!("{command:?}: {}\n{said}{}", output.status, text(&output.stderr)),
    }
}

/// None is wrong, and all were looked at.
pub fn ensure_right(command: &mut Command, none_wrong: &str) -> Result<()> {
    match verdict(command, none_wrong)? {
        Verdict::Right => Ok(()),
        Verdict::Wrong(said) => bail!("{said}"),
        Verdict::Skipped(reason) => bail!("skipped itself: {reason}"),
    }
}

/// A library that lies is found out. What the program said of it.
pub fn finds_a_lie(command: &mut Command, none_wrong: &str) -> Result<String> {
    match verdict(command.env("LD_PRELOAD", path("lying.so")), none_wrong)? {
        Verdict::Wrong(said) => Ok(said),
        Verdict::Right => bail!("{command:?}: finds nothing wrong"),
        Verdict::Skipped(reason) => bail!("{command:?}: skipped: {reason}"),
    }
}

/// A program under test with the library preloaded, ended if it hangs: after so many seconds, which no run takes.
pub fn limited(seconds: u64, name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    let limit = patience::seconds(seconds).as_secs().to_string();
    command.args(["--signal=KILL", &limit]).arg(path(name)).args(arguments);
    command.env("LD_PRELOAD", library());
    command
}

/// Starts a command whose output is kept for [`finish`].
pub fn spawn(mut command: Command) -> Result<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().with_context(|| format!("cannot run {command:?}"))
}

/// Waits for the end of a child, which must be a success.
pub fn finish(what: &str, child: Child) -> Result<String> {
    let output = child.wait_with_output()?;
    ensure_success(what, &output)?;
    Ok(text(&output.stdout))
}

/// Waits until a condition holds, but not for ever.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + patience::seconds(10);
    while !condition()? {
        ensure!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Ok(())
}

/// Sends a signal to a child of ours.
pub fn send(child: &Child, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(child.id())?).context("a pid is not 0")?;
    kill_process(pid, signal).context("cannot send a signal")
}

/// What a command prints; it must exit with `code` and say `words`.
pub fn says(command: &mut Command, code: i32, words: &str) -> Result<String> {
    let output = output(command)?;
    let said = text(&output.stdout) + &text(&output.stderr);
    ensure!(
        output.status.code() == Some(code),
        "{command:?}: {}, not {code}: {said}",
        output.status
    );
    ensure!(said.contains(words), "{command:?} does not say `{words}`: {said}");
    Ok(said)
}
