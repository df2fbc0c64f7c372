// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! `bysyscall`: starts, stops and shows the service, and runs commands with it.

mod bpf;
mod cli;
mod clocks;
mod completions;
mod config;
mod enable;
mod kernel;
mod layout;
mod logging;
mod mounts;
mod paths;
mod programs;
mod run;
mod service;
mod settings;
mod status;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use bysyscall_abi as abi;
use clap::Parser;

use cli::{Cli, Command};
use config::Source;
use service::{Interrupted, Interrupts, Lock, State};
use settings::Options;

/// `systemctl status` exits with this when a unit does not run.
const NOT_RUNNING: u8 = 3;
/// A shell exits with this when a command was interrupted.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let cli = Cli::parse_from(enable::command_line(std::env::args_os()));
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
        Command::Start { config, off, getrusage } => {
            let switched_off = off.iter().fold(0, |bits, wrapper| bits | 1 << wrapper.bit);
            start(Options { switched_off, getrusage }, &config.into())
        }
        Command::Reload { config } => reload(&config.into()),
        Command::CheckConfig { file } => check_config(&file.into()),
        Command::Stop => stop(),
        Command::Status { json } => status(json),
        Command::Completions { shell, command } => {
            completions::print(shell, command.as_deref().unwrap_or("bysyscall"))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Run { log, command } => match run::run(&command, log.map(cli::LogLevel::name)) {
            Ok(never) => match never {},
            Err(error) => {
                log::error!("{error:#}");
                Ok(ExitCode::from(run::exit_code(&error)))
            }
        },
        Command::Enable(asked) => done(enable::enable(&asked).context("cannot enable")),
        Command::Disable(asked) => done(enable::disable(&asked).context("cannot disable")),
        Command::Probe { what, library } => done(enable::run_probed(what, &library)),
    }
}

fn done(result: Result<()>) -> Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}

fn start(options: Options, source: &Source) -> Result<ExitCode> {
    kernel::check_privileges().context("cannot start")?;
    let config = source.load().context("cannot start")?;
    logging::set_level(config.log_level);
    let interrupts = Interrupts::catch()?;
    let _lock = Lock::take(&interrupts)?;
    if let State::Running(service) = service::state() {
        let version = service::version_of(&service);
        ensure!(
            Options::of(&service) == options,
            "cannot start: version {version} is running with other options; stop it first"
        );
        log::info!("version {version} is running already");
        if !service::follows(&service, &config)? {
            log::warn!(
                "it does not follow {} as that is now; run `bysyscall reload`",
                source.path().display()
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    let service = service::start(&interrupts, options, &config).context("cannot start")?;
    log::info!("started, {}", how_many(&service));
    Ok(ExitCode::SUCCESS)
}

/// How many wrappers are on.
fn how_many(service: &abi::Service) -> String {
    let on = settings::published(service) & !abi::USAGE_BY_TICK;
    let on = on.count_ones() as usize;
    match abi::WRAPPERS.len() - on {
        0 => format!("all {on} wrappers are on"),
        off => {
            let on = if on == 1 { "1 wrapper is".to_owned() } else { format!("{on} wrappers are") };
            format!("{on} on, {off} are off; `bysyscall status` tells why")
        }
    }
}

fn reload(source: &Source) -> Result<ExitCode> {
    kernel::check_privileges().context("cannot reload")?;
    let config = source.load().context("cannot reload, nothing is changed")?;
    logging::set_level(config.log_level);
    let interrupts = Interrupts::catch()?;
    let _lock = Lock::take(&interrupts)?;
    let State::Running(service) = service::state() else {
        bail!("cannot reload: the service is not running");
    };
    let service = service::reload(&service, &config).context("cannot reload")?;
    log::info!("reloaded, {}", how_many(&service));
    Ok(ExitCode::SUCCESS)
}

/// What is wrong is told as a compiler would, for editors.
fn check_config(source: &Source) -> Result<ExitCode> {
    match source.load() {
        Ok(_) => print(&format!("{}: nothing is wrong", source.path().display()))?,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(std::io::stderr(), "{error:#}");
            return Ok(ExitCode::FAILURE);
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
    if let State::Running(service) = &state {
        logging::set_level(settings::log_level(service));
    }
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
    print(&text)?;
    Ok(if status.running { ExitCode::SUCCESS } else { ExitCode::from(NOT_RUNNING) })
}

fn print(text: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        // Whoever read it has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot print to standard output"),
    }
}
