// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Which tests are run, beyond what libtest-mimic's arguments can say.

use libtest_mimic::Trial;

/// Keeps what has one of the words of `BYSYSCALL_TESTS` in its name, or all if that is not set.
pub fn retain(trials: &mut Vec<Trial>) {
    if let Ok(words) = std::env::var("BYSYSCALL_TESTS") {
        trials.retain(|trial| words.split_whitespace().any(|word| trial.name().contains(word)));
    }
}

/// A test that this kernel cannot run, because it lacks a feature that others have since a version.
/// The kernel lab takes a skip on a kernel that has the feature for a failure.
pub fn skip(trial: Trial, feature: &str, since: (u32, u32)) -> Trial {
    let (major, minor) = since;
    trial.with_kind(format!("needs {feature}, Linux {major}.{minor}")).with_ignored_flag(true)
}
