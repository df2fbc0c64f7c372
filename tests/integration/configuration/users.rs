// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Which programs and users are served.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use bysyscall_tests::process::{output, text};
use libtest_mimic::Trial;

use super::steps::{CALLS, Steps};
use super::{calls, is_served, reload, says, start_with};
use crate::fixture::{NOBODY, as_nobody, library, path, preloaded, status, stop, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("configuration::never_and_only", never_and_only),
        trial("configuration::left_alone_is_not_marked", left_alone_is_not_marked),
        trial("configuration::one_group", one_group),
    ]
}

/// A group that Debian has, of which `nobody` is no member.
const GROUP: (&str, u32) = ("games", 60);

fn never_and_only() -> Result<()> {
    let (getpid, gettid) =
        (path("getpid").display().to_string(), path("gettid").display().to_string());
    let link = path("link-to-getpid");
    symlink(&getpid, &link)?;
    start_with("")?;
    let long_name = path("a-name-of-more-than-fifteen-bytes");
    fs::copy(&getpid, &long_name)?;
    let long = || {
        let mut command = Command::new(&long_name);
        command.arg("100").env("LD_PRELOAD", library());
        command
    };
    for (text, served) in [
        (String::new(), [true, true, true]),
        ("never = ['getpid']".to_owned(), [false, true, true]),
        (format!("never = ['{getpid}']"), [false, true, true]),
        (format!("never = ['{}']", link.display()), [false, true, true]),
        (
            format!("never = ['{getpid}x', '{}', 'getpi']", &getpid[..getpid.len() - 1]),
            [true, true, true],
        ),
        ("never = ['a-name-of-more-']".to_owned(), [true, true, false]),
        (format!("never = ['{}', 'gettid']", long_name.display()), [true, false, false]),
        ("only = ['getpid']".to_owned(), [true, false, false]),
        (format!("only = ['{gettid}']"), [false, true, false]),
        (format!("only = ['{gettid}', 'getpid']"), [true, true, false]),
        (format!("only = ['{gettid}', 'getpid']\nnever = ['gettid']"), [true, false, false]),
        ("only = ['/no/such/program']".to_owned(), [false, false, false]),
        (String::new(), [true, true, true]),
    ] {
        reload(&text)?;
        let found = [is_served(calls("getpid"))?, is_served(calls("gettid"))?, is_served(long())?];
        ensure!(found == served, "{text}: {found:?}");
    }
    // From the start on, and why is told to whoever asks.
    start_with("never = ['getpid']")?;
    let mut command = calls("getpid");
    command.env("BYSYSCALL_LOG", "err");
    says(command, 0, "left alone by the configuration")?;
    let quiet = output(&mut calls("getpid"))?;
    ensure!(quiet.stderr.is_empty(), "{}", text(&quiet.stderr));
    fs::remove_file(link)?;
    fs::remove_file(long_name)?;
    Ok(())
}

fn left_alone_is_not_marked() -> Result<()> {
    start_with("never = ['steps']")?;
    let registered = |count: u64| {
        crate::fixture::wait_until("the count of processes", || {
            Ok(status()?["registered"]["processes"].as_u64() == Some(count))
        })
    };
    registered(0)?;
    let mut alone = Steps::preloaded()?;
    registered(0)?;
    reload("")?;
    let mut served = Steps::preloaded()?;
    registered(1)?;
    // Neither learns of what is said of programs that start now.
    reload("only = ['cat']")?;
    alone.step()?;
    served.step()?;
    registered(1)?;
    alone.ensure_answered("getpid", 0, 2)?;
    served.ensure_answered("getpid", 2, 2)
}

fn one_group() -> Result<()> {
    let mode = |file: &str| -> Result<(u32, u32, u32)> {
        let metadata = fs::metadata(Path::new("/run/bysyscall").join(file))?;
        Ok((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()))
    };
    let as_member = |mut command: Command| {
        command.uid(NOBODY).gid(GROUP.1).current_dir("/");
        command
    };
    let count = CALLS.to_string();
    start_with(&format!("group = '{}'", GROUP.0))?;
    for again in [false, true] {
        ensure!(mode("register")? == (0o440, 0, GROUP.1), "register: {:?}", mode("register")?);
        ensure!(mode("cells")? == (0o660, 0, GROUP.1), "cells: {:?}", mode("cells")?);
        ensure!(status()?["configuration"]["group"] == GROUP.0, "{}", status()?);
        ensure!(is_served(calls("getpid"))?, "root is not served");
        ensure!(is_served(as_member(calls("getpid")))?, "a member is not served");
        ensure!(!is_served(as_nobody(calls("getpid")))?, "who is no member is served");
        let quiet = output(&mut as_nobody(calls("getpid")))?;
        ensure!(quiet.status.success() && quiet.stderr.is_empty(), "{}", text(&quiet.stderr));
        if again {
            break;
        }
        reload("")?;
        ensure!(
            mode("register")? == (0o444, 0, 0) && mode("cells")? == (0o666, 0, 0),
            "not for everyone"
        );
        ensure!(is_served(as_nobody(calls("getpid")))?, "not everyone is served");
        let mut before = Steps::new(as_nobody(preloaded("steps", &[&count])))?;
        reload(&format!("group = '{}'", GROUP.0))?;
        before.step()?;
        before.ensure_answered("getpid", 2, 2)?;
    }
    stop()
}
