// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What the BPF programs, the preloaded library and the loader share.
//!
//! `bpf/bysyscall.h` is the definition: the numbers and tables here are
//! generated from it, the structs mirror it and the loader asserts each field
//! against the BTF that the compiler made of it. Its comments say who writes
//! and who reads each field.
#![no_std]

use core::ffi::CStr;

pub mod arch;

include!(concat!(env!("OUT_DIR"), "/header.rs"));

/// A place in the kernel where one of our programs is attached.
pub struct Hook {
    /// Bit in [`Service::hooks`] and [`Wrapper::hooks`].
    pub bit: u32,
    /// Name of the BPF program and of its pin.
    pub name: &'static str,
    /// Where the program is attached, in libbpf's section notation.
    pub attach_point: &'static str,
}

impl Hook {
    /// Whether its bit is among these.
    pub fn is_in(&self, hooks: u32) -> bool {
        hooks & 1 << self.bit != 0
    }
}

/// A libc function that the library answers.
pub struct Wrapper {
    /// Bit in [`Cell::state`].
    pub bit: u32,
    /// Name of the libc function, and of the system call without `SYS_`.
    pub name: &'static str,
    /// Bits of the hooks that keep the answer right; without one of them the wrapper is off.
    pub hooks: u32,
}

impl Wrapper {
    /// Whether its bit is among these.
    pub fn is_in(&self, wrappers: u32) -> bool {
        wrappers & 1 << self.bit != 0
    }
}

const _: () = assert!(WRAPPERS.len() <= FLAGS_MASK.count_ones() as usize);

/// Own bpffs instance with what every user may open, and its files.
pub const PUBLIC_DIR: &str = "/run/bysyscall";
/// Reading this registers the process and answers a [`Record`].
pub const REGISTER_PATH: &CStr = c"/run/bysyscall/register";
/// Pin of the cells map.
pub const CELLS_PATH: &CStr = c"/run/bysyscall/cells";
/// Read-only overlay, of which [`LINKS_DIR`] is a layer. Whoever has mapped the
/// file there that is named after the generation keeps the hooks attached.
pub const HOLD_DIR: &str = "/run/bysyscall-hold";
/// Read-only bpffs instance with a second pin of every hook.
pub const LINKS_DIR: &str = "/run/bysyscall-links";
/// Pins of programs and links, for root alone.
pub const PIN_DIR: &str = "/sys/fs/bpf/bysyscall";

/// `struct bysyscall_header`: element 0 of the cells map.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "documented in bpf/bysyscall.h")]
pub struct Header {
    pub abi_version: u32,
    pub cell_size: u32,
    pub cell_count: u32,
    pub tick: u32,
    pub generation: u64,
    pub tick_origin: u64,
    pub jiffies: u64,
    pub process_start: u32,
    pub counter_step: u32,
    pub reserved: [u32; 52],
}

/// `struct bysyscall_cell`: elements 1 and up of the cells map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in bpf/bysyscall.h")]
pub struct Cell {
    pub state: u64,
    pub pid: u32,
    pub tid: u32,
    pub uid: u32,
    pub euid: u32,
    pub suid: u32,
    pub gid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub ppid: u32,
    pub pgid: u32,
    pub sid: u32,
    pub has_cpu_timers: u32,
    pub runtime_seconds: u32,
    pub process_runtime_seconds: u32,
    pub anchor: u64,
    pub runtime: u64,
    pub process_runtime: u64,
    pub utime: u64,
    pub stime: u64,
    pub told_utime: u64,
    pub told_stime: u64,
    pub anchor_seconds: u64,
    pub children_utime: u64,
    pub children_stime: u64,
    pub process: u32,
    pub is_counted: u32,
    pub counted: u64,
    pub remote: u32,
    pub reserved32: u32,
    pub usage: Usage,
    pub reserved: [u64; 2],
}

/// `struct bysyscall_usage`: what `getrusage()` tells.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in bpf/bysyscall.h")]
pub struct Usage {
    pub utime: u64,
    pub stime: u64,
    pub maxrss: u64,
    pub minflt: u64,
    pub majflt: u64,
    pub inblock: u64,
    pub oublock: u64,
    pub nvcsw: u64,
    pub nivcsw: u64,
}

/// `struct bysyscall_process`: elements of the cells map from [`Header::process_start`] on.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "documented in bpf/bysyscall.h")]
pub struct Process {
    pub runtime: u64,
    pub incomplete: u32,
    pub has_cpu_timers: u32,
    pub running: u32,
    pub has_waited: u32,
    pub utime: u64,
    pub stime: u64,
    pub told_utime: u64,
    pub told_stime: u64,
    pub children: Usage,
    pub usage: Usage,
    pub is_over: u32,
    pub reserved32: u32,
    pub reserved: [u64; 6],
}

const _: () = assert!(size_of::<Header>() == CELL_SIZE as usize);
const _: () = assert!(size_of::<Process>() == CELL_SIZE as usize);
const _: () = assert!(size_of::<Cell>() == CELL_SIZE as usize);

/// `struct bysyscall_record`: what reading [`REGISTER_PATH`] answers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in bpf/bysyscall.h")]
pub struct Record {
    pub abi_version: u32,
    pub record_size: u32,
    pub cell_size: u32,
    pub cell_count: u32,
    pub generation: u64,
    pub flags: u32,
    pub process: u32,
    pub reserved: u32,
    pub seccomp_mode: u32,
}

/// `struct bysyscall_control`: argument of the control program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in bpf/bysyscall.h")]
pub struct Control {
    pub operation: u32,
    pub wrappers: u32,
}

/// `struct bysyscall_count`: what the task iterator answers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in bpf/bysyscall.h")]
pub struct Count {
    pub processes: u64,
    pub threads: u64,
}

/// `struct bysyscall_program`: key of a list of programs.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "documented in bpf/bysyscall.h")]
pub struct Program {
    pub name: [u8; 256],
}

/// `struct bysyscall_service`: the one element of the service map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in bpf/bysyscall.h")]
pub struct Service {
    pub generation: u64,
    pub started_at: u64,
    pub abi_version: u32,
    pub record_flags: u32,
    pub hooks: u32,
    pub wrappers: u32,
    pub cell_count: u32,
    pub switched_off: u32,
    pub tick_origin: u64,
    pub usage_by_tick: u32,
    pub wants_usage_by_tick: u32,
    pub usage_is_option: u32,
    pub configured_off: u32,
    pub reads_paths: u32,
    pub group: u32,
    pub never: u32,
    pub only: u32,
    pub log_level: u32,
    pub spare_hooks: u32,
    pub version: [u8; 32],
    pub counter_step: u32,
    pub reserved: u32,
}

/// Wrappers that a set of attached hooks keeps right.
///
/// ```
/// assert_eq!(bysyscall_abi::wrappers_kept_right_by(0), 0);
/// assert_eq!(bysyscall_abi::wrappers_kept_right_by(!0).count_ones() as usize, bysyscall_abi::WRAPPERS.len());
/// ```
pub fn wrappers_kept_right_by(hooks: u32) -> u32 {
    let right = WRAPPERS.iter().filter(|wrapper| wrapper.hooks & !hooks == 0);
    right.fold(0, |bits, wrapper| bits | 1 << wrapper.bit)
}

/// Wrappers whose row names a hook.
///
/// ```
/// assert_eq!(bysyscall_abi::wrappers_that_need("bysys_switch"), bysyscall_abi::wrappers_kept_right_by(!0));
/// assert_eq!(bysyscall_abi::wrappers_that_need("bysys_exec"), 0);
/// ```
pub fn wrappers_that_need(hook: &str) -> u32 {
    let bits = HOOKS.iter().filter(|row| row.name == hook).fold(0, |bits, row| bits | 1 << row.bit);
    WRAPPERS
        .iter()
        .filter(|wrapper| wrapper.hooks & bits != 0)
        .fold(0, |found, wrapper| found | 1 << wrapper.bit)
}

/// Hooks that some of these wrappers need, and those that no wrapper needs but all, or accounting where
/// that is among them, have a use for. With [`USAGE_BY_TICK`] among them, what keeps CPU times.
///
/// ```
/// let hooks = bysyscall_abi::hooks_for(bysyscall_abi::wrappers_that_need("bysys_creds"));
/// let is_in = |name| bysyscall_abi::HOOKS.iter().any(|hook| hook.name == name && hooks & 1 << hook.bit != 0);
/// assert!(is_in("bysys_switch") && is_in("bysys_creds") && is_in("bysys_exec") && !is_in("bysys_tick") && !is_in("bysys_free"));
/// assert_ne!(bysyscall_abi::hooks_for(bysyscall_abi::USAGE_BY_TICK), bysyscall_abi::hooks_for(0));
/// ```
pub fn hooks_for(wrappers: u32) -> u32 {
    let named = |wrappers: u32| {
        let rows = WRAPPERS.iter().filter(move |row| row.is_in(wrappers));
        rows.fold(0, |bits, row| bits | row.hooks)
    };
    let accounts = |wrapper: &Wrapper| wrapper.is_in(wrappers_that_need("bysys_tick"));
    let by_tick = WRAPPERS.iter().filter(|row| wrappers & USAGE_BY_TICK != 0 && accounts(row));
    let by_tick = by_tick.fold(0, |bits, row| bits | row.hooks);
    let all = HOOKS.iter().fold(0, |bits, hook| bits | 1 << hook.bit);
    let accounting =
        USAGE_BY_TICK | wrappers_that_need("bysys_tick") | wrappers_that_need("bysys_wait");
    let useless = if wrappers & accounting == 0 { ACCOUNT_HOOKS } else { 0 };
    named(wrappers) | by_tick | all & !named(!0) & !useless
}
