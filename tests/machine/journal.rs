// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What the journal of a boot must not have in it.

use anyhow::{Result, ensure};
use bysyscall_tests::fixture::trial;
use libtest_mimic::Trial;

use crate::support::sh;

/// Signs of a program that was killed, refused something, or could not load the library.
const SIGNS: &[&str] = &[
    "SIGSYS",
    "status=31",
    "type=1326",
    "ld.so:",
    "error while loading shared libraries",
    "SIGSEGV",
    "SIGBUS",
    "SIGABRT",
    // As systemd tells of its units.
    "/SEGV",
    "/BUS",
    "/ABRT",
    "/ILL",
    "result 'signal'",
    "ordering cycle",
    "segfault",
    "general protection",
    "traps:",
    "dumped core",
    "core-dump",
];
/// These programs write down commands, ours among them; and enabling foretells what ld.so will say.
const QUOTING: &[&str] = &["COMMAND=", "CMD (", "will run as before, but each prints"];

pub fn trials() -> Vec<Trial> {
    vec![
        trial("journal::of_this_boot_is_clean", || is_clean("0")),
        // With the way down.
        trial("journal::of_the_boot_before_is_clean", || is_clean("-1")),
    ]
}

/// The number of a boot is 0 for this one, -1 for the one before.
pub fn is_clean(boot: &str) -> Result<()> {
    let journal = sh(&format!(
        "journalctl --sync; journalctl --quiet --no-pager --output=short --boot={boot}"
    ))?;
    ensure!(journal.lines().count() > 50, "nothing is in it: {journal}");
    let bad: Vec<&str> = journal.lines().filter(|line| is_bad(line)).collect();
    ensure!(bad.is_empty(), "{}", bad.join("\n"));
    Ok(())
}

fn is_bad(line: &str) -> bool {
    let is_refusal = line.contains("DENIED") && line.contains("bysyscall");
    (is_refusal || SIGNS.iter().any(|sign| line.contains(sign)))
        && !QUOTING.iter().any(|mark| line.contains(mark))
}
