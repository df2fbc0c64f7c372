// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Real calls, made for the program: by our own instruction, or by libc's.
//!
//! Syscall user dispatch tells calls apart by where the instruction lies, and a
//! program may exempt libc's code. What it asks libc for is then the kernel's to
//! answer, so from the first dispatch on libc's `syscall()` makes the calls.

use core::ffi::{c_char, c_long, c_void};
use core::mem::transmute;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use crate::arch::{dlsym_address, raw_syscall, syscall};
use crate::state::real_calls_only;
use crate::sys::__errno_location;

/// The address of libc's `syscall()` if it has to make the calls, or 0.
pub static LIBC_SYSCALL: AtomicUsize = AtomicUsize::new(0);

/// `syscall(2)` and `dlsym(3)`.
type Syscall = unsafe extern "C" fn(number: c_long, ...) -> c_long;
type Dlsym = unsafe extern "C" fn(handle: *const c_void, name: *const c_char) -> *const c_void;

/// From here on the process makes real calls, by libc if that can be: it is
/// about to turn a syscall user dispatch on or off.
pub extern "C" fn calls_by_libc_only() {
    real_calls_only();
    if LIBC_SYSCALL.load(Relaxed) == 0 {
        LIBC_SYSCALL.store(libc_syscall_address(), Relaxed);
    }
}

/// The next `syscall` after ours, or 0 if there is none or nobody who knows it:
/// before glibc 2.34 `dlsym` is there only in programs that use libdl.
fn libc_syscall_address() -> usize {
    const RTLD_NEXT: isize = -1;
    let dlsym = dlsym_address();
    if dlsym == 0 {
        return 0;
    }
    // SAFETY: it is the address of the function of this type.
    let dlsym = unsafe { transmute::<usize, Dlsym>(dlsym) };
    // SAFETY: looks up the name, a C string.
    let next = unsafe { dlsym(RTLD_NEXT as *const c_void, c"syscall".as_ptr()) } as usize;
    // A program's own dlsym may look on from elsewhere and find us, who would jump to ourselves.
    if next == syscall as *const () as usize { 0 } else { next }
}

/// Makes a system call; returns what the kernel returns, `-errno` on failure.
///
/// # Safety
///
/// As the system call itself.
#[inline(always)]
pub unsafe fn real_call(number: c_long, [first, second, third]: [usize; 3]) -> c_long {
    let by_libc = LIBC_SYSCALL.load(Relaxed);
    if by_libc != 0 {
        // SAFETY: the address of libc's `syscall()`, and the caller's promise.
        return unsafe { call_by_libc(first, second, third, number, by_libc) };
    }
    // SAFETY: the caller's promise.
    unsafe { raw_syscall(number, [first, second, third, 0]) }
}

/// The same by libc. Leaves errno alone unless the call fails: a thread that
/// lacks its own TLS has none. The arguments come first, where the wrappers got
/// them, so that nothing is moved for this on their way to the cell.
///
/// # Safety
///
/// `address` must be that of libc's `syscall()`; the rest as the system call itself.
#[cold]
#[inline(never)]
unsafe fn call_by_libc(
    first: usize,
    second: usize,
    third: usize,
    number: c_long,
    address: usize,
) -> c_long {
    // SAFETY: the caller's promise.
    let by_libc = unsafe { transmute::<usize, Syscall>(address) };
    // SAFETY: the caller's promise.
    let result = unsafe { by_libc(number, first, second, third) };
    // The kernel's own -1 is an error too, EPERM.
    if result != -1 {
        return result;
    }
    // SAFETY: the address of the thread's errno, which libc has just set.
    -c_long::from(unsafe { *__errno_location() })
}
