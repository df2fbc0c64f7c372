// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The BPF object: which hooks this kernel takes, and loading it with those.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result, anyhow};
use bysyscall_abi as abi;
use bysyscall_abi::{Control, HOOKS, Hook};
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{Link, MapCore, MapFlags, Object, PrintLevel, ProgramInput, libbpf_sys, set_print};

use crate::kernel;

#[allow(missing_docs, clippy::all, clippy::pedantic, clippy::undocumented_unsafe_blocks, reason = "generated")]
mod skeleton {
    include!(concat!(env!("OUT_DIR"), "/bysyscall.skel.rs"));
}
pub use skeleton::types;

/// Programs that are not attached to a hook.
pub const REGISTER: &str = "bysys_register";
/// The program that changes what running programs publish.
pub const CONTROL: &str = "bysys_control";
/// The iterator that counts registered tasks.
pub const COUNT: &str = "bysys_count";
/// The map of cells.
pub const CELLS: &str = "bysys_cells";
/// The map with what the service knows of itself.
pub const SERVICE: &str = "bysys_service";

/// What libbpf has said since it was last asked.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn remember(_: PrintLevel, text: String) {
    if let Ok(mut said) = SAID.lock() {
        said.push(text.trim_end().to_owned());
    }
}

/// Keeps libbpf from printing; a failure comes with what it had to say.
pub fn quiet_libbpf() {
    set_print(Some((PrintLevel::Warn, remember)));
}

fn forget_said() {
    if let Ok(mut said) = SAID.lock() {
        said.clear();
    }
}

/// The verifier's last words, if it was the verifier that refused.
fn verifier_said() -> Option<String> {
    let said = SAID.lock().ok()?.join("\n");
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    let end = lines.iter().position(|line| line.starts_with("processed ") || line.contains("END PROG LOAD LOG"))?;
    lines[..end].last().map(|line| (*line).to_owned())
}

/// A loaded object, with all its programs but the hooks that were left out.
pub struct Loaded {
    object: Object,
    cell_count: u32,
}

/// Loads the object with these hooks (bits of [`HOOKS`]).
fn load(hooks: u32) -> Result<Loaded> {
    let cell_count = kernel::possible_cpus()?;
    let mut storage = MaybeUninit::uninit();
    let mut open = skeleton::BysyscallSkelBuilder::default().open(&mut storage)?;
    open.maps.bysys_cells.set_max_entries(1 + cell_count)?;
    open.maps.bysys_cpus.set_max_entries(cell_count)?;
    let creds = HOOKS.iter().find(|hook| hook.name == "bysys_creds").map_or(0, |hook| 1 << hook.bit);
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        rodata.creds_hooked = MaybeUninit::new(hooks & creds != 0);
    }
    todo!()
}
