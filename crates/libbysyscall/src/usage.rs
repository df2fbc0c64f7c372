// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What a thread, a process or its children have used.
//!
//! Of children the kernel has what it took over from each that was waited for, and
//! that is answered as it is. What threads use changes without a word, and
//! is answered only where the administrator is content with what is a tick old.

use core::ffi::{c_int, c_long};
use core::ptr::read_volatile;

use bysyscall_abi::{Cell, USAGE_BY_TICK, Usage};

use crate::account::{is_recent, process_of};
use crate::arch::number;
use crate::cell::{Place, answer_at_once, answer_slowly};
use crate::real::real_call;
use crate::vdso;
use crate::wrappers::{bit, is_on_stack, with_errno};

const RUSAGE_CHILDREN: c_int = -1;
const RUSAGE_SELF: c_int = 0;
const RUSAGE_THREAD: c_int = 1;

/// `struct timeval`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Timeval {
    seconds: i64,
    microseconds: i64,
}

impl Timeval {
    /// As the kernel does (`kernel/time/time.c`, `ns_to_kernel_old_timeval`).
    fn new(nanoseconds: u64) -> Self {
        let microseconds = nanoseconds / 1000;
        let seconds = microseconds / 1_000_000;
        Self { seconds: seconds as i64, microseconds: (microseconds - seconds * 1_000_000) as i64 }
    }
}

/// `struct rusage`; what the kernel leaves 0 has no name (getrusage(2)).
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Rusage {
    utime: Timeval,
    stime: Timeval,
    /// KiB
    maxrss: c_long,
    unused_memory: [c_long; 3],
    minflt: c_long,
    majflt: c_long,
    unused_swaps: c_long,
    inblock: c_long,
    oublock: c_long,
    unused_messages: [c_long; 3],
    nvcsw: c_long,
    nivcsw: c_long,
}

impl Rusage {
    fn new(usage: Usage) -> Self {
        const KIB_OF_A_PAGE: u64 = 4;
        Self {
            utime: Timeval::new(usage.utime),
            stime: Timeval::new(usage.stime),
            maxrss: (usage.maxrss * KIB_OF_A_PAGE) as c_long,
            minflt: usage.minflt as c_long,
            majflt: usage.majflt as c_long,
            inblock: usage.inblock as c_long,
            oublock: usage.oublock as c_long,
            nvcsw: usage.nvcsw as c_long,
            nivcsw: usage.nivcsw as c_long,
            ..Self::default()
        }
    }
}

/// Of the children that the process has waited for.
fn of_children(cell: *const Cell) -> Option<Usage> {
    let process = process_of(cell)?;
    // SAFETY: `process_of` gives a readable record.
    let (usage, has_waited) = unsafe {
        (
            read_volatile(&raw const (*process).children),
            read_volatile(&raw const (*process).has_waited),
        )
    };
    (has_waited == 0).then_some(usage)
}

/// Of the calling thread, at the last tick or switch.
fn of_thread(cell: *const Cell) -> Option<Usage> {
    is_by_tick(cell)?;
    // SAFETY: the caller has it from `answer`, which passes a readable cell.
    Some(unsafe { read_volatile(&raw const (*cell).usage) })
}

/// Of the threads of the process, of each at its last tick or switch.
fn of_process(cell: *const Cell) -> Option<Usage> {
    is_by_tick(cell)?;
    let process = process_of(cell)?;
    // SAFETY: as above, and `process_of` gives a readable record.
    let (usage, alone_runtime, incomplete) = unsafe {
        (
            read_volatile(&raw const (*process).usage),
            read_volatile(&raw const (*cell).process_runtime),
            read_volatile(&raw const (*process).incomplete),
        )
    };
    // That some could not be counted matters only while there are several.
    (alone_runtime != 0 || incomplete == 0).then_some(usage)
}

/// Whether what is a tick old may be answered, and ticks go on.
fn is_by_tick(cell: *const Cell) -> Option<()> {
    // SAFETY: the caller has it from `answer`, which passes a readable cell.
    let state = unsafe { read_volatile(&raw const (*cell).state) };
    if state & u64::from(USAGE_BY_TICK) == 0 {
        return None;
    }
    is_recent(cell, vdso::monotonic_at_tick()).then_some(())
}

#[inline(always)]
fn read(cell: *const Cell, who: c_int) -> Option<Usage> {
    match who {
        RUSAGE_CHILDREN => of_children(cell),
        RUSAGE_SELF => of_process(cell),
        RUSAGE_THREAD => of_thread(cell),
        _ => None,
    }
}

/// `getrusage(2)`: what the children have used; where it may be a tick old, also the thread and the process.
///
/// # Safety
///
/// A pointer to memory that other code uses must point to a `struct rusage`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrusage(who: c_int, usage: *mut Rusage) -> c_long {
    if is_on_stack(usage)
        && let Some(told) = answer_at_once(bit::getrusage, |cell| read(cell, who))
    {
        // SAFETY: `is_on_stack` has seen that this is writable memory.
        unsafe { usage.write_unaligned(Rusage::new(told)) };
        return 0;
    }
    getrusage_slowly(who, usage, Place::of_caller())
}

#[cold]
#[inline(never)]
fn getrusage_slowly(who: c_int, usage: *mut Rusage, place: Place) -> c_long {
    // SAFETY: the kernel checks the pointer.
    let real = || unsafe { real_call(number::GETRUSAGE, [who as usize, usage as usize, 0]) };
    if !is_on_stack(usage) {
        return with_errno(real());
    }
    match answer_slowly(bit::getrusage, place, |cell| read(cell, who).map(Ok), || Err(real())) {
        Ok(told) => {
            // SAFETY: `is_on_stack` has seen that this is writable memory.
            unsafe { usage.write_unaligned(Rusage::new(told)) };
            0
        }
        Err(result) => with_errno(result),
    }
}

/// `getrusage` for programs linked with `--wrap=getrusage`.
///
/// # Safety
///
/// As the function itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __wrap_getrusage(who: c_int, usage: *mut Rusage) -> c_long {
    // SAFETY: the caller's promise.
    unsafe { getrusage(who, usage) }
}
