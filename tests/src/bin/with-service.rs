// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Runs a command in a namespace of its own where the service is started.

use std::env::args_os;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use bysyscall_tests::{namespace, process};

fn main() -> Result<ExitCode> {
    namespace::enter()?;
    process::loader(&["start"])?;
    let mut arguments = args_os().skip(1);
    let program = arguments.next().context("usage: with-service COMMAND [ARGUMENT...]")?;
    process::end_command_with_us()?;
    let status = process::run(Command::new(&program).args(arguments));
    process::loader(&["stop"])?;
    let status = status?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
