// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What the library knows about its process: all zero means real calls.
//!
//! A wrapper first looks at its own pointer in [`DIRECT`]. It is set only when
//! nothing needs to be asked or counted on the way; else the wrapper takes the
//! slower way by [`CELLS`], so that whoever does not log pays nothing for it.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};

use bysyscall_abi::{Cell, WRAPPERS};

use crate::arch::Pair;

/// `PR_SET_SECCOMP` (`include/uapi/linux/prctl.h`).
pub const PR_SET_SECCOMP: i32 = 22;
/// `PR_SET_SYSCALL_USER_DISPATCH` (`include/uapi/linux/prctl.h`).
pub const PR_SET_SYSCALL_USER_DISPATCH: i32 = 59;

/// `PR_SET_TSC` (`include/uapi/linux/prctl.h`). What inherits it cannot start: ld.so reads the counter too.
pub const PR_SET_TSC: i32 = 26;

/// For each wrapper the cell of CPU 0, for the shortest way, with [`BY_LSL_MARK`] where [`BY_LSL`] is
/// true; null: take the slower one.
pub static DIRECT: [AtomicPtr<Cell>; WRAPPERS.len()] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; WRAPPERS.len()];

/// A bit that is 0 in the address of a cell.
pub const BY_LSL_MARK: usize = 1;

/// The cell of CPU 0, for the slower way.
pub static CELLS: AtomicPtr<Cell> = AtomicPtr::new(core::ptr::null_mut());
/// Bits of the wrappers that may take the slower way; the others make real calls.
pub static WANTED: AtomicU32 = AtomicU32::new(0);
/// An address in use at the top of the main thread's stack.
pub static STACK_TOP: AtomicUsize = AtomicUsize::new(0);
/// Whether this CPU has no `rdpid`, so that its number must be got by `lsl`.
pub static BY_LSL: AtomicBool = AtomicBool::new(false);
/// As many as the library's one writable page has room for.
pub const LINES_BITS: u32 = 5;
/// Notes on cache lines of their own.
pub static LINES: [Line; 1 << LINES_BITS] = [const { Line::new() }; 1 << LINES_BITS];
/// Whether `getpgid()` and `getsid()` of one's own pid need not ask a security module.
pub static OWN_ID: AtomicBool = AtomicBool::new(false);
/// Whether to count answers, for the lines printed at exit.
pub static COUNTING: AtomicBool = AtomicBool::new(false);
/// Calls answered without a system call, for each wrapper, while counting.
pub static BYPASSED: [AtomicU64; WRAPPERS.len()] = [const { AtomicU64::new(0) }; WRAPPERS.len()];
/// Real calls, for each wrapper, while counting.
pub static REAL: [AtomicU64; WRAPPERS.len()] = [const { AtomicU64::new(0) }; WRAPPERS.len()];

/// A note of where a thread is, and some of when anchors were; which, their readers say.
#[repr(align(64))]
pub struct Line {
    pub place: AtomicU64,
    pub pairs: [Pair; 2],
}

impl Line {
    const fn new() -> Self {
        Self { place: AtomicU64::new(0), pairs: [const { Pair::new() }; 2] }
    }
}

/// From here on the process makes real calls, for good: it is about to install
/// something that may answer system calls in the kernel's place. The kernel's
/// own notice of a filter comes as early; syscall user dispatch and strict mode
/// have no hook, and other threads learn of it here at once. Or it is about to
/// forbid itself the counter of the clock by which CPU times are extrapolated.
pub extern "C" fn real_calls_only() {
    WANTED.store(0, Relaxed);
    for pointer in &DIRECT {
        pointer.store(core::ptr::null_mut(), Relaxed);
    }
}
