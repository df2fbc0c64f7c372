// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The BPF object: its loading, its pins, and what the kernel is asked for besides.

mod load;
mod pinned;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result, anyhow};
use bysyscall_abi::{Control, Hook};
use libbpf_rs::{PrintLevel, libbpf_sys, set_print};

pub use load::{Attached, probe};
pub use pinned::{
    Switches, attach_spare, pinned_map, publish, published, read_service, stop_publishing,
    write_service,
};

/// The types of the object's BTF, as Rust; for [`crate::layout`].
#[allow(
    missing_docs,
    unused,
    non_snake_case,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "generated"
)]
mod skeleton {
    include!(concat!(env!("OUT_DIR"), "/bysyscall.skel.rs"));
}
pub use skeleton::types;

/// The program that changes what the other programs publish.
pub const CONTROL: &str = "bysys_control";
/// The iterator that counts registered tasks.
pub const COUNT: &str = "bysys_count";
/// The map with what the service knows of itself.
pub const SERVICE: &str = "bysys_service";
/// The map with the lists of programs.
pub const PROGRAMS: &str = "bysys_programs";

/// What libbpf has said since it was last asked to do something.
static SAID: Mutex<String> = Mutex::new(String::new());

fn remember(_: PrintLevel, text: String) {
    if let Ok(mut said) = SAID.lock() {
        said.push_str(&text);
    }
}

/// Keeps libbpf from printing; its words are for [`verifier_said`].
pub fn quiet_libbpf() {
    set_print(Some((PrintLevel::Warn, remember)));
}

fn forget_said() {
    if let Ok(mut said) = SAID.lock() {
        said.clear();
    }
}

/// The verifier's last words, if it was the verifier that refused a program.
fn verifier_said() -> Option<String> {
    let said = SAID.lock().ok()?;
    let log = said.split("BEGIN PROG LOAD LOG --").nth(1)?;
    let words = log.lines().map(str::trim).filter(|line| !line.is_empty());
    let words = words
        .take_while(|line| !line.starts_with("processed ") && !line.contains("END PROG LOAD LOG"));
    words.last().map(str::to_owned)
}

/// Why something failed, with what the verifier had to say.
fn explain(error: libbpf_rs::Error) -> anyhow::Error {
    match verifier_said() {
        Some(words) => anyhow!("{error:#}: {words}"),
        None => anyhow!("{error:#}"),
    }
}

fn run_control(program: BorrowedFd<'_>, mut control: Control) -> Result<u32> {
    let mut options = libbpf_sys::bpf_test_run_opts {
        sz: size_of::<libbpf_sys::bpf_test_run_opts>() as u64,
        ctx_in: (&raw mut control).cast(),
        ctx_size_in: size_of::<Control>() as u32,
        ..Default::default()
    };
    // SAFETY: the descriptor and the context live over the call.
    let result =
        unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) };
    checked(result).context("the kernel refuses BPF_PROG_TEST_RUN")?;
    Ok(options.retval)
}

/// `BPF_OBJ_PIN`. libbpf's own pinning allows each link one pin only.
fn pin(object: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let c_path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the descriptor and the path live over the call.
    checked(unsafe { libbpf_sys::bpf_obj_pin(object.as_raw_fd(), c_path.as_ptr()) })
        .with_context(|| format!("cannot pin {}", path.display()))
}

fn checked(result: i32) -> Result<()> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result).into()) } else { Ok(()) }
}

/// The bytes of one of the shared structs, which have no padding.
fn bytes_of<T: Copy>(value: &T) -> &[u8] {
    // SAFETY: crate::layout asserts the structs against C; they are integers without padding.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// Reads a shared struct from its bytes, if they are as many.
///
/// # Safety
///
/// Any bytes must be a valid `T`.
pub unsafe fn from_bytes<T: Copy>(bytes: &[u8]) -> Option<T> {
    // SAFETY: the length is checked, and the caller promises that any bytes will do.
    (bytes.len() == size_of::<T>()).then(|| unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// Name of the pin of a program that is not attached.
fn spare_name(hook: &Hook) -> String {
    format!("spare-{}", hook.name)
}
