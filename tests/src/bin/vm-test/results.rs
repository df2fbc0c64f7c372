// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What a guest says of its tests.

use std::fmt;
use std::ops::AddAssign;

/// How many tests ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Tally {
    /// How many there were.
    pub fn tests(self) -> u32 {
        self.passed + self.failed + self.skipped
    }

    /// Whether nothing failed and something passed.
    pub fn is_success(self) -> bool {
        self.failed == 0 && self.passed > 0
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(formatter, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// What came of guests.
#[derive(Default)]
pub struct Report {
    /// How many tests ended in which way.
    pub tally: Tally,
    /// What failed, a line each: there are thousands of others above the summary.
    pub failures: Vec<String>,
}

impl Report {
    /// Counts a failure.
    pub fn fail(&mut self, what: String) {
        self.tally.failed += 1;
        self.failures.push(what);
    }
}

impl AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.tally += other.tally;
        self.failures.extend(other.failures);
    }
}

/// Reads the lines of `run-plan` and of the test programs in it.
pub struct Results {
    kernel: (u32, u32),
    /// So far, without the command that runs.
    report: Report,
    /// The command that runs.
    current: Option<Command>,
    is_done: bool,
}

struct Command {
    line: String,
    tally: Tally,
    summary: Option<Tally>,
}

impl Results {
    /// Nothing yet, in a guest of this kernel.
    pub fn new(kernel: (u32, u32)) -> Self {
        Self { kernel, report: Report::default(), current: None, is_done: false }
    }

    /// Takes a line, and says what is wrong with it, beyond what it says itself.
    pub fn take(&mut self, line: &str) -> Option<String> {
        if let Some(line) = line.strip_prefix("lab: run ") {
            let line = line.to_owned();
            self.current = Some(Command { line, tally: Tally::default(), summary: None });
        } else if let Some(code) = line.strip_prefix("lab: exit ") {
            let command = self.current.take()?;
            self.report.tally += command.tally;
            let problem = command.problem(code);
            if let Some(problem) = &problem {
                self.report.fail(problem.clone());
            }
            return problem;
        } else if line == "lab: done" {
            self.is_done = true;
        } else if let Some(command) = &mut self.current {
            if let Some(summary) = summary(line) {
                command.summary = Some(summary);
            }
            match outcome(line)? {
                Outcome::Passed => command.tally.passed += 1,
                Outcome::Failed => {
                    command.tally.failed += 1;
                    self.report.failures.push(line.to_owned());
                }
                Outcome::Skipped(reason) => match wrong_skip(reason, self.kernel) {
                    None => command.tally.skipped += 1,
                    Some(problem) => {
                        command.tally.failed += 1;
                        self.report.failures.push(format!("{line}: {problem}"));
                        return Some(problem);
                    }
                },
            }
        }
        None
    }

    /// Whether all commands have been run.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// What was counted, with that of a command that did not end.
    pub fn finish(mut self) -> Report {
        if let Some(command) = self.current.take() {
            self.report.tally += command.tally;
        }
        self.report
    }
}

impl Command {
    /// What is wrong with how it ended: its lines, its summary and its exit code must agree.
    fn problem(&self, code: &str) -> Option<String> {
        let Some(summary) = self.summary else {
            return Some(format!("no summary of {}: exit code {code}", self.line));
        };
        if summary.tests() != self.tally.tests() {
            return Some(format!("counted {}, but {} says {summary}", self.tally, self.line));
        }
        (summary.failed == 0 && code != "0").then(|| format!("{}: exit code {code}", self.line))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome<'line> {
    Passed,
    Failed,
    /// With the reason, if one is given.
    Skipped(&'line str),
}

/// `test [reason] name ... ok`, or `FAILED`, `ignored`, `ignored (reason)`.
fn outcome(line: &str) -> Option<Outcome<'_>> {
    let (test, outcome) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let kind = test.strip_prefix('[').and_then(|rest| Some(rest.split_once(']')?.0)).unwrap_or("");
    match outcome {
        "ok" => Some(Outcome::Passed),
        "ignored" => Some(Outcome::Skipped(kind)),
        _ if outcome.starts_with("ignored (") => {
            Some(Outcome::Skipped(outcome.trim_start_matches("ignored (").trim_end_matches(')')))
        }
        // Also what a test has printed where its outcome should be.
        _ => Some(Outcome::Failed),
    }
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; ...`
fn summary(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        let counted = counts.split("; ").find_map(|count| count.strip_suffix(what))?;
        counted.trim().parse().ok()
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")?, skipped: count("ignored")? })
}

/// What is wrong with a skip on this kernel: it must name what the kernel lacks, and it must lack it.
fn wrong_skip(reason: &str, kernel: (u32, u32)) -> Option<String> {
    match minimum(reason) {
        None => Some(format!("skipped without naming a feature and its kernel: `{reason}`")),
        Some(minimum) if kernel >= minimum => {
            Some(format!("skipped, although Linux {}.{} has it: {reason}", kernel.0, kernel.1))
        }
        Some(_) => None,
    }
}

/// The version in `needs FEATURE, Linux MAJOR.MINOR`.
fn minimum(reason: &str) -> Option<(u32, u32)> {
    let (feature, version) = reason.strip_prefix("needs ")?.rsplit_once(", Linux ")?;
    let (major, minor) = version.split_once('.')?;
    (!feature.is_empty()).then_some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 1.00s";

    fn read(lines: &[&str]) -> (Tally, Vec<String>, bool) {
        let mut results = Results::new((6, 1));
        let problems = lines.iter().filter_map(|line| results.take(line)).collect();
        let is_done = results.is_done();
        let report = results.finish();
        assert_eq!(report.failures.len(), report.tally.failed as usize);
        (report.tally, problems, is_done)
    }

    fn tally(passed: u32, failed: u32, skipped: u32) -> Tally {
        Tally { passed, failed, skipped }
    }

    #[test]
    fn tests_are_counted() {
        let (counted, problems, is_done) = read(&[
            "lab: run tests",
            "test one        ... ok",
            "test [needs x, Linux 6.2] two ... ignored",
            "test three ... FAILED",
            "test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.00s",
            "lab: exit 101",
            "lab: done",
        ]);
        assert_eq!((counted, problems.len(), is_done), (tally(1, 1, 1), 0, true));
    }

    #[test]
    fn a_command_that_dies_is_a_failure() {
        let (counted, problems, _) = read(&["lab: run tests", "test one ... ok", "lab: exit 139"]);
        assert_eq!((counted, problems.len()), (tally(1, 1, 0), 1));
        let lines = ["lab: run tests", "test one ... ok", "test two ... ok", ALL, "lab: exit 1"];
        assert_eq!(read(&lines).0, tally(2, 1, 0));
    }

    #[test]
    fn a_line_that_is_lost_is_a_failure() {
        let (counted, problems, _) =
            read(&["lab: run tests", "test one ... ok", ALL, "lab: exit 0"]);
        assert_eq!((counted, problems.len()), (tally(1, 1, 0), 1));
        assert_eq!(outcome("test one ... noiseok"), Some(Outcome::Failed));
    }

    #[test]
    fn a_skip_names_what_the_kernel_lacks() {
        assert_eq!(wrong_skip("needs x, Linux 6.2", (6, 1)), None);
        assert!(wrong_skip("needs x, Linux 6.1", (6, 1)).is_some());
        assert!(wrong_skip("needs x, Linux 5.19", (6, 1)).is_some());
        assert!(wrong_skip("needs x", (6, 1)).is_some());
        assert!(wrong_skip("", (6, 1)).is_some());
        assert_eq!(
            outcome("test one ... ignored (needs x, Linux 6.2)"),
            Some(Outcome::Skipped("needs x, Linux 6.2"))
        );
    }

    #[test]
    fn nothing_is_no_success() {
        assert!(!Tally::default().is_success());
        assert!(tally(1, 0, 1).is_success());
        assert!(!tally(1, 1, 0).is_success());
    }
}
