// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The library as a file, and what it does besides answering: its constructor,
//! its variables, falling back.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bysyscall_abi::{ABI_VERSION, Record, WRAPPERS};
use bysyscall_tests::accounting;
use bysyscall_tests::process::{output, succeed, text};
use libtest_mimic::Trial;

use crate::fixture::{
    NOBODY, as_nobody, ensure_no_traces, ensure_success, library, loader, path, plain, preloaded,
    start, stop, trial,
};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("library::is_safe_to_preload", is_safe_to_preload),
        trial("library::exports_each_wrapper", exports_each_wrapper),
        trial("library::original_programs_agree", original_programs_agree),
        trial("library::reports_bypassed_calls", reports_bypassed_calls),
        trial("library::children_report_their_own_calls", children_report_their_own_calls),
        trial("library::can_be_disabled", can_be_disabled),
        trial("library::is_inert_in_secure_execution", is_inert_in_secure_execution),
        trial("library::makes_real_calls_without_service", makes_real_calls_without_service),
        trial("library::refuses_another_abi", refuses_another_abi),
        trial("library::makes_no_extra_calls", makes_no_extra_calls),
        trial("library::bypassed_calls_are_no_calls", bypassed_calls_are_no_calls),
        trial("library::works_linked_and_preloaded", works_linked_and_preloaded),
        trial("library::calls_no_program_back", calls_no_program_back),
        trial("library::reads_no_forbidden_counter", reads_no_forbidden_counter),
        trial("library::tells_no_times_without_a_clock", tells_no_times_without_a_clock),
    ]
}

fn readelf(option: &str) -> Result<String> {
    succeed(Command::new("readelf").args(["-W", option]).arg(library()))
}

/// Each line is a way in which a preloaded library can stop every program.
fn is_safe_to_preload() -> Result<()> {
    let dynamic = readelf("--dynamic")?;
    let needed: Vec<&str> = dynamic.lines().filter(|line| line.contains("(NEEDED)")).collect();
    ensure!(needed.len() == 1 && needed[0].contains("[libc.so.6]"), "needs {needed:?}");
    ensure!(!dynamic.contains("TEXTREL"), "has text relocations");

    let versions = readelf("--version-info")?;
    for version in versions.split("GLIBC_").skip(1) {
        let number =
            version.split(|c: char| c != '.' && !c.is_ascii_digit()).next().unwrap_or_default();
        let mut parts = number.split('.').map(str::parse::<u32>);
        let (major, minor) =
            (parts.next().context("no version")??, parts.next().context("no version")??);
        ensure!((major, minor) <= (2, 17), "needs GLIBC_{number}");
    }

    let segments = readelf("--segments")?;
    let stack = segments.lines().find(|line| line.contains("GNU_STACK")).context("no GNU_STACK")?;
    ensure!(!stack.contains('E'), "has an executable stack: {stack}");
    ensure!(!segments.contains(" TLS "), "has thread-local storage");
    let number = |line: &str, column: usize| -> Result<u64> {
        let hex = line.split_whitespace().nth(column).context("no number")?;
        Ok(u64::from_str_radix(hex.trim_start_matches("0x"), 16)?)
    };
    let mut writable =
        segments.lines().filter(|line| line.contains("LOAD") && line.contains(" RW "));
    let (only, none) = (writable.next().context("no writable segment")?, writable.next());
    let (start, size) = (number(only, 2)?, number(only, 5)?);
    ensure!(
        none.is_none() && start / 4096 == (start + size - 1) / 4096,
        "has more than one writable page: {segments}"
    );

    let symbols = readelf("--dyn-syms")?;
    for line in symbols.lines().filter(|line| line.contains(" UND ") && line.contains('@')) {
        ensure!(line.contains(" FUNC "), "needs data of another library: {line}");
    }
    for line in readelf("--relocs")?
        .lines()
        .filter(|line| line.contains("_GLOB_DAT") || line.contains("_JUMP_SLOT"))
    {
        ensure!(
            line.contains("@GLIBC_"),
            "a program can put its own function in the place of {line}"
        );
    }
    // Only glibc has the one; the other is not in its libc before 2.34.
    for name in [" __register_atfork@", " dlsym@"] {
        let symbol = symbols
            .lines()
            .find(|line| line.contains(name))
            .with_context(|| format!("no{name}"))?;
        ensure!(symbol.contains(" WEAK "), "needs a function that not all have: {symbol}");
    }
    ensure!(!readelf("--syms")?.contains("panic_"), "can panic");
    let size = fs::metadata(library())?.len();
    ensure!(size < 64 * 1024, "has {size} bytes");
    Ok(())
}

fn exports_each_wrapper() -> Result<()> {
    let symbols = readelf("--dyn-syms")?;
    let exported: BTreeSet<&str> = symbols
        .lines()
        .filter(|line| line.contains(" GLOBAL ") && !line.contains(" UND "))
        .filter_map(|line| line.split_whitespace().last())
        .collect();
    let names = WRAPPERS
        .iter()
        .flat_map(|wrapper| [wrapper.name.to_owned(), format!("__wrap_{}", wrapper.name)]);
    let expected: BTreeSet<String> =
        names.chain(["syscall".to_owned(), "prctl".to_owned()]).collect();
    ensure!(
        exported.iter().copied().eq(expected.iter().map(String::as_str)),
        "exports {exported:?}, not {expected:?}"
    );
    Ok(())
}

fn original_programs_agree() -> Result<()> {
    start()?;
    for call in ["getpid", "gettid", "getuid", "getgid"] {
        let noun = &call[3..];
        for program in [call.to_owned(), format!("{call}-wrapped")] {
            for mode in [&["1000"][..], &["1000", "fork"], &["1000", "pthread"]] {
                for command in [preloaded(&program, mode), as_nobody(preloaded(&program, mode))] {
                    let mut command = command;
                    let said = succeed(&mut command)?;
                    let start = format!("1000 {noun} from {call}() (");
                    ensure!(
                        said.starts_with(&start) && said.contains(") matches "),
                        "{program}: {said}"
                    );
                }
            }
        }
    }
    Ok(())
}

/// Lines on standard error with `BYSYSCALL_LOG`.
fn log_of(mut command: Command, level: &str) -> Result<Vec<String>> {
    let output = output(command.env("BYSYSCALL_LOG", level))?;
    ensure_success("program", &output)?;
    Ok(text(&output.stderr).lines().map(str::to_owned).collect())
}

fn reports_bypassed_calls() -> Result<()> {
    start()?;
    for program in ["getpid", "getpid-wrapped"] {
        let command =
            if program == "getpid" { preloaded(program, &["2"]) } else { plain(program, &["2"]) };
        let log = log_of(command, "info")?;
        ensure!(log == ["getpid: bypassed 2 times"], "{program}: {log:?}");
    }
    ensure!(log_of(preloaded("getpid", &["2"]), "err")?.is_empty(), "err tells more than errors");
    ensure!(log_of(preloaded("getpid", &["2"]), "")?.is_empty(), "an empty level is not silent");
    let said = succeed(loader(&["run", "--log", "info", "--"]).arg(path("gettid")).arg("3"));
    ensure!(said?.starts_with("3 tid from gettid()"), "`run` did not run gettid");
    Ok(())
}

fn children_report_their_own_calls() -> Result<()> {
    start()?;
    let script = format!("{0} 2; {0} 3 & wait; exec {0} 4", path("getpid").display());
    let mut shell = Command::new("/bin/dash");
    shell.args(["-c", &script]).env("LD_PRELOAD", library());
    let log = log_of(shell, "info")?;
    for count in 2..=4 {
        let line = format!("getpid: bypassed {count} times");
        ensure!(
            log.iter().filter(|said| **said == line).count() == 1,
            "no `{line}` once in {log:?}"
        );
    }
    Ok(())
}

fn can_be_disabled() -> Result<()> {
    start()?;
    let disabled = |list: &str| -> Result<Vec<String>> {
        let mut command = preloaded("getpid", &["2"]);
        command.env("BYSYSCALL_DISABLE", list);
        log_of(command, "debug")
    };
    ensure!(
        disabled("1")? == ["getpid: 2 real calls"],
        "BYSYSCALL_DISABLE=1: {:?}",
        disabled("1")?
    );
    ensure!(
        disabled("gettid, getpid")? == ["getpid: 2 real calls"],
        "by name: {:?}",
        disabled("gettid, getpid")?
    );
    ensure!(
        disabled("gettid")? == ["getpid: bypassed 2 times"],
        "another: {:?}",
        disabled("gettid")?
    );
    Ok(())
}

/// A set-uid program that is linked with the library loads it, and is not served.
fn is_inert_in_secure_execution() -> Result<()> {
    start()?;
    let run = || log_of(as_nobody(plain("getpid-secure", &["2"])), "info");
    ensure!(run()? == ["getpid: bypassed 2 times"], "it is not linked with the library");
    fs::set_permissions(path("getpid-secure"), fs::Permissions::from_mode(0o4755))?;
    let log = run()?;
    ensure!(log.is_empty(), "served in secure execution: {log:?}");
    Ok(())
}

fn makes_real_calls_without_service() -> Result<()> {
    stop()?;
    ensure_no_traces()?;
    succeed(&mut preloaded("getpid", &["1000"]))?;
    let log = log_of(preloaded("getpid", &["2"]), "debug")?;
    ensure!(
        log.len() == 2
            && log[0].contains("/run/bysyscall/register")
            && log[1] == "getpid: 2 real calls",
        "{log:?}"
    );
    Ok(())
}

/// An old library with a new service, and the reverse.
fn refuses_another_abi() -> Result<()> {
    stop()?;
    let record = Record {
        abi_version: ABI_VERSION + 1,
        record_size: size_of::<Record>() as u32,
        cell_size: size_of::<bysyscall_abi::Cell>() as u32,
        cell_count: 1,
        generation: 1,
        flags: bysyscall_abi::RECORD_REGISTERED,
        process: 0,
        reserved: 0,
        seccomp_mode: 0,
    };
    let other_version = record_bytes(&record);
    let other_cells = record_bytes(&Record { abi_version: ABI_VERSION, cell_size: 128, ..record });
    let record_size = record.record_size + 8;
    let longer =
        [record_bytes(&Record { abi_version: ABI_VERSION, record_size, ..record }), vec![0; 8]]
            .concat();
    fs::create_dir(bysyscall_abi::PUBLIC_DIR)?;
    for answer in
        [other_version.clone(), other_cells, longer, other_version[..8].to_vec(), Vec::new()]
    {
        let file = Path::new(bysyscall_abi::PUBLIC_DIR).join("register");
        fs::write(&file, &answer)?;
        let log = log_of(preloaded("getpid", &["2"]), "debug");
        fs::remove_file(&file)?;
        let log = log?;
        ensure!(
            log.len() == 2
                && log[0].contains("another version")
                && log[1] == "getpid: 2 real calls",
            "{log:?}"
        );
    }
    fs::remove_dir(bysyscall_abi::PUBLIC_DIR)?;
    Ok(())
}

fn record_bytes(record: &Record) -> Vec<u8> {
    let numbers = [record.abi_version, record.record_size, record.cell_size, record.cell_count];
    let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
    bytes.extend(record.generation.to_ne_bytes());
    let rest = [record.flags, record.process, record.reserved, record.seccomp_mode];
    bytes.extend(rest.iter().flat_map(|number| number.to_ne_bytes()));
    bytes
}

/// Names of the system calls of a command, as strace sees them.
fn trace(mut command: Command) -> Result<Vec<String>> {
    let log = path("strace.log");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(&log);
    for (name, value) in command.get_envs().filter_map(|(name, value)| Some((name, value?))) {
        strace.arg("-E").arg(format!("{}={}", name.display(), value.display()));
    }
    strace.arg(command.get_program()).args(command.get_args());
    command = strace;
    succeed(&mut command)?;
    let lines = fs::read_to_string(&log)?;
    let call = |line: &str| Some(line.split_whitespace().nth(1)?.split('(').next()?.to_owned());
    Ok(lines
        .lines()
        .filter(|line| !line.contains("+++ exited") && !line.contains("resumed>"))
        .filter_map(call)
        .collect())
}

/// What the library adds to a program that is traced: its loading by ld.so and
/// its constructor's calls, in one place before the program's own, and nothing later.
fn makes_no_extra_calls() -> Result<()> {
    const LD_SO: [&str; 9] =
        ["openat", "read", "pread64", "newfstatat", "fstat", "mmap", "mprotect", "munmap", "close"];
    start()?;
    let (without, with) =
        (trace(plain("getpid", &["100"]))?, trace(preloaded("getpid", &["100"]))?);
    let own =
        |calls: &[String]| calls.iter().position(|call| call == "getpid").context("no getpid");
    let (own_without, own_with) = (&without[own(&without)?..], &with[own(&with)?..]);
    ensure!(own_without == own_with, "without the library {own_without:?}, with it {own_with:?}");
    let added = added_calls(&without, &with)?;
    ensure!(
        added.iter().all(|call| LD_SO.contains(&call.as_str()) || call == "bpf"),
        "added {added:?}"
    );
    ensure!(added.iter().filter(|call| *call == "bpf").count() == 1, "added {added:?}");
    // With threads and children the order is the scheduler's, but nothing more is added.
    for mode in ["pthread", "fork"] {
        let (without, with) =
            (trace(plain("getpid", &["100", mode]))?, trace(preloaded("getpid", &["100", mode]))?);
        ensure!(
            added_calls(&without, &with)? == added,
            "{mode}: added {:?}, not {added:?}",
            added_calls(&without, &with)?
        );
    }
    Ok(())
}

/// The calls that one trace has and another lacks, sorted; it must lack none that the other has.
fn added_calls(without: &[String], with: &[String]) -> Result<Vec<String>> {
    // Whether a thread has to wait for another is chance, and so is how malloc() trims its heap.
    let by_chance = |call: &&String| *call == "futex" || *call == "munmap";
    let mut added: Vec<String> = with.iter().filter(|call| !by_chance(call)).cloned().collect();
    for call in without.iter().filter(|call| !by_chance(call)) {
        let place = added
            .iter()
            .position(|added| added == call)
            .with_context(|| format!("{call} is missing: {with:?}"))?;
        added.remove(place);
    }
    added.sort();
    Ok(added)
}

/// strace has all calls made for real, so here nothing traces: the number of
/// system calls does not depend on the number of bypassed calls.
fn bypassed_calls_are_no_calls() -> Result<()> {
    start()?;
    let all_calls = |count: &str| -> Result<u64> {
        let mut perf = Command::new("perf");
        perf.args(["stat", "-x,", "-e", "raw_syscalls:sys_enter", "--", "env"]);
        perf.arg(format!("LD_PRELOAD={}", library().display())).arg(path("getpid")).arg(count);
        let output = output(&mut perf)?;
        ensure_success("perf", &output)?;
        let report = text(&output.stderr);
        let line = report
            .lines()
            .find(|line| line.contains("raw_syscalls"))
            .context("perf counted nothing")?;
        Ok(line.split(',').next().unwrap_or_default().parse()?)
    };
    // The same number of digits, for printing must not differ.
    let (few, many) = (all_calls("100000")?, all_calls("900000")?);
    ensure!(few == many, "{few} system calls with 100,000 calls of getpid, {many} with 900,000");
    Ok(())
}

fn works_linked_and_preloaded() -> Result<()> {
    start()?;
    let log = log_of(preloaded("getpid-wrapped", &["5"]), "info")?;
    ensure!(log == ["getpid: bypassed 5 times"], "{log:?}");
    let mut both = as_nobody(preloaded("getpid-wrapped", &["5"]));
    ensure!(
        text(&output(&mut both)?.stdout).starts_with("5 pid from getpid()"),
        "nobody ({NOBODY}) gets no answer"
    );
    Ok(())
}

fn calls_no_program_back() -> Result<()> {
    start()?;
    succeed(&mut preloaded("own_gettid", &[]))?;
    succeed(preloaded("own_gettid", &[]).env("BYSYSCALL_DISABLE", "1")).map(drop)
}

/// Who may not read the time stamp counter gets CPU times all the same, as from libc.
fn reads_no_forbidden_counter() -> Result<()> {
    start()?;
    for way in ["prctl", "syscall"] {
        succeed(&mut preloaded("no_tsc", &[way]))?;
    }
    Ok(())
}

/// Without a vDSO, to tell how much time has passed would take a system call that nobody asked for.
fn tells_no_times_without_a_clock() -> Result<()> {
    start()?;
    let output = output(preloaded("no_vdso", &[]).env("BYSYSCALL_LOG", "debug"))?;
    ensure_success("no_vdso", &output)?;
    let said = text(&output.stderr);
    for name in accounting::names() {
        ensure!(!said.contains(&format!("{name}: bypassed")), "{said}");
    }
    ensure!(said.contains("getpid: bypassed"), "{said}");
    Ok(())
}
