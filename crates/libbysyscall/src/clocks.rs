// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The clocks of CPU time, and those of the vDSO.

use core::ffi::{c_int, c_long};
use core::ptr::read_volatile;

use bysyscall_abi::Cell;

use crate::account::{CpuTime, Moment, SECOND, process_time, thread_time};
use crate::arch::number;
use crate::cell::{Place, timed_at_once, timed_slowly};
use crate::real::real_call;
use crate::vdso::{self, Timespec};
use crate::wrappers::{bit, is_on_stack, with_errno};

/// CPU time of the process (`include/uapi/linux/time.h`).
pub const CLOCK_PROCESS_CPUTIME_ID: c_int = 2;
/// CPU time of the thread (`include/uapi/linux/time.h`).
pub const CLOCK_THREAD_CPUTIME_ID: c_int = 3;

/// A clock id of a task, as the kernel takes it apart (`include/linux/posix-timers_types.h`).
#[derive(Clone, Copy)]
struct TaskClock {
    pid: u32,
    of_thread: bool,
}

impl TaskClock {
    /// `None`: another kind of clock.
    fn from_id(clock: c_int) -> Option<Self> {
        const OF_THREAD: c_int = 4;
        const KIND: c_int = 3;
        const CPUCLOCK_SCHED: c_int = 2;
        (clock < 0 && clock & KIND == CPUCLOCK_SCHED)
            .then_some(Self { pid: !(clock >> 3) as u32, of_thread: clock & OF_THREAD != 0 })
    }

    fn read(self, cell: *const Cell) -> Option<CpuTime> {
        // SAFETY: the caller has it from `answer`, which passes a readable cell.
        let (pid, tid) = unsafe {
            (read_volatile(&raw const (*cell).pid), read_volatile(&raw const (*cell).tid))
        };
        // The kernel takes a thread's own id for its process too (pid_for_clock).
        let is_own = [0, tid].contains(&self.pid) || !self.of_thread && self.pid == pid;
        if !is_own {
            return None;
        }
        if self.of_thread { thread_time(cell) } else { process_time(cell) }
    }
}

/// What was answered: a time, or the kernel has stored it and returned this.
enum Answer {
    Told(CpuTime),
    Stored(c_long),
}

/// `clock_gettime(2)`: CPU time of the calling thread and process from the cell, all other clocks from the vDSO.
///
/// # Safety
///
/// As for libc's: `time` must be writable, if the clock is one of the vDSO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_long {
    match clock {
        CLOCK_THREAD_CPUTIME_ID => thread_clock(time),
        CLOCK_PROCESS_CPUTIME_ID => process_clock(time),
        0.. => {
            // SAFETY: the caller's promise.
            let result = unsafe { vdso::clock_gettime(clock, time) };
            if result == 0 { 0 } else { with_errno(result) }
        }
        _ => task_clock(clock, time),
    }
}

// Functions of their own, so that other clocks do not pay for the registers that these need.

#[inline(never)]
fn thread_clock(time: *mut Timespec) -> c_long {
    cpu_time(CLOCK_THREAD_CPUTIME_ID, time, thread_time)
}

#[inline(never)]
fn process_clock(time: *mut Timespec) -> c_long {
    cpu_time(CLOCK_PROCESS_CPUTIME_ID, time, process_time)
}

#[inline(never)]
fn task_clock(clock: c_int, time: *mut Timespec) -> c_long {
    match TaskClock::from_id(clock) {
        Some(task) => cpu_time(clock, time, move |cell| task.read(cell)),
        None => with_errno(real_clock_gettime(clock, time)),
    }
}

fn real_clock_gettime(clock: c_int, time: *mut Timespec) -> c_long {
    // SAFETY: the kernel checks the pointer.
    unsafe { real_call(number::CLOCK_GETTIME, [clock as usize, time as usize, 0]) }
}

#[inline(always)]
fn cpu_time(
    clock: c_int,
    time: *mut Timespec,
    load: impl Fn(*const Cell) -> Option<CpuTime> + Copy,
) -> c_long {
    if is_on_stack(time)
        && let Some(told) = timed_at_once(bit::clock_gettime, load, cpu_time_at)
    {
        // SAFETY: `is_on_stack` has seen that this is writable memory.
        unsafe { time.write_unaligned(told.timespec()) };
        return 0;
    }
    cpu_time_slowly(clock, time, Place::of_caller(), load)
}

fn cpu_time_at(time: CpuTime, moment: Moment) -> Option<CpuTime> {
    Some(time.at(moment))
}

#[cold]
#[inline(never)]
fn cpu_time_slowly(
    clock: c_int,
    time: *mut Timespec,
    place: Place,
    load: impl Fn(*const Cell) -> Option<CpuTime>,
) -> c_long {
    let told = |time: CpuTime, moment| Some(Answer::Told(time.at(moment)));
    let real = || Answer::Stored(real_clock_gettime(clock, time));
    let answer = if is_on_stack(time) {
        timed_slowly(bit::clock_gettime, place, load, told, real)
    } else {
        real()
    };
    match answer {
        Answer::Told(told) => {
            // SAFETY: `is_on_stack` has seen that this is writable memory.
            unsafe { time.write_unaligned(told.timespec()) };
            0
        }
        Answer::Stored(result) => with_errno(result),
    }
}

/// `clock(3)`: the CPU time of the process, in microseconds.
#[unsafe(no_mangle)]
pub extern "C" fn clock() -> c_long {
    if let Some(told) = timed_at_once(bit::clock, process_time, cpu_time_at) {
        return microseconds(told.total());
    }
    clock_slowly(Place::of_caller())
}

#[cold]
#[inline(never)]
fn clock_slowly(place: Place) -> c_long {
    let told = |time: CpuTime, moment| Some(Some(time.at(moment).total()));
    let real = || {
        let mut time = Timespec { seconds: 0, nanoseconds: 0 };
        let result = real_clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &raw mut time);
        (result == 0).then(|| time.seconds as u64 * SECOND + time.nanoseconds as u64)
    };
    // As libc does (sysdeps/unix/sysv/linux/clock.c).
    timed_slowly(bit::clock, place, process_time, told, real).map_or(-1, microseconds)
}

#[inline(always)]
fn microseconds(total: u64) -> c_long {
    const MICROSECOND: u64 = 1000;
    (total / MICROSECOND) as c_long
}

/// `clock_gettime` for programs linked with `--wrap=clock_gettime`.
///
/// # Safety
///
/// As the function itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __wrap_clock_gettime(clock: c_int, time: *mut Timespec) -> c_long {
    // SAFETY: the caller's promise.
    unsafe { clock_gettime(clock, time) }
}

/// `clock` for programs linked with `--wrap=clock`.
#[unsafe(no_mangle)]
pub extern "C" fn __wrap_clock() -> c_long {
    clock()
}
