// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The maintainer scripts of the Debian package: what they call, in which order, and when not.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use bysyscall_tests::fixture::trial;
use bysyscall_tests::process::succeed;
use libtest_mimic::Trial;

use crate::support::{deb, write_program};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("scripts::installing_enables_nothing", installing_enables_nothing),
        trial("scripts::upgrading_leaves_all_as_it_is", upgrading_leaves_all_as_it_is),
        trial("scripts::another_abi_restarts_the_service", another_abi_restarts_the_service),
        trial("scripts::removing_disables_first", removing_disables_first),
        trial("scripts::removing_works_without_our_program", removing_works_without_our_program),
        trial("scripts::nothing_is_left", nothing_is_left),
    ]
}

const DIR: &str = "/run/scripts";
const LOG: &str = "/run/scripts/log";
const PRELOAD: &str = "/etc/ld.so.preload";

/// Programs that only tell that they were called, in the place of those that the scripts call.
fn pretend(remains: bool, disable_works: bool) -> Result<()> {
    fs::create_dir_all("/run/systemd/system")?;
    fs::create_dir_all(DIR)?;
    let control = Path::new(DIR).join("control");
    succeed(Command::new("dpkg-deb").arg("--control").arg(deb("bysyscall")?).arg(&control))?;
    write_program(
        &Path::new(DIR).join("systemctl"),
        &format!("#!/bin/sh\necho systemctl \"$@\" >>{LOG}\n"),
    )?;
    write_program(
        &Path::new(DIR).join("bysyscall"),
        &format!(
            "#!/bin/sh\ncase $1 in\nstatus) echo '  \"remains\": {remains},'; exit 3;;\n\
             disable) echo bysyscall \"$@\" >>{LOG}; exit {};;\n\
             *) echo bysyscall \"$@\" >>{LOG};;\nesac\n",
            u8::from(!disable_works)
        ),
    )?;
    // Where the tests run may be a container.
    for asked in ["ischroot", "systemd-detect-virt"] {
        write_program(&Path::new(DIR).join(asked), "#!/bin/sh\nexit 1\n")?;
    }
    fs::write(LOG, "")?;
    Ok(())
}

/// Runs a script as dpkg does; what it has called.
fn run(script: &str, arguments: &[&str]) -> Result<Vec<String>> {
    fs::write(LOG, "")?;
    let path = format!("{DIR}:/usr/sbin:/usr/bin:/sbin:/bin");
    succeed(
        Command::new(Path::new(DIR).join("control").join(script)).args(arguments).env("PATH", path),
    )?;
    Ok(fs::read_to_string(LOG)?.lines().map(str::to_owned).collect())
}

fn expect(script: &str, arguments: &[&str], calls: &[&str]) -> Result<()> {
    let called = run(script, arguments)?;
    ensure!(called == calls, "{script} {arguments:?} has called {called:#?}, not {calls:#?}");
    Ok(())
}

fn installing_enables_nothing() -> Result<()> {
    pretend(false, true)?;
    expect("postinst", &["configure", ""], &["systemctl daemon-reload"])?;
    ensure!(!Path::new(PRELOAD).exists(), "{PRELOAD} was made");
    Ok(())
}

fn upgrading_leaves_all_as_it_is() -> Result<()> {
    pretend(false, true)?;
    expect("prerm", &["upgrade", "9.9"], &[])?;
    expect("postrm", &["upgrade", "9.9"], &[])?;
    let calls = ["systemctl daemon-reload", "systemctl --quiet is-active bysyscall.service"];
    expect("postinst", &["configure", "0.0.9"], &calls)
}

fn another_abi_restarts_the_service() -> Result<()> {
    pretend(true, true)?;
    let calls = [
        "systemctl daemon-reload",
        "systemctl --quiet is-active bysyscall.service",
        "systemctl restart bysyscall.service",
    ];
    expect("postinst", &["configure", "0.0.9"], &calls)
}

fn removing_disables_first() -> Result<()> {
    pretend(false, true)?;
    let calls = [
        "bysyscall disable --everything",
        "systemctl stop bysyscall.service",
        "systemctl --quiet --no-reload disable bysyscall.service",
    ];
    expect("prerm", &["remove"], &calls)?;
    expect("prerm", &["deconfigure", "in-favour", "other", "1"], &calls[..2])?;
    fs::create_dir("/run/bysyscall")?;
    let called = run("prerm", &["remove"]);
    write_program(&Path::new(DIR).join("systemd-detect-virt"), "#!/bin/sh\nexit 0\n")?;
    let in_container = run("prerm", &["remove"]);
    fs::remove_dir("/run/bysyscall")?;
    ensure!(in_container? == calls, "in a container");
    let called = called?;
    ensure!(called.last().is_some_and(|call| call == calls[2]), "{called:#?}");
    ensure!(called.iter().any(|call| call == "bysyscall stop"), "started by hand: {called:#?}");
    Ok(())
}

fn removing_works_without_our_program() -> Result<()> {
    pretend(false, false)?;
    let library = "/usr/lib64/libbysyscall.so";
    for (before, after) in [
        (format!("{library}\n"), "\n".to_owned()),
        (
            format!("# ours\n/a.so:{library}:{library} {library}\n/b{library}\t{library}2\n"),
            format!("# ours\n/a.so:: \n/b{library}\t{library}2\n"),
        ),
    ] {
        fs::write(PRELOAD, &before)?;
        run("prerm", &["remove"])?;
        let now = fs::read_to_string(PRELOAD)?;
        fs::remove_file(PRELOAD)?;
        ensure!(now == after, "{before:?} became {now:?}");
        ensure!(!Path::new("/etc/ld.so.preload.bysyscall").exists(), "a temporary file is left");
    }
    Ok(())
}

fn nothing_is_left() -> Result<()> {
    pretend(false, true)?;
    for action in ["remove", "purge"] {
        fs::create_dir("/var/lib/bysyscall")?;
        fs::write("/var/lib/bysyscall/ld.so.preload", "")?;
        expect("postrm", &[action], &["systemctl daemon-reload"])?;
        ensure!(!Path::new("/var/lib/bysyscall").exists(), "postrm {action} leaves its state");
    }
    Ok(())
}
