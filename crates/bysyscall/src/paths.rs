// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Where everything of the service lies.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bysyscall_abi as abi;

/// Name of the preloaded library's file.
const LIBRARY: &str = "libbysyscall.so";
/// Where packages install the library.
const LIBDIR: &str = env!("BYSYSCALL_LIBDIR");

/// The bpffs of the system.
pub const BPFFS: &str = "/sys/fs/bpf";

/// A path of the abi crate.
fn path(path: &'static CStr) -> &'static Path {
    Path::new(OsStr::from_bytes(path.to_bytes()))
}

/// [`abi::PUBLIC_DIR`]
pub fn public_dir() -> &'static Path {
    Path::new(abi::PUBLIC_DIR)
}

/// [`abi::REGISTER_PATH`]
pub fn register() -> &'static Path {
    path(abi::REGISTER_PATH)
}

/// [`abi::CELLS_PATH`]
pub fn cells() -> &'static Path {
    path(abi::CELLS_PATH)
}

/// [`abi::HOLD_DIR`]
pub fn hold_dir() -> &'static Path {
    Path::new(abi::HOLD_DIR)
}

/// [`abi::LINKS_DIR`]
pub fn links_dir() -> &'static Path {
    Path::new(abi::LINKS_DIR)
}

/// Held while the service is started, stopped or asked; only root can open it.
pub fn lock_file() -> &'static Path {
    Path::new("/run/bysyscall.lock")
}

/// Held while what loads the library is changed; only root can open it.
pub fn enabling_lock_file() -> &'static Path {
    Path::new("/run/bysyscall-enable.lock")
}

/// The file in [`hold_dir`] that processes map, named as the library names it.
pub fn hold_file(generation: u64) -> String {
    format!("{generation:016x}")
}

/// [`abi::PIN_DIR`]
pub fn pin_dir() -> &'static Path {
    Path::new(abi::PIN_DIR)
}

/// The configuration, unless another is named.
pub fn config() -> &'static Path {
    Path::new("/etc/bysyscall.conf")
}

/// Where the library is installed: what is preloaded into programs for good.
pub fn installed_library() -> PathBuf {
    Path::new(LIBDIR).join(LIBRARY)
}

/// Where the library may be: beside the program, as after a build, or where it is installed.
pub fn library_candidates() -> Vec<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(LIBRARY)));
    beside.into_iter().chain([installed_library()]).collect()
}
