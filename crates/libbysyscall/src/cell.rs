// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Reading the cell of the CPU that runs us.

use core::ptr::read_volatile;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use bysyscall_abi::Cell;
use bysyscall_abi::arch::Cpu;

use crate::state;
use crate::vdso::{self, Timespec};

/// Why a cell gave no answer.
enum Refused {
    /// The kernel or the wrapper itself says that the real call must be made.
    Off,
    /// We were switched out while reading; another attempt may do.
    Disturbed,
}

/// Reads from the cell of this CPU: `read` gets it and must read it volatile;
/// `None`: what it found does not answer this call.
///
/// The order is the proof. While we stay on the CPU that `cpu` named first,
/// its cell is ours. If we left it, then at the end either we are on another
/// CPU, or we have come back and the kernel has counted `state` up on our way
/// in. The writer runs on the same CPU, so compiler barriers are all it takes:
/// getting the CPU number is one, and volatile reads keep their order.
///
/// # Safety
///
/// `cells` must point to the mapped cells, one for each CPU there can be.
#[inline(always)]
unsafe fn attempt<T>(
    cells: *const Cell,
    bit: u32,
    cpu: impl Fn() -> Cpu,
    read: impl Fn(*const Cell) -> Option<T>,
) -> Result<T, Refused> {
    let here = cpu();
    // SAFETY: the kernel numbers CPUs below the count that it made cells for; what is mapped stays.
    let (cell, state, value) = unsafe {
        let cell = cells.add(here.number());
        let state = read_volatile(&raw const (*cell).state);
        (cell, state, read(cell))
    };
    if state & (1 << bit) == 0 {
        return Err(Refused::Off);
    }
    // SAFETY: as above.
    let still = || unsafe { read_volatile(&raw const (*cell).state) };
    if cpu() != here || still() != state {
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
    answer_at_once(bit, read).unwrap_or_else(|| answer_slowly(bit, read, real))
}

/// The answer in the shortest way, if that leads to one.
#[inline(always)]
pub fn answer_at_once<T>(bit: u32, read: impl Fn(*const Cell) -> Option<T>) -> Option<T> {
    let cells = state::DIRECT[bit as usize].load(Relaxed);
    if cells.is_null() {
        return None;
    }
    // SAFETY: the constructor sets the pointer to mapped cells, and only where rdpid works.
    unsafe { attempt(cells, bit, Cpu::by_rdpid, read) }.ok()
}

/// The time for [`answer_at_once`], by CLOCK_MONOTONIC; `None`: the shortest way leads to no answer.
#[inline(always)]
pub fn time_at_once(bit: u32) -> Option<Timespec> {
    (!state::DIRECT[bit as usize].load(Relaxed).is_null()).then(vdso::monotonic)
}

/// [`answer_at_once`] with all that the shortest way leaves out: more attempts, CPUs
/// without `rdpid`, counting, the real call.
#[cold]
#[inline(never)]
pub fn answer_slowly<T>(
    bit: u32,
    read: impl Fn(*const Cell) -> Option<T>,
    real: impl Fn() -> T,
) -> T {
    const ATTEMPTS: usize = 4;
    if state::WANTED.load(Relaxed) & (1 << bit) != 0 {
        let cells = state::CELLS.load(Relaxed);
        let by_lsl = state::BY_LSL.load(Relaxed);
        let cpu = || if by_lsl { Cpu::by_lsl() } else { Cpu::by_rdpid() };
        for _ in 0..ATTEMPTS {
            // SAFETY: CELLS was set to mapped cells before WANTED got its bits.
            match unsafe { attempt(cells, bit, cpu, &read) } {
                Ok(value) => {
                    count(&state::BYPASSED, bit);
                    return value;
                }
                Err(Refused::Off) => break,
                Err(Refused::Disturbed) => {}
            }
        }
    }
    count(&state::REAL, bit);
    real()
}

fn count(counters: &[AtomicU64], bit: u32) {
    if state::COUNTING.load(Relaxed)
        && let Some(counter) = counters.get(bit as usize)
    {
        counter.fetch_add(1, Relaxed);
    }
}
