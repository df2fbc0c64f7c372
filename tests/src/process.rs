// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Running programs and measuring them.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::built;

/// Runs the loader and returns what it printed; fails if it does.
///
/// # Errors
///
/// If it cannot be run or does not exit with 0; with all that it printed.
pub fn loader(arguments: &[&str]) -> Result<String> {
    succeed(Command::new(built::loader()?).args(arguments))
}

/// Runs a command and returns its standard output; fails if it does.
///
/// # Errors
///
/// If it cannot be run or does not exit with 0; with all that it printed.
pub fn succeed(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr));
    }
    Ok(text(&output.stdout))
}

/// Runs a command without input.
///
/// # Errors
///
/// If it cannot be run.
pub fn output(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(spawn(command)?.wait_with_output()?)
}

/// Runs a command to its end, with our input and output.
///
/// # Errors
///
/// If it cannot be run.
pub fn run(command: &mut Command) -> Result<ExitStatus> {
    Ok(spawn(command)?.wait()?)
}

/// The process group of the command that runs, or 0.
static RUNNING: AtomicI32 = AtomicI32::new(0);

/// A command in a process group of its own, so that it can be ended with all that it started.
fn spawn(command: &mut Command) -> Result<Child> {
    let child =
        command.process_group(0).spawn().with_context(|| format!("cannot run {command:?}"))?;
    RUNNING.store(i32::try_from(child.id())?, Ordering::Relaxed);
    Ok(child)
}

/// From now on ^C and its like end the command that runs, and then us: a
/// namespace, and the service in it, lasts as long as a process in it.
///
/// # Errors
///
/// If the signals cannot be caught.
pub fn end_command_with_us() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            if let Some(group) = Pid::from_raw(RUNNING.load(Ordering::Relaxed)) {
                // It may have ended already.
                let _ = kill_process_group(group, Signal::TERM);
            }
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A command with the library preloaded.
///
/// # Errors
///
/// If the library has not been built.
pub fn preloaded(program: impl AsRef<OsStr>) -> Result<Command> {
    let mut command = Command::new(program);
    command.env("LD_PRELOAD", built::library()?);
    Ok(command)
}

/// How long a program took.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// By the clock.
    pub real: Duration,
    /// On a CPU in user mode.
    pub user: Duration,
    /// On a CPU in the kernel.
    pub system: Duration,
}

/// Runs a command to its end and tells how long it took.
///
/// # Errors
///
/// If it cannot be run or fails.
pub fn time(command: &mut Command) -> Result<Times> {
    let begin = Instant::now();
    let (status, usage) = wait(spawn(command.stdin(Stdio::null()).stdout(Stdio::null()))?)?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    let duration =
        |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    Ok(Times {
        real: begin.elapsed(),
        user: duration(usage.ru_utime),
        system: duration(usage.ru_stime),
    })
}

fn wait(child: Child) -> Result<(ExitStatus, libc::rusage)> {
    let mut status = 0;
    // SAFETY: all zero is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: waits for a child of ours that nobody else has waited for, and writes to our variables.
    if unsafe { libc::wait4(child.id() as libc::pid_t, &raw mut status, 0, &raw mut usage) } < 0 {
        return Err(io::Error::last_os_error()).context("cannot wait for a child");
    }
    Ok((ExitStatus::from_raw(status), usage))
}

/// Keeps this thread, and what it starts, on the CPU that it runs on: moving
/// would cost more than what is measured.
///
/// # Errors
///
/// If the kernel refuses.
pub fn stay_on_one_cpu() -> Result<()> {
    let mut here = CpuSet::new();
    here.set(sched_getcpu());
    sched_setaffinity(None, &here).context("cannot stay on one CPU")
}

/// How often the kernel has seen a system call of a program, by `perf stat`, and what the program printed.
///
/// # Errors
///
/// If perf or the program fails.
pub fn count_calls(
    call: &str,
    program: &Path,
    arguments: &[&str],
    preload: Option<&Path>,
) -> Result<(u64, String)> {
    let mut command = Command::new("perf");
    command.args(["stat", "-x,", "-e", &format!("syscalls:sys_enter_{call}"), "--", "env"]);
    if let Some(library) = preload {
        command.arg(format!("LD_PRELOAD={}", library.display()));
    }
    let output = output(command.arg(program).args(arguments))?;
    let report = text(&output.stderr);
    let count = report
        .lines()
        .find(|line| line.contains("sys_enter"))
        .and_then(|line| line.split(',').next()?.parse().ok());
    match count {
        Some(count) if output.status.success() => Ok((count, text(&output.stdout))),
        _ => bail!("{command:?}: {}\n{report}", output.status),
    }
}
