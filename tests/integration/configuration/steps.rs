// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! A process that lives through changes of the service.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use bysyscall_tests::log;
use bysyscall_tests::process::text;

use crate::fixture::preloaded;

/// A process that calls when it is told to.
pub struct Steps(Child, BufReader<std::process::ChildStdout>);

/// How often it calls at each step.
pub const CALLS: u64 = 1000;

impl Steps {
    /// Runs it and has it call once.
    pub fn new(mut command: Command) -> Result<Self> {
        command.env("BYSYSCALL_LOG", "debug");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run steps")?;
        let answers = BufReader::new(child.stdout.take().context("no output")?);
        let mut steps = Self(child, answers);
        // From here on it is registered, or will not be.
        steps.step()?;
        Ok(steps)
    }

    /// One that is served, if it may be.
    pub fn preloaded() -> Result<Self> {
        Self::new(preloaded("steps", &[&CALLS.to_string()]))
    }

    /// Has it call.
    pub fn step(&mut self) -> Result<()> {
        writeln!(self.0.stdin.as_mut().context("no input")?, "on")?;
        let mut answer = String::new();
        self.1.read_line(&mut answer)?;
        ensure!(answer == "done\n", "steps says {answer:?}");
        Ok(())
    }

    /// How often it has called and was answered, and how often it has made the real call.
    pub fn counts(mut self, wrapper: &str) -> Result<(u64, u64)> {
        drop(self.0.stdin.take());
        let output = self.0.wait_with_output()?;
        let said = text(&output.stderr);
        ensure!(output.status.success(), "steps: {}: {said}", output.status);
        Ok((log::bypassed(&said, wrapper).sum(), log::real_calls(&said, wrapper).sum()))
    }

    /// So many steps were answered. A tick that comes while a cell is written costs real calls.
    pub fn ensure_answered(self, wrapper: &str, steps: u64, of: u64) -> Result<()> {
        let (bypassed, real) = self.counts(wrapper)?;
        ensure!(bypassed + real == of * CALLS, "{wrapper}: {bypassed} + {real}, not {of} steps");
        let (most, least) = (steps * CALLS, steps * CALLS * 9 / 10);
        ensure!((least..=most).contains(&bypassed), "{wrapper}: {bypassed} of {most} bypassed");
        Ok(())
    }
}
