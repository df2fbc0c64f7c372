// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Which tests are run, beyond what libtest-mimic's arguments can say.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use libtest_mimic::{Arguments, Trial};

/// Runs the tests of a program that are [`selected`], or says why it cannot.
pub fn run(name: &str, arguments: &Arguments, trials: Result<Vec<Trial>>) -> ExitCode {
    match trials.and_then(selected) {
        Ok(trials) => libtest_mimic::run(arguments, trials).exit_code(),
        Err(error) => {
            eprintln!("{name} tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Keeps what has one of the words of `BYSYSCALL_TESTS` in its name, or all if that is not set.
/// An error if a word is in no name: then nobody would notice that a test has another name now.
fn selected(trials: Vec<Trial>) -> Result<Vec<Trial>> {
    match std::env::var("BYSYSCALL_TESTS") {
        Ok(words) => named(trials, &words.split_whitespace().collect::<Vec<_>>()),
        Err(_) => Ok(trials),
    }
}

fn named(mut trials: Vec<Trial>, words: &[&str]) -> Result<Vec<Trial>> {
    for word in words {
        let is_in_a_name = trials.iter().any(|trial| trial.name().contains(word));
        ensure!(is_in_a_name, "BYSYSCALL_TESTS: no test has `{word}` in its name");
    }
    trials.retain(|trial| words.iter().any(|word| trial.name().contains(word)));
    Ok(trials)
}

/// A test that this kernel cannot run, because it lacks a feature that others have since a version.
/// The kernel lab takes a skip on a kernel that has the feature for a failure.
pub fn skip(trial: Trial, feature: &str, since: (u32, u32)) -> Trial {
    let (major, minor) = since;
    trial.with_kind(format!("needs {feature}, Linux {major}.{minor}")).with_ignored_flag(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_no_test_has_is_an_error() {
        let trials = || vec![Trial::test("a::b", || Ok(())), Trial::test("c", || Ok(()))];
        assert_eq!(named(trials(), &["a::"]).expect("one has it").len(), 1);
        assert!(named(trials(), &["a::", "d"]).is_err());
    }
}
