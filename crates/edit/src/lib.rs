// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Edits of files that a machine cannot do without, above all `/etc/ld.so.preload`.

mod attributes;
mod files;
pub mod preload;

/// In `/etc`: the list of libraries that ld.so loads into each program (ld.so(8)).
pub const LIST: &str = "ld.so.preload";

pub use files::{Dir, DirLock, Original, Prepared};
