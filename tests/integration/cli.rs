// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The loader's commands: what they say, how they exit, what they refuse.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bysyscall_abi::{HOLD_DIR, HOOKS, LINKS_DIR, PUBLIC_DIR, WRAPPERS};
use bysyscall_tests::built;
use bysyscall_tests::process::succeed;
use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::fixture::{
    as_nobody, ensure_no_traces, finish, library, loader, path, preloaded, says, send, spawn,
    start, status, stop, traces, trial, wait_until,
};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("cli::start_and_stop_are_idempotent", start_and_stop_are_idempotent),
        trial("cli::start_pins_where_the_design_says", start_pins_where_the_design_says),
        trial("cli::status_tells_hooks_and_wrappers", status_tells_hooks_and_wrappers),
        trial("cli::status_counts_processes", status_counts_processes),
        trial("cli::status_tells_costs", status_tells_costs),
        trial("cli::run_becomes_the_command", run_becomes_the_command),
        trial("cli::run_needs_the_library", run_needs_the_library),
        trial("cli::needs_privileges", needs_privileges),
        trial("cli::replaces_foreign_pins", replaces_foreign_pins),
        trial("cli::says_which_path_failed", says_which_path_failed),
        trial("cli::leaves_foreign_mounts_alone", leaves_foreign_mounts_alone),
        trial("cli::waiting_can_be_interrupted", waiting_can_be_interrupted),
        trial("cli::readme_agrees", readme_agrees),
        trial("cli::bad_usage_exits_with_2", bad_usage_exits_with_2),
    ]
}

fn start_and_stop_are_idempotent() -> Result<()> {
    stop()?;
    says(&mut loader(&["stop"]), 0, "is not running")?;
    says(&mut loader(&["status"]), 3, "not running")?;
    says(&mut loader(&["start"]), 0, "started")?;
    says(&mut loader(&["start"]), 0, "is running already")?;
    says(&mut loader(&["status"]), 0, "running for")?;
    says(&mut loader(&["stop"]), 0, "stopped")?;
    ensure_no_traces()
}

fn start_pins_where_the_design_says() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    start()?;
    let mode = |path: &str| -> Result<u32> {
        Ok(fs::metadata(path).with_context(|| path.to_owned())?.permissions().mode() & 0o7777)
    };
    ensure!(mode("/run/bysyscall")? == 0o755, "/run/bysyscall: {:o}", mode("/run/bysyscall")?);
    ensure!(mode("/run/bysyscall/cells")? == 0o666, "cells: {:o}", mode("/run/bysyscall/cells")?);
    ensure!(
        mode("/run/bysyscall/register")? == 0o444,
        "register: {:o}",
        mode("/run/bysyscall/register")?
    );
    ensure!(mode("/sys/fs/bpf/bysyscall")? == 0o700, "pins: {:o}", mode("/sys/fs/bpf/bysyscall")?);
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    ensure!(mounts.contains(" /run/bysyscall bpf "), "no bpffs on /run/bysyscall: {mounts}");
    Ok(())
}

fn status_tells_hooks_and_wrappers() -> Result<()> {
    start()?;
    let status = status()?;
    ensure!(status["version"] == env!("CARGO_PKG_VERSION"), "version {}", status["version"]);
    ensure!(status["kernel"].is_string() && status["since"].is_u64(), "{status}");
    ensure!(
        ["none", "integrity", "unknown"].iter().any(|state| status["lockdown"] == *state),
        "{status}"
    );
    let hooks = status["hooks"].as_array().context("no hooks")?;
    ensure!(hooks.len() == HOOKS.len(), "{hooks:?}");
    let mut attached = 0;
    for (hook, row) in hooks.iter().zip(&HOOKS) {
        ensure!(hook["name"] == row.name && hook["attach_point"] == row.attach_point, "{hook}");
        if hook["attached"] == true {
            attached |= 1 << row.bit;
            ensure!(hook["reason"].is_null() && hook["missed_runs"] == 0, "{hook}");
        } else {
            ensure!(
                hook["reason"].as_str().is_some_and(|reason| !reason.is_empty()),
                "no reason: {hook}"
            );
        }
    }
    let wrappers = status["wrappers"].as_array().context("no wrappers")?;
    ensure!(wrappers.len() == WRAPPERS.len(), "{wrappers:?}");
    for (wrapper, row) in wrappers.iter().zip(&WRAPPERS) {
        let kept_right = row.hooks & !attached == 0;
        ensure!(wrapper["name"] == row.name && wrapper["on"] == kept_right, "{wrapper}");
        ensure!(
            wrapper["reason"].as_str().is_none_or(|reason| !reason.is_empty())
                && wrapper["reason"].is_null() == kept_right,
            "{wrapper}"
        );
    }
    for wrapper in &wrappers[..2] {
        ensure!(wrapper["on"] == true, "{wrapper}");
    }
    Ok(())
}

fn status_counts_processes() -> Result<()> {
    start()?;
    let registered =
        |what: &str| -> Result<u64> { status()?["registered"][what].as_u64().context("no count") };
    wait_until("no process is registered", || Ok(registered("processes")? == 0))?;
    let mut child = spawn(preloaded("bracket", &["threads", "1000000000"]))?;
    let counted = wait_until("one process with 17 threads", || {
        Ok(registered("processes")? == 1 && registered("threads")? == 17)
    });
    send(&child, Signal::KILL)?;
    child.wait()?;
    counted?;
    ensure!(registered("processes")? == 0 && registered("threads")? == 0, "{}", status()?);
    Ok(())
}

fn status_tells_costs() -> Result<()> {
    start()?;
    let switch = &HOOKS[0];
    let sysctl = |value: &str| {
        fs::write("/proc/sys/kernel/bpf_stats_enabled", value).context("bpf_stats_enabled")
    };
    let before = fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled")?;
    sysctl("1")?;
    let result = wait_until("the cost of the switch hook", || {
        let status = status()?;
        let hook = status["hooks"]
            .as_array()
            .and_then(|hooks| hooks.first())
            .cloned()
            .context("no hooks")?;
        ensure!(hook["name"] == switch.name, "{hook}");
        Ok(hook["runs"].as_u64().is_some_and(|runs| runs > 0)
            && hook["mean_ns"].as_f64().is_some_and(|mean| mean > 0.0))
    });
    sysctl(before.trim())?;
    result
}

fn run_becomes_the_command() -> Result<()> {
    start()?;
    says(loader(&["run", "--", "sh", "-c", "exit 42"]).env_remove("LD_PRELOAD"), 42, "")?;
    let shell = ["run", "sh", "-c", "echo $$ $LD_PRELOAD"];
    let child = spawn(loader(&shell))?;
    let id = child.id().to_string();
    let said = finish("run", child)?;
    ensure!(said.trim() == format!("{id} {}", library().display()), "{said}, not pid {id}");
    let existing = path("lying.so");
    let said =
        succeed(loader(&["run", "sh", "-c", "echo $LD_PRELOAD"]).env("LD_PRELOAD", &existing))?;
    ensure!(said.trim() == format!("{}:{}", existing.display(), library().display()), "{said}");
    says(&mut loader(&["run", "/no/such/command"]), 127, "/no/such/command")?;
    let mut as_user = as_nobody(loader(&["run", "--log", "info"]));
    says(as_user.arg(path("getpid")).arg("2"), 0, "getpid: bypassed 2 times").map(drop)
}

fn run_needs_the_library() -> Result<()> {
    let alone = Path::new("/run/alone");
    fs::create_dir(alone)?;
    fs::copy(path("bysyscall"), alone.join("bysyscall"))?;
    let result = says(
        Command::new(alone.join("bysyscall")).args(["run", "true"]),
        1,
        "/run/alone/libbysyscall.so",
    );
    fs::remove_dir_all(alone)?;
    result?;
    says(&mut loader(&["run", "no-such-command"]), 127, "cannot run no-such-command")?;
    says(&mut loader(&["run", "/etc/passwd"]), 126, "cannot run /etc/passwd").map(drop)
}

fn needs_privileges() -> Result<()> {
    stop()?;
    for command in ["start", "stop", "status"] {
        says(&mut as_nobody(loader(&[command])), 1, "CAP_BPF")?;
        let mut without_bpf = Command::new("setpriv");
        without_bpf
            .args(["--bounding-set=-bpf", "--inh-caps=-bpf"])
            .arg(path("bysyscall"))
            .arg(command);
        says(&mut without_bpf, 1, "CAP_BPF")?;
    }
    ensure_no_traces()
}

/// Pins that another version, or another program, has left where ours go.
fn replaces_foreign_pins() -> Result<()> {
    for replace in ["start", "stop"] {
        start()?;
        stop()?;
        fs::create_dir(bysyscall_abi::PIN_DIR)?;
        fs::create_dir(Path::new(bysyscall_abi::PIN_DIR).join("foreign"))?;
        says(&mut loader(&["status"]), 3, "bysyscall stop")?;
        says(&mut loader(&[replace]), 0, if replace == "start" { "started" } else { "removed" })?;
        ensure!(
            !Path::new(bysyscall_abi::PIN_DIR).join("foreign").exists(),
            "{replace} left the foreign pins"
        );
        stop()?;
        ensure_no_traces()?;
    }
    Ok(())
}

/// A file lies where the directory must be: the mount is refused, and nothing else is touched.
fn says_which_path_failed() -> Result<()> {
    stop()?;
    fs::write(bysyscall_abi::PUBLIC_DIR, "in the way")?;
    let result = says(&mut loader(&["start"]), 1, bysyscall_abi::PUBLIC_DIR);
    fs::remove_file(bysyscall_abi::PUBLIC_DIR)?;
    result?;
    ensure!(traces()?.is_empty(), "left behind: {:?}", traces()?);
    start()
}

fn bad_usage_exits_with_2() -> Result<()> {
    for arguments in [&["begin"][..], &["status", "--yaml"], &["run"], &[]] {
        says(&mut loader(arguments), 2, "Usage")?;
    }
    says(&mut loader(&["--version"]), 0, env!("CARGO_PKG_VERSION"))?;
    for command in ["start", "stop", "status", "run"] {
        says(&mut loader(&["--help"]), 0, command)?;
        says(&mut loader(&[command, "--help"]), 0, "Usage")?;
    }
    Ok(())
}

/// What somebody else has mounted where ours go is neither emptied nor unmounted.
fn leaves_foreign_mounts_alone() -> Result<()> {
    stop()?;
    for dir in [PUBLIC_DIR, HOLD_DIR, LINKS_DIR] {
        for kind in ["tmpfs", "bpf"] {
            fs::create_dir(dir)?;
            succeed(Command::new("mount").args(["-t", kind, "foreign", dir]))?;
            fs::create_dir(Path::new(dir).join("theirs"))?;
            for command in ["start", "stop"] {
                says(&mut loader(&[command]), 1, &format!("umount {dir}"))?;
                ensure!(
                    Path::new(dir).join("theirs").exists(),
                    "{command} has emptied the {kind} on {dir}"
                );
            }
            succeed(Command::new("umount").arg(dir))?;
            stop()?;
            ensure_no_traces()?;
        }
    }
    Ok(())
}

fn waiting_can_be_interrupted() -> Result<()> {
    stop()?;
    let lock = "/run/bysyscall.lock";
    let mut holder = spawn({
        let mut flock = Command::new("flock");
        flock.args([lock, "sleep", "60"]);
        flock
    })?;
    wait_until("somebody holds the lock", || Ok(Path::new(lock).exists()))?;
    for command in ["start", "stop", "status"] {
        let waiting = spawn(loader(&[command]))?;
        std::thread::sleep(std::time::Duration::from_millis(200));
        send(&waiting, Signal::INT)?;
        let output = waiting.wait_with_output()?;
        ensure!(output.status.code() == Some(130), "{command}: {}", output.status);
    }
    send(&holder, Signal::KILL)?;
    holder.wait()?;
    fs::remove_file(lock)?;
    ensure_no_traces()
}

/// The README names each wrapper, command and variable that there is.
fn readme_agrees() -> Result<()> {
    let readme = fs::read_to_string(built::repository().join("README.md"))?;
    for wrapper in &WRAPPERS {
        ensure!(
            readme.contains(&format!("`{}`", wrapper.name)),
            "the README does not name {}",
            wrapper.name
        );
    }
    let help = succeed(&mut loader(&["--help"]))?;
    let commands = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    for line in commands.take_while(|line| !line.is_empty()) {
        let command = line.split_whitespace().next().context("no command")?;
        ensure!(
            command == "help" || readme.contains(&format!("bysyscall {command} ")),
            "no `bysyscall {command}`"
        );
    }
    let constructor =
        fs::read_to_string(built::repository().join("crates/libbysyscall/src/start.rs"))?;
    for quoted in constructor.split("variable(b\"").skip(1) {
        let variable = quoted.split('"').next().context("no variable")?;
        ensure!(readme.contains(&format!("`{variable}=")), "the README does not name {variable}");
    }
    for path in [PUBLIC_DIR, HOLD_DIR] {
        ensure!(readme.contains(path), "the README does not name {path}");
    }
    Ok(())
}
