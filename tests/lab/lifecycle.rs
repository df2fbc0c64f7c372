// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The service is stopped, started, replaced by one of another ABI version and
//! sabotaged, while processes of all kinds check each of their answers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bysyscall_abi::PIN_DIR;
use bysyscall_tests::fixture::{
    as_nobody, ensure_no_traces, ensure_success, finish, library, path, plain, preloaded, resting,
    spawn, start, status, stop, trial, wait_until,
};
use bysyscall_tests::process::{output, succeed, text};
use bysyscall_tests::{built, patience};
use libtest_mimic::Trial;

use self::Length::{Seconds, Times};
use crate::support::set_mode;

/// In parts, so that a slow guest does not seem to hang.
const PARTS: usize = 3;
const ROUNDS: usize = 17;
const PROCESSES: usize = 20;

/// What root can do to the service behind its back. None of it may take the
/// hooks from processes that believe the cells.
const SABOTAGES: &[(&str, &str)] = &[
    ("private_pins_removed", "rm -rf /sys/fs/bpf/bysyscall"),
    ("public_pins_removed", "rm -rf /run/bysyscall/register /run/bysyscall/cells"),
    ("public_directory_unmounted", "umount --lazy /run/bysyscall"),
    ("hold_unmounted", "umount --lazy /run/bysyscall-hold"),
    ("links_unmounted", "umount --lazy /run/bysyscall-links"),
    // Both are read-only, so this fails; what it can do it does.
    ("hold_and_links_removed", "! rm -rf /run/bysyscall-hold /run/bysyscall-links"),
    (
        "everything_removed",
        "umount --lazy /run/bysyscall /run/bysyscall-hold /run/bysyscall-links
         rm -rf /sys/fs/bpf/bysyscall /run/bysyscall /run/bysyscall-hold /run/bysyscall-links",
    ),
];

pub fn trials() -> Vec<Trial> {
    let sabotages = SABOTAGES
        .iter()
        .map(|(name, by)| trial(format!("lifecycle::{name}_under_load"), || sabotage(by)));
    let mut trials: Vec<Trial> = sabotages.collect();
    trials.push(trial("lifecycle::upgrade_and_back", upgrade_and_back));
    trials.extend((0..PARTS).map(|part| {
        let name = format!("lifecycle::stop_start_upgrade_under_load_{}", part + 1);
        trial(name, stop_start_upgrade_under_load)
    }));
    trials
}

/// A loader and the library that belongs to it.
struct Release {
    loader: PathBuf,
    library: PathBuf,
}

impl Release {
    /// What is under test.
    fn this() -> Self {
        Self { loader: path("bysyscall"), library: library() }
    }

    /// The same with another ABI version, where every user can reach it.
    fn other() -> Result<Self> {
        let copy = |name: &str, to: &str| -> Result<PathBuf> {
            let to = path(to);
            // Processes may have the last test's copy mapped.
            let _ = fs::remove_file(&to);
            fs::copy(built::target(&format!("other-abi/{name}"))?, &to)?;
            set_mode(&to, 0o755)?;
            Ok(to)
        };
        Ok(Self {
            loader: copy("bysyscall", "other-bysyscall")?,
            library: copy("libbysyscall.so", "libbysyscall-other.so")?,
        })
    }

    fn service(&self, command: &str) -> Result<()> {
        succeed(before_others(&self.loader).arg(command)).map(drop)
    }

    /// Whether a program that starts now with this library bypasses calls; if
    /// not, it must say that the service is of another version.
    fn serves(&self) -> Result<bool> {
        const ATTEMPTS: u32 = 20;
        const REFUSED: &str = "bysyscall: real calls only: the service is of another version\n";
        for _ in 0..ATTEMPTS {
            let mut command = before_others(Path::new("env"));
            command.arg(format!("LD_PRELOAD={}", self.library.display()));
            command.arg("BYSYSCALL_LOG=info").arg(path("getpid")).arg("100000");
            let output = output(&mut command)?;
            ensure_success("getpid", &output)?;
            let log = text(&output.stderr);
            if log == REFUSED || log.starts_with("getpid: bypassed ") {
                return Ok(log != REFUSED);
            }
            ensure!(log.is_empty(), "{log}");
            // While a task is preempted inside a program, calls on that CPU are real, on kernels that need
            // it. This one runs before that task, which goes on now.
            sleep(Duration::from_millis(100));
        }
        bail!("neither served nor refused");
    }
}

/// How many processes the service knows. `status` tells much more, and takes its time.
fn registered() -> Result<u64> {
    let count = Path::new(PIN_DIR).join("bysys_count");
    let answer = fs::read(&count).with_context(|| format!("cannot read {}", count.display()))?;
    let processes = answer.first_chunk().context("the task iterator gave no answer")?;
    Ok(u64::from_ne_bytes(*processes))
}

/// A program that runs before all that competes with it for the CPUs.
fn before_others(program: &Path) -> Command {
    let mut command = Command::new("nice");
    command.arg("--adjustment=-20").arg(program);
    command
}

fn finish_bracket(name: &str, child: Child) -> Result<()> {
    let said = finish(name, child)?;
    ensure!(said.contains(" 0 mismatches"), "{name}: {said}");
    Ok(())
}

/// Starts brackets, as root and as another user, that go on for so many
/// seconds, and waits until the service knows them.
fn load(seconds: u64) -> Result<Vec<Child>> {
    let number = seconds.to_string();
    let children = vec![
        spawn(preloaded("bracket", &["load", &number]))?,
        spawn(as_nobody(preloaded("bracket", &["load", &number])))?,
        spawn(preloaded("bracket", &["creds-overlay", &number]))?,
        spawn(as_nobody(preloaded("bracket", &["migrate", &number])))?,
    ];
    wait_until("the load is registered", || {
        Ok(status()?["registered"]["processes"].as_u64() > Some(children.len() as u64))
    })?;
    Ok(children)
}

fn sabotage(by: &str) -> Result<()> {
    start()?;
    let children = load(4)?;
    succeed(Command::new("sh").args(["-euc", by]))?;
    // Whoever starts now is served or makes real calls.
    for _ in 0..10 {
        succeed(&mut preloaded("bracket", &["fork", "5"]))?;
    }
    for child in children {
        finish_bracket("under load", child)?;
    }
    start()?;
    ensure!(status()?["running"] == true, "does not start again");
    stop()?;
    ensure_no_traces()
}

/// Processes that were there before stay right, programs that start afterwards
/// are served if their library is of the service's version.
fn upgrade_and_back() -> Result<()> {
    let (this, other) = (Release::this(), Release::other()?);
    stop()?;
    for (old, new) in [(&this, &other), (&other, &this)] {
        old.service("start")?;
        ensure!(old.serves()? && !new.serves()?, "the service is not of the old version");
        let seconds = 4 + patience::scale() / 2;
        let mut command = resting(plain("bracket", &["load", &seconds.to_string()]));
        command.env("LD_PRELOAD", &old.library);
        let mut running = spawn(command)?;
        wait_until("the old service knows the load", || Ok(registered()? > 1))?;
        new.service("start")?;
        ensure!(running.try_wait()?.is_none(), "the load has not lived through the upgrade");
        ensure!(new.serves()? && !old.serves()?, "the service is not of the new version");
        finish_bracket("started before", running)?;
        new.service("stop")?;
        ensure_no_traces()?;
    }
    Ok(())
}

/// How long a bracket goes on.
#[derive(Clone, Copy)]
enum Length {
    Seconds(u32),
    /// As often; where everything takes longer, less often.
    Times(u32),
}

/// As many processes at each round: whichever has ended is judged and followed by another.
struct Crowd {
    libraries: [PathBuf; 2],
    started: usize,
    running: Vec<(String, Child)>,
}

impl Crowd {
    /// Long enough that most live through a start of the service or several, on a slow machine too. None has
    /// many threads at a time: to detach hooks the kernel waits until each task that can run has run.
    const KINDS: &[(&str, Length)] = &[
        ("single", Times(10000)),
        ("fork", Times(150)),
        ("fork-thread", Times(25)),
        ("vfork", Times(25)),
        ("exec-thread", Times(12)),
        ("churn", Times(1500)),
        ("sessions", Times(50)),
        ("signals", Seconds(2)),
        ("creds-overlay", Seconds(2)),
    ];

    fn new(libraries: [PathBuf; 2]) -> Result<Self> {
        let mut crowd = Self { libraries, started: 0, running: Vec::new() };
        crowd.refill()?;
        Ok(crowd)
    }

    fn refill(&mut self) -> Result<()> {
        while self.running.len() < PROCESSES {
            let (name, length) = Self::KINDS[self.started % Self::KINDS.len()];
            let number = match length {
                Seconds(seconds) => seconds * (patience::scale() / 2).max(1),
                Times(times) => times * 2 / patience::scale(),
            };
            let mut command = plain("bracket", &[name, &number.to_string()]);
            command.env("LD_PRELOAD", &self.libraries[self.started % 2]);
            // What a timer interrupts would get no further if the handler slept.
            if name != "signals" {
                command = resting(command);
            }
            // Each kind comes with each library and as each user, but for what needs root.
            let as_user = self.started / 2 % 2 == 1 && name != "creds-overlay";
            let command = if as_user { as_nobody(command) } else { command };
            self.running.push((name.to_owned(), spawn(command)?));
            self.started += 1;
        }
        Ok(())
    }

    /// Judges those that have ended; how many have not.
    fn judge(&mut self) -> Result<usize> {
        let mut index = 0;
        while let Some((_, child)) = self.running.get_mut(index) {
            if child.try_wait()?.is_some() {
                let (name, child) = self.running.swap_remove(index);
                finish_bracket(&name, child)?;
            } else {
                index += 1;
            }
        }
        Ok(self.running.len())
    }

    fn finish(self) -> Result<()> {
        self.running.into_iter().try_for_each(|(name, child)| finish_bracket(&name, child))
    }
}

fn stop_start_upgrade_under_load() -> Result<()> {
    let (this, other) = (Release::this(), Release::other()?);
    stop()?;
    this.service("start")?;
    let mut crowd = Crowd::new([this.library.clone(), other.library.clone()])?;
    for round in 0..ROUNDS {
        wait_until("the service has processes", || {
            crowd.judge()?;
            crowd.refill()?;
            Ok(registered()? > 1)
        })?;
        let (serving, refusing) = match round % 4 {
            0 => (&other, &this),
            1 => {
                other.service("stop")?;
                (&other, &this)
            }
            2 => (&this, &other),
            _ => {
                this.service("stop")?;
                (&this, &other)
            }
        };
        serving.service("start")?;
        ensure!(serving.serves()? && !refusing.serves()?, "round {round}: of the wrong version");
        let lived_through = crowd.judge()?;
        ensure!(lived_through > 0, "round {round}: no process was there before and is after it");
    }
    crowd.finish()?;
    stop()?;
    ensure_no_traces()
}
