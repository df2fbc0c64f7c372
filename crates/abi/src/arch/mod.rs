// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! How user space learns which CPU it runs on: one file for each architecture.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub use x86_64::*;
