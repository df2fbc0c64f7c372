// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The vDSO's `clock_gettime`: what libc calls too, found once.

use core::ffi::{CStr, c_char, c_int, c_long, c_void};
use core::mem::transmute;
use core::ptr::null_mut;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::Relaxed;

use crate::arch::{VDSO_CLOCK_GETTIME, number};
use crate::real::real_call;
use crate::sys::vdso_image;

/// `struct timespec`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Timespec {
    pub seconds: i64,
    pub nanoseconds: i64,
}

/// The kernel's result: 0 or `-errno`.
type ClockGettime = unsafe extern "C" fn(c_int, *mut Timespec) -> c_int;

/// A [`ClockGettime`]: that of the vDSO. Null: it has not been found, or not yet looked for.
static CLOCK_GETTIME: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// A clock that the vDSO knows, or the system call that it makes for others; 0 or `-errno`.
///
/// # Safety
///
/// `time` must be writable, as for libc: the vDSO does not look.
#[inline(always)]
pub unsafe fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_long {
    let function = CLOCK_GETTIME.load(Relaxed);
    if function.is_null() {
        // SAFETY: the kernel checks the pointer.
        return unsafe { real_call(number::CLOCK_GETTIME, [clock as usize, time as usize, 0]) };
    }
    // SAFETY: only functions of this type are stored there; for the pointer the caller answers.
    unsafe { transmute::<*mut c_void, ClockGettime>(function)(clock, time).into() }
}

/// A clock that every kernel has. 0 where it cannot be told, which it always can.
#[inline(always)]
fn time_of(clock: c_int) -> Timespec {
    let mut time = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: the place is ours.
    unsafe { clock_gettime(clock, &raw mut time) };
    time
}

/// `CLOCK_MONOTONIC`
#[inline(always)]
pub fn monotonic() -> Timespec {
    const CLOCK_MONOTONIC: c_int = 1;
    time_of(CLOCK_MONOTONIC)
}

/// The same at the last tick, which takes less time to tell (`CLOCK_MONOTONIC_COARSE`).
#[inline(always)]
pub fn monotonic_at_tick() -> Timespec {
    const CLOCK_MONOTONIC_COARSE: c_int = 6;
    time_of(CLOCK_MONOTONIC_COARSE)
}

/// Whether the vDSO tells the time: without it, that takes a system call.
pub fn is_found() -> bool {
    !CLOCK_GETTIME.load(Relaxed).is_null()
}

/// Finds the function for [`clock_gettime`].
pub fn find() {
    let image = vdso_image();
    if !image.is_null() {
        // SAFETY: the kernel has mapped the image for the life of the process.
        if let Some(function) = unsafe { symbol(image, VDSO_CLOCK_GETTIME) } {
            CLOCK_GETTIME.store(function, Relaxed);
        }
    }
}

/// `Elf64_Ehdr`, as far as it is read (elf(5)).
#[repr(C)]
struct FileHeader {
    identification: [u8; 16],
    kind: u16,
    machine: u16,
    version: u32,
    entry: u64,
    program_headers: u64,
    section_headers: u64,
    flags: u32,
    header_size: u16,
    program_header_size: u16,
    program_header_count: u16,
}

/// `Elf64_Phdr`
#[repr(C)]
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    physical: u64,
    file_size: u64,
    memory_size: u64,
    alignment: u64,
}

/// `Elf64_Dyn`
#[repr(C)]
struct Dynamic {
    tag: i64,
    value: u64,
}

/// `Elf64_Sym`
#[repr(C)]
struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: u64,
    size: u64,
}

/// The address of a function that the image defines. The image has a handful of symbols, so they are
/// looked through one by one; how many there are only its string table tells, which follows them.
///
/// # Safety
///
/// `image` must be the start of a well-formed ELF image, mapped as its headers say.
unsafe fn symbol(image: *const u8, name: &CStr) -> Option<*mut c_void> {
    const PT_LOAD: u32 = 1;
    const PT_DYNAMIC: u32 = 2;
    const DT_STRTAB: i64 = 5;
    const DT_SYMTAB: i64 = 6;
    const FUNCTION: u8 = 2;

    // SAFETY: all that is read lies in the image, by the headers of the image itself.
    unsafe {
        let file = &*image.cast::<FileHeader>();
        let (mut bias, mut dynamic) = (None, None);
        for index in 0..usize::from(file.program_header_count) {
            let place =
                file.program_headers as usize + index * usize::from(file.program_header_size);
            let header = &*image.add(place).cast::<ProgramHeader>();
            match header.kind {
                PT_LOAD if bias.is_none() => {
                    bias = Some(
                        image
                            .wrapping_add(header.offset as usize)
                            .wrapping_sub(header.address as usize),
                    );
                }
                PT_DYNAMIC => dynamic = Some(image.add(header.offset as usize).cast::<Dynamic>()),
                _ => {}
            }
        }
        let (bias, mut entry) = (bias?, dynamic?);
        let (mut strings, mut symbols) = (None, None);
        while (*entry).tag != 0 {
            let place = bias.wrapping_add((*entry).value as usize);
            match (*entry).tag {
                DT_STRTAB => strings = Some(place),
                DT_SYMTAB => symbols = Some(place),
                _ => {}
            }
            entry = entry.add(1);
        }
        let strings = strings?;
        let mut symbol = symbols?.cast::<Symbol>();
        while symbol.add(1).cast::<u8>() <= strings {
            let found = &*symbol;
            if found.info & 15 == FUNCTION
                && found.section != 0
                && CStr::from_ptr(strings.add(found.name as usize).cast::<c_char>()) == name
            {
                return Some(bias.wrapping_add(found.value as usize).cast_mut().cast());
            }
            symbol = symbol.add(1);
        }
    }
    None
}
