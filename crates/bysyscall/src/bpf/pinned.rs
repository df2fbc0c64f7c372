// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What is done to a running service, through its pins.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::ptr::null;

use anyhow::{Context, Result};
use bysyscall_abi::{Control, Hook, Service};
use libbpf_rs::{MapCore, MapFlags, MapHandle, Program, libbpf_sys};

use super::{bytes_of, checked, explain, from_bytes, pin, run_control, spare_name};

/// Attaches a spare hook, whose program is pinned in the first of `dirs`, and pins the link in each of them.
/// A pin of another link that has its name is replaced.
///
/// # Errors
///
/// If the program's pin is gone, or the kernel refuses.
pub fn attach_spare(hook: &Hook, dirs: &[&Path]) -> Result<()> {
    let failed = || format!("cannot attach {} to {}", hook.name, hook.attach_point);
    let pinned = dirs.first().map(|dir| dir.join(spare_name(hook))).unwrap_or_default();
    let program = Program::fd_from_pinned_path(&pinned)
        .map_err(explain)
        .with_context(|| format!("cannot open {}", pinned.display()))?;
    // SAFETY: the descriptor lives over the call; a program that knows its hook needs no name.
    let link = unsafe { libbpf_sys::bpf_raw_tracepoint_open(null(), program.as_raw_fd()) };
    checked(link).with_context(failed)?;
    // SAFETY: the kernel has just opened it for us.
    let link = unsafe { OwnedFd::from_raw_fd(link) };
    for dir in dirs {
        let path = dir.join(hook.name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot replace {}", path.display()));
            }
            _ => pin(link.as_fd(), &path)?,
        }
    }
    Ok(())
}

/// Has the programs behind a pinned control program publish nothing, for good.
///
/// # Errors
///
/// If the pin cannot be opened or the kernel does not run the program.
pub fn stop_publishing(control: &Path) -> Result<()> {
    ask(control, Control { operation: bysyscall_abi::CONTROL_STOP, wrappers: 0 }).map(drop)
}

/// Has the programs behind a pinned control program publish these wrappers and no others.
///
/// # Errors
///
/// If the pin cannot be opened or the kernel does not run the program.
pub fn publish(control: &Path, wrappers: u32) -> Result<()> {
    ask(control, Control { operation: bysyscall_abi::CONTROL_ENABLE, wrappers }).map(drop)
}

/// Whether the programs are told of each context switch, without which they cannot add up the run time of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switches {
    /// Not known yet: for some seconds after the start that is watched.
    Watched,
    /// Of each.
    Told,
    /// The kernel hid one.
    Hidden,
}

/// The wrappers that the programs behind a pinned control program publish, and whether they are told of each switch.
///
/// # Errors
///
/// If the pin cannot be opened or the kernel does not run the program.
pub fn published(control: &Path) -> Result<(u32, Switches)> {
    use bysyscall_abi::{CONTROL_HIDDEN, CONTROL_QUERY, CONTROL_WATCHED};
    let answer = ask(control, Control { operation: CONTROL_QUERY, wrappers: 0 })?;
    let switches = if answer & CONTROL_HIDDEN != 0 {
        Switches::Hidden
    } else if answer & CONTROL_WATCHED != 0 {
        Switches::Watched
    } else {
        Switches::Told
    };
    Ok((answer & !(CONTROL_HIDDEN | CONTROL_WATCHED), switches))
}

fn ask(path: &Path, control: Control) -> Result<u32> {
    let program = Program::fd_from_pinned_path(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    run_control(program.as_fd(), control).with_context(|| format!("cannot run {}", path.display()))
}

/// A pinned map.
///
/// # Errors
///
/// If the pin cannot be opened.
pub fn pinned_map(path: &Path) -> Result<MapHandle> {
    MapHandle::from_pinned_path(path).with_context(|| format!("cannot open {}", path.display()))
}

/// Changes the one element of a pinned service map.
///
/// # Errors
///
/// If the pin cannot be opened or written.
pub fn write_service(path: &Path, service: &Service) -> Result<()> {
    pinned_map(path)?
        .update(&0u32.to_ne_bytes(), bytes_of(service), MapFlags::ANY)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The one element of a pinned service map; `None` if it is of another layout.
///
/// # Errors
///
/// If the pin cannot be opened or read.
pub fn read_service(path: &Path) -> Result<Option<Service>> {
    let value = pinned_map(path)?.lookup(&0u32.to_ne_bytes(), MapFlags::ANY)?.unwrap_or_default();
    // SAFETY: the struct is all integers.
    Ok(unsafe { from_bytes(&value) })
}
