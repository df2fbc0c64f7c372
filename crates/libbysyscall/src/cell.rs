// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Reading the cell of the CPU that runs us.

use core::ptr::read_volatile;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use bysyscall_abi::arch::Cpu;
use bysyscall_abi::{Cell, FLAGS_MASK};

use crate::arch::stack_pointer;
use crate::state;
use crate::vdso::{self, Timespec};

/// Why a cell gave no answer.
enum Refused {
    /// The kernel or the wrapper itself says that the real call must be made.
    Off,
    /// We are on another CPU than this cell's.
    Elsewhere(Cpu),
    /// We were switched out while reading; another attempt may do.
    Disturbed,
}

/// Reads from the cell of the CPU with the number `guess`: `read` gets it and must read it
/// volatile and bear whatever it finds; `None`: that does not answer this call.
///
/// The order is the proof. All values are read before `cpu` tells where we are. If that is another CPU,
/// nothing of what was read is used. If it is this cell's, and `state` is still the same, we have been there
/// since the first load: whenever the kernel switches somebody in, it changes the `state` of a cell
/// with flags. So all that time the cell has described us, and was written by this CPU only:
/// compiler barriers are all it takes. `cpu` is one, and volatile reads keep their order.
///
/// # Safety
///
/// `cells` must point to the mapped cells, one for each CPU there can be; `guess` must be the number of one.
#[inline(always)]
unsafe fn attempt<T>(
    cells: *const Cell,
    bit: u32,
    guess: usize,
    cpu: impl Fn() -> Cpu,
    read: impl Fn(*const Cell) -> Option<T>,
) -> Result<T, Refused> {
    // SAFETY: the caller's promise; what is mapped stays.
    let (cell, state, value) = unsafe {
        let cell = cells.add(guess);
        let state = read_volatile(&raw const (*cell).state);
        (cell, state, read(cell))
    };
    let here = cpu();
    if here.number() != guess {
        return Err(Refused::Elsewhere(here));
    }
    if state & (1 << bit) == 0 {
        return Err(Refused::Off);
    }
    // SAFETY: as above.
    if unsafe { read_volatile(&raw const (*cell).state) } != state {
        return Err(Refused::Disturbed);
    }
    value.ok_or(Refused::Off)
}

/// The answer of the wrapper with this bit, or that of the real call.
#[inline(always)]
pub fn answer<T>(
    bit: u32,
    read: impl Fn(*const Cell) -> Option<T> + Copy,
    real: impl Fn() -> T,
) -> T {
    answer_at_once(bit, read).unwrap_or_else(|| answer_slowly(bit, Place::of_caller(), read, real))
}

/// The answer in the shortest way, if that leads to one.
#[inline(always)]
pub fn answer_at_once<T>(bit: u32, read: impl Fn(*const Cell) -> Option<T>) -> Option<T> {
    let cells = state::DIRECT[bit as usize].load(Relaxed);
    if cells.is_null() {
        return None;
    }
    // SAFETY: the constructor sets the pointer to mapped cells, and without the mark only where rdpid
    // works. Both numbers are of a CPU that there is: the kernel numbers them below the count that it made cells for.
    unsafe {
        if cells.addr() & state::BY_LSL_MARK == 0 {
            attempt(cells, bit, Cpu::by_rdpid().number(), Cpu::by_rdpid, read)
        } else {
            let cells = cells.map_addr(|address| address & !state::BY_LSL_MARK);
            attempt(cells, bit, Place::of_caller().guess(), Cpu::by_lsl, read)
        }
    }
    .ok()
}

/// The time for [`answer_at_once`], by CLOCK_MONOTONIC; `None`: the shortest way leads to no answer.
#[inline(always)]
pub fn time_at_once(bit: u32) -> Option<Timespec> {
    (!state::DIRECT[bit as usize].load(Relaxed).is_null()).then(vdso::monotonic)
}

/// [`answer_at_once`] with all that the shortest way leaves out: more attempts, setting the
/// guess right, counting, the real call.
#[cold]
#[inline(never)]
pub fn answer_slowly<T>(
    bit: u32,
    place: Place,
    read: impl Fn(*const Cell) -> Option<T>,
    real: impl Fn() -> T,
) -> T {
    const ATTEMPTS: usize = 4;
    if state::WANTED.load(Relaxed) & (1 << bit) != 0 {
        let cells = state::CELLS.load(Relaxed);
        let by_lsl = state::BY_LSL.load(Relaxed);
        let cpu = || if by_lsl { Cpu::by_lsl() } else { Cpu::by_rdpid() };
        let mut guess = if by_lsl { place.guess() } else { cpu().number() };
        for _ in 0..ATTEMPTS {
            // SAFETY: CELLS was set to mapped cells before WANTED got its bits. What is guessed is a CPU
            // that there is: the kernel numbers them below the count that it made cells for.
            match unsafe { attempt(cells, bit, guess, cpu, &read) } {
                Ok(value) => {
                    count(&state::BYPASSED, bit);
                    return value;
                }
                Err(Refused::Off) => break,
                Err(Refused::Disturbed) => {}
                Err(Refused::Elsewhere(here)) => {
                    guess = here.number();
                    if by_lsl {
                        // SAFETY: as above.
                        unsafe { place.set(cells, guess) };
                    }
                }
            }
        }
    }
    count(&state::REAL, bit);
    real()
}

/// Where a thread was when it asked last, as `lsl` takes longer than all the rest. A guess, so threads are
/// told apart by where their stacks are, and some may share a place.
#[derive(Clone, Copy)]
pub struct Place(&'static AtomicU64);

impl Place {
    /// As many as the library's one writable page has room for.
    const PLACES: usize = 1 << Self::PLACES_BITS;
    const PLACES_BITS: u32 = 5;
    const COUNT: u64 = !(FLAGS_MASK as u64);

    /// That of the thread, as long as it is asked for by the same function.
    #[inline(always)]
    pub fn of_caller() -> Self {
        /// On a cache line of its own.
        #[repr(align(64))]
        struct Line(AtomicU64);
        static LINES: [Line; Place::PLACES] = [const { Line(AtomicU64::new(0)) }; Place::PLACES];
        /// 2^64 by the golden ratio: multiples of it spread well over the upper bits.
        const SPREAD: usize = 0x9e37_79b9_7f4a_7c15;
        const NEAR: u32 = 16;
        let stack = stack_pointer() >> NEAR;
        let index = stack.wrapping_mul(SPREAD) >> (usize::BITS - Self::PLACES_BITS);
        Self(&LINES[index].0)
    }

    /// The number of a CPU.
    #[inline(always)]
    fn guess(self) -> usize {
        (self.0.load(Relaxed) & !Self::COUNT) as usize
    }

    /// Keeps the number of the CPU for the next time, and the count of its cell. If the cell of the CPU
    /// that is kept still has the count and describes another thread of the process, the place
    /// stays that one's: two that run at a time must not take it from each other at each call.
    ///
    /// # Safety
    ///
    /// `cells` as for [`attempt`], `here` must be the number of one.
    #[cold]
    unsafe fn set(self, cells: *const Cell, here: usize) {
        // SAFETY: the caller's promise; what is kept is such a number too.
        let look = |cpu: usize| unsafe {
            let cell = cells.add(cpu);
            (
                read_volatile(&raw const (*cell).state),
                read_volatile(&raw const (*cell).pid),
                read_volatile(&raw const (*cell).tid),
            )
        };
        let kept = self.0.load(Relaxed);
        let (state, pid, tid) = look(here);
        let (other_state, other_pid, other_tid) = look((kept & !Self::COUNT) as usize);
        let is_anothers = other_state & Self::COUNT == kept & Self::COUNT
            && other_state & !Self::COUNT != 0
            && other_pid == pid
            && other_tid != tid;
        if !is_anothers {
            self.0.store(state & Self::COUNT | here as u64, Relaxed);
        }
    }
}

fn count(counters: &[AtomicU64], bit: u32) {
    if state::COUNTING.load(Relaxed)
        && let Some(counter) = counters.get(bit as usize)
    {
        counter.fetch_add(1, Relaxed);
    }
}
