// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! SIGKILL before each system call: what every program reads is the old file or the new one.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bysyscall_tests::patience;
use bysyscall_tests::process::{output, succeed};
use libtest_mimic::Trial;

use super::image::{Image, PRELOAD};
use crate::fixture::{path, trial};

/// What changes nothing that anybody else sees.
const OTHERS: [&str; 8] = [
    "brk",
    "exit_group",
    "mmap",
    "mprotect",
    "munmap",
    "rt_sigaction",
    "rt_sigprocmask",
    "sigaltstack",
];
const OLD: &[u8] = b"# others\n/a.so";
const NEW: &[u8] = b"# others\n/a.so\n /usr/lib64/libbysyscall.so\n";
const UNIT: &str = "usr/lib/systemd/system/x.service";
const DROP_IN: &str = "etc/systemd/system/x.service.d/bysyscall.conf";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("enabling::killed_before_each_system_call", killed_before_each_system_call),
        trial("enabling::reaches_the_disk_in_order", reaches_the_disk_in_order),
    ]
}

/// SIGKILL loses nothing that was written; a power cut does, unless it was asked for before the next step.
fn reaches_the_disk_in_order() -> Result<()> {
    let image = Image::new("image")?;
    image.write(PRELOAD, OLD)?;
    for command in ["enable", "disable"] {
        let options = ["--decode-fds=path", "-e", "trace=fsync,renameat,renameat2,unlinkat"];
        let steps = trace(&image, &[command, "--global"], &options)?;
        let at = |what: &str, words: &str| {
            let step = |step: &String| step.starts_with(what) && step.contains(words);
            steps.iter().rposition(step).with_context(|| format!("no {what} {words}: {steps:#?}"))
        };
        let replaced = at("renameat", "\"ld.so.preload\"")?;
        ensure!(
            at("fsync", "bysyscall-new>")? < replaced,
            "replaced by what may be lost: {steps:#?}"
        );
        ensure!(at("fsync", "/etc>")? > replaced, "replaced, but that may be lost: {steps:#?}");
    }
    Ok(())
}

/// The calls of a command, a line each.
fn trace(image: &Image, command: &[&str], options: &[&str]) -> Result<Vec<String>> {
    let trace = path("trace");
    let traced = image.command(command);
    let mut strace = Command::new("strace");
    strace.args(options).arg("-o").arg(&trace);
    succeed(strace.arg(traced.get_program()).args(traced.get_args()))?;
    let calls = fs::read_to_string(&trace)?.lines().map(str::to_owned).collect();
    fs::remove_file(trace)?;
    Ok(calls)
}

fn killed_before_each_system_call() -> Result<()> {
    let image = Image::new("image")?;
    image.write(UNIT, "[Service]\nExecStart=/bin/true\n")?;
    let enable: &[&str] = &["enable", "--global"];
    at_each_call(&image, [enable, &["disable", "--global"]], PRELOAD, Some(OLD), Some(NEW))?;
    at_each_call(&image, [enable, &["disable", "--everything"]], PRELOAD, None, Some(ENTRY))?;
    fs::remove_dir_all(image.path("var/lib/bysyscall")).ok();
    at_each_call(
        &image,
        [&["enable", "--service", "x"], &["disable", "--everything"]],
        DROP_IN,
        None,
        None,
    )
}

const ENTRY: &[u8] = b"/usr/lib64/libbysyscall.so\n";

/// `new` is not given where it is only to be one of two.
fn at_each_call(
    image: &Image,
    [enable, disable]: [&[&str]; 2],
    file: &str,
    old: Option<&[u8]>,
    new: Option<&[u8]>,
) -> Result<()> {
    let reset = || match old {
        Some(old) => image.write(file, old),
        None => {
            let _ = fs::remove_file(image.path(file));
            Ok(())
        }
    };
    let now = || fs::read(image.path(file)).ok();
    reset()?;
    image.succeed(enable, "")?;
    let new = new.map(<[u8]>::to_vec).or_else(now);
    ensure!(now() == new, "{enable:?} makes {:?}", now());
    image.succeed(disable, "")?;
    for command in [enable, disable] {
        let calls = calls(image, enable, disable, command)?.into_iter();
        // Far fewer where each takes longer: what is killed has little to do with the kernel.
        for (call, number) in calls.step_by(2 * patience::scale() as usize - 1) {
            let inject = format!("inject={call}:signal=KILL:when={number}");
            let mut killed = Command::new("strace");
            killed.args(["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
            let victim = image.command(command);
            killed.arg(victim.get_program()).args(victim.get_args());
            output(&mut killed)?;
            let found = now();
            ensure!(
                found.as_deref() == old || found == new,
                "{command:?}, killed before {call} {number}: {found:?}"
            );
            // Whatever was left does not disturb the next.
            image.succeed(enable, "").with_context(|| format!("{call} {number}"))?;
            ensure!(now() == new, "after {call} {number}: {:?}", now());
            image.succeed(disable, "")?;
            ensure!(now().as_deref() == old, "after {call} {number}: {:?}", now());
            ensure!(!has_remains(image)?, "after {call} {number}: {:?}", image.all()?.keys());
            if command == disable {
                image.succeed(enable, "")?;
            }
        }
        if command == disable {
            image.succeed(disable, "")?;
        }
    }
    Ok(())
}

fn has_remains(image: &Image) -> Result<bool> {
    Ok(image.all()?.keys().any(|path| path.to_string_lossy().ends_with("bysyscall-new")))
}

/// The calls that a command makes once it has been started, each with its number among those of its kind.
/// Leaves all as before the command.
fn calls(
    image: &Image,
    enable: &[&str],
    disable: &[&str],
    command: &[&str],
) -> Result<Vec<(String, usize)>> {
    if command == disable {
        image.succeed(enable, "")?;
    }
    let lines = trace(image, command, &[])?;
    if command == disable {
        image.succeed(enable, "")?;
    } else {
        image.succeed(disable, "")?;
    }
    let mut counts = BTreeMap::new();
    let mut calls = Vec::new();
    let mut is_started = false;
    for line in lines {
        let Some((call, _)) = line.split_once('(') else { continue };
        let count = counts.entry(call.to_owned()).or_insert(0);
        *count += 1;
        // The first thing that it asks for is whether it is root.
        is_started |= call == "geteuid";
        if is_started && !OTHERS.contains(&call) && !call.contains(' ') {
            calls.push((call.to_owned(), *count));
        }
    }
    let changes_files = |(call, _): &(String, usize)| call == "renameat" || call == "unlinkat";
    ensure!(calls.iter().any(changes_files), "{calls:?}");
    Ok(calls)
}
