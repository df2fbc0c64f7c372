// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Commands that end with us, and what is removed then.

use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bysyscall_tests::process::text;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The process groups of what runs.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A child, in a process group of its own, that ends with us.
pub struct Running {
    /// The child.
    pub child: Child,
    group: Pid,
}

impl Running {
    /// Starts a command.
    pub fn start(command: &mut Command) -> Result<Self> {
        end_with_parent(command.process_group(0));
        let mut running = RUNNING.lock().map_err(|_| anyhow::anyhow!("a thread has panicked"))?;
        let child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let group = Pid::from_child(&child);
        running.push(group);
        Ok(Self { child, group })
    }

    /// Ends it and all in its group.
    pub fn kill(&mut self) {
        // It may have ended already.
        let _ = kill_process_group(self.group, Signal::KILL);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.kill();
            let _ = self.child.wait();
        }
        if let Ok(mut running) = RUNNING.lock() {
            running.retain(|group| *group != self.group);
        }
    }
}

/// Has the kernel end a command when we are killed.
pub fn end_with_parent(command: &mut Command) {
    let end =
        || rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into);
    // SAFETY: one system call, between fork and exec.
    unsafe { command.pre_exec(end) };
}

/// Runs a command to its end and returns what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    output_with_input(command, "")
}

/// Runs a command with this on its standard input.
pub fn output_with_input(command: &mut Command, input: &str) -> Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::start(command)?;
    let mut stdin = running.child.stdin.take().context("no standard input")?;
    // Whoever does not read its input is content without it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let stdout = running.child.stdout.take().context("no standard output")?;
    let stderr = running.child.stderr.take().context("no standard error")?;
    let said = std::thread::spawn(move || std::io::read_to_string(stderr));
    let printed = std::io::read_to_string(stdout)?;
    let said = said.join().map_err(|_| anyhow::anyhow!("a thread has panicked"))??;
    let status = running.child.wait()?;
    if !status.success() {
        bail!("{command:?}: {status}\n{printed}{said}");
    }
    Ok(printed)
}

/// Whether a command can be run and succeeds.
pub fn succeeds(command: &mut Command, input: &str) -> bool {
    output_with_input(command, input).is_ok()
}

/// SHA-256 of a text.
pub fn digest(content: &str) -> Result<String> {
    let printed = output_with_input(&mut Command::new("sha256sum"), content)?;
    Ok(text(&printed.as_bytes()[..16]))
}

/// Removes a directory, but nothing that is mounted in it.
pub fn remove(dir: &Path) -> Result<()> {
    let mut remove = Command::new("rm");
    let status = remove.args(["-rf", "--one-file-system"]).arg(dir).status()?;
    if !status.success() {
        bail!("cannot remove {}", dir.display());
    }
    Ok(())
}

/// A directory that goes when this is dropped, or when we are interrupted.
pub struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            eprintln!("vm-test: {error:#}");
        }
    }
}

/// Makes `dir`. ^C and its like end what runs, remove `dir` and end us.
pub fn clean_up_when_interrupted(dir: &Path) -> Result<Scratch> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let scratch = Scratch(dir.to_owned());
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let dir = dir.to_owned();
    std::thread::spawn(move || {
        let Some(signal) = signals.forever().next() else { return };
        // It is never released, so that nothing more is started.
        let running = RUNNING.lock();
        let groups = running.as_deref().map_or(&[][..], Vec::as_slice);
        for group in groups {
            // It may have ended already.
            let _ = kill_process_group(*group, Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while groups.iter().any(|group| test_kill_process_group(*group).is_ok())
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(Scratch(dir));
        std::process::exit(128 + signal);
    });
    Ok(scratch)
}
