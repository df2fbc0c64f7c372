// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The service comes and goes, is killed and sabotaged, while processes check
//! each of their answers.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bysyscall_abi::{HOLD_DIR, HOOKS, LINKS_DIR, PIN_DIR, PUBLIC_DIR};
use bysyscall_tests::process::{output, succeed, text};
use bysyscall_tests::{patience, records};
use libbpf_rs::query::{LinkInfoIter, ProgInfoIter};
use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::fixture::{
    ensure_no_traces, finish, loader, path, preloaded, resting, send, spawn, start, status, stop,
    traces, trial, wait_until,
};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("lifecycle::stop_and_start_under_load", stop_and_start_under_load),
        trial("lifecycle::stop_detaches_at_once", stop_detaches_at_once),
        trial("lifecycle::killed_at_every_step_under_load", killed_at_every_step_under_load),
        trial("lifecycle::interrupted_start_leaves_nothing", interrupted_start_leaves_nothing),
        trial("lifecycle::every_pin_removed_under_load", every_pin_removed_under_load),
        trial("lifecycle::private_pins_removed_before_stop", private_pins_removed_before_stop),
        trial("lifecycle::hold_unmounted_once", hold_unmounted_once),
        trial("lifecycle::run_mounted_twice", run_mounted_twice),
        trial("lifecycle::another_hidden_under_run", another_hidden_under_run),
        trial("lifecycle::two_starts_at_once", two_starts_at_once),
        trial("lifecycle::records_are_given_back", records_are_given_back),
    ]
}

/// A process with threads and children of all kinds that check themselves for so many seconds.
fn load(seconds: u32) -> Result<Child> {
    let mut command = preloaded("bracket", &["load", &seconds.to_string()]);
    if patience::scale() > 1 {
        command = resting(command);
    }
    let child = spawn(command)?;
    wait_until("the load is registered", || {
        Ok(status()?["registered"]["processes"].as_u64() > Some(0))
    })?;
    Ok(child)
}

fn finish_load(child: Child) -> Result<()> {
    let said = finish("load", child)?;
    ensure!(said.contains(" 0 mismatches"), "{said}");
    Ok(())
}

fn stop_and_start_under_load() -> Result<()> {
    start()?;
    let child = load(10)?;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(9) {
        stop()?;
        start()?;
    }
    finish_load(child)
}

/// How many of our hooks are attached in this kernel, in whatever namespace.
fn attached_hooks() -> usize {
    let ours: Vec<u32> = ProgInfoIter::default()
        .filter(|program| HOOKS.iter().any(|hook| program.name == hook.name))
        .map(|program| program.id)
        .collect();
    LinkInfoIter::default().filter(|link| ours.contains(&link.prog_id)).count()
}

fn stop_detaches_at_once() -> Result<()> {
    stop()?;
    let others = attached_hooks();
    start()?;
    let child = load(4)?;
    ensure!(attached_hooks() > others, "nothing is attached");
    stop()?;
    ensure!(attached_hooks() == others, "hooks stay attached after a stop under load");
    ensure_no_traces()?;
    finish_load(child)
}

/// The next start must do, whatever a killed start or stop has left.
fn killed_at_every_step_under_load() -> Result<()> {
    // Fewer where each takes longer.
    let steps = 40 / patience::scale().min(13);
    start()?;
    let child = load(30)?;
    for command in ["start", "stop"] {
        let begin = Instant::now();
        if command == "start" {
            stop()?
        } else {
            start()?
        };
        succeed(&mut loader(&[command]))?;
        let whole = begin.elapsed();
        for step in 0..steps {
            if command == "start" {
                stop()?
            } else {
                start()?
            };
            let mut victim = spawn(loader(&[command]))?;
            sleep(whole * step / steps);
            send(&victim, Signal::KILL)?;
            victim.wait()?;
            // Processes that start now are either served or make real calls.
            succeed(&mut preloaded("getpid", &["100"]))?;
            let status = status()?;
            ensure!(status["running"] == true || status["running"] == false, "{status}");
        }
    }
    start()?;
    ensure!(status()?["running"] == true, "does not run after all");
    stop()?;
    ensure_no_traces()?;
    let mut child = child;
    if child.try_wait()?.is_none() {
        start()?;
    }
    finish_load(child)
}

fn interrupted_start_leaves_nothing() -> Result<()> {
    stop()?;
    let begin = Instant::now();
    start()?;
    let whole = begin.elapsed();
    let steps = 12 / patience::scale().min(4);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        for step in 0..steps {
            stop()?;
            let victim = spawn(loader(&["start"]))?;
            sleep(whole * step * 6 / (5 * steps));
            // It may have ended before.
            let _ = send(&victim, signal);
            let output = victim.wait_with_output()?;
            match output.status.code() {
                Some(0) => ensure!(status()?["running"] == true, "exits with 0 and does not run"),
                // None: the signal came before the first instruction of ours.
                Some(130) | None => ensure_no_traces()?,
                _ => anyhow::bail!("{}: {}", output.status, text(&output.stderr)),
            }
        }
    }
    Ok(())
}

/// Root removes all that can be seen: pins, mounts, directories. What holds the
/// hooks are the processes themselves, so no answer may be wrong, and the hooks
/// must go with the last of them.
fn every_pin_removed_under_load() -> Result<()> {
    stop()?;
    let others = attached_hooks();
    start()?;
    let first = load(8)?;
    // Long enough for what follows; fewer where each takes longer.
    let (times, depth) = (4000 / patience::scale(), 9 - patience::scale().ilog2());
    let second = spawn(preloaded("bracket", &["vfork", &times.to_string()]))?;
    let third = spawn(preloaded("bracket", &["fork-tree", &depth.to_string()]))?;
    sleep(Duration::from_millis(500));
    remove_everything()?;
    ensure!(traces()?.is_empty(), "cannot remove {:?}", traces()?);
    // Whoever starts now makes real calls.
    succeed(&mut preloaded("getpid", &["100"]))?;
    ensure!(attached_hooks() > others, "the hooks are gone while processes believe the cells");
    // A new start does not care for the old one, which has its own cells.
    start()?;
    let fourth = load(3)?;
    finish_load(first)?;
    finish("vfork", second)?;
    finish("fork-tree", third)?;
    finish_load(fourth)?;
    stop()?;
    ensure_no_traces()?;
    wait_until("the hooks go with the last process", || Ok(attached_hooks() == others))
}

fn remove_everything() -> Result<()> {
    for dir in [PIN_DIR, PUBLIC_DIR, HOLD_DIR, LINKS_DIR] {
        // What is read-only stays, as it would for a user's `rm -rf`.
        let _ = output(Command::new("rm").args(["-rf", dir]))?;
        while fs::read_to_string("/proc/self/mounts")?.contains(&format!(" {dir} ")) {
            succeed(Command::new("umount").args(["--lazy", dir]))?;
            let _ = output(Command::new("rm").args(["-rf", dir]))?;
        }
        if Path::new(dir).exists() {
            fs::remove_dir_all(dir).with_context(|| format!("cannot remove {dir}"))?;
        }
    }
    Ok(())
}

/// Without the control program's first pin a stop must not take the hooks from
/// processes that still believe the cells.
fn private_pins_removed_before_stop() -> Result<()> {
    for next in ["stop", "start"] {
        start()?;
        let child = load(4)?;
        fs::remove_dir_all(PIN_DIR)?;
        ensure!(status()?["running"] == false, "runs without its pins");
        succeed(&mut loader(&[next]))?;
        finish_load(child)?;
        stop()?;
        ensure_no_traces()?;
    }
    Ok(())
}

/// Then nothing keeps the hooks for processes that start, so they make real calls.
fn hold_unmounted_once() -> Result<()> {
    start()?;
    succeed(Command::new("umount").args(["--lazy", HOLD_DIR]))?;
    ensure!(status()?["running"] == false, "runs without its hold");
    let output = output(preloaded("getpid", &["2"]).env("BYSYSCALL_LOG", "debug"))?;
    ensure!(text(&output.stderr).contains("getpid: 2 real calls"), "{}", text(&output.stderr));
    start()?;
    ensure!(status()?["running"] == true, "does not run again");
    stop()?;
    ensure_no_traces()
}

/// As a chroot has it: the copy of `/run` has copies of our mounts.
fn run_mounted_twice() -> Result<()> {
    let copy = path("copy-of-run");
    fs::create_dir(&copy)?;
    start()?;
    succeed(Command::new("mount").arg("--rbind").args([Path::new("/run"), &copy]))?;
    let stopped = stop().and_then(|()| {
        ensure!(status()?["running"] == false, "runs after a stop");
        start()?;
        succeed(&mut preloaded("bracket", &["fork", "50"]))?;
        stop()
    });
    succeed(Command::new("umount").args(["--recursive", "--lazy"]).arg(&copy))?;
    fs::remove_dir(&copy)?;
    stopped?;
    stop()?;
    ensure_no_traces()
}

/// The table of mounts still tells of a service when something is mounted over `/run`, as in many a
/// container. It is not one that a start there has to remove.
fn another_hidden_under_run() -> Result<()> {
    const THERE: &str = "exec 3<\"$1\"
        mount -t tmpfs tmpfs /run
        mount -t bpf bpf /sys/fs/bpf
        grep -q ' /run/bysyscall ' /proc/self/mounts
        /proc/self/fd/3 start
        /proc/self/fd/3 status --json
        /proc/self/fd/3 stop
        find /run /sys/fs/bpf -name '*bysyscall*'";
    start()?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", "sh", "-ec", THERE, "sh"]).arg(path("bysyscall"));
    let said = succeed(&mut command)?;
    let (status_there, left) = said.rsplit_once('}').context("no status")?;
    ensure!(status_there.contains("\"running\": true"), "{said}");
    ensure!(left.trim().is_empty(), "left behind: {left}");
    let here = status()?;
    ensure!(here["running"] == true, "{here}");
    stop()?;
    ensure_no_traces()
}

fn two_starts_at_once() -> Result<()> {
    for _ in 0..(5 / patience::scale()).max(2) {
        stop()?;
        let starts =
            [spawn(loader(&["start"]))?, spawn(loader(&["start"]))?, spawn(loader(&["start"]))?];
        for child in starts {
            finish("start", child)?;
        }
        ensure!(status()?["running"] == true, "does not run");
        let stops = [spawn(loader(&["stop"]))?, spawn(loader(&["stop"]))?];
        for child in stops {
            finish("stop", child)?;
        }
        ensure_no_traces()?;
    }
    Ok(())
}

/// Of processes of all kinds; also of one of which the kernel has forgotten what the hooks know.
fn records_are_given_back() -> Result<()> {
    start()?;
    for scenario in ["fork-tree", "spawn", "exec-thread", "refused-clones"] {
        let child = spawn(preloaded("bracket", &[scenario]))?;
        wait_until("a process has a record", || Ok(records::in_use()? > 0))?;
        finish(scenario, child)?;
        let mut looks = 0;
        wait_until(&format!("all records are given back after {scenario}"), || {
            looks += 1;
            // Where the end of a process is hidden, the next one at its address gives the record back.
            if looks % 100 == 0 && status()?["threads_added_up"] == false {
                succeed(&mut preloaded("bracket", &["fork", "50"]))?;
            }
            Ok(records::in_use()? == 0)
        })?;
    }
    Ok(())
}
