// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The lists of programs that the kernel looks into when a process registers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result};
use bysyscall_abi as abi;
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType, libbpf_sys};
use rustix::fd::{AsFd, AsRawFd};

use crate::config::{Config, Program};

const FLAGS_SIZE: u32 = size_of::<u32>() as u32;
const KEY_SIZE: u32 = size_of::<abi::Program>() as u32;

/// Whether a path is among the programs, which not every kernel can tell.
pub fn have_paths(config: &Config) -> bool {
    config.never.iter().chain(&config.only).any(Program::is_path)
}

/// What the kernel looks up; empty if all programs are served. What is a link may be run by it, and
/// the kernel knows what it leads to: `resolve` tells that.
fn entries(
    config: &Config,
    resolve: impl Fn(&Program) -> Option<Program>,
) -> BTreeMap<String, u32> {
    let mut entries = BTreeMap::new();
    let mut kinds = if config.only.is_empty() { 0 } else { abi::LISTS_ONLY };
    let lists: [(&BTreeSet<Program>, u32); 2] =
        [(&config.never, abi::PROGRAM_NEVER), (&config.only, abi::PROGRAM_ONLY)];
    for (list, flag) in lists {
        for program in list {
            kinds |= if program.is_path() { abi::LISTS_PATHS } else { abi::LISTS_NAMES };
            for name in [Some(program.clone()), resolve(program)].into_iter().flatten() {
                *entries.entry(name.text().to_owned()).or_default() |= flag;
            }
        }
    }
    if kinds != 0 {
        entries.insert(String::new(), kinds);
    }
    entries
}

/// Where a path leads to, if somewhere.
fn resolve(program: &Program) -> Option<Program> {
    let path = program.is_path().then(|| fs::canonicalize(program.text()).ok()).flatten()?;
    Program::new(path.to_str()?).ok()
}

fn key(name: &str) -> abi::Program {
    let mut key = abi::Program { name: [0; KEY_SIZE as usize] };
    for (to, from) in key.name.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    key
}

/// Has processes that register from here on be judged by these lists: as a whole, in one step.
///
/// # Errors
///
/// If the kernel does not make or take the map; then the old lists are in effect.
pub fn install(place: &impl MapCore, config: &Config) -> Result<()> {
    let zero = 0u32.to_ne_bytes();
    let entries = entries(config, resolve);
    if entries.is_empty() {
        return match place.delete(&zero) {
            Err(error) if error.kind() != libbpf_rs::ErrorKind::NotFound => {
                Err(error).context("cannot remove the lists of programs")
            }
            _ => Ok(()),
        };
    }
    let list = make(&entries).context("cannot make the list of programs")?;
    place
        .update(&zero, &list.as_fd().as_raw_fd().to_ne_bytes(), MapFlags::ANY)
        .context("cannot put the list of programs in its place")
}

/// Whether processes that register are judged by these lists.
///
/// # Errors
///
/// If the kernel does not tell.
pub fn are_installed(place: &impl MapCore, config: &Config) -> Result<bool> {
    let wanted = entries(config, resolve);
    let wanted = wanted.iter().map(|(name, flags)| (key(name).name.to_vec(), *flags));
    Ok(installed(place).context("cannot read the lists of programs")? == wanted.collect())
}

fn installed(place: &impl MapCore) -> Result<BTreeMap<Vec<u8>, u32>> {
    let Some(id) = place.lookup(&0u32.to_ne_bytes(), MapFlags::ANY)? else {
        return Ok(BTreeMap::new());
    };
    let list = MapHandle::from_map_id(number(&id)?)?;
    let with_flags = |key: Vec<u8>| {
        let flags = list.lookup(&key, MapFlags::ANY)?.context("an entry has gone")?;
        Ok((key, number(&flags)?))
    };
    list.keys().map(with_flags).collect()
}

fn number(bytes: &[u8]) -> Result<u32> {
    Ok(u32::from_ne_bytes(bytes.try_into().context("not a number of 32 bits")?))
}

fn make(entries: &BTreeMap<String, u32>) -> Result<MapHandle> {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        // As the programs have been told (bpf/programs.h).
        map_flags: libbpf_sys::BPF_F_NO_PREALLOC,
        ..Default::default()
    };
    let count = u32::try_from(entries.len())?;
    let name = Some("bysys_list");
    let list = MapHandle::create(MapType::Hash, name, KEY_SIZE, FLAGS_SIZE, count, &options)?;
    for (name, flags) in entries {
        list.update(&key(name).name, &flags.to_ne_bytes(), MapFlags::ANY)?;
    }
    Ok(list)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by it")]
mod tests {
    use super::*;

    fn programs(names: &[&str]) -> BTreeSet<Program> {
        names.iter().map(|name| Program::new(name).unwrap()).collect()
    }

    fn found(never: &[&str], only: &[&str]) -> Vec<(String, u32)> {
        let config = Config { never: programs(never), only: programs(only), ..Config::default() };
        let link = |program: &Program| {
            (program.text() == "/bin/sh").then(|| Program::new("/usr/bin/dash").unwrap())
        };
        entries(&config, link).into_iter().collect()
    }

    #[test]
    fn without_programs_there_is_no_list() {
        assert_eq!(found(&[], &[]), []);
    }

    #[test]
    fn a_list_tells_what_it_has() {
        use abi::*;
        let own = |name: &str, flags| (name.to_owned(), flags);
        assert_eq!(found(&["cat"], &[]), [own("", LISTS_NAMES), own("cat", PROGRAM_NEVER)]);
        assert_eq!(
            found(&["/bin/sh"], &["cat", "/bin/sh"]),
            [
                own("", LISTS_NAMES | LISTS_PATHS | LISTS_ONLY),
                own("/bin/sh", PROGRAM_NEVER | PROGRAM_ONLY),
                own("/usr/bin/dash", PROGRAM_NEVER | PROGRAM_ONLY),
                own("cat", PROGRAM_ONLY),
            ]
        );
    }

    #[test]
    fn a_key_is_filled_with_nuls() {
        let key = key("cat");
        assert!(key.name.starts_with(b"cat\0") && key.name[3..].iter().all(|&byte| byte == 0));
    }
}
