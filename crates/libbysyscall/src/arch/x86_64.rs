// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! x86-64: the system call instruction, `syscall()` and `prctl()`.

use core::arch::{asm, naked_asm, x86_64::__m128i};
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_int, c_long};
use core::mem::transmute;

use crate::sys::__errno_location;
use crate::{clocks, real, state, times, usage, wrappers};

/// Makes a system call; returns what the kernel returns, `-errno` on failure.
///
/// # Safety
///
/// As the system call itself.
#[inline(always)]
pub unsafe fn raw_syscall(number: c_long, arguments: [usize; 4]) -> c_long {
    let result: c_long;
    // SAFETY: the kernel's calling convention; what the call does is the caller's to answer for.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result
}

/// Where the stack of the function ends that this becomes a part of.
#[inline(always)]
pub fn stack_pointer() -> usize {
    let address: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) address, options(nomem, nostack, preserves_flags)) };
    address
}

/// Two words that are read and written at once, by CPUs of which [`has_counter`](bysyscall_abi::arch::has_counter) is true.
#[repr(align(16))]
pub struct Pair(UnsafeCell<[u64; 2]>);

// SAFETY: the words are reached by the two functions below only, which each touch both by one instruction.
unsafe impl Sync for Pair {}

impl Pair {
    /// Both 0.
    pub const fn new() -> Self {
        Self(UnsafeCell::new([0; 2]))
    }

    #[inline(always)]
    pub fn load(&self) -> [u64; 2] {
        let both: __m128i;
        // SAFETY: reads what is there for that. Memory is declared as touched, to keep the order of reads.
        unsafe {
            asm!("movdqa {}, xmmword ptr [{}]", out(xmm_reg) both, in(reg) self.0.get(), options(nostack, preserves_flags));
            transmute(both)
        }
    }

    /// Writes these, if the others are still there. All CPUs that have AVX have `cmpxchg16b`.
    pub fn replace(&self, old: [u64; 2], new: [u64; 2]) {
        // SAFETY: writes what is there for that. `rbx` is the compiler's, and gets its value back.
        unsafe {
            asm!(
                "xchg rbx, {low}",
                "lock cmpxchg16b xmmword ptr [rdi]",
                "mov rbx, {low}",
                low = inout(reg) new[0] => _,
                // Not in `rbx`.
                in("rdi") self.0.get(),
                in("rcx") new[1],
                inout("rax") old[0] => _,
                inout("rdx") old[1] => _,
                options(nostack),
            );
        }
    }
}

/// `mmap()` of a file, which needs all six arguments.
///
/// # Safety
///
/// As `mmap` without `MAP_FIXED`: always fine, apart from what is done with the memory.
pub unsafe fn mmap_file(
    length: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: usize,
) -> c_long {
    let result: c_long;
    // SAFETY: as in raw_syscall.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number::MMAP => result,
            in("rdi") 0usize,
            in("rsi") length,
            in("rdx") protection as usize,
            in("r10") flags as usize,
            in("r8") fd as usize,
            in("r9") offset,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result
}

/// The address of a function of libc, or 0 where it has none. A weak reference,
/// as a missing function would keep programs from starting.
macro_rules! weak_address {
    ($($line:literal),+) => {{
        let address: usize;
        // SAFETY: reads an entry of the global offset table, which ld.so has filled in.
        unsafe {
            asm!(
                $($line,)+
                out(reg) address,
                options(nostack, preserves_flags, pure, readonly),
            );
        }
        address
    }};
}

/// `__register_atfork`, which only glibc has.
pub fn register_atfork_address() -> usize {
    weak_address!(".weak __register_atfork", "mov {}, qword ptr [rip + __register_atfork@GOTPCREL]")
}

/// `dlsym`, by the version that it has in libdl, and since glibc 2.34 in libc
/// too: by the version of the libc that we are built with, no older one would load us.
pub fn dlsym_address() -> usize {
    weak_address!(
        ".weak dlsym",
        ".symver dlsym, dlsym@GLIBC_2.2.5",
        "mov {}, qword ptr [rip + dlsym@GOTPCREL]"
    )
}

/// The vDSO's function (`arch/x86/entry/vdso/vdso.lds.S`).
pub const VDSO_CLOCK_GETTIME: &CStr = c"__vdso_clock_gettime";

/// System call numbers (`arch/x86/entry/syscalls/syscall_64.tbl`).
pub mod number {
    #![allow(missing_docs, reason = "the names say it")]
    use core::ffi::c_long;
    pub const READ: c_long = 0;
    pub const WRITE: c_long = 1;
    pub const CLOSE: c_long = 3;
    pub const MMAP: c_long = 9;
    pub const MUNMAP: c_long = 11;
    pub const OPENAT: c_long = 257;
    pub const PRCTL: c_long = 157;
    pub const SECCOMP: c_long = 317;
    pub const BPF: c_long = 321;

    pub const GETPID: c_long = 39;
    pub const GETTID: c_long = 186;
    pub const GETUID: c_long = 102;
    pub const GETEUID: c_long = 107;
    pub const GETGID: c_long = 104;
    pub const GETEGID: c_long = 108;
    pub const GETRESUID: c_long = 118;
    pub const GETRESGID: c_long = 120;
    pub const GETPPID: c_long = 110;
    pub const GETPGRP: c_long = 111;
    pub const GETPGID: c_long = 121;
    pub const GETSID: c_long = 124;
    pub const GETRUSAGE: c_long = 98;
    pub const TIMES: c_long = 100;
    pub const CLOCK_GETTIME: c_long = 228;
}

/// `syscall(2)`: the numbers of the wrappers go to the wrappers, all others to
/// the kernel with all six arguments, as libc's does.
///
/// Nothing is kept on the stack around the instruction, as a child made by
/// `vfork` or `clone` returns from here on a stack that is not its own. Takes
/// the arguments of the libc function, which Rust has no way to declare.
///
/// # Safety
///
/// As the system call itself.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall() -> c_long {
    naked_asm!(
        "cmp rdi, {gettid}", // the highest of the wrappers' numbers
        "ja 3f",
        "je 30f",
        "cmp edi, {getpid}",
        "je 31f",
        "cmp edi, {getrusage}",
        "jb 2f",
        "je 44f",
        "cmp edi, {times}",
        "je 42f",
        "cmp edi, {getuid}",
        "jb 2f",
        "je 32f",
        "cmp edi, {getgid}",
        "je 33f",
        "cmp edi, {geteuid}",
        "je 34f",
        "cmp edi, {getegid}",
        "je 35f",
        "cmp edi, {getppid}",
        "je 40f",
        "cmp edi, {getpgrp}",
        "je 41f",
        "cmp edi, {getresuid}",
        "je 36f",
        "cmp edi, {getresgid}",
        "je 37f",
        "cmp edi, {getpgid}",
        "je 38f",
        "cmp edi, {getsid}",
        "je 39f",
        "cmp edi, {prctl}",
        "je 7f",
        // The kernel's answer.
        "2:",
        "mov rax, [rip + {libc_syscall}]",
        "test rax, rax",
        "jnz 6f",
        "mov rax, rdi",
        "mov rdi, rsi",
        "mov rsi, rdx",
        "mov rdx, rcx",
        "mov r10, r8",
        "mov r8, r9",
        "mov r9, [rsp + 8]",
        "syscall",
        "cmp rax, -4095",
        "jae 4f",
        "ret",
        "3:",
        "cmp rdi, {seccomp}",
        "je 8f",
        "cmp rdi, {clock_gettime}",
        "jne 2b",
        // All but the clocks of tasks are the kernel's, and not the vDSO's.
        "test esi, esi",
        "js 43f",
        "cmp esi, {process_clock}",
        "je 43f",
        "cmp esi, {thread_clock}",
        "je 43f",
        "jmp 2b",
        // The kernel's answer to libc's instruction, with our arguments and nothing of ours on the stack.
        "6:",
        "jmp rax",
        // The kernel's error.
        "4:",
        "neg eax",
        "push rax",
        "call {errno_location}",
        "pop rcx",
        "mov [rax], ecx",
        "mov rax, -1",
        "ret",
        // Something may answer system calls in the kernel's place from here on, or the vDSO may not read the TSC.
        "7:",
        "cmp esi, {set_seccomp}",
        "je 8f",
        "cmp esi, {set_tsc}",
        "je 8f",
        "cmp esi, {set_dispatch}",
        "jne 2b",
        "lea rax, [rip + {calls_by_libc_only}]",
        "jmp 9f",
        "8:",
        "lea rax, [rip + {real_calls_only}]",
        "9:",
        "push rdi",
        "push rsi",
        "push rdx",
        "push rcx",
        "push r8",
        "push r9",
        "sub rsp, 8",
        "call rax",
        "add rsp, 8",
        "pop r9",
        "pop r8",
        "pop rcx",
        "pop rdx",
        "pop rsi",
        "pop rdi",
        "jmp 2b",
        // The wrappers. A filter may turn the real call behind one into an error.
        "30:",
        "push rax",
        "call {gettid_wrapper}",
        "jmp 28f",
        "31:",
        "push rax",
        "call {getpid_wrapper}",
        "jmp 28f",
        "32:",
        "push rax",
        "call {getuid_wrapper}",
        "jmp 28f",
        "33:",
        "push rax",
        "call {getgid_wrapper}",
        "jmp 28f",
        "34:",
        "push rax",
        "call {geteuid_wrapper}",
        "jmp 28f",
        "35:",
        "push rax",
        "call {getegid_wrapper}",
        "jmp 28f",
        "40:",
        "push rax",
        "call {getppid_wrapper}",
        "jmp 28f",
        "41:",
        "push rax",
        "call {getpgrp_wrapper}",
        "28:",
        "pop rcx",
        "cmp rax, -4095",
        "jae 4b",
        "ret",
        "36:",
        "mov rdi, rsi",
        "mov rsi, rdx",
        "mov rdx, rcx",
        "jmp {getresuid_wrapper}",
        "37:",
        "mov rdi, rsi",
        "mov rsi, rdx",
        "mov rdx, rcx",
        "jmp {getresgid_wrapper}",
        "38:",
        "mov edi, esi",
        "jmp {getpgid_wrapper}",
        "39:",
        "mov edi, esi",
        "jmp {getsid_wrapper}",
        "42:",
        "mov rdi, rsi",
        "jmp {times_wrapper}",
        "44:",
        "mov edi, esi",
        "mov rsi, rdx",
        "jmp {getrusage_wrapper}",
        "43:",
        "mov edi, esi",
        "mov rsi, rdx",
        "jmp {clock_gettime_wrapper}",
        getpid = const number::GETPID,
        gettid = const number::GETTID,
        getuid = const number::GETUID,
        getgid = const number::GETGID,
        geteuid = const number::GETEUID,
        getegid = const number::GETEGID,
        getresuid = const number::GETRESUID,
        getresgid = const number::GETRESGID,
        getppid = const number::GETPPID,
        getpgrp = const number::GETPGRP,
        getpgid = const number::GETPGID,
        getsid = const number::GETSID,
        getrusage = const number::GETRUSAGE,
        times = const number::TIMES,
        clock_gettime = const number::CLOCK_GETTIME,
        process_clock = const clocks::CLOCK_PROCESS_CPUTIME_ID,
        thread_clock = const clocks::CLOCK_THREAD_CPUTIME_ID,
        prctl = const number::PRCTL,
        seccomp = const number::SECCOMP,
        set_seccomp = const state::PR_SET_SECCOMP,
        set_tsc = const state::PR_SET_TSC,
        set_dispatch = const state::PR_SET_SYSCALL_USER_DISPATCH,
        getpid_wrapper = sym wrappers::getpid,
        gettid_wrapper = sym wrappers::gettid,
        getuid_wrapper = sym wrappers::getuid,
        getgid_wrapper = sym wrappers::getgid,
        geteuid_wrapper = sym wrappers::geteuid,
        getegid_wrapper = sym wrappers::getegid,
        getresuid_wrapper = sym wrappers::getresuid,
        getresgid_wrapper = sym wrappers::getresgid,
        getppid_wrapper = sym wrappers::getppid,
        getpgrp_wrapper = sym wrappers::getpgrp,
        getpgid_wrapper = sym wrappers::getpgid,
        getsid_wrapper = sym wrappers::getsid,
        getrusage_wrapper = sym usage::getrusage,
        times_wrapper = sym times::times,
        clock_gettime_wrapper = sym clocks::clock_gettime,
        errno_location = sym __errno_location,
        real_calls_only = sym state::real_calls_only,
        calls_by_libc_only = sym real::calls_by_libc_only,
        libc_syscall = sym real::LIBC_SYSCALL,
    )
}

/// `prctl(2)`, which can install what answers system calls in the kernel's
/// place: the same as through `syscall()`.
///
/// # Safety
///
/// As the system call itself.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn prctl() -> c_int {
    naked_asm!(
        "mov r9, r8",
        "mov r8, rcx",
        "mov rcx, rdx",
        "mov rdx, rsi",
        "movsxd rsi, edi",
        "mov edi, {prctl}",
        "jmp {syscall}",
        prctl = const number::PRCTL,
        syscall = sym syscall,
    )
}
