// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The maintainer scripts of the Debian package: what they call, in which order, and when not.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use bysyscall_tests::built;
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
        trial("scripts::what_stays_enabled_stays_installed", what_stays_enabled_stays_installed),
        trial("scripts::what_was_only_unpacked_is_removed", what_was_only_unpacked_is_removed),
        trial("scripts::nothing_is_left", nothing_is_left),
    ]
}

const DIR: &str = "/run/scripts";
const LOG: &str = "/run/scripts/log";
const PRELOAD: &str = "/etc/ld.so.preload";

/// Programs that only tell that they were called, in the place of those that the scripts call.
fn pretend(remains: bool, disable_exits_with: u8) -> Result<()> {
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
             disable) echo bysyscall \"$@\" >>{LOG}; exit {disable_exits_with};;\n\
             *) echo bysyscall \"$@\" >>{LOG};;\nesac\n"
        ),
    )?;
    fs::copy(built::rescue()?, Path::new(DIR).join("bysyscall-rescue"))?;
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
    pretend(false, 0)?;
    expect("postinst", &["configure", ""], &["systemctl daemon-reload"])?;
    ensure!(!Path::new(PRELOAD).exists(), "{PRELOAD} was made");
    Ok(())
}

fn upgrading_leaves_all_as_it_is() -> Result<()> {
    pretend(false, 0)?;
    expect("prerm", &["upgrade", "9.9"], &[])?;
    expect("postrm", &["upgrade", "9.9"], &[])?;
    let calls = ["systemctl daemon-reload", "systemctl --quiet is-active bysyscall.service"];
    expect("postinst", &["configure", "0.0.9"], &calls)
}

fn another_abi_restarts_the_service() -> Result<()> {
    pretend(true, 0)?;
    let calls = [
        "systemctl daemon-reload",
        "systemctl --quiet is-active bysyscall.service",
        "systemctl restart bysyscall.service",
    ];
    expect("postinst", &["configure", "0.0.9"], &calls)
}

fn removing_disables_first() -> Result<()> {
    pretend(false, 0)?;
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

const LIBRARY: &str = "/usr/lib64/libbysyscall.so";

/// As where it is not there, or is killed.
fn removing_works_without_our_program() -> Result<()> {
    for status in [127, 139] {
        pretend(false, status)?;
        fs::write(PRELOAD, format!("# ours\n/a.so:{LIBRARY}:{LIBRARY} {LIBRARY}\n/b.so\n"))?;
        run("prerm", &["remove"])?;
        let now = fs::read_to_string(PRELOAD)?;
        ensure!(now == "# ours\n/a.so\n/b.so\n", "the list is {now:?}");
        fs::remove_file(Path::new(DIR).join("bysyscall-rescue"))?;
        run("prerm", &["remove"])?;
        fs::write(PRELOAD, format!("{LIBRARY}\n"))?;
        ensure!(run("prerm", &["remove"]).is_err(), "is removed while it is preloaded");
        fs::remove_file(PRELOAD)?;
    }
    Ok(())
}

fn what_stays_enabled_stays_installed() -> Result<()> {
    pretend(false, 1)?;
    ensure!(run("prerm", &["remove"]).is_err(), "is removed although something stays enabled");
    Ok(())
}

/// dpkg calls no prerm then.
fn what_was_only_unpacked_is_removed() -> Result<()> {
    pretend(false, 0)?;
    let units = Path::new("/etc/systemd/system");
    let (of_ours, of_another) = (units.join("a.service.d"), units.join("b.service.d"));
    let link = units.join("sysinit.target.wants/bysyscall.service");
    for dir in [&of_ours, &of_another, &units.join("sysinit.target.wants")] {
        fs::create_dir_all(dir)?;
    }
    std::os::unix::fs::symlink("/usr/lib/systemd/system/bysyscall.service", &link)?;
    fs::write(
        of_ours.join("bysyscall.conf"),
        format!("[Service]\nEnvironment=LD_PRELOAD={LIBRARY}\n"),
    )?;
    fs::write(of_another.join("bysyscall.conf"), "[Service]\n")?;
    // A list that is a link stays one.
    let list = Path::new(DIR).join("list");
    let others = "# ours\n/a.so:{}:\n/b/usr/lib64/libbysyscall.so\t/usr/lib64/libbysyscall.so2\n";
    fs::write(
        &list,
        others.replace("{}", &format!("{LIBRARY} {LIBRARY}:/lib/x86_64-linux-gnu/libbysyscall.so")),
    )?;
    std::os::unix::fs::symlink(&list, PRELOAD)?;
    run("postrm", &["remove"])?;
    let (now, is_link) = (fs::read_to_string(PRELOAD)?, Path::new(PRELOAD).is_symlink());
    fs::remove_file(PRELOAD)?;
    ensure!(is_link && now == others.replace("{}", " :"), "the list is {now:?}");
    ensure!(!of_ours.exists() && !link.is_symlink(), "something stays enabled");
    ensure!(of_another.join("bysyscall.conf").exists(), "somebody else's drop-in is gone");
    fs::remove_dir_all(of_another)?;
    Ok(())
}

fn nothing_is_left() -> Result<()> {
    pretend(false, 0)?;
    // As if no prerm had stopped the service.
    let calls = [
        "systemctl daemon-reload",
        "systemctl --quiet is-active bysyscall.service",
        "systemctl stop bysyscall.service",
    ];
    for action in ["remove", "purge"] {
        fs::create_dir("/var/lib/bysyscall")?;
        fs::write("/var/lib/bysyscall/ld.so.preload", "")?;
        expect("postrm", &[action], &calls)?;
        ensure!(!Path::new("/var/lib/bysyscall").exists(), "postrm {action} leaves its state");
    }
    Ok(())
}
