// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! `bysyscall`: starts, stops and shows the service, and runs commands with it.

mod bpf;
mod cli;
mod kernel;
mod layout;
mod logging;
mod mounts;
mod paths;
mod run;
mod service;
mod status;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use cli::{Cli, Command};
use service::{Interrupted, Interrupts, Lock, State};

/// `systemctl status` exits with this when a unit does not run.
const NOT_RUNNING: u8 = 3;
/// A shell exits with this when a command was interrupted.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::init(cli.syslog);
    bpf::quiet_libbpf();
    match execute(cli.command) {
        Ok(code) => code,
        Err(error) if error.is::<Interrupted>() => {
            log::error!("{error:#}");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            log::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<ExitCode> {
    match command {
        Command::Start => start(),
        Command::Stop => stop(),
        Command::Status { json } => status(json),
        Command::Run { log, command } => match run::run(&command, log.map(cli::LogLevel::name))? {},
    }
}

fn start() -> Result<ExitCode> {
    kernel::check_privileges().context("cannot start")?;
    let interrupts = Interrupts::catch()?;
    let _lock = Lock::take(&interrupts)?;
    if let State::Running(service) = service::state() {
        log::info!("version {} is running already", service::version_of(&service));
        return Ok(ExitCode::SUCCESS);
    }
    let service = service::start(&interrupts).context("cannot start")?;
    let on = service.wrappers.count_ones() as usize;
    match bysyscall_abi::WRAPPERS.len() - on {
        0 => log::info!("started, all {on} wrappers are on"),
        off => {
            log::info!("started, {on} wrappers are on, {off} are off; `bysyscall status` tells why")
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn stop() -> Result<ExitCode> {
    kernel::check_privileges().context("cannot stop")?;
    // A stop that has begun is finished: half of one would help nobody.
    let interrupts = Interrupts::catch()?;
    let _lock = Lock::take(&interrupts)?;
    let state = service::state();
    service::tear_down().context("cannot stop")?;
    log::info!(
        "{}",
        match state {
            State::Running(_) => "stopped",
            State::Remains => "removed what was left of another start",
            State::Absent => "is not running",
        }
    );
    Ok(ExitCode::SUCCESS)
}

fn status(json: bool) -> Result<ExitCode> {
    kernel::check_privileges().context("cannot tell the status")?;
    let interrupts = Interrupts::catch()?;
    let _lock = Lock::take(&interrupts)?;
    let status = status::collect()?;
    let text = if json { serde_json::to_string_pretty(&status)? } else { status.to_string() };
    match writeln!(std::io::stdout(), "{text}") {
        // Whoever read it has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        result => result.context("cannot print the status")?,
    }
    Ok(if status.running { ExitCode::SUCCESS } else { ExitCode::from(NOT_RUNNING) })
}
