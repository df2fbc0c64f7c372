// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! CPython's own tests of what has to do with processes, threads and users.
//!
//! They are run with the library, preloaded for all programs: of some of these tests it depends on the
//! environment whether they are run at all. Whatever does not pass is run without: it must
//! come to the same. Where it does not, both are done once more, and again, as some of these
//! tests depend on the time that things take; what then agrees is told and passes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bysyscall_tests::fixture::{library, start, status, trial};
use bysyscall_tests::log::bypassed;
use bysyscall_tests::process::succeed;
use libtest_mimic::Trial;

use crate::support::{Scratch, USER, as_user, note, script};

/// Each group is a test; its modules run side by side, the longest first. None
/// may take so long that the guest seems to hang.
const GROUPS: &[(&str, &str)] = &[
    (
        "processes",
        "test_subprocess test_threading test_signal test_os test_time test_posix test_resource",
    ),
    ("asyncio", "test_asyncio"),
    ("multiprocessing_fork", "test_multiprocessing_fork"),
    ("multiprocessing_forkserver", "test_multiprocessing_forkserver"),
    ("multiprocessing_spawn", "test_multiprocessing_spawn"),
];

/// Begins them as `python3 -m test` does. Only this process logs: the tests look at what others print.
const BEGIN: &str =
    "import os; os.environ.pop(\"BYSYSCALL_LOG\"); from test.libregrtest.main import main; main()";

pub fn trials() -> Vec<Trial> {
    let group = |(name, modules): &(&'static str, &'static str)| {
        let modules = *modules;
        trial(format!("foreign::cpython_{name}"), move || cpython(modules))
    };
    GROUPS.iter().map(group).collect()
}

/// How often those are run once more, with and without, that differ.
const AGAIN: usize = 2;

/// The outcome of each test, by its name.
type Outcomes = BTreeMap<String, String>;

fn cpython(modules: &str) -> Result<()> {
    start()?;
    let with = run(modules, true, None)?;
    for module in modules.split(' ') {
        let prefix = format!("test.{module}.");
        let passed =
            |(name, outcome): (&String, &String)| name.starts_with(&prefix) && outcome == "passed";
        ensure!(with.iter().any(passed), "no test of {module} has passed");
    }
    let not_passed: BTreeSet<String> = with
        .iter()
        .filter(|(_, outcome)| *outcome != "passed")
        .map(|(name, _)| name.clone())
        .collect();
    let without = run(modules, false, Some(&not_passed))?;
    let failed = not_passed.iter().filter(|name| with.get(*name).is_some_and(|it| it != "skipped"));
    for name in failed.filter(|name| with.get(*name) == without.get(*name)) {
        note(format!("CPython: {name} also fails without the library"));
    }
    note(format!("CPython: {} tests, {} passed", with.len(), with.len() - not_passed.len()));
    let (mut with, mut without) = (vec![with], vec![without]);
    let mut at_times = BTreeSet::new();
    let mut differing = that_differ(&not_passed, &with, &without);
    for _ in 0..AGAIN {
        let earlier = differing;
        with.push(run(modules, true, Some(&earlier))?);
        without.push(run(modules, false, Some(&earlier))?);
        differing = that_differ(&earlier, &with, &without);
        at_times.extend(earlier.difference(&differing).cloned());
    }
    if !at_times.is_empty() {
        note(format!("CPython: differ by chance: {at_times:?}"));
    }
    ensure!(differing.is_empty(), "with the library these come to something else: {differing:?}");
    Ok(())
}

/// Those that came to nothing in any run with the library that they came to in one without.
fn that_differ(
    names: &BTreeSet<String>,
    with: &[Outcomes],
    without: &[Outcomes],
) -> BTreeSet<String> {
    let outcomes = |runs: &[Outcomes], name: &String| -> BTreeSet<String> {
        runs.iter().filter_map(|run| run.get(name).cloned()).collect()
    };
    let differs = |name: &&String| outcomes(with, name).is_disjoint(&outcomes(without, name));
    names.iter().filter(differs).cloned().collect()
}

/// Processes that are registered meanwhile: one that runs tests, the one that starts it, the loader that counts.
const EXPECTED: u64 = 3;

/// The library is in the list of those that all programs load.
struct Preloaded;

impl Preloaded {
    const LIST: &str = "/etc/ld.so.preload";

    fn by_all() -> Result<Self> {
        fs::write(Self::LIST, format!("{}\n", library().display())).context(Self::LIST)?;
        Ok(Self)
    }
}

impl Drop for Preloaded {
    fn drop(&mut self) {
        let _ = fs::remove_file(Self::LIST);
    }
}

/// Runs all tests, or these.
fn run(modules: &str, with_library: bool, only: Option<&BTreeSet<String>>) -> Result<Outcomes> {
    if only.is_some_and(BTreeSet::is_empty) {
        return Ok(Outcomes::new());
    }
    let dir = Scratch::new("cpython")?.owned_by(USER)?;
    let mut options = String::new();
    if let Some(names) = only {
        let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
        fs::write(dir.join("names"), lines)?;
        options = format!("--matchfile={}", dir.join("names").display());
    }
    // A long limit makes the tests themselves wait longer for what must happen.
    let text = "cd $DIR; exec python3 -c \"$BEGIN\" -j4 --timeout=2400 --junit-xml=$DIR/results.xml $OPTIONS $MODULES";
    let mut command = as_user(script(text));
    command.env("DIR", dir.join("")).env("HOME", dir.join("")).env("BEGIN", BEGIN);
    command.env("OPTIONS", options).env("MODULES", modules_of(modules, only));
    command.env_remove("LD_PRELOAD");
    ensure!(!fs::exists(Preloaded::LIST)?, "the library is still preloaded by all");
    let _preloaded = if with_library { Some(Preloaded::by_all()?) } else { None };
    let log = dir.join("log");
    let output = File::create(&log)?;
    command.stdout(output.try_clone()?).stderr(output);
    let mut child = command.spawn().context("cannot run python3")?;
    let mut most_registered = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if with_library && most_registered < EXPECTED {
            most_registered = most_registered.max(registered()?);
        }
        sleep(Duration::from_secs(1));
    };
    let said = fs::read_to_string(&log)?;
    if with_library && only.is_none() {
        ensure!(
            most_registered >= EXPECTED,
            "only {most_registered} processes were registered: {said}"
        );
        let count: u64 = bypassed(&said, "getpid").sum();
        ensure!(count > 0, "getpid was not bypassed: {said}");
    }
    let unjudged: Vec<&str> = said.lines().filter(|line| is_unjudged(line)).collect();
    ensure!(status.code().is_some() && unjudged.is_empty(), "{status}: {unjudged:?}\n{said}");
    let mut results = script("exec python3 -c \"$RESULTS\" $DIR/results.xml");
    results.env("DIR", dir.join("")).env("RESULTS", include_str!("results.py"));
    let results = succeed(&mut results).with_context(|| said.clone())?;
    let outcome = |line: &str| {
        let (outcome, name) = line.split_once(' ')?;
        Some((name.to_owned(), outcome.to_owned()))
    };
    results.lines().map(|line| outcome(line).with_context(|| line.to_owned())).collect()
}

/// Whether this line, as `[3/7] test_os passed`, says that a module's tests have come to no end.
fn is_unjudged(line: &str) -> bool {
    const ENDS: [&str; 5] =
        ["crashed", "timed out", "worker", "interrupted", "failed (uncaught exception"];
    let outcome = line.split_once("] ").and_then(|(_, rest)| rest.split_once(' '));
    outcome.is_some_and(|(_, outcome)| ENDS.iter().any(|end| outcome.starts_with(end)))
}

/// The modules that these tests are in.
fn modules_of(modules: &str, only: Option<&BTreeSet<String>>) -> String {
    let is_wanted = |module: &&str| {
        only.is_none_or(|names| {
            names.iter().any(|name| name.starts_with(&format!("test.{module}.")))
        })
    };
    modules.split(' ').filter(is_wanted).collect::<Vec<_>>().join(" ")
}

fn registered() -> Result<u64> {
    Ok(status()?["registered"]["processes"].as_u64().unwrap_or(0))
}
