// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! x86-64: on which CPU we are, by `rdpid` or the segment that the kernel sets up for this; the time stamp counter.

use core::arch::{asm, x86_64::__cpuid_count};

/// The CPU that runs us, as the kernel left it for the vDSO's `getcpu`
/// (`arch/x86/include/asm/segment.h`): the number in the low bits, the node above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu(u64);

impl Cpu {
    const NUMBER_BITS: u32 = 12;

    /// Index of this CPU's cell.
    #[inline(always)]
    pub fn number(self) -> usize {
        (self.0 & ((1 << Self::NUMBER_BITS) - 1)) as usize
    }

    /// By `rdpid`, of which the service must have said that it can be used. A compiler barrier as
    /// well: what is read before it stays before, what is read after it stays after.
    #[inline(always)]
    pub fn by_rdpid() -> Self {
        let cpu: u64;
        // SAFETY: reads a register; the loader has seen that the instruction exists. Memory is
        // declared as touched so that the compiler keeps the order of the reads around it.
        unsafe { asm!("rdpid {}", out(reg) cpu, options(nostack, preserves_flags)) };
        Self(cpu)
    }

    /// By the limit of the segment that the kernel sets up on each CPU
    /// (`GDT_ENTRY_CPUNODE`, `arch/x86/include/asm/segment.h`). Works on every
    /// CPU, and is a compiler barrier as well.
    #[inline(always)]
    pub fn by_lsl() -> Self {
        const CPUNODE_SELECTOR: u64 = 15 * 8 + 3;
        let cpu: u64;
        // SAFETY: reads a segment limit; Linux has had this segment since 2.6.23. Memory is declared
        // as touched so that the compiler keeps the order of the reads around it.
        unsafe {
            asm!("lsl {cpu}, {selector}", cpu = out(reg) cpu, selector = in(reg) CPUNODE_SELECTOR, options(nostack))
        };
        Self(cpu)
    }

    /// The time stamp counter, and by what `rdpid` reads too the CPU on which it was read (`rdtscp`). Counts
    /// after all that comes before has been done, reads of memory included (Intel SDM, AMD APM: RDTSCP). A compiler barrier as well.
    #[inline(always)]
    pub fn with_counter() -> (u64, Self) {
        let (low, high, cpu): (u64, u64, u64);
        // SAFETY: reads registers; the loader has seen that the instruction exists. Memory is declared
        // as touched so that the compiler keeps the order of the reads around it.
        unsafe {
            asm!("rdtscp", out("rax") low, out("rdx") high, out("rcx") cpu, options(nostack, preserves_flags))
        };
        (high << 32 | low, Self(cpu))
    }
}

/// Whether the CPU has `rdtscp`, and reads and writes 16 bytes at once: it says so by having AVX (Intel SDM,
/// Guaranteed Atomic Operations; AMD APM, Access Atomicity).
pub fn has_counter() -> bool {
    const EXTENDED: u32 = 0x8000_0001;
    const EXTENDED_EDX_RDTSCP: u32 = 1 << 27;
    const LEAF_1_ECX_AVX: u32 = 1 << 28;
    __cpuid_count(0x8000_0000, 0).eax >= EXTENDED
        && __cpuid_count(EXTENDED, 0).edx & EXTENDED_EDX_RDTSCP != 0
        && __cpuid_count(1, 0).ecx & LEAF_1_ECX_AVX != 0
}

/// Whether the CPU has `rdpid`. In a virtual machine it takes tens of
/// microseconds to ask, so only the loader does, for all processes.
pub fn has_rdpid() -> bool {
    const LEAF_7_ECX_RDPID: u32 = 1 << 22;
    __cpuid_count(0, 0).eax >= 7 && __cpuid_count(7, 0).ecx & LEAF_7_ECX_RDPID != 0
}
