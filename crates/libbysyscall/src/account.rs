// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! How long threads and processes have run, by what the cell says of its anchor and a clock
//! says of the time since.

use core::ptr::{null_mut, read_volatile};
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64};

use bysyscall_abi::{Cell, Header, PAGE_ELEMENTS, Process};

use crate::counter::NEAR;
use crate::times::Split;
use crate::vdso::Timespec;

/// ns
pub const SECOND: u64 = 1_000_000_000;
/// Ticks without a new anchor after which it is no longer believed.
pub const BELIEVED_TICKS: u64 = 4;
/// The clock that times are told by may be slewed by so much against that of the kernel's account
/// (1/2048: `kernel/time/ntp.c`, `MAXFREQ`). That much less is told, lest an answer at a tick be less than one before.
const SLEW_SHIFT: u32 = 11;

/// ns from one of the kernel's ticks to the next.
pub static TICK: AtomicU64 = AtomicU64::new(0);
/// Records of processes, a page of them, and the element that is the first; null: none.
static PROCESSES: AtomicPtr<Process> = AtomicPtr::new(null_mut());
static FIRST_PROCESS: AtomicU32 = AtomicU32::new(0);

/// Takes what the header says of the kernel.
pub fn set_up(header: &Header) {
    TICK.store(header.tick.into(), Relaxed);
}

/// Takes the page with the records of this process and its children, and the element that is its first.
pub fn set_processes(first: u32, page: *mut Process) {
    FIRST_PROCESS.store(first, Relaxed);
    PROCESSES.store(page, Relaxed);
}

/// When an answer is true.
#[derive(Clone, Copy)]
pub struct Moment {
    /// ns since the anchor, not more than there were.
    pub elapsed: u64,
    /// ns of CLOCK_MONOTONIC, not less than there were.
    pub latest: u64,
}

impl Moment {
    /// A time that was read before; `None`: the anchor is too old, or has been set since.
    #[inline(always)]
    pub fn by_clock(cell: *const Cell, now: Timespec) -> Option<Self> {
        let latest = (now.seconds as u64).wrapping_mul(SECOND).wrapping_add(now.nanoseconds as u64);
        Some(Self { elapsed: since_anchor(cell, now)?, latest })
    }

    /// ns since an anchor by a pair of it.
    #[inline(always)]
    pub fn by_counter(anchor: u64, elapsed: u64) -> Self {
        /// By far more than what the clock may be slewed by, and a step is short of.
        const SHORT_SHIFT: u32 = 8;
        let latest = anchor.wrapping_add(elapsed + (elapsed >> SHORT_SHIFT) + NEAR + 1);
        Self { elapsed, latest }
    }
}

/// ns from an anchor to a time that was read before; `None`: it is too old, or has been set since.
pub fn since(anchor: u64, now: Timespec) -> Option<u64> {
    let now = (now.seconds as u64).wrapping_mul(SECOND).wrapping_add(now.nanoseconds as u64);
    told(now.wrapping_sub(anchor))
}

/// What is told of so many ns since an anchor, if it is believed.
#[inline(always)]
fn told(elapsed: u64) -> Option<u64> {
    (elapsed < BELIEVED_TICKS * TICK.load(Relaxed)).then(|| elapsed - (elapsed >> SLEW_SHIFT))
}

/// The same as [`since`] of the anchor in the cell.
#[inline(always)]
fn since_anchor(cell: *const Cell, now: Timespec) -> Option<u64> {
    // SAFETY: the caller has it from `answer`, which passes a readable cell.
    let (anchor, seconds) = unsafe {
        (read_volatile(&raw const (*cell).anchor), read_volatile(&raw const (*cell).anchor_seconds))
    };
    let anchor = anchor.wrapping_sub(seconds.wrapping_mul(SECOND));
    let elapsed = if now.seconds as u64 == seconds {
        // A multiplication would be one more thing to wait for.
        (now.nanoseconds as u64).wrapping_sub(anchor)
    } else {
        (now.seconds as u64)
            .wrapping_sub(seconds)
            .wrapping_mul(SECOND)
            .wrapping_add(now.nanoseconds as u64)
            .wrapping_sub(anchor)
    };
    told(elapsed)
}

/// Whether the anchor was set a few ticks ago at most, at the time of the last tick.
pub fn is_recent(cell: *const Cell, tick: Timespec) -> bool {
    // SAFETY: the caller has it from `answer`, which passes a readable cell.
    let anchor = unsafe { read_volatile(&raw const (*cell).anchor) };
    let tick = (tick.seconds as u64).wrapping_mul(SECOND).wrapping_add(tick.nanoseconds as u64);
    (tick.wrapping_sub(anchor) as i64) < (BELIEVED_TICKS * TICK.load(Relaxed)) as i64
}

/// A CPU time. Whole seconds are told apart where they are known, as a division takes long.
#[derive(Clone, Copy)]
pub struct CpuTime {
    seconds: u64,
    /// May be more than a second.
    nanoseconds: u64,
}

impl CpuTime {
    #[inline(always)]
    fn new(total: u64, seconds: u64) -> Self {
        Self { seconds, nanoseconds: total.wrapping_sub(seconds.wrapping_mul(SECOND)) }
    }

    /// What was true at the anchor, at another moment.
    #[inline(always)]
    pub fn at(self, moment: Moment) -> Self {
        Self { nanoseconds: self.nanoseconds.wrapping_add(moment.elapsed), ..self }
    }

    /// ns
    pub fn total(self) -> u64 {
        self.seconds.wrapping_mul(SECOND).wrapping_add(self.nanoseconds)
    }

    /// The same as a `struct timespec`.
    #[inline(always)]
    pub fn timespec(self) -> Timespec {
        let Self { mut seconds, mut nanoseconds } = self;
        while nanoseconds >= SECOND {
            seconds += 1;
            nanoseconds -= SECOND;
        }
        Timespec { seconds: seconds as i64, nanoseconds: nanoseconds as i64 }
    }
}

/// How long the task had run at the anchor.
#[inline(always)]
pub fn thread_time(cell: *const Cell) -> Option<CpuTime> {
    // SAFETY: the caller has it from `answer`, which passes a readable cell.
    let (runtime, seconds) = unsafe {
        (
            read_volatile(&raw const (*cell).runtime),
            read_volatile(&raw const (*cell).runtime_seconds),
        )
    };
    Some(CpuTime::new(runtime, seconds.into()))
}

/// How long the threads of the process had run at the anchor.
#[inline(always)]
pub fn process_time(cell: *const Cell) -> Option<CpuTime> {
    // SAFETY: as above.
    let (runtime, seconds, has_cpu_timers) = unsafe {
        (
            read_volatile(&raw const (*cell).process_runtime),
            read_volatile(&raw const (*cell).process_runtime_seconds),
            read_volatile(&raw const (*cell).has_cpu_timers),
        )
    };
    if has_cpu_timers != 0 {
        return None;
    }
    if runtime == 0 {
        return threads_time(cell);
    }
    Some(CpuTime::new(runtime, seconds.into()))
}

/// The same for a process of several threads.
#[inline(never)]
fn threads_time(cell: *const Cell) -> Option<CpuTime> {
    let threads = Threads::read(cell)?;
    (!threads.has_cpu_timers).then(|| CpuTime::new(threads.runtime, threads.runtime / SECOND))
}

/// The record of the caller's process, if it has one on the page that is mapped.
pub fn process_of(cell: *const Cell) -> Option<*const Process> {
    let processes = PROCESSES.load(Relaxed);
    // SAFETY: the caller has it from `answer`, which passes a readable cell.
    let index = unsafe { read_volatile(&raw const (*cell).process) };
    let place = index.wrapping_sub(FIRST_PROCESS.load(Relaxed));
    if processes.is_null() || index == 0 || place >= PAGE_ELEMENTS {
        return None;
    }
    // SAFETY: the page has so many records; what is mapped stays.
    Some(unsafe { processes.add(place as usize) })
}

/// The record of a process of several threads.
pub struct Threads {
    /// At the caller's anchor: what the record has of the caller is replaced by what the cell has.
    pub runtime: u64,
    /// Of all threads.
    pub split: Split,
    has_cpu_timers: bool,
    /// Whether what is known of the children may be old.
    pub has_waited: bool,
}

impl Threads {
    /// `None`: it is not complete, or another thread is on a CPU.
    #[inline(never)]
    pub fn read(cell: *const Cell) -> Option<Self> {
        let process = process_of(cell)?;
        // SAFETY: the caller has it from `answer`, which passes a readable cell.
        let (is_counted, remote) = unsafe {
            (read_volatile(&raw const (*cell).is_counted), read_volatile(&raw const (*cell).remote))
        };
        // Another CPU may be changing what the record and the cell have of the caller.
        if is_counted == 0 || remote % 2 != 0 {
            return None;
        }
        // How many run is read before what they have run: of those that do not, all has been added.
        // SAFETY: `process_of` gives a readable record.
        let (running, total, incomplete, threads) = unsafe {
            (
                read_volatile(&raw const (*process).running),
                read_volatile(&raw const (*process).runtime),
                read_volatile(&raw const (*process).incomplete),
                Self {
                    runtime: 0,
                    split: Split {
                        utime: read_volatile(&raw const (*process).utime),
                        stime: read_volatile(&raw const (*process).stime),
                        told_utime: read_volatile(&raw const (*process).told_utime),
                        told_stime: read_volatile(&raw const (*process).told_stime),
                    },
                    has_cpu_timers: read_volatile(&raw const (*process).has_cpu_timers) != 0,
                    has_waited: read_volatile(&raw const (*process).has_waited) != 0,
                },
            )
        };
        // SAFETY: as above.
        let (counted, own, still_remote) = unsafe {
            (
                read_volatile(&raw const (*cell).counted),
                read_volatile(&raw const (*cell).runtime),
                read_volatile(&raw const (*cell).remote),
            )
        };
        let runtime = total.wrapping_sub(counted).wrapping_add(own);
        (running == 1 && incomplete == 0 && still_remote == remote)
            .then_some(Self { runtime, ..threads })
    }
}
