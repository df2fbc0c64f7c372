// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! CPU times of the process in clock ticks.

use core::ffi::c_long;
use core::ptr::read_volatile;
use core::sync::atomic::Ordering::Relaxed;

use bysyscall_abi::{Cell, Header};

use crate::account::{Moment, SECOND, TICK, Threads};
use crate::arch::number;
use crate::cell::{Place, timed_at_once, timed_slowly};
use crate::real::real_call;
use crate::state;
use crate::wrappers::{bit, is_on_stack, with_errno};

/// `struct tms`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Tms {
    user: c_long,
    system: c_long,
    children_user: c_long,
    children_system: c_long,
}

/// ns of a clock tick of user space, whatever those of the kernel are: `USER_HZ` is 100 (include/asm-generic/param.h).
const CLOCK_TICK: u64 = SECOND / 100;

fn clock_ticks(nanoseconds: u64) -> c_long {
    (nanoseconds / CLOCK_TICK) as c_long
}

/// `times(2)`: CPU times of the process and of the children that it has waited for; returns the time since some point in the past.
///
/// # Safety
///
/// A pointer to memory that other code uses must point to a `struct tms`, or be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn times(times: *mut Tms) -> c_long {
    if (times.is_null() || is_on_stack(times))
        && let Some((told, ticks)) = timed_at_once(bit::times, Known::read, Known::at)
    {
        if !times.is_null() {
            // SAFETY: `is_on_stack` has seen that this is writable memory.
            unsafe { times.write_unaligned(told) };
        }
        return ticks;
    }
    times_slowly(times, Place::of_caller())
}

#[cold]
#[inline(never)]
fn times_slowly(times: *mut Tms, place: Place) -> c_long {
    // SAFETY: the kernel checks the pointer.
    let real = || unsafe { real_call(number::TIMES, [times as usize, 0, 0]) };
    if !times.is_null() && !is_on_stack(times) {
        return times_errno(real());
    }
    let told = |known: Known, moment| known.at(moment).map(Ok);
    match timed_slowly(bit::times, place, Known::read, told, || Err(real())) {
        Ok((told, ticks)) => {
            if !times.is_null() {
                // SAFETY: `is_on_stack` has seen that this is writable memory.
                unsafe { times.write_unaligned(told) };
            }
            ticks
        }
        Err(result) => times_errno(result),
    }
}

/// The one error that there is.
fn times_errno(result: c_long) -> c_long {
    const EFAULT: c_long = 14;
    if result == -EFAULT { with_errno(result) } else { result }
}

/// What is to be known of a process whose times are asked for.
struct Known {
    jiffies: u64,
    tick_origin: u64,
    /// Of the process, at the anchor.
    runtime: u64,
    split: Split,
    children_utime: u64,
    children_stime: u64,
}

impl Known {
    #[inline(always)]
    fn read(cell: *const Cell) -> Option<Self> {
        let (runtime, split) = Split::read(cell)?;
        // SAFETY: `answer` passes a readable cell; the header stands before the first one.
        Some(unsafe {
            let header = state::CELLS.load(Relaxed).cast::<Header>().sub(1);
            Self {
                jiffies: read_volatile(&raw const (*header).jiffies),
                tick_origin: read_volatile(&raw const (*header).tick_origin),
                runtime,
                split,
                children_utime: read_volatile(&raw const (*cell).children_utime),
                children_stime: read_volatile(&raw const (*cell).children_stime),
            }
        })
    }

    /// What is told at a moment, and the count of ticks.
    #[inline(always)]
    fn at(self, moment: Moment) -> Option<(Tms, c_long)> {
        // The kernel counts the next tick at its time or later. Until that time there is none that we miss.
        let tick = TICK.load(Relaxed);
        let next = self.tick_origin.wrapping_add((self.jiffies + 1).wrapping_mul(tick));
        if self.jiffies == 0 || next.wrapping_sub(moment.latest) as i64 <= 0 {
            return None;
        }
        let (user, system) = self.split.ticks_at(self.runtime.wrapping_add(moment.elapsed))?;
        let told = Tms {
            user,
            system,
            children_user: clock_ticks(self.children_utime),
            children_system: clock_ticks(self.children_stime),
        };
        Some((told, clock_ticks(self.jiffies.wrapping_mul(tick))))
    }
}

/// How a run time is split into user and system time; all in ns.
///
/// The kernel splits it as its ticks have sampled it, and remembers what it has told, so that neither
/// part ever gets less. Of our answers it knows nothing: after another sample it may tell less
/// than we would have. So a part is answered only in clock ticks that the kernel has told
/// too, and each new one is the real call's to tell.
pub struct Split {
    /// As ticks have sampled it.
    pub utime: u64,
    /// As ticks have sampled it.
    pub stime: u64,
    /// As the kernel has told it last.
    pub told_utime: u64,
    /// As the kernel has told it last.
    pub told_stime: u64,
}

impl Split {
    /// Of the process, and its run time at the anchor.
    #[inline(always)]
    fn read(cell: *const Cell) -> Option<(u64, Self)> {
        // SAFETY: the caller has it from `answer`, which passes a readable cell.
        let (runtime, split) = unsafe {
            (
                read_volatile(&raw const (*cell).process_runtime),
                Self {
                    utime: read_volatile(&raw const (*cell).utime),
                    stime: read_volatile(&raw const (*cell).stime),
                    told_utime: read_volatile(&raw const (*cell).told_utime),
                    told_stime: read_volatile(&raw const (*cell).told_stime),
                },
            )
        };
        if runtime == 0 { Self::read_of_threads(cell) } else { Some((runtime, split)) }
    }

    #[cold]
    #[inline(never)]
    fn read_of_threads(cell: *const Cell) -> Option<(u64, Self)> {
        let threads = Threads::read(cell)?;
        (!threads.has_waited).then_some((threads.runtime, threads.split))
    }

    /// User and system time in clock ticks; `None`: the kernel must tell them.
    #[inline(always)]
    fn ticks_at(&self, runtime: u64) -> Option<(c_long, c_long)> {
        let told = (clock_ticks(self.told_utime), clock_ticks(self.told_stime));
        // However it is split, neither part is less than was told, so neither is more by more than this.
        let more = runtime.saturating_sub(self.told_utime + self.told_stime);
        let rest = |part: u64, ticks: c_long| CLOCK_TICK - (part - ticks as u64 * CLOCK_TICK);
        if more < rest(self.told_utime, told.0) && more < rest(self.told_stime, told.1) {
            return Some(told);
        }
        self.is_still(runtime, told).then_some(told)
    }

    /// Whether `kernel/sched/cputime.c`, `cputime_adjust()`, splits so much into the same clock ticks. That divides
    /// `stime * runtime` by `utime + stime`; to tell where the quotient lies takes multiplications only, and less time.
    #[inline(never)]
    fn is_still(&self, runtime: u64, told: (c_long, c_long)) -> bool {
        if self.told_utime + self.told_stime >= runtime {
            return true;
        }
        let wide = |factor: u64, other: u64| u128::from(factor) * u128::from(other);
        let product = wide(self.stime, runtime);
        let sum = (self.utime + self.stime).max(1);
        let is_quotient_at_least = |least: u64| product >= wide(least, sum);
        let end = |ticks: c_long| (ticks as u64 + 1) * CLOCK_TICK;
        let (user_end, system_end) = (end(told.0), end(told.1));
        // System time is the quotient, or what was told if that is more; user time is the rest, likewise.
        let is_user = match runtime.checked_sub(user_end) {
            None => true,
            Some(excess) => self.told_stime > excess || is_quotient_at_least(excess + 1),
        };
        is_user && (runtime - self.told_utime < system_end || !is_quotient_at_least(system_end))
    }
}

/// `times` for programs linked with `--wrap=times`.
///
/// # Safety
///
/// As the function itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __wrap_times(buffer: *mut Tms) -> c_long {
    // SAFETY: the caller's promise.
    unsafe { times(buffer) }
}
