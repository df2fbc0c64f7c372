// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What keeps the library from being enabled for all programs, before anything is changed.

use std::path::Path;

use anyhow::{Result, ensure};
use bysyscall_tests::fixture::trial;
use libtest_mimic::Trial;

use crate::support::{LIBRARY, PRELOAD, sh};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("refused::read_only_etc", || {
            refused("mount --bind -o ro /etc /etc", "umount /etc", "read-only file system")
        }),
        trial("refused::full_disk", || {
            // A file system of its own has /etc and what is remembered: on the machine's, the journal is made
            // shorter as soon as there is no room.
            refused(
                "mkdir /full
                 mount -t tmpfs -o size=64m full /full
                 mkdir /full/remembered
                 cp --archive /etc /full/etc
                 [ -d /var/lib/bysyscall ] || mkdir /var/lib/bysyscall /full/is-new
                 cat /dev/zero >/full/all 2>/dev/null || true
                 mount --bind /full/remembered /var/lib/bysyscall
                 mount --bind /full/etc /etc",
                "umount /etc /var/lib/bysyscall
                 [ ! -d /full/is-new ] || rmdir /var/lib/bysyscall
                 umount /full
                 rmdir /full",
                "No space left",
            )
        }),
        trial("refused::truncated_library", || {
            refused_library("truncate --size=-1 $new", "whole ELF file")
        }),
        trial("refused::library_of_another_machine", || {
            refused_library("printf '\\267' | dd of=$new bs=1 seek=18 conv=notrunc", "64-bit x86")
        }),
        trial("refused::library_of_a_user", || refused_library("chown lab $new", "belong to root")),
    ]
}

/// Breaks something, is refused with these words, and mends it.
fn refused(breaking: &str, mending: &str, words: &str) -> Result<()> {
    let before = state()?;
    sh(breaking)?;
    let said = sh("if bysyscall-enable --global 2>&1; then
            bysyscall-disable --global
            echo was not refused
        fi");
    sh(mending)?;
    let said = said?;
    ensure!(said.contains(words) && !said.contains("was not refused"), "{said}");
    let after = state()?;
    ensure!(after == before, "something was changed: {before}, now {after}");
    Ok(())
}

fn state() -> Result<String> {
    ensure!(!Path::new(PRELOAD).exists(), "{PRELOAD} was made");
    sh("ls -A /etc /var/lib/bysyscall 2>&1 || true")
}

/// The library is replaced by a copy to which this was done.
fn refused_library(script: &str, words: &str) -> Result<()> {
    let file = format!("file=$(realpath {LIBRARY}); new=$file.broken");
    refused(
        &format!("{file}; cp --preserve $file $file.good; cp $file $new; {script}; mv $new $file"),
        &format!("{file}; mv $file.good $file"),
        words,
    )
}
