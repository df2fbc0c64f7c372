// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! A kernel that cannot run the service: the loader says why and leaves
//! nothing, and preloaded programs run as without it.

use std::env;

use anyhow::{Context, Result, ensure};
use bysyscall_tests::fixture::{as_nobody, ensure_no_traces, loader, preloaded, trial};
use bysyscall_tests::process::{output as run, succeed, text};
use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("refusal::names_what_is_missing", names_what_is_missing),
        trial("refusal::leaves_programs_alone", leaves_programs_alone),
    ]
}

fn names_what_is_missing() -> Result<()> {
    let words = env::var("LAB_REFUSAL").context("LAB_REFUSAL")?;
    let output = run(&mut loader(&["start"]))?;
    let said = text(&output.stderr);
    ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
    ensure!(said.contains(&words), "does not say `{words}`: {said}");
    ensure_no_traces()?;
    let status = run(&mut loader(&["status"]))?.status;
    ensure!(status.code() == Some(3), "status exits with {status}");
    Ok(())
}

fn leaves_programs_alone() -> Result<()> {
    for call in ["getpid", "gettid", "getuid", "getgid"] {
        for mode in [&["1000"][..], &["1000", "fork"], &["1000", "pthread"]] {
            let said = succeed(&mut preloaded(call, mode))?;
            ensure!(said.contains(") matches "), "{call}: {said}");
        }
    }
    for scenario in [&["single"][..], &["load", "3"]] {
        for mut command in
            [preloaded("bracket", scenario), as_nobody(preloaded("bracket", scenario))]
        {
            let said = succeed(&mut command)?;
            ensure!(said.contains(" 0 mismatches"), "{said}");
        }
    }
    let output = run(preloaded("getpid", &["1000"]).env("BYSYSCALL_LOG", "err"))?;
    let said = text(&output.stderr);
    ensure!(said.contains("bysyscall: real calls only: "), "does not say why: {said}");
    Ok(())
}
