// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The library in each program of the machine, from its enabling over two boots.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use bysyscall_tests::fixture::trial;
use libtest_mimic::Trial;

use crate::support::{
    LIBRARY, PRELOAD, ensure_bypasses, ensure_served, is_enabled, property, said_by, scripted, sh,
};
use crate::units;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("enabling::dry_run_changes_nothing", dry_run_changes_nothing),
        trial("enabling::globally", globally),
        // The same after each of two boots.
        trial("enabled::comes_up", comes_up),
        trial("enabled::serves_each_program", serves_each_program),
        trial("enabled::serves_services", serves_services),
        trial("enabled::leaves_32_bit_programs", leaves_32_bit_programs),
        trial("enabled::confined_units_restart", units::ensure_confined_units_restart),
        trial(
            "enabled::confined_units_start_on_demand",
            units::ensure_confined_units_start_on_demand,
        ),
        trial("enabled::serves_what_apparmor_confines", serves_what_apparmor_confines),
        trial("enabled::runs_where_it_may_not_be_mapped", runs_where_it_may_not_be_mapped),
        scripted("enabled::manual_shows", "as_lab man -P cat bysyscall | grep -q '^SEE ALSO'"),
    ]
}

/// What ld.so says to a program that cannot load the library. The machine has some.
const SAID_TO_32_BITS: &str = "ERROR: ld.so: object '/usr/lib64/libbysyscall.so' from /etc/ld.so.preload \
     cannot be preloaded (wrong ELF class: ELFCLASS64): ignored.";

fn dry_run_changes_nothing() -> Result<()> {
    let said = sh("bysyscall-enable --global --dry-run")?;
    ensure!(said.contains(LIBRARY), "the difference is not shown: {said}");
    ensure!(!Path::new(PRELOAD).exists(), "{PRELOAD} was made");
    Ok(())
}

fn globally() -> Result<()> {
    let said = sh("bysyscall-enable --global 2>&1")?;
    ensure!(said.contains(SAID_TO_32_BITS), "not told what 32-bit programs will say: {said}");
    let content = fs::read_to_string(PRELOAD)?;
    ensure!(content == format!("{LIBRARY}\n"), "{PRELOAD}: {content}");
    serves_each_program()
}

fn comes_up() -> Result<()> {
    units::ensure_no_new_failure()?;
    ensure!(is_enabled()?, "{PRELOAD} has no entry");
    let state = property("bysyscall", "ActiveState")?;
    ensure!(state == "active", "bysyscall is {state}");
    Ok(())
}

fn serves_each_program() -> Result<()> {
    ensure_bypasses("BYSYSCALL_LOG=info $LAB/target/programs/getpid 100000")?;
    ensure_bypasses("as_lab BYSYSCALL_LOG=info $LAB/target/programs/getpid 100000")
}

/// Those that no filter keeps from it: they hold the hooks, which only those do that were registered.
fn serves_services() -> Result<()> {
    let postgresql =
        sh("systemctl list-units --plain --no-legend 'postgresql@*' | cut -d ' ' -f 1")?;
    for unit in ["cron", "ssh", "nginx", postgresql.trim()] {
        ensure_served(unit)?;
    }
    Ok(())
}

/// By what nearly all profiles include. That nothing was refused the journal shows.
fn serves_what_apparmor_confines() -> Result<()> {
    sh("printf '%s\n' '#include <tunables/global>' 'profile confined /usr/local/bin/confined-* {' \
            '#include <abstractions/base>' '}' >/var/tmp/profile
        apparmor_parser --replace /var/tmp/profile
        cp $LAB/target/programs/getpid /usr/local/bin/confined-getpid
        cp /bin/cat /usr/local/bin/confined-cat")?;
    let (_, refusal) = said_by("! confined-cat /etc/shadow")?;
    ensure!(refusal.contains("Permission denied"), "it is not confined: {refusal}");
    let maps = sh("confined-cat /proc/self/maps")?;
    ensure!(maps.contains("/run/bysyscall-hold/"), "makes real calls: {maps}");
    ensure_bypasses("as_lab BYSYSCALL_LOG=info confined-getpid 100000")
}

/// What is said then is the loader's, not ours.
fn runs_where_it_may_not_be_mapped() -> Result<()> {
    let file = fs::canonicalize(LIBRARY)?;
    let (said, complaint) = said_by(&format!(
        "systemd-run --wait --pipe --quiet --property=NoExecPaths={} --setenv=BYSYSCALL_LOG=info \
         $LAB/target/programs/getpid 1000",
        file.display()
    ))?;
    ensure!(said.contains("matches"), "{said}");
    ensure!(!complaint.contains("bypassed"), "it was mapped: {complaint}");
    Ok(())
}

/// They run on, and say what was foretold.
fn leaves_32_bit_programs() -> Result<()> {
    let said = sh("cd /var/tmp
        printf '#include <stdio.h>\nint main(void) { puts(\"small\"); }\n' >small.c
        gcc -m32 -o small small.c
        ./small 2>&1 >small.out
        grep -qx small small.out")?;
    ensure!(said.trim_end() == SAID_TO_32_BITS, "a 32-bit program said: {said}");
    Ok(())
}
