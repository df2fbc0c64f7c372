// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! This machine, of which the namespace sees overlays: all programs load the library.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bysyscall_edit::preload;
use bysyscall_tests::patience;
use bysyscall_tests::process::{output, succeed, text};
use libtest_mimic::Trial;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::Signal;

use super::image::ENTRY;
use crate::fixture::{
    as_nobody, library, loader, path, plain, says, send, spawn, start, status, stop, trial,
    wait_until,
};

const PRELOAD: &str = "/etc/ld.so.preload";
const ENABLE: &[&str] = &["enable", "--global"];
const DISABLE: &[&str] = &["disable", "--global"];

pub fn trials() -> Vec<Trial> {
    vec![
        trial("enabling::all_programs_bypass", all_programs_bypass),
        trial("enabling::needs_the_service", needs_the_service),
        trial("enabling::rolls_back", rolls_back),
        trial("enabling::waits_for_no_user", waits_for_no_user),
        trial("enabling::refuses_what_breaks_programs", refuses_what_breaks_programs),
        trial("enabling::noise_of_others_is_no_obstacle", noise_of_others_is_no_obstacle),
        trial("enabling::interrupted_leaves_old_or_new", interrupted_leaves_old_or_new),
        trial("enabling::lists_are_read_as_ld_so_reads_them", lists_are_read_as_ld_so_reads_them),
    ]
}

/// Overlays on what enabling changes, gone when dropped; what is below never changes.
struct Machine(Vec<&'static str>);

impl Machine {
    fn new() -> Result<Self> {
        let mut machine = Self(Vec::new());
        for dir in ["/etc", "/var/lib", "/usr/lib64"] {
            let own = Self::own(dir);
            fs::create_dir_all(own.join("upper"))?;
            fs::create_dir_all(own.join("work"))?;
            let options =
                format!("lowerdir={dir},upperdir={0}/upper,workdir={0}/work", own.display());
            succeed(Command::new("mount").args(["-t", "overlay", "-o", &options, "overlay", dir]))?;
            machine.0.push(dir);
        }
        fs::copy(library(), ENTRY)?;
        let _ = fs::remove_file(PRELOAD);
        Ok(machine)
    }

    fn own(dir: &str) -> PathBuf {
        path("overlay").join(dir.trim_start_matches('/').replace('/', "-"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Whatever was loaded in between, no program shall need it to end this.
        let _ = fs::remove_file(PRELOAD);
        for dir in &self.0 {
            let _ = rustix::mount::unmount(*dir, rustix::mount::UnmountFlags::DETACH);
        }
        let _ = fs::remove_dir_all(path("overlay"));
    }
}

fn list() -> Option<Vec<u8>> {
    fs::read(PRELOAD).ok()
}

fn all_programs_bypass() -> Result<()> {
    start()?;
    let _machine = Machine::new()?;
    ensure!(status()?["enabled"]["global"]["enabled"] == false, "{}", status()?);
    says(&mut loader(ENABLE), 0, "enabled in /etc/ld.so.preload")?;
    says(&mut loader(ENABLE), 0, "enabled already")?;
    let mut program = as_nobody(plain("getpid", &["100"]));
    says(program.env("BYSYSCALL_LOG", "info"), 0, "getpid: bypassed")?;
    let status = status()?;
    ensure!(status["enabled"]["global"]["enabled"] == true, "{status}");
    ensure!(status["enabled"]["global"]["path"] == PRELOAD, "{status}");
    says(&mut loader(&["status"]), 0, "enabled for all programs, in /etc/ld.so.preload")?;
    // It is undone without the service and without the library.
    stop()?;
    fs::remove_file(ENTRY)?;
    says(&mut loader(DISABLE), 0, "disabled in")?;
    ensure!(list().is_none(), "{:?}", list());
    let said = says(&mut Command::new("/bin/true"), 0, "")?;
    ensure!(said.is_empty(), "{said}");
    Ok(())
}

fn needs_the_service() -> Result<()> {
    stop()?;
    let _machine = Machine::new()?;
    says(&mut loader(ENABLE), 1, "systemctl enable --now bysyscall")?;
    ensure!(list().is_none(), "{:?}", list());
    Ok(())
}

/// A program in the place of /bin/true.
fn with_true(script: &str, test: impl FnOnce() -> Result<()>) -> Result<()> {
    let file = path("true");
    fs::write(&file, format!("#!/bin/sh\n{script}\n"))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    succeed(Command::new("mount").arg("--bind").arg(&file).arg("/bin/true"))?;
    let result = test();
    rustix::mount::unmount("/bin/true", rustix::mount::UnmountFlags::DETACH)?;
    fs::remove_file(file)?;
    result
}

fn rolls_back() -> Result<()> {
    start()?;
    let _machine = Machine::new()?;
    for before in [None, Some(&b"# mine"[..])] {
        if let Some(before) = before {
            fs::write(PRELOAD, before)?;
        }
        with_true("! grep -qs libbysyscall /etc/ld.so.preload", || {
            says(&mut loader(ENABLE), 1, "undone").map(drop)
        })?;
        ensure!(list().as_deref() == before, "{:?}", list());
    }
    Ok(())
}

fn refuses_what_breaks_programs() -> Result<()> {
    start()?;
    let _machine = Machine::new()?;
    for script in ["test -z \"$LD_PRELOAD\"", "test -z \"$LD_PRELOAD\" || echo noise >&2"] {
        with_true(script, || says(&mut loader(ENABLE), 1, "with the library").map(drop))?;
        ensure!(list().is_none(), "{:?}", list());
    }
    // What fails anyway tells nothing.
    with_true("exit 1", || says(&mut loader(ENABLE), 0, "fails without the library").map(drop))
}

fn noise_of_others_is_no_obstacle() -> Result<()> {
    start()?;
    let _machine = Machine::new()?;
    fs::write(PRELOAD, "# comment 1\n# comment 2\n/no/such.so")?;
    says(&mut loader(ENABLE), 0, "enabled in")?;
    says(&mut loader(DISABLE), 0, "disabled in")?;
    ensure!(list().as_deref() == Some(b"# comment 1\n# comment 2\n/no/such.so"), "{:?}", list());
    Ok(())
}

fn interrupted_leaves_old_or_new() -> Result<()> {
    start()?;
    let _machine = Machine::new()?;
    let begin = Instant::now();
    says(&mut loader(ENABLE), 0, "enabled in")?;
    let whole = begin.elapsed();
    says(&mut loader(DISABLE), 0, "disabled in")?;
    // Fewer where each takes longer.
    let steps = if patience::scale() == 1 { 10 } else { 4 };
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        for step in 0..steps {
            let victim = spawn(loader(ENABLE))?;
            sleep(whole * step / (steps - 1));
            // It may have ended before.
            let _ = send(&victim, signal);
            let output = victim.wait_with_output()?;
            let is_enabled = list().is_some_and(|list| list == format!("{ENTRY}\n").as_bytes());
            ensure!(is_enabled || list().is_none(), "{:?}", list());
            match output.status.code() {
                Some(0) => ensure!(is_enabled, "exits with 0 and has not enabled"),
                Some(130) => ensure!(!is_enabled, "interrupted and enabled"),
                None => {}
                _ => anyhow::bail!("{}: {}", output.status, text(&output.stderr)),
            }
            says(&mut loader(DISABLE), 0, "")?;
            ensure!(list().is_none(), "{:?}", list());
        }
    }
    Ok(())
}

/// The parser against the loader of this machine.
fn lists_are_read_as_ld_so_reads_them() -> Result<()> {
    let _machine = Machine::new()?;
    let mut runner = TestRunner::deterministic();
    let contents =
        proptest::collection::vec(proptest::sample::select(&b"xy/#: \t\n\n##\0"[..]), 0..40);
    for _ in 0..1000 / patience::scale() {
        let content = contents.new_tree(&mut runner).map_err(anyhow::Error::msg)?.current();
        fs::write(PRELOAD, &content)?;
        let said = output(&mut Command::new("/bin/true"))?.stderr;
        fs::remove_file(PRELOAD)?;
        let said = text(&said);
        let tried: Vec<&str> = said
            .split("object '")
            .skip(1)
            .map(|said| said.split("' from ").next().context("no name"))
            .collect::<Result<_>>()?;
        let read: Vec<String> =
            preload::entries(&content).into_iter().map(|range| text(&content[range])).collect();
        ensure!(tried == read, "{:?}: ld.so tries {tried:?}, not {read:?}", text(&content));
    }
    Ok(())
}

/// Anyone can lock a directory that he can read.
fn waits_for_no_user() -> Result<()> {
    let _machine = Machine::new()?;
    let mut lock = Command::new("flock");
    lock.args(["--no-fork", "/etc", "sleep", "1000"]);
    let mut holder = spawn(as_nobody(lock))?;
    let etc = fs::File::open("/etc")?;
    wait_until("/etc is locked", || {
        Ok(flock(&etc, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
            || flock(&etc, FlockOperation::Unlock).is_err())
    })?;
    let begin = Instant::now();
    let result = succeed(&mut loader(DISABLE));
    holder.kill()?;
    holder.wait()?;
    result?;
    ensure!(begin.elapsed() < patience::seconds(10), "has waited for {:?}", begin.elapsed());
    Ok(())
}
