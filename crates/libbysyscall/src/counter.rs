// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The time since an anchor by the time stamp counter, which takes less to read than the vDSO's clock.
//!
//! An anchor is a time by that clock. Once for each anchor somebody looks at both, and notes what the counter
//! was at the anchor: a **pair**. A pair says how two clocks of the machine relate, nothing of a task, so
//! it is right whoever finds it, and however late it is written.

use core::ptr::read_volatile;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU32, AtomicU64};

use bysyscall_abi::arch::Cpu;
use bysyscall_abi::{Cell, Header};

use crate::account::{BELIEVED_TICKS, since};
use crate::arch;
use crate::state::LINES;
use crate::vdso;

/// ns from before the clock is read until after, else something has come between.
pub const NEAR: u64 = 2000;

/// Of the number of a CPU, as of [`Cpu::number`].
const CPU_BITS: u32 = 12;

/// ns of a step of the counter, by 2^32. 0: the clock is asked.
static STEP: AtomicU32 = AtomicU32::new(0);
/// How many steps after its anchor a pair is no longer believed, nor is the anchor.
static BELIEVED: AtomicU64 = AtomicU64::new(0);

/// Takes what the header says.
pub fn set_up(header: &Header) {
    if header.counter_step != 0 {
        let believed = BELIEVED_TICKS * u64::from(header.tick);
        BELIEVED.store((believed << 32) / u64::from(header.counter_step), Relaxed);
        STEP.store(header.counter_step, Relaxed);
    }
}

/// From here on the clock is asked.
pub fn set_off() {
    STEP.store(0, Relaxed);
}

/// Whether the counter is read.
#[inline(always)]
pub fn is_on() -> bool {
    STEP.load(Relaxed) != 0
}

/// An anchor, and the counter at it.
#[derive(Clone, Copy)]
pub struct Pair {
    key: u64,
    counter: u64,
}

/// What came of the wish to note one.
pub enum Noted {
    /// There is one, or there may be next time.
    Perhaps,
    /// Another CPU shares the place, and has a pair there that is believed.
    Occupied,
    /// The anchor is too old.
    Never,
}

impl Pair {
    /// That of a CPU.
    #[inline(always)]
    pub fn of(cpu: usize) -> Self {
        Self::read(Self::place(cpu))
    }

    #[inline(always)]
    fn read(place: &arch::Pair) -> Self {
        let [key, counter] = place.load();
        Self { key, counter }
    }

    #[inline(always)]
    fn place(cpu: usize) -> &'static arch::Pair {
        let line = &LINES[cpu % LINES.len()];
        &line.pairs[cpu / LINES.len() % line.pairs.len()]
    }

    /// Two CPUs may have set an anchor at the same time. A pair that is left of an anchor of 52 days before has
    /// the same key, and is not believed for its age.
    #[inline(always)]
    fn key(anchor: u64, cpu: usize) -> u64 {
        anchor << CPU_BITS | cpu as u64
    }

    fn cpu(self) -> usize {
        (self.key & ((1 << CPU_BITS) - 1)) as usize
    }

    /// Steps since its anchor, if they are so few that it is believed.
    #[inline(always)]
    fn steps(self, counter: u64) -> Option<u64> {
        let steps = counter.wrapping_sub(self.counter);
        (steps < BELIEVED.load(Relaxed)).then_some(steps)
    }

    /// Whether it is of this anchor.
    #[inline(always)]
    pub fn is_of(self, anchor: u64, cpu: usize) -> bool {
        self.key == Self::key(anchor, cpu)
    }

    /// ns from the anchor to what the counter says; `None`: the pair is of another one, or too old.
    #[inline(always)]
    pub fn since(self, anchor: u64, cpu: usize, counter: u64) -> Option<u64> {
        let steps = self.steps(counter)?;
        self.is_of(anchor, cpu).then(|| (steps * u64::from(STEP.load(Relaxed))) >> 32)
    }

    /// Notes one for the anchor that is in the cell of the CPU that runs us.
    ///
    /// There is only ever one of an anchor, as a second one, by a clock that was slewed meanwhile, might tell less than
    /// the first has told. While an anchor is believed, only the thread that it is of notes a pair of it: who
    /// reads the counter on that CPU is that thread, or has taken the CPU from it and with it the anchor. A
    /// signal handler that notes one first is let have it, and nothing else takes its place as long as it is believed.
    #[cold]
    #[inline(never)]
    pub fn note(cell: *const Cell, cpu: usize) -> Noted {
        let place = Self::place(cpu);
        let old = Self::read(place);
        // SAFETY: the caller has a readable cell.
        let anchor = unsafe { read_volatile(&raw const (*cell).anchor) };
        let (before, _) = Cpu::with_counter();
        let now = vdso::monotonic();
        // After the clock, so that less passes by the counter than by the clock.
        let (counter, here) = Cpu::with_counter();
        // A hypervisor may have lost the number that comes with the counter.
        if here.number() != cpu || Cpu::by_lsl().number() != cpu {
            return Noted::Perhaps;
        }
        let new = Self::key(anchor, cpu);
        if old.steps(counter).is_some() {
            if old.key == new {
                return Noted::Perhaps;
            }
            if old.cpu() != cpu {
                return Noted::Occupied;
            }
        }
        let Some(elapsed) = since(anchor, now) else { return Noted::Never };
        let step = u64::from(STEP.load(Relaxed)).max(1);
        if counter.wrapping_sub(before) < (NEAR << 32) / step {
            let steps = (elapsed << 32).div_ceil(step);
            place.replace([old.key, old.counter], [new, counter.wrapping_sub(steps)]);
        }
        Noted::Perhaps
    }
}
