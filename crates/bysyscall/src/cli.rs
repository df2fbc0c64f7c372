// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use bysyscall_abi::{WRAPPERS, Wrapper};
use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::config::Getrusage;
use crate::enable::{Disable, Enable, Probed};

/// Lets programs skip system calls whose answer the kernel can publish.
///
/// `start` loads BPF programs that keep the answers in a page that every
/// process can read, and exits; nothing stays running. A process that is run
/// with the library preloaded reads them there.
#[derive(Parser)]
#[command(
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 failed; 2 bad usage; 3 status: not running; 126, 127 run: no such command; 130 interrupted."
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
    Start {
        /// Read this, and not /etc/bysyscall.conf
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Leave wrappers off, and the hooks that only they need
        #[arg(long, value_name = "WRAPPER", value_delimiter = ',', value_parser = wrapper)]
        off: Vec<&'static Wrapper>,
        /// What getrusage() tells of the calling thread and process; of children it is always exact
        #[arg(long, value_name = "AGE")]
        getrusage: Option<Getrusage>,
    },
    /// Have the running service, and the processes that use it, follow the configuration
    ///
    /// Options of `start` stay in effect. If the file is wrong, nothing is changed.
    Reload {
        /// Read this, and not /etc/bysyscall.conf
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Tell whether a configuration is right, or where it is wrong; needs no root
    CheckConfig {
        /// The file, if it is not /etc/bysyscall.conf
        file: Option<PathBuf>,
    },
    /// Switch every process back to real system calls, detach and unpin
    Stop,
    /// Tell what runs, which wrappers are on, and why others are off
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what a shell needs to complete this command's arguments; for packages
    #[command(hide = true)]
    Completions {
        /// For which shell
        shell: Shell,
        /// Of bysyscall, bysyscall-enable or bysyscall-disable
        command: Option<String>,
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
    /// Have programs load the library by themselves
    Enable(Enable),
    /// Undo what `enable` has done
    Disable(Disable),
    /// What `enable` tries with the library
    #[command(hide = true)]
    Probe {
        /// Which program to be
        what: Probed,
        /// How the line of the library in the memory map ends
        library: String,
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

/// A row of the wrapper table, by the name of its function.
fn wrapper(name: &str) -> Result<&'static Wrapper, String> {
    WRAPPERS.iter().find(|wrapper| wrapper.name == name).ok_or_else(|| {
        let names: Vec<&str> = WRAPPERS.iter().map(|wrapper| wrapper.name).collect();
        format!("there are: {}", names.join(", "))
    })
}
