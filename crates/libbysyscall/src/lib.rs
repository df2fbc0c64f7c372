// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! `libbysyscall.so`: preloaded into unmodified programs, it answers some libc
//! functions from a page that the kernel keeps right, or makes the real call.
//!
//! It does not allocate, panic or unwind, starts no thread, needs libc alone,
//! and once its constructor has run makes no call that the program did not ask for.
#![no_std]

mod account;
mod arch;
mod cell;
mod clocks;
mod counter;
mod log;
mod real;
mod start;
mod state;
mod sys;
mod times;
mod usage;
mod vdso;
mod wrappers;

/// Nothing here panics: the tests look that no call of this is left in the library.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
