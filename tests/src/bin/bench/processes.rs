// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What the library costs a process: to start and to fork.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bysyscall_tests::built;

use crate::report::{Aim, Report, Spread};

const ROUNDS: usize = 1001;

pub fn measure(report: &mut Report) -> Result<()> {
    let (library, empty) = (built::library()?, built::program("empty.so")?);
    let start = |library: &Path| -> Result<f64> {
        let begin = Instant::now();
        let status = Command::new("/bin/true").env("LD_PRELOAD", library).status()?;
        ensure!(status.success(), "/bin/true: {status}");
        Ok(begin.elapsed().as_nanos() as f64 / 1000.0)
    };
    report.add(
        "exec of /bin/true, against an empty library: slower by",
        differences(|| start(&library), || start(&empty))?,
        "µs",
        Aim::AtMost(25.0),
    );

    let (mut with, mut without) = (ForkServer::start(&library)?, ForkServer::start(&empty)?);
    report.add(
        "fork, exit and wait of a bypassing process: slower by",
        differences(|| with.fork(), || without.fork())?,
        "µs",
        Aim::AtMost(5.0),
    );
    with.end()?;
    without.end()
}

/// How much more the first takes, in pairs.
fn differences(
    mut first: impl FnMut() -> Result<f64>,
    mut second: impl FnMut() -> Result<f64>,
) -> Result<Spread> {
    let mut differences = Vec::new();
    for round in 0..ROUNDS {
        differences.push(if round.is_multiple_of(2) {
            let a = first()?;
            a - second()?
        } else {
            let b = second()?;
            first()? - b
        });
    }
    Ok(Spread::of(differences))
}

/// A process that forks when asked and tells how long it took.
struct ForkServer {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl ForkServer {
    fn start(library: &Path) -> Result<Self> {
        let mut process = Command::new(env::current_exe()?)
            .arg("fork-server")
            .env("LD_PRELOAD", library)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let requests = process.stdin.take().context("no pipe")?;
        let answers = BufReader::new(process.stdout.take().context("no pipe")?);
        Ok(Self { process, requests, answers })
    }

    fn fork(&mut self) -> Result<f64> {
        self.requests.write_all(b"\n")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        Ok(answer.trim().parse()?)
    }

    fn end(mut self) -> Result<()> {
        drop(self.requests);
        ensure!(self.process.wait()?.success(), "the fork server failed");
        Ok(())
    }
}

/// For each line of input: the microseconds that a fork and the child's end took.
pub fn serve_forks() -> Result<()> {
    for line in std::io::stdin().lines() {
        line?;
        let begin = Instant::now();
        // SAFETY: this process has one thread, and the child ends at once.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: ends this process.
            unsafe { libc::_exit(0) };
        }
        ensure!(child > 0, "cannot fork");
        // SAFETY: waits for our own child.
        ensure!(unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) } == child, "cannot wait");
        println!("{}", begin.elapsed().as_nanos() as f64 / 1000.0);
    }
    Ok(())
}
