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

/// A libc function that the library answers.
pub struct Wrapper {
    /// Bit in [`Cell::state`].
    pub bit: u32,
    /// Name of the libc function, and of the system call without `SYS_`.
    pub name: &'static str,
    /// Bits of the hooks that keep the answer right; without one of them the wrapper is off.
    pub hooks: u32,
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
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "documented in bpf/bysyscall.h")]
pub struct Header {
    pub abi_version: u32,
    pub cell_size: u32,
    pub cell_count: u32,
    pub reserved0: u32,
    pub generation: u64,
    pub reserved: [u32; 10],
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
    pub reserved: [u32; 3],
}

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
    pub reserved: u32,
    pub version: [u8; 32],
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
