// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Whether a library may be loaded into every process: what of it would end processes, or keep
//! them from starting, is refused.

use goblin::elf::dynamic::DT_TEXTREL;
use goblin::elf::header::{EM_X86_64, ET_DYN};
use goblin::elf::program_header::{PF_X, PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_TLS};
use goblin::elf::sym::{STB_WEAK, STT_OBJECT, STT_TLS};
use goblin::elf::symver::VER_NDX_GLOBAL;
use goblin::elf::{Elf, ProgramHeader};

/// glibc of 2012; older ones are on no machine where the service runs.
const NEWEST_GLIBC: (u32, u32) = (2, 17);
const LIBC: &str = "libc.so.6";

/// Looks at the bytes of a library.
///
/// # Errors
///
/// Says what is wrong with it.
pub fn check(bytes: &[u8]) -> Result<(), String> {
    let elf = Elf::parse(bytes).map_err(|error| format!("is no whole ELF file: {error}"))?;
    if !elf.is_64 || elf.header.e_machine != EM_X86_64 || elf.header.e_type != ET_DYN {
        return Err("is not a shared library for 64-bit x86".to_owned());
    }
    check_segments(&elf.program_headers, bytes.len() as u64)?;
    if elf.dynamic.as_ref().is_none_or(|dynamic| {
        dynamic.info.textrel || dynamic.dyns.iter().any(|entry| entry.d_tag == DT_TEXTREL)
    }) {
        return Err("has relocations in its code".to_owned());
    }
    if let Some(needed) = elf.libraries.iter().find(|&&needed| needed != LIBC) {
        return Err(format!("needs {needed}, which some program may not find"));
    }
    for version in elf.verneed.iter().flatten().flat_map(|needed| needed.iter().collect::<Vec<_>>())
    {
        let name = elf.dynstrtab.get_at(version.vna_name).unwrap_or_default();
        if !is_old_enough(name) {
            let (major, minor) = NEWEST_GLIBC;
            return Err(format!("needs {name}, which is not in each glibc since {major}.{minor}"));
        }
    }
    for (index, symbol) in elf.dynsyms.iter().enumerate() {
        if !symbol.is_import() || symbol.st_bind() == STB_WEAK {
            continue;
        }
        let name = elf.dynstrtab.get_at(symbol.st_name).unwrap_or_default();
        if matches!(symbol.st_type(), STT_OBJECT | STT_TLS) {
            return Err(format!("needs the variable {name} of another library"));
        }
        // What the linker found in glibc has one of its versions.
        let version = elf.versym.as_ref().and_then(|versions| versions.get_at(index));
        if version.is_none_or(|version| version.version() <= VER_NDX_GLOBAL) {
            return Err(format!("needs the function {name}, which glibc has not"));
        }
    }
    Ok(())
}

fn check_segments(segments: &[ProgramHeader], length: u64) -> Result<(), String> {
    let of_type = |kind| segments.iter().filter(move |segment| segment.p_type == kind);
    if of_type(PT_LOAD).next().is_none() {
        return Err("has nothing to load".to_owned());
    }
    let is_cut =
        |segment: &&ProgramHeader| segment.p_offset.saturating_add(segment.p_filesz) > length;
    if of_type(PT_LOAD).any(|segment| is_cut(&segment)) {
        return Err("is truncated: it would end processes by SIGBUS".to_owned());
    }
    if of_type(PT_GNU_STACK).next().is_none_or(|stack| stack.p_flags & PF_X != 0) {
        return Err("asks for an executable stack".to_owned());
    }
    if of_type(PT_TLS).next().is_some() || of_type(PT_INTERP).next().is_some() {
        return Err("is not the library of bysyscall".to_owned());
    }
    Ok(())
}

fn is_old_enough(version: &str) -> bool {
    let numbers = version.strip_prefix("GLIBC_").unwrap_or_default();
    let mut numbers = numbers.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) <= NEWEST_GLIBC,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(is_old_enough("GLIBC_2.2.5") && is_old_enough("GLIBC_2.17"));
        for newer in ["GLIBC_2.34", "GLIBC_3.0", "GLIBC_PRIVATE", "GLIBC_ABI_DT_RELR", "X_2.1"] {
            assert!(!is_old_enough(newer), "{newer}");
        }
    }

    #[test]
    fn garbage_is_refused() {
        for garbage in [&b""[..], b"\x7fELF", b"#!/bin/sh\n", &[0; 4096]] {
            assert!(check(garbage).is_err());
        }
    }
}
