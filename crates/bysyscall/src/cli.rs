// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The command line.

use std::ffi::OsString;

use clap::{Parser, Subcommand, ValueEnum};

/// Lets programs skip system calls whose answer the kernel can publish.
///
/// `start` loads BPF programs that keep the answers in a page that every
/// process can read, and exits; nothing stays running. A process that is run
/// with the library preloaded reads them there.
#[derive(Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 failed; 2 bad usage; 3 status: not running."
)]
pub struct Cli {
    /// Log to syslog as well, also from a terminal
    #[arg(long, global = true)]
    pub syslog: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Load, attach and pin the BPF programs
    Start,
    /// Switch every process back to real system calls, detach and unpin
    Stop,
    /// Tell what runs, which wrappers are on, and why others are off
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a command with the library preloaded
    Run {
        /// What the library prints to standard error, at the end
        #[arg(long, value_name = "LEVEL")]
        log: Option<LogLevel>,
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
}

/// What the library prints: `BYSYSCALL_LOG`.
#[derive(Clone, Copy, ValueEnum)]
pub enum LogLevel {
    /// Why the process makes real calls only
    Err,
    /// Also how many calls were bypassed
    Info,
    /// Also how many calls were real
    Debug,
}

impl LogLevel {
    /// The value of `BYSYSCALL_LOG`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Err => "err",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}
