// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Running `checks.sh` in some place, as some user, and judging what it says.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use bysyscall_abi::{WRAPPERS, wrappers_that_need};
use bysyscall_tests::accounting;
use bysyscall_tests::fixture::{ensure_success, library, path, start, status};
use bysyscall_tests::log::most_bypassed;
use bysyscall_tests::process::{output, text};

pub const ROOT: u32 = 0;
/// The user `lab` and the group of this name.
pub const USER: u32 = 1000;
/// `checks.sh` asks for each answer more often than this in the process that
/// counts them; whatever else runs on the way there asks less often.
pub const ASKED_AT_LEAST: u64 = 500;

/// How a program is to come to its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// From the cells, for each wrapper that is on.
    Bypassed,
    /// The same, but from the kernel for users and groups.
    BypassedButIds,
    /// From the kernel.
    Real,
}

/// A way to `checks.sh`: into some place, or through programs that change who runs it.
pub struct Way {
    pub name: &'static str,
    pub from: u32,
    /// A shell script that ends in it.
    pub by: &'static str,
    /// Who runs the checks, as the place itself numbers users.
    pub uid: u32,
    pub answers: Answers,
}

/// A way that keeps the preload, to where the service is and may be believed.
pub const fn served(name: &'static str, from: u32, by: &'static str, uid: u32) -> Way {
    Way { name, from, by, uid, answers: Answers::Bypassed }
}

/// Any other.
pub const fn not_served(name: &'static str, from: u32, by: &'static str, uid: u32) -> Way {
    Way { name, from, by, uid, answers: Answers::Real }
}

/// Puts `checks.sh` beside what is under test.
pub fn install() -> Result<()> {
    let checks = path("checks.sh");
    fs::write(&checks, include_str!("checks.sh"))?;
    set_mode(&checks, 0o755)
}

/// A shell script, which ends at its first error. It has the library preloaded
/// and finds in `$CHECKS` what to run, in `$AGAIN` how a program that has
/// lost its environment gets the library back (`$SETENV`: the same as options),
/// and in `$UNDER_TEST` all of it.
pub fn script(text: &str) -> Command {
    let preload = format!("LD_PRELOAD={}", library().display());
    let mut command = Command::new("/bin/sh");
    command.args(["-euc", text]).current_dir("/");
    command.env("CHECKS", path("checks.sh"));
    command.env("AGAIN", format!("{preload} BYSYSCALL_LOG=info"));
    command.env("SETENV", format!("--setenv={preload} --setenv=BYSYSCALL_LOG=info"));
    command.env("UNDER_TEST", path(""));
    command.env("LD_PRELOAD", library()).env("BYSYSCALL_LOG", "info");
    command
}

/// Has the command run by the user `lab`.
pub fn as_user(mut command: Command) -> Command {
    command.uid(USER).gid(USER);
    command.env("HOME", "/home/lab").env("USER", "lab").env("LOGNAME", "lab");
    command
}

/// Runs a command that ends in `checks.sh`: it must have been run by this user,
/// each answer must be right and be got in this way.
pub fn ensure_checks(mut command: Command, uid: u32, answers: Answers) -> Result<Output> {
    start()?;
    let output = output(&mut command)?;
    ensure_success("checks", &output)?;
    let said = text(&output.stdout);
    ensure!(said.contains(&format!("Uid:{uid}\n")), "not run as {uid}: {said}");
    ensure!(said.ends_with("All checked.\n"), "not all was checked: {said}");
    let log = text(&output.stderr);
    // CPU times have a program of their own, which these checks are not.
    let asked = |(wrapper, _): &(String, bool)| !accounting::names().contains(&wrapper.as_str());
    for (wrapper, is_on) in wrappers()?.into_iter().filter(asked) {
        let most = most_bypassed(&log, &wrapper);
        let expected = is_on
            && match answers {
                Answers::Bypassed => true,
                Answers::BypassedButIds => !is_of(&wrapper, "bysys_creds"),
                Answers::Real => false,
            };
        ensure!(
            (most >= ASKED_AT_LEAST) == expected,
            "{wrapper}: expected {answers:?} answers, one process has bypassed {most}: {log}"
        );
    }
    Ok(output)
}

/// Whether a wrapper needs a hook.
fn is_of(wrapper: &str, hook: &str) -> bool {
    WRAPPERS.iter().any(|row| row.name == wrapper && row.is_in(wrappers_that_need(hook)))
}

/// Each wrapper, and whether it is on.
fn wrappers() -> Result<Vec<(String, bool)>> {
    let status = status()?;
    let wrappers = status["wrappers"].as_array().context("no wrappers in the status")?;
    let wrapper = |entry: &serde_json::Value| {
        Some((entry["name"].as_str()?.to_owned(), entry["on"].as_bool()?))
    };
    wrappers.iter().map(|entry| wrapper(entry).with_context(|| format!("{entry}"))).collect()
}

/// What tests want to tell, whether they pass or not.
static NOTES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Has a line printed when all tests are done; before, it would be in the way of their own lines.
pub fn note(line: String) {
    NOTES.lock().unwrap_or_else(PoisonError::into_inner).push(line);
}

/// Prints the notes.
pub fn print_notes() {
    for line in &*NOTES.lock().unwrap_or_else(PoisonError::into_inner) {
        println!("note: {line}");
    }
}

/// Sets the permission bits of a file.
pub fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

/// A directory on the disk, where set-uid bits count, for one test. It is gone afterwards.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes it, for everybody to enter.
    pub fn new(name: &str) -> Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = format!("/var/tmp/bysyscall-{name}-{}-{number}", std::process::id());
        let path = PathBuf::from(path);
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let scratch = Self(path);
        set_mode(&scratch.0, 0o755)?;
        Ok(scratch)
    }

    /// Gives it to a user.
    pub fn owned_by(self, uid: u32) -> Result<Self> {
        chown(&self.0, Some(uid), Some(uid))?;
        Ok(self)
    }

    /// Something in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is gone with the guest.
        let _ = fs::remove_dir_all(&self.0);
    }
}
