// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What is refused before anything is changed.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::process::Command;

use anyhow::{Context, Result};
use bysyscall_tests::process::{output, succeed};
use goblin::elf::Elf;
use goblin::elf::dynamic::{DT_GNU_HASH, DT_TEXTREL};
use goblin::elf::program_header::{PT_DYNAMIC, PT_GNU_STACK};
use goblin::elf::sym::{STB_GLOBAL, STT_OBJECT};
use libtest_mimic::Trial;

use super::image::{Image, LIBRARY, PRELOAD, replaced};
use crate::fixture::{NOBODY, path, trial};

const ENABLE: &[&str] = &["enable", "--global"];

pub fn trials() -> Vec<Trial> {
    vec![
        trial("enabling::refuses_a_broken_library", refuses_a_broken_library),
        trial("enabling::refuses_a_library_that_needs_more", refuses_a_library_that_needs_more),
        trial("enabling::refuses_a_library_of_others", refuses_a_library_of_others),
        trial("enabling::refuses_a_list_of_others", refuses_a_list_of_others),
        trial("enabling::refuses_garbage", refuses_garbage),
        trial("enabling::refuses_an_immutable_list", refuses_an_immutable_list),
        trial("enabling::refuses_a_read_only_etc", refuses_a_read_only_etc),
        trial("enabling::refuses_a_list_that_is_a_mount", refuses_a_list_that_is_a_mount),
        trial("enabling::a_full_disk_changes_nothing", a_full_disk_changes_nothing),
    ]
}

fn refuses_a_broken_library() -> Result<()> {
    let image = Image::new("image")?;
    image.write(PRELOAD, "/a.so\n")?;
    let whole = image.read(LIBRARY)?;
    let patched = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    // The class, the machine and the type, as elf(5) has them.
    let broken = [
        Vec::new(),
        whole[..64].to_vec(),
        whole[..whole.len() / 2].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        patched(4, 1),
        patched(18, 183),
        patched(16, 2),
        b"#!/bin/sh\n".to_vec(),
    ];
    for bytes in broken {
        image.write(LIBRARY, bytes)?;
        image.refuse(ENABLE, "install the package again")?;
        image.refuse(&["enable", "--service", "x"], "install the package again")?;
    }
    fs::copy(path("getpid"), image.path(LIBRARY))?;
    image.refuse(ENABLE, "is not the library of bysyscall")?;
    fs::remove_file(image.path(LIBRARY))?;
    image.refuse(ENABLE, "install the package again")
}

/// Each would keep programs from starting.
fn refuses_a_library_that_needs_more() -> Result<()> {
    let image = Image::new("image")?;
    let whole = image.read(LIBRARY)?;
    let elf = Elf::parse(&whole)?;
    let with = |at: usize, bytes: &[u8]| {
        let mut new = whole.clone();
        new[at..at + bytes.len()].copy_from_slice(bytes);
        new
    };
    let stack = elf.program_headers.iter().position(|header| header.p_type == PT_GNU_STACK);
    let stack = elf.header.e_phoff as usize + 56 * stack.context("no header of the stack")? + 4;
    let dynamic = elf.dynamic.as_ref().context("no dynamic section")?;
    let place = dynamic.dyns.iter().position(|entry| entry.d_tag == DT_GNU_HASH);
    let section = elf.program_headers.iter().find(|header| header.p_type == PT_DYNAMIC);
    let hash =
        section.context("no dynamic section")?.p_offset as usize + 16 * place.context("no hash")?;
    // The first symbol after the empty one is one of libc's; the first segment is at the file's start.
    let symbols = dynamic.info.symtab;
    let versions = dynamic.info.versym as usize;
    let broken: [(Vec<u8>, &str); 6] = [
        (replaced(&whole, b"GLIBC_2.2.5\0", b"GLIBC_2.999\0")?, "needs GLIBC_2.999"),
        (replaced(&whole, b"libc.so.6\0", b"libm.so.6\0")?, "needs libm.so.6"),
        (with(stack, &7u32.to_le_bytes()), "executable stack"),
        (with(hash, &DT_TEXTREL.to_le_bytes()), "relocations in its code"),
        (with(symbols + 24 + 4, &[STB_GLOBAL << 4 | STT_OBJECT]), "needs the variable"),
        (with(versions + 2, &1u16.to_le_bytes()), "needs the function"),
    ];
    for (bytes, words) in broken {
        image.write(LIBRARY, bytes)?;
        image.refuse(ENABLE, words)?;
    }
    Ok(())
}

fn refuses_a_library_of_others() -> Result<()> {
    let image = Image::new("image")?;
    let file = image.path(LIBRARY);
    chown(&file, Some(NOBODY), None)?;
    image.refuse(ENABLE, "belong to root")?;
    chown(&file, Some(0), None)?;
    for mode in [0o775, 0o757] {
        image.set_mode(LIBRARY, mode)?;
        image.refuse(ENABLE, "writable by root alone")?;
        image.set_mode(LIBRARY, 0o755)?;
        image.set_mode("usr", mode)?;
        image.refuse(ENABLE, "writable by root alone")?;
        image.set_mode("usr", 0o755)?;
    }
    fs::create_dir(image.path("opt"))?;
    fs::rename(&file, image.path("opt/l.so"))?;
    symlink("/opt/l.so", &file)?;
    image.refuse(ENABLE, "none of the directories for libraries")?;
    fs::remove_file(&file)?;
    fs::create_dir(&file)?;
    image.refuse(ENABLE, "not a regular file")?;
    fs::remove_dir(&file)?;
    // As Debian has it.
    fs::create_dir(image.path("usr/lib/x86_64-linux-gnu"))?;
    fs::rename(image.path("opt/l.so"), image.path("usr/lib/x86_64-linux-gnu/libbysyscall.so"))?;
    symlink("../lib/x86_64-linux-gnu/libbysyscall.so", &file)?;
    image.succeed(ENABLE, "enabled in").map(drop)
}

fn refuses_a_list_of_others() -> Result<()> {
    let image = Image::new("image")?;
    image.write("etc/other", "/a.so\n")?;
    symlink("other", image.path(PRELOAD))?;
    image.refuse(ENABLE, "symbolic link")?;
    fs::remove_file(image.path(PRELOAD))?;
    fs::create_dir(image.path(PRELOAD))?;
    image.refuse(ENABLE, "not a regular file")?;
    fs::remove_dir(image.path(PRELOAD))?;
    image.write(PRELOAD, "/a.so\n")?;
    chown(image.path(PRELOAD), Some(NOBODY), None)?;
    image.refuse(ENABLE, "chown root")?;
    chown(image.path(PRELOAD), Some(0), None)?;
    image.set_mode(PRELOAD, 0o666)?;
    image.refuse(ENABLE, "chmod go-w")
}

fn refuses_garbage() -> Result<()> {
    let image = Image::new("image")?;
    image.write(PRELOAD, b"/a.so\0\n")?;
    image.refuse(ENABLE, "zero byte")?;
    image.write(PRELOAD, vec![b'x'; 2 << 20])?;
    image.refuse(ENABLE, "too long")
}

fn refuses_an_immutable_list() -> Result<()> {
    let image = Image::new("image")?;
    image.write(PRELOAD, "/a.so\n")?;
    for place in [PRELOAD, "etc"] {
        for flag in ["i", "a"] {
            let file = image.path(place);
            if !output(Command::new("chattr").arg(format!("+{flag}")).arg(&file))?.status.success()
            {
                // A file system without such flags.
                return Ok(());
            }
            let result = image.refuse(ENABLE, "is immutable");
            succeed(Command::new("chattr").arg(format!("-{flag}")).arg(&file))?;
            result?;
        }
    }
    Ok(())
}

fn mounted(image: &Image, arguments: &[&str], test: impl FnOnce() -> Result<()>) -> Result<()> {
    let etc = image.path("etc");
    succeed(Command::new("mount").args(arguments).arg(&etc))?;
    let result = test();
    succeed(Command::new("umount").arg(&etc))?;
    result
}

fn refuses_a_read_only_etc() -> Result<()> {
    let image = Image::new("image")?;
    let etc = image.path("etc").display().to_string();
    image.write(PRELOAD, "/a.so\n")?;
    mounted(&image, &["--bind", "-o", "ro", &etc], || {
        image.succeed(&["disable", "--global"], "is not enabled")?;
        image.refuse(ENABLE, "read-only")
    })?;
    image.succeed(ENABLE, "enabled in")?;
    mounted(&image, &["--bind", "-o", "ro", &etc], || {
        image.refuse(&["disable", "--global"], "ead-only")
    })
}

/// As containers have single files.
fn refuses_a_list_that_is_a_mount() -> Result<()> {
    let image = Image::new("image")?;
    let list = image.path(PRELOAD).display().to_string();
    image.write(PRELOAD, "/a.so\n")?;
    succeed(Command::new("mount").args(["--bind", &list, &list]))?;
    let result = image.refuse(ENABLE, "Something is mounted on it");
    succeed(Command::new("umount").arg(&list))?;
    result
}

fn a_full_disk_changes_nothing() -> Result<()> {
    let image = Image::new("image")?;
    mounted(&image, &["-t", "tmpfs", "-o", "size=8k", "tmpfs"], || {
        image.write(PRELOAD, "/a.so\n")?;
        image.write("etc/filler", vec![b'x'; 4096])?;
        image.refuse(ENABLE, "No space left")
    })
}
