// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Where the configuration is read from, and what is told of mistakes in it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bysyscall_tests::process::{output, text};
use libtest_mimic::Trial;

use super::steps::Steps;
use super::{calls, is_on, is_served, says, start_with, with_config, write};
use crate::fixture::{as_nobody, loader, path, start, status, stop, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("configuration::mistakes_have_a_place", mistakes_have_a_place),
        trial("configuration::what_is_no_file_is_told", what_is_no_file_is_told),
        trial("configuration::the_default_file_is_read", the_default_file_is_read),
        trial("configuration::a_mistake_changes_nothing", a_mistake_changes_nothing),
    ]
}

fn mistakes_have_a_place() -> Result<()> {
    for (wrong, expected) in [
        ("# one\nwrapers = []\n", r#"2:1: unknown key "wrapers"; did you mean "wrappers"?"#),
        (
            "wrappers = [\n  \"getpid\",\n  \"getpidd\",\n]\n",
            r#"3:3: unknown wrapper "getpidd"; did you mean "getpid"?"#,
        ),
        (
            "getrusage = \"ticks\"\n",
            r#"1:13: unknown value of "getrusage": "ticks"; did you mean "tick"?"#,
        ),
        ("never = 'cat'\n", r#"1:9: "never" must be an array of strings"#),
        ("only = []\nonly = []\n", "2:1: duplicate key"),
        ("group = \"no such group\"\n", r#"1:9: there is no group "no such group""#),
        ("never = [\"../cat\"]\n", "1:10: \"../cat\" is neither"),
    ] {
        let file = write("wrong.conf", wrong)?;
        let mut check = loader(&["check-config"]);
        check.arg(&file);
        let output = output(&mut as_nobody(check))?;
        let said = text(&output.stderr);
        ensure!(output.status.code() == Some(1), "{wrong}: {}", output.status);
        ensure!(said.starts_with(&format!("{}:{expected}", file.display())), "{wrong}: {said}");
        ensure!(said.lines().count() == 1 && output.stdout.is_empty(), "{wrong}: {said}");
    }
    let file = write("right.conf", "wrappers = [\"getpid\"]\n")?;
    let mut check = loader(&["check-config"]);
    check.arg(&file);
    says(as_nobody(check), 0, &file.display().to_string())
}

fn what_is_no_file_is_told() -> Result<()> {
    let check = |file: &Path, words: &str| {
        let mut check = loader(&["check-config"]);
        check.arg(file);
        says(check, 1, &format!("{}{words}", file.display()))
    };
    check(&write("binary.conf", b"only = []\n# \xff\n")?, ":2:3: this is not UTF-8")?;
    check(&path("no-such.conf"), ": No such file")?;
    check(&path(""), ": it is not a regular file")?;
    let fifo = path("fifo.conf");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0)?;
    let result = check(&fifo, ": it is not a regular file");
    fs::remove_file(&fifo)?;
    result?;
    check(&write("large.conf", vec![b'\n'; (1 << 20) + 1])?, ": it is larger than")?;
    stop()?;
    for command in ["start", "reload"] {
        let mut loader = loader(&[command, "--config"]);
        loader.arg(path("no-such.conf"));
        says(loader, 1, "No such file")?;
    }
    Ok(())
}

/// In a copy of `/etc`.
fn the_default_file_is_read() -> Result<()> {
    stop()?;
    let inside = |text: &str, commands: &str| {
        let file = write("default.conf", text)?;
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "sh", "-ec"]).arg(format!(
            "mkdir -p /run/etc; cp -a /etc/. /run/etc; mount --bind /run/etc /etc; cp {} /etc/bysyscall.conf; {commands}",
            file.display()
        ));
        shell.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", path("").display()));
        Ok::<_, anyhow::Error>(shell)
    };
    says(
        inside("nevr = []", "bysyscall check-config")?,
        1,
        "/etc/bysyscall.conf:1:1: unknown key",
    )?;
    says(inside("nevr = []", "bysyscall start")?, 1, "/etc/bysyscall.conf:1:1: unknown key")?;
    says(inside("wrappers = ['getpid']", "bysyscall check-config")?, 0, "nothing is wrong")?;
    start()?;
    says(inside("wrappers = ['getpid']", "bysyscall start")?, 0, "run `bysyscall reload`")?;
    says(inside("wrappers = ['getpid']", "bysyscall reload")?, 0, "1 wrapper is on")?;
    ensure!(!is_on(&status()?, "gettid")?, "gettid is on");
    says(loader(&["reload"]), 0, "reloaded")?;
    ensure!(is_on(&status()?, "gettid")?, "gettid is off");
    fs::remove_dir_all("/run/etc").context("/run/etc")
}

fn a_mistake_changes_nothing() -> Result<()> {
    start_with("wrappers = ['getpid']\nnever = ['gettid']\ngetrusage = 'exact'")?;
    let before = status()?;
    let mut steps = Steps::preloaded()?;
    for (text, words) in [
        ("wrappers = ['gettid']\nnevr = []", ":2:1: unknown key \"nevr\"; did you mean \"never\"?"),
        ("wrappers = ['gettid']\ngroup = 'no such group'", ":2:9: there is no group"),
        ("wrappers = []\nnever = []\ngetrusage = 'tick'", "restart it"),
        ("wrappers = [", "unclosed array"),
    ] {
        says(with_config("reload", text)?, 1, words)?;
        let after = status()?;
        for part in ["wrappers", "configuration"] {
            ensure!(before[part] == after[part], "{text}: {after}");
        }
        ensure!(
            is_served(calls("getpid"))? && !is_served(calls("gettid"))?,
            "{text}: not as before"
        );
        steps.step()?;
    }
    steps.ensure_answered("getpid", 5, 5)
}
