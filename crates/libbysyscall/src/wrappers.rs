// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The wrappers: each answers from the cell or makes the real call.
//!
//! All return `c_long`, as the system calls do: callers of the libc functions
//! look at the lower half only, callers of `syscall()` at the whole.

use core::ffi::{c_int, c_long};
use core::ptr::read_volatile;
use core::sync::atomic::Ordering::Relaxed;

use bysyscall_abi::for_each_wrapper;

use crate::arch::number;
use crate::cell::answer;
use crate::real::real_call;
use crate::state;
use crate::sys::__errno_location;

/// The flag bits of the wrappers, by name.
pub mod bit {
    use super::for_each_wrapper;
    macro_rules! bits {
        ($(($name:ident, $bit:literal),)*) => { $(
            #[allow(non_upper_case_globals, reason = "named as the function")]
            pub const $name: u32 = $bit;
        )* };
    }
    for_each_wrapper!(bits);
}

/// A function without arguments that cannot fail: one field of the cell.
macro_rules! one_field {
    ($name:ident, $number:expr, $field:ident, $wrap_name:ident) => {
        #[doc = concat!("`", stringify!($name), "(2)`, from the field `", stringify!($field), "` of the cell.")]
        #[unsafe(no_mangle)]
        pub extern "C" fn $name() -> c_long {
            answer(
                bit::$name,
                // SAFETY: `answer` passes a readable cell.
                |cell| Some(c_long::from(unsafe { read_volatile(&raw const (*cell).$field) })),
                // SAFETY: has no arguments and no effects.
                || unsafe { real_call($number, [0; 3]) },
            )
        }

        #[doc = concat!("`", stringify!($name), "` for programs linked with `--wrap=", stringify!($name), "`.")]
        #[unsafe(no_mangle)]
        pub extern "C" fn $wrap_name() -> c_long {
            $name()
        }
    };
}

/// A function that stores three ids: real, effective, saved.
macro_rules! three_ids {
    ($name:ident, $number:expr, $real:ident, $effective:ident, $saved:ident, $wrap_name:ident) => {
        #[doc = concat!("`", stringify!($name), "(2)`. Fails with `EFAULT` for a bad pointer, as the kernel does.")]
        ///
        /// # Safety
        ///
        /// Pointers to memory that other code uses must point to three ids.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(real: *mut u32, effective: *mut u32, saved: *mut u32) -> c_long {
            let real_ids = || {
                // SAFETY: the kernel checks the pointers.
                unsafe { real_call($number, [real as usize, effective as usize, saved as usize]) }
            };
            if !(is_on_stack(real) && is_on_stack(effective) && is_on_stack(saved)) {
                return with_errno(real_ids());
            }
            let ids = answer(
                bit::$name,
                |cell| {
                    // SAFETY: `answer` passes a readable cell.
                    Some(Ids::Read(unsafe {
                        [
                            read_volatile(&raw const (*cell).$real),
                            read_volatile(&raw const (*cell).$effective),
                            read_volatile(&raw const (*cell).$saved),
                        ]
                    }))
                },
                || Ids::Stored(real_ids()),
            );
            match ids {
                Ids::Read([real_id, effective_id, saved_id]) => {
                    // SAFETY: `is_on_stack` has seen that this is writable memory.
                    unsafe {
                        real.write_unaligned(real_id);
                        effective.write_unaligned(effective_id);
                        saved.write_unaligned(saved_id);
                    }
                    0
                }
                Ids::Stored(result) => with_errno(result),
            }
        }

        #[doc = concat!("`", stringify!($name), "` for programs linked with `--wrap=", stringify!($name), "`.")]
        ///
        /// # Safety
        ///
        /// As the function itself.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $wrap_name(real: *mut u32, effective: *mut u32, saved: *mut u32) -> c_long {
            // SAFETY: the caller's promise.
            unsafe { $name(real, effective, saved) }
        }
    };
}

/// A function of a process, answered for the caller's own: 0, its pid or tid.
macro_rules! of_a_process {
    ($name:ident, $number:expr, $field:ident, $wrap_name:ident) => {
        #[doc = concat!("`", stringify!($name), "(2)`, from the field `", stringify!($field), "` of the cell.")]
        /// Of others, and of a process that is not there, by the kernel, with its errors.
        #[unsafe(no_mangle)]
        pub extern "C" fn $name(pid: c_int) -> c_long {
            answer(
                bit::$name,
                |cell| {
                    // SAFETY: `answer` passes a readable cell.
                    let (value, own) = unsafe {
                        (
                            read_volatile(&raw const (*cell).$field),
                            [
                                read_volatile(&raw const (*cell).pid),
                                read_volatile(&raw const (*cell).tid),
                            ],
                        )
                    };
                    let is_own = || own.contains(&(pid as u32)) && state::OWN_ID.load(Relaxed);
                    (pid == 0 || is_own()).then_some(c_long::from(value))
                },
                // SAFETY: the kernel only looks at the number.
                || with_errno(unsafe { real_call($number, [pid as usize, 0, 0]) }),
            )
        }

        #[doc = concat!("`", stringify!($name), "` for programs linked with `--wrap=", stringify!($name), "`.")]
        #[unsafe(no_mangle)]
        pub extern "C" fn $wrap_name(pid: c_int) -> c_long {
            $name(pid)
        }
    };
}

/// Three ids from the cell, or what the kernel returned that has stored them.
enum Ids {
    Read([u32; 3]),
    Stored(c_long),
}

/// What the libc function returns when the kernel returns this.
pub fn with_errno(result: c_long) -> c_long {
    if result < 0 {
        // SAFETY: the address of the thread's errno.
        unsafe { *__errno_location() = -result as i32 };
        return -1;
    }
    result
}

one_field!(getpid, number::GETPID, pid, __wrap_getpid);
one_field!(gettid, number::GETTID, tid, __wrap_gettid);
one_field!(getuid, number::GETUID, uid, __wrap_getuid);
one_field!(geteuid, number::GETEUID, euid, __wrap_geteuid);
one_field!(getgid, number::GETGID, gid, __wrap_getgid);
one_field!(getegid, number::GETEGID, egid, __wrap_getegid);
one_field!(getppid, number::GETPPID, ppid, __wrap_getppid);
one_field!(getpgrp, number::GETPGRP, pgid, __wrap_getpgrp);
of_a_process!(getpgid, number::GETPGID, pgid, __wrap_getpgid);
of_a_process!(getsid, number::GETSID, sid, __wrap_getsid);
three_ids!(getresuid, number::GETRESUID, uid, euid, suid, __wrap_getresuid);
three_ids!(getresgid, number::GETRESGID, gid, egid, sgid, __wrap_getresgid);

/// Whether a `T` can surely be stored there: only the kernel can turn a bad
/// pointer into `EFAULT`, so all but the obvious goes to it. Obvious is what
/// lies above our own frame, in the same page or in the stack of the main
/// thread, for our callers are using it.
#[inline(always)]
pub fn is_on_stack<T>(pointer: *mut T) -> bool {
    const PAGE: usize = 4096;
    // Below the main thread's stack the kernel keeps a gap of at least 128 MiB
    // (arch/x86/mm/mmap.c, mmap_base), so nothing else lies as near to its top.
    const NEAR: usize = 1 << 20;
    let frame = 0u8;
    let frame = &raw const frame as usize;
    let end = (pointer as usize).wrapping_add(size_of::<T>());
    let top = state::STACK_TOP.load(Relaxed);
    let limit = if top.wrapping_sub(frame) < NEAR { top } else { (frame | (PAGE - 1)) + 1 };
    pointer as usize > frame && end > frame && end <= limit
}
