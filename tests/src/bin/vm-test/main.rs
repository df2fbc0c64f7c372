// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! `make vm-test`: the tests in guests of the kernels that Debian ships.

mod boot;
mod cache;
mod command;
mod console;
mod cuts;
mod debian;
mod image;
mod kernel;
mod machine;
mod payload;
mod qemu;
mod queue;
mod results;
mod stock;
mod watch;

use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;

use boot::{Boot, Selection};
use cache::Cache;
use kernel::{KERNELS, Kernel};
use qemu::{Disk, Emulator, Guest};
use queue::{Task, Work};
use results::Report;

/// Boots Debian's kernels in QEMU and runs the tests there.
#[derive(Parser)]
#[command(name = "vm-test")]
struct Arguments {
    /// Kernels: 5.10, 6.1, 6.12, 7.2 [default: all]
    kernels: Vec<String>,
    /// Only tests with this in their name, in the first boot of each kernel
    #[arg(long, value_name = "NAME")]
    test: Option<String>,
    /// Only these boots; `list` lists them
    #[arg(long = "boot", value_name = "BOOT")]
    boots: Vec<String>,
    /// Only the tests that bracket answers, in the first boot of each kernel
    #[arg(long, conflicts_with = "test")]
    core: bool,
    /// Random trees of processes for so many seconds, in the first boot of each kernel
    #[arg(long, value_name = "SECONDS", conflicts_with_all = ["test", "core"])]
    soak: Option<u64>,
    /// Of the trees, or of the power cuts; a random one if it is not given
    #[arg(long)]
    seed: Option<u32>,
    /// How many guests run at once
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    jobs: usize,
    /// Install the packages on stock machines, and use these, instead
    #[arg(long, conflicts_with_all = ["test", "core", "soak"])]
    packages: bool,
    /// How often the power is cut, on all kernels together
    #[arg(long, value_name = "NUMBER", requires = "packages", default_value_t = 100)]
    cuts: u32,
    /// A root shell in a guest instead of tests; the guest ends with it
    #[arg(long, conflicts_with_all = ["test", "core", "soak"])]
    shell: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("vm-test: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all went well.
fn run(arguments: &Arguments) -> Result<bool> {
    let mut kernels = choose_kernels(&arguments.kernels)?;
    if arguments.packages && arguments.kernels.is_empty() {
        // The others have no package to install on that would run.
        kernels.retain(|kernel| kernel.version >= boot::OLDEST);
    }
    if arguments.boots.iter().any(|name| name == "list") {
        for kernel in kernels {
            let names: Vec<&str> = boot::boots(kernel).iter().map(|boot| boot.name).collect();
            println!("{}: {}", kernel.name, names.join(" "));
        }
        return Ok(true);
    }
    let tasks = choose_tasks(&kernels, arguments)?;
    ensure!(rustix::process::geteuid().is_root(), "it needs root, to build file systems");
    let cache = Cache::open()?;
    let _scratch = command::clean_up_when_interrupted(cache.scratch())?;
    let emulator = Emulator::choose(&cache)?;
    let payload = if arguments.packages {
        payload::make(&cache, &payload::OF_PACKAGES, &payload::build_tests(&["machine"])?)?
    } else {
        payload::make(&cache, &payload::OF_LAB, &payload::build_tests(&["integration", "lab"])?)?
    };
    let prepare = |kernel| {
        let root = if arguments.packages { stock::root } else { image::root };
        let disk = Disk::Snapshot(root(&cache, kernel)?);
        Guest::prepare(&cache, &emulator, kernel, disk, &payload)
    };
    if arguments.shell {
        let kernel = tasks[0].kernel;
        let boots = choose_boots(kernel, arguments)?;
        return prepare(kernel)?.shell(&boots[0]).map(|()| true);
    }
    let (summary, Report { tally, failures }) = queue::run(tasks, arguments.jobs, prepare);
    println!();
    for failure in failures {
        println!("FAILED: {failure}");
    }
    println!("{}\nin sum: {tally}", summary.join("\n"));
    if arguments.test.is_some() && tally.tests() == 0 {
        bail!("no test has this in its name");
    }
    Ok(tally.is_success())
}

/// What is done with which kernel, of those that have something to do.
fn choose_tasks(kernels: &[&'static Kernel], arguments: &Arguments) -> Result<Vec<Task>> {
    let mut cuts = cuts::shares(arguments.cuts, arguments.seed, kernels.len());
    let mut tasks = Vec::new();
    for kernel in kernels {
        let boots = choose_boots(kernel, arguments)?;
        if boots.is_empty() {
            continue;
        }
        let works = match cuts.next() {
            Some(cuts) if arguments.packages => vec![Work::Machine(cuts)],
            _ => boots.into_iter().map(Work::Boot).collect(),
        };
        tasks.push(Task { kernel, works });
    }
    ensure!(!tasks.is_empty(), "no kernel has a boot of this name");
    Ok(tasks)
}

fn choose_kernels(names: &[String]) -> Result<Vec<&'static Kernel>> {
    let known = |name: &String| {
        let found = KERNELS.iter().find(|kernel| kernel.name == *name);
        found.with_context(|| {
            let names: Vec<&str> = KERNELS.iter().map(|kernel| kernel.name).collect();
            format!("no kernel {name}; there are {}", names.join(", "))
        })
    };
    if names.is_empty() { Ok(KERNELS.iter().collect()) } else { names.iter().map(known).collect() }
}

fn choose_boots(kernel: &Kernel, arguments: &Arguments) -> Result<Vec<Boot>> {
    let mut boots = boot::boots(kernel);
    for name in &arguments.boots {
        ensure!(
            KERNELS.iter().any(|kernel| boot::boots(kernel).iter().any(|boot| boot.name == name)),
            "no boot {name}; `--boot list` lists them"
        );
    }
    if !arguments.boots.is_empty() {
        boots.retain(|boot| arguments.boots.iter().any(|name| name == boot.name));
    } else if arguments.test.is_some()
        || arguments.core
        || arguments.shell
        || arguments.soak.is_some()
    {
        boots.truncate(1);
    }
    for boot in &mut boots {
        if arguments.core {
            boot.selection = Selection::Bracket(&["bracket::", "clocks::"]);
        }
        if let Some(seconds) = arguments.soak {
            boot.selection = Selection::Soak { seconds, seed: arguments.seed };
        }
        if let Some(name) = &arguments.test {
            boot.selection = Selection::Named(name.clone());
        }
    }
    Ok(boots)
}
