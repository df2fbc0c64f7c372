// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The configuration: what is told of mistakes, and what a service makes of it at its start and while it runs.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bysyscall_tests::process::{output, text};
use bysyscall_tests::{log, patience};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::fixture::{
    self, NOBODY, as_nobody, finish, is_attached, library, loader, path, preloaded, spawn, start,
    status, stop, trial,
};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("configuration::mistakes_have_a_place", mistakes_have_a_place),
        trial("configuration::what_is_no_file_is_told", what_is_no_file_is_told),
        trial("configuration::the_default_file_is_read", the_default_file_is_read),
        trial("configuration::start_reads_it", start_reads_it),
        trial("configuration::options_win", options_win),
        trial(
            "configuration::reload_switches_in_running_processes",
            reload_switches_in_running_processes,
        ),
        trial("configuration::reload_under_load", reload_under_load),
        trial("configuration::hooks_come_when_they_are_needed", hooks_come_when_they_are_needed),
        trial("configuration::what_was_not_counted_is_not_told", what_was_not_counted_is_not_told),
        trial("configuration::a_mistake_changes_nothing", a_mistake_changes_nothing),
        trial("configuration::start_tells_of_another", start_tells_of_another),
        trial("configuration::never_and_only", never_and_only),
        trial("configuration::left_alone_is_not_marked", left_alone_is_not_marked),
        trial("configuration::one_group", one_group),
        trial("configuration::getrusage_by_tick_needs_a_start", getrusage_by_tick_needs_a_start),
        trial("configuration::nothing_comes_back_after_stop", nothing_comes_back_after_stop),
    ]
}

/// A group that Debian has, of which `nobody` is no member.
const GROUP: (&str, u32) = ("games", 60);

fn write(name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf> {
    let file = path(name);
    fs::write(&file, text)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    Ok(file)
}

fn with_config(command: &str, text: &str) -> Result<Command> {
    let mut loader = loader(&[command, "--config"]);
    loader.arg(write("configuration", text)?);
    Ok(loader)
}

fn says(mut command: Command, code: i32, words: &str) -> Result<()> {
    fixture::says(&mut command, code, words).map(drop)
}

fn start_with(text: &str) -> Result<()> {
    stop()?;
    says(with_config("start", text)?, 0, "started")
}

fn reload(text: &str) -> Result<()> {
    says(with_config("reload", text)?, 0, "reloaded")
}

fn is_on(status: &Value, wrapper: &str) -> Result<bool> {
    let wrappers = status["wrappers"].as_array().context("no wrappers")?;
    let found =
        wrappers.iter().find(|entry| entry["name"] == wrapper).context("no such wrapper")?;
    Ok(found["on"] == true)
}

/// Whether a program's calls are answered, by what the library says of them.
fn is_served(mut command: Command) -> Result<bool> {
    let output = output(command.env("BYSYSCALL_LOG", "debug"))?;
    let said = text(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {said}", output.status);
    let served = said.contains(": bypassed 100 times");
    ensure!(served || said.contains(": 100 real calls"), "{command:?}: {said}");
    Ok(served)
}

fn calls(program: &str) -> Command {
    preloaded(program, &["100"])
}

/// A process that calls when it is told to.
struct Steps(Child, BufReader<std::process::ChildStdout>);

const CALLS: u64 = 1000;

impl Steps {
    fn new(mut command: Command) -> Result<Self> {
        command.env("BYSYSCALL_LOG", "debug");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run steps")?;
        let answers = BufReader::new(child.stdout.take().context("no output")?);
        let mut steps = Self(child, answers);
        // From here on it is registered, or will not be.
        steps.step()?;
        Ok(steps)
    }

    fn preloaded() -> Result<Self> {
        Self::new(preloaded("steps", &[&CALLS.to_string()]))
    }

    fn step(&mut self) -> Result<()> {
        writeln!(self.0.stdin.as_mut().context("no input")?, "on")?;
        let mut answer = String::new();
        self.1.read_line(&mut answer)?;
        ensure!(answer == "done\n", "steps says {answer:?}");
        Ok(())
    }

    /// How often it has called and was answered, and how often it has made the real call.
    fn counts(mut self, wrapper: &str) -> Result<(u64, u64)> {
        drop(self.0.stdin.take());
        let output = self.0.wait_with_output()?;
        let said = text(&output.stderr);
        ensure!(output.status.success(), "steps: {}: {said}", output.status);
        Ok((log::bypassed(&said, wrapper).sum(), log::real_calls(&said, wrapper).sum()))
    }

    /// So many steps were answered. A tick that comes while a cell is written costs real calls.
    fn ensure_answered(self, wrapper: &str, steps: u64, of: u64) -> Result<()> {
        let (bypassed, real) = self.counts(wrapper)?;
        ensure!(bypassed + real == of * CALLS, "{wrapper}: {bypassed} + {real}, not {of} steps");
        let (most, least) = (steps * CALLS, steps * CALLS * 9 / 10);
        ensure!((least..=most).contains(&bypassed), "{wrapper}: {bypassed} of {most} bypassed");
        Ok(())
    }
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

fn start_reads_it() -> Result<()> {
    start_with(
        "wrappers = ['getpid']\nnever = ['cat', '/bin/ls']\nonly = ['getpid']\nlog_level = 'debug'",
    )?;
    let status = status()?;
    let configuration = &status["configuration"];
    ensure!(configuration["never"] == 2 && configuration["only"] == 1, "{configuration}");
    ensure!(
        configuration["log_level"] == "debug" && configuration["group"].is_null(),
        "{configuration}"
    );
    ensure!(
        configuration["off"].as_array().is_some_and(|off| off.contains(&json!("gettid"))),
        "{configuration}"
    );
    ensure!(is_on(&status, "getpid")? && !is_on(&status, "gettid")?, "{status}");
    says(loader(&["status"]), 0, "off: off by the configuration")?;
    says(loader(&["status"]), 0, "2 programs never, 1 program only, log level debug")?;
    ensure!(is_attached("bysys_switch")? && !is_attached("bysys_wait")?, "{status}");
    start_with("wrappers = []\nlog_level = 'info'")?;
    ensure!(!is_served(calls("getpid"))?, "getpid is served");
    // It is quiet where it is told to be.
    stop()?;
    let quiet = output(&mut with_config("start", "log_level = 'warn'")?)?;
    ensure!(quiet.status.success() && quiet.stderr.is_empty(), "{}", text(&quiet.stderr));
    let quiet = output(&mut loader(&["stop"]))?;
    ensure!(quiet.status.success() && quiet.stderr.is_empty(), "{}", text(&quiet.stderr));
    Ok(())
}

fn options_win() -> Result<()> {
    stop()?;
    let mut command =
        with_config("start", "getrusage = 'tick'\nwrappers = ['getpid', 'gettid', 'getrusage']")?;
    command.args(["--off", "gettid", "--getrusage", "exact"]);
    says(command, 0, "started")?;
    let check = || {
        let status = status()?;
        ensure!(is_on(&status, "getpid")? && !is_on(&status, "gettid")?, "{status}");
        ensure!(status["configuration"]["getrusage"] == "exact", "{status}");
        Ok(())
    };
    check()?;
    reload("getrusage = 'tick'")?;
    check()?;
    says(loader(&["start"]), 1, "is running with other options")?;
    stop()?;
    let mut command = with_config("start", "wrappers = []")?;
    command.args(["--getrusage", "tick", "--off", "getpid"]);
    says(command, 0, "started")?;
    reload("getrusage = 'exact'")?;
    ensure!(status()?["configuration"]["getrusage"] == "tick", "{}", status()?);
    stop()
}

fn reload_switches_in_running_processes() -> Result<()> {
    start_with("wrappers = ['getpid']")?;
    // The second begins when all is off, and the first step of each is before the first reload.
    let mut first = Steps::preloaded()?;
    reload("wrappers = []")?;
    let mut second = Steps::preloaded()?;
    first.step()?;
    for text in ["wrappers = ['gettid', 'getpid']", "wrappers = ['gettid']", ""] {
        reload(text)?;
        first.step()?;
        second.step()?;
    }
    first.ensure_answered("getpid", 3, 5)?;
    second.ensure_answered("getpid", 2, 4)?;
    Ok(())
}

fn reload_under_load() -> Result<()> {
    start()?;
    let child = spawn(preloaded("bracket", &["load", "6"]))?;
    let begin = Instant::now();
    let configurations = [
        "",
        "wrappers = []",
        "wrappers = ['getpid', 'getppid']",
        "never = ['bracket', '/bin/cat']",
        "only = ['x']",
    ];
    for configuration in configurations.iter().cycle() {
        if begin.elapsed() > Duration::from_secs(5) {
            break;
        }
        reload(configuration)?;
    }
    let said = finish("load", child)?;
    ensure!(said.contains(" 0 mismatches"), "{said}");
    stop()
}

/// Those of wrappers that are off cost nothing, and come while processes run that will believe them.
fn hooks_come_when_they_are_needed() -> Result<()> {
    start_with("wrappers = ['getpid']")?;
    for hook in ["bysys_tick", "bysys_wait", "bysys_exit"] {
        ensure!(!is_attached(hook)?, "{hook} is attached");
    }
    let is_emulated = patience::scale() > 1;
    let run = |(program, scenario)| {
        // The clock of emulated CPUs seems to be slewed time and again beside all the others.
        let seconds = if is_emulated && scenario == "busy" { "24" } else { "8" };
        let mut command = preloaded(program, &[scenario, seconds]);
        command.env("BYSYSCALL_LOG", "info");
        Ok((scenario, spawn(command)?))
    };
    let programs = [("busy", "clocks"), ("churn", "clocks"), ("children", "clocks")];
    let others = [("threads", "clocks"), ("load", "bracket"), ("creds-overlay", "bracket")];
    let running =
        programs.iter().chain(&others).map(|(scenario, program)| run((program, scenario)));
    let running: Vec<_> = running.collect::<Result<_>>()?;
    for text in ["wrappers = ['getpid', 'clock_gettime']", "wrappers = ['times', 'getppid']", ""] {
        std::thread::sleep(Duration::from_secs(1));
        reload(text)?;
        ensure!(is_attached("bysys_tick")?, "bysys_tick is not attached with {text}");
    }
    ensure!(is_attached("bysys_wait")? && is_attached("bysys_exit")?, "hooks are not attached");
    for (scenario, child) in running {
        let output = child.wait_with_output()?;
        let (said, log) = (text(&output.stdout), text(&output.stderr));
        let is_right = said.contains(" 0 wrong") || said.contains(" 0 mismatches");
        ensure!(output.status.success() && is_right, "{scenario}: {}: {said}{log}", output.status);
        let answered = ["clock_gettime: bypassed ", "times: bypassed ", "getpid: bypassed "];
        let is_answered = match scenario {
            "busy" => log.contains(answered[0]),
            // No clock has to do with it.
            "load" => log.contains(answered[2]),
            // What it asks for is not answered where the kernel refuses fexit.
            "creds-overlay" => true,
            _ if is_emulated => true,
            "children" => log.contains(answered[0]),
            _ => answered.iter().any(|line| log.contains(line)),
        };
        ensure!(is_answered, "{scenario}: {log}");
    }
    stop()
}

/// What threads ran while nobody counted it is in no record, and nobody believes one later.
fn what_was_not_counted_is_not_told() -> Result<()> {
    start_with("wrappers = ['getrusage']")?;
    ensure!(!is_attached("bysys_tick")?, "bysys_tick is attached");
    let run = |scenario| Ok((scenario, spawn(preloaded("clocks", &[scenario, "6"]))?));
    let running: Vec<_> =
        ["siblings", "joins", "churn"].into_iter().map(run).collect::<Result<_>>()?;
    std::thread::sleep(Duration::from_secs(2));
    reload("")?;
    ensure!(is_attached("bysys_tick")?, "bysys_tick is not attached");
    for (scenario, child) in running {
        let said = finish(scenario, child)?;
        ensure!(said.contains(" 0 wrong"), "{scenario}: {said}");
    }
    stop()
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

fn start_tells_of_another() -> Result<()> {
    const RUNNING: &str = "never = ['getpid']";
    let differs = |text: &str| -> Result<bool> {
        let said = fixture::says(&mut with_config("start", text)?, 0, "is running already")?;
        Ok(said.contains("run `bysyscall reload`"))
    };
    start_with(RUNNING)?;
    ensure!(!differs(RUNNING)?, "tells of the configuration that is in effect");
    for other in ["", "never = ['gettid']", "only = ['getpid']", "log_level = 'debug'"] {
        ensure!(differs(other)?, "does not tell of: {other}");
    }
    reload("")?;
    ensure!(differs(RUNNING)? && !differs("")?, "tells of the configuration before the reload");
    Ok(())
}

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

fn getrusage_by_tick_needs_a_start() -> Result<()> {
    let tells = |age: &str| {
        let status = status()?;
        ensure!(status["configuration"]["getrusage"] == age, "{status}");
        // Not every kernel's account can be told.
        let is_told = is_on(&status, "clock")?;
        ensure!(!is_told || status["getrusage"] == age, "{status}");
        Ok(())
    };
    start_with("getrusage = 'exact'")?;
    tells("exact")?;
    says(with_config("reload", "getrusage = 'tick'")?, 1, "restart it")?;
    tells("exact")?;
    start_with("getrusage = 'tick'")?;
    for age in ["tick", "exact", "tick", "tick", "exact"] {
        if is_on(&status()?, "clock")? {
            reload(&format!("getrusage = '{age}'"))?;
            tells(age)?;
        }
    }
    stop()
}

fn nothing_comes_back_after_stop() -> Result<()> {
    start_with("")?;
    let mut steps = Steps::preloaded()?;
    reload("wrappers = ['getpid']")?;
    steps.step()?;
    stop()?;
    steps.step()?;
    says(with_config("reload", "")?, 1, "is not running")?;
    ensure!(crate::fixture::traces()?.is_empty(), "a reload leaves something behind");
    steps.step()?;
    start()?;
    reload("")?;
    steps.step()?;
    steps.ensure_answered("getpid", 2, 5)?;
    ensure!(is_served(calls("getpid"))?, "the next start serves nobody");
    Ok(())
}
