// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The lines that a user asks for with `BYSYSCALL_LOG`.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU8, AtomicU64};

use bysyscall_abi::WRAPPERS;

use crate::state;
use crate::sys::{Errno, at_fork_in_child, write_stderr};

/// How much to say; each level says what the ones before it say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Nothing: the variable is not set.
    Silent,
    /// Why the process makes real calls only.
    Err,
    /// How many calls were bypassed.
    Info,
    /// How many calls were real.
    Debug,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Silent as u8);

fn says(level: Level) -> bool {
    LEVEL.load(Relaxed) >= level as u8
}

/// Sets the level by its name; an unknown name is `err`.
pub fn set_level(name: &[u8]) {
    let level = match name {
        b"" => Level::Silent,
        b"info" => Level::Info,
        b"debug" => Level::Debug,
        _ => Level::Err,
    };
    LEVEL.store(level as u8, Relaxed);
    if level >= Level::Info {
        state::COUNTING.store(true, Relaxed);
        at_fork_in_child(forget_counts);
    }
}

/// A child reports its own calls, not its parent's.
extern "C" fn forget_counts() {
    for counter in state::BYPASSED.iter().chain(&state::REAL) {
        counter.store(0, Relaxed);
    }
}

/// Says why the process makes real calls only.
pub fn not_bypassing(what: &str, errno: Option<Errno>) {
    if !says(Level::Err) {
        return;
    }
    let mut line = Line::new();
    line.text("bysyscall: real calls only: ").text(what);
    if let Some(errno) = errno {
        line.text(" (error ").number(errno as u64).text(")");
    }
    line.print();
}

/// Prints the counts, when the process exits.
pub fn report() {
    if says(Level::Info) {
        report_counts(&state::BYPASSED, ": bypassed ", " times");
    }
    if says(Level::Debug) {
        report_counts(&state::REAL, ": ", " real calls");
    }
}

fn report_counts(counters: &[AtomicU64], before: &str, after: &str) {
    for (wrapper, counter) in WRAPPERS.iter().zip(counters) {
        let count = counter.load(Relaxed);
        if count > 0 {
            Line::new().text(wrapper.name).text(before).number(count).text(after).print();
        }
    }
}

/// A line of text, cut where it gets too long. `core::fmt` would be most of the library.
struct Line {
    bytes: [u8; 160],
    length: usize,
}

impl Line {
    fn new() -> Self {
        Self { bytes: [0; 160], length: 0 }
    }

    fn byte(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    fn text(&mut self, text: &str) -> &mut Self {
        text.bytes().for_each(|byte| self.byte(byte));
        self
    }

    fn number(&mut self, mut number: u64) -> &mut Self {
        let mut digits = [b'0'; 20];
        let mut used = 0;
        for digit in digits.iter_mut().rev() {
            *digit += (number % 10) as u8;
            number /= 10;
            used += 1;
            if number == 0 {
                break;
            }
        }
        digits.iter().skip(digits.len() - used).for_each(|&digit| self.byte(digit));
        self
    }

    fn print(&mut self) {
        self.byte(b'\n');
        write_stderr(self.bytes.get(..self.length).unwrap_or(&self.bytes));
    }
}
