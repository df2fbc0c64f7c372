// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Reading the cell of the CPU that runs us.

use core::ptr::read_volatile;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use bysyscall_abi::arch::Cpu;
use bysyscall_abi::{Cell, FLAGS_MASK};

use crate::account::Moment;
use crate::arch::stack_pointer;
use crate::counter::{self, Noted, Pair};
use crate::state::{self, LINES, LINES_BITS};
use crate::vdso;

/// Why a cell gave no answer.
enum Refused {
    /// The kernel or the wrapper itself says that the real call must be made.
    Off,
    /// We are on another CPU than this cell's.
    Elsewhere(Cpu),
    /// We were switched out while reading; another attempt may do.
    Disturbed,
    /// Nobody has noted what the counter was at the anchor.
    Unpaired,
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

/// The same of what changes with time: `load` is what [`attempt`] has read, `tell` makes an answer of that and of the time. The
/// instruction that tells the time tells the CPU too.
///
/// # Safety
///
/// As for [`attempt`].
#[inline(always)]
unsafe fn attempt_by_counter<L, T>(
    cells: *const Cell,
    bit: u32,
    guess: usize,
    load: impl Fn(*const Cell) -> Option<L>,
    tell: impl Fn(L, Moment) -> Option<T>,
) -> Result<T, Refused> {
    let counter = core::cell::Cell::new(0);
    let cpu = || {
        let (now, cpu) = Cpu::with_counter();
        counter.set(now);
        cpu
    };
    let read = |cell: *const Cell| {
        // SAFETY: the caller's promise.
        let anchor = unsafe { read_volatile(&raw const (*cell).anchor) };
        Some((Pair::of(guess), anchor, load(cell)?))
    };
    // SAFETY: the caller's promise.
    let (pair, anchor, loaded) = unsafe { attempt(cells, bit, guess, cpu, read) }?;
    let elapsed = pair.since(anchor, guess, counter.get()).ok_or(Refused::Unpaired)?;
    tell(loaded, Moment::by_counter(anchor, elapsed)).ok_or(Refused::Off)
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
    let way = Way::shortest(bit)?;
    // SAFETY: `Way` has mapped cells, and guesses a CPU that there is.
    unsafe {
        if way.by_lsl {
            attempt(way.cells, bit, way.guess(), Cpu::by_lsl, read)
        } else {
            attempt(way.cells, bit, way.guess(), Cpu::by_rdpid, read)
        }
    }
    .ok()
}

/// The same of what changes with time; see [`attempt_by_counter`].
#[inline(always)]
pub fn timed_at_once<L, T>(
    bit: u32,
    load: impl Fn(*const Cell) -> Option<L>,
    tell: impl Fn(L, Moment) -> Option<T>,
) -> Option<T> {
    if counter::is_on() {
        let way = Way::shortest(bit)?;
        // SAFETY: as above.
        return unsafe { attempt_by_counter(way.cells, bit, way.guess(), load, tell) }.ok();
    }
    Way::shortest(bit)?;
    // First of all: the vDSO waits for what comes before it, and what comes after goes on beside it.
    let now = vdso::monotonic();
    answer_at_once(bit, |cell| tell(load(cell)?, Moment::by_clock(cell, now)?))
}

/// How to get at a cell.
struct Way {
    cells: *const Cell,
    by_lsl: bool,
}

impl Way {
    /// `None`: there is a slower one only, if any.
    #[inline(always)]
    fn shortest(bit: u32) -> Option<Self> {
        let cells = state::DIRECT[bit as usize].load(Relaxed);
        // The constructor sets the pointer to mapped cells, and without the mark only where rdpid works.
        let by_lsl = cells.addr() & state::BY_LSL_MARK != 0;
        (!cells.is_null()).then(|| Self {
            cells: cells.map_addr(|address| address & !state::BY_LSL_MARK),
            by_lsl,
        })
    }

    /// Both numbers are of a CPU that there is: the kernel numbers them below the count that it made cells for.
    #[inline(always)]
    fn guess(&self) -> usize {
        if self.by_lsl { Place::of_caller().guess() } else { Cpu::by_rdpid().number() }
    }
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
    // SAFETY: `persist` passes mapped cells and a CPU that there is.
    let attempt = |cells, guess| unsafe { attempt(cells, bit, guess, cpu_here, &read) };
    conclude(bit, persist(bit, place, attempt).unwrap_or(None), real)
}

/// The same for [`timed_at_once`].
#[cold]
#[inline(never)]
pub fn timed_slowly<L, T>(
    bit: u32,
    place: Place,
    load: impl Fn(*const Cell) -> Option<L>,
    tell: impl Fn(L, Moment) -> Option<T>,
    real: impl Fn() -> T,
) -> T {
    // SAFETY: as above.
    let by_counter = |cells, guess| unsafe { attempt_by_counter(cells, bit, guess, &load, &tell) };
    if counter::is_on()
        && let Ok(value) = persist(bit, place, by_counter)
    {
        return conclude(bit, value, real);
    }
    let by_clock = |cells, guess| {
        let read = |cell: *const Cell| {
            let now = vdso::monotonic();
            let told = tell(load(cell)?, Moment::by_clock(cell, now)?);
            // What a signal handler has told by a pair meanwhile may be ahead of the clock.
            // SAFETY: as above.
            let anchor = unsafe { read_volatile(&raw const (*cell).anchor) };
            if counter::is_on() && Pair::of(guess).is_of(anchor, guess) { None } else { told }
        };
        // SAFETY: as above.
        unsafe { attempt(cells, bit, guess, cpu_here, read) }
    };
    conclude(bit, persist(bit, place, by_clock).unwrap_or(None), real)
}

/// Counts what was answered, or makes the real call.
#[inline(always)]
fn conclude<T>(bit: u32, value: Option<T>, real: impl Fn() -> T) -> T {
    count(if value.is_some() { &state::BYPASSED } else { &state::REAL }, bit);
    value.unwrap_or_else(real)
}

fn cpu_here() -> Cpu {
    if state::BY_LSL.load(Relaxed) { Cpu::by_lsl() } else { Cpu::by_rdpid() }
}

/// There is no place for a pair, so no pair has answered since the anchor was set.
struct NoPlace;

/// Attempts until one succeeds or no other would; `None`: none has.
#[inline(always)]
fn persist<T>(
    bit: u32,
    place: Place,
    attempt: impl Fn(*const Cell, usize) -> Result<T, Refused>,
) -> Result<Option<T>, NoPlace> {
    const ATTEMPTS: usize = 4;
    if state::WANTED.load(Relaxed) & (1 << bit) == 0 {
        return Ok(None);
    }
    let cells = state::CELLS.load(Relaxed);
    let by_lsl = state::BY_LSL.load(Relaxed);
    let mut guess = if by_lsl { place.guess() } else { Cpu::by_rdpid().number() };
    for _ in 0..ATTEMPTS {
        // CELLS was set to mapped cells before WANTED got its bits. What is guessed is a CPU
        // that there is: the kernel numbers them below the count that it made cells for.
        match attempt(cells, guess) {
            Ok(value) => return Ok(Some(value)),
            Err(Refused::Off) => break,
            Err(Refused::Disturbed) => {}
            // SAFETY: as above.
            Err(Refused::Unpaired) => match Pair::note(unsafe { cells.add(guess) }, guess) {
                Noted::Perhaps => {}
                Noted::Occupied => return Err(NoPlace),
                Noted::Never => break,
            },
            Err(Refused::Elsewhere(here)) => {
                guess = here.number();
                if by_lsl {
                    // SAFETY: as above.
                    unsafe { place.set(cells, guess) };
                }
            }
        }
    }
    Ok(None)
}

/// Where a thread was when it asked last, as `lsl` takes longer than all the rest. A guess, so threads are
/// told apart by where their stacks are, and some may share a place.
#[derive(Clone, Copy)]
pub struct Place(&'static AtomicU64);

impl Place {
    const COUNT: u64 = !(FLAGS_MASK as u64);

    /// That of the thread, as long as it is asked for by the same function.
    #[inline(always)]
    pub fn of_caller() -> Self {
        /// 2^64 by the golden ratio: multiples of it spread well over the upper bits.
        const SPREAD: usize = 0x9e37_79b9_7f4a_7c15;
        const NEAR: u32 = 16;
        let stack = stack_pointer() >> NEAR;
        let index = stack.wrapping_mul(SPREAD) >> (usize::BITS - LINES_BITS);
        Self(&LINES[index].place)
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
