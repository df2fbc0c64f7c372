// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The guests of all kernels, a few at a time: while the last one of a kernel runs, the next kernel begins.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::boot::Boot;
use crate::cuts::Cuts;
use crate::kernel::Kernel;
use crate::machine;
use crate::qemu::Guest;
use crate::results::Report;

/// What is done with a guest.
pub enum Work {
    /// It is booted once.
    Boot(Boot),
    /// Its packages are installed and removed over several boots, and its power is cut.
    Machine(Cuts),
}

/// A kernel, and what is done with guests that run it.
pub struct Task {
    /// It.
    pub kernel: &'static Kernel,
    /// Each of them may be done beside the others.
    pub works: Vec<Work>,
}

/// What came of a kernel.
struct Outcome {
    kernel: &'static Kernel,
    release: String,
    report: Report,
    /// When its first guest began, and when its last one ended.
    time: Option<(Instant, Instant)>,
}

/// Does it all with up to `jobs` guests at once: what one cannot do in parallel, two can. `prepare` makes
/// the guest of a kernel, while those of the kernels before run. Whatever fails, the others are done.
pub fn run<'run>(
    tasks: Vec<Task>,
    jobs: usize,
    prepare: impl Fn(&'static Kernel) -> Result<Guest<'run>>,
) -> (Vec<String>, Report) {
    let (sender, receiver) = channel();
    let waiting = Mutex::new(receiver);
    let outcomes: Mutex<Vec<Outcome>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| work(&waiting, &outcomes));
        }
        for Task { kernel, works } in tasks {
            let guest = prepare(kernel);
            let (release, report) = match &guest {
                Ok(guest) => (guest.release().to_owned(), Report::default()),
                Err(error) => ("not booted".to_owned(), failure(kernel, error)),
            };
            let number = {
                let mut outcomes = lock(&outcomes);
                outcomes.push(Outcome { kernel, release, report, time: None });
                outcomes.len() - 1
            };
            let Ok(guest) = guest else { continue };
            for work in works {
                // There are always receivers: they stay until this is dropped.
                let _ = sender.send((number, guest.clone(), work));
            }
        }
        drop(sender);
    });
    let mut summary = Vec::new();
    let mut total = Report::default();
    for outcome in outcomes.into_inner().unwrap_or_else(PoisonError::into_inner) {
        let Outcome { kernel, release, report, time } = outcome;
        let time = time.map_or_else(String::new, |(begin, end)| {
            format!(" in {}", minutes(end.duration_since(begin)))
        });
        summary.push(format!("{} ({release}): {}{time}", kernel.name, report.tally));
        total += report;
    }
    (summary, total)
}

fn work(waiting: &Mutex<Receiver<(usize, Guest<'_>, Work)>>, outcomes: &Mutex<Vec<Outcome>>) {
    loop {
        let next = lock(waiting).recv();
        let Ok((number, guest, work)) = next else { return };
        let begin = Instant::now();
        let report = match work {
            Work::Boot(boot) => guest.run(&boot),
            Work::Machine(cuts) => machine::run(&guest, cuts),
        };
        let report = report.unwrap_or_else(|error| failure(guest.kernel(), &error));
        let outcome = &mut lock(outcomes)[number];
        outcome.report += report;
        let first = outcome.time.map_or(begin, |(first, _)| first.min(begin));
        outcome.time = Some((first, Instant::now()));
    }
}

fn failure(kernel: &Kernel, error: &anyhow::Error) -> Report {
    let problem = format!("{}: {error:#}", kernel.name);
    println!("FAILED: {problem}");
    let mut report = Report::default();
    report.fail(problem);
    report
}

fn minutes(time: Duration) -> String {
    format!("{}:{:02} min", time.as_secs() / 60, time.as_secs() % 60)
}

/// What another thread has left half done when it panicked is still what there is to tell.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
