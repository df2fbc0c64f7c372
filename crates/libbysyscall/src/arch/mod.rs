// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What differs between architectures: one file each, of the same shape.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub use x86_64::*;
