// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! `make bench`: what a call costs, what the library and the hooks cost, each
//! as a ratio or difference inside one run, against what it should be.

mod brackets;
mod calls;
mod clocks;
mod curve;
mod faults;
mod hooks;
mod processes;
mod report;

use std::env;

use anyhow::{Result, bail};
use bysyscall_tests::{namespace, process};

use report::Report;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    // Parts that must be processes of their own, with or without the library.
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => measure(),
        ["getpid"] => calls::print_getpid(),
        ["thread-clock"] => clocks::print_thread_clock(),
        ["fork-server"] => processes::serve_forks(),
        ["ping-pong", switches] => hooks::ping_pong(switches.parse()?),
        ["asking-ping-pong", switches] => hooks::asking_ping_pong(switches.parse()?),
        ["fault-loop", faults] => faults::fault_loop(faults.parse()?),
        ["curve", number, threads] => curve::print(number.parse()?, threads.parse()?),
        other => bail!("unknown arguments {other:?}"),
    }
}

fn measure() -> Result<()> {
    namespace::enter()?;
    process::loader(&["start"])?;
    let mut report = Report::default();
    // While there is one thread: a library that is loaded later makes real calls for the process.
    eprintln!("bench: clocks...");
    clocks::measure(&mut report)?;
    process::end_command_with_us()?;
    eprintln!("bench: clocks between real calls...");
    brackets::measure(&mut report)?;
    eprintln!("bench: calls...");
    calls::measure(&mut report)?;
    process::stay_on_one_cpu()?;
    eprintln!("bench: processes...");
    processes::measure(&mut report)?;
    eprintln!("bench: hooks...");
    hooks::measure(&mut report)?;
    // From here on the service is started anew, and what this process has loaded makes real calls.
    eprintln!("bench: clocks of many threads...");
    curve::measure(&mut report)?;
    eprintln!("bench: with and without accounting...");
    hooks::measure_accounting(&mut report)?;
    process::loader(&["stop"])?;
    println!("{report}");
    Ok(())
}
