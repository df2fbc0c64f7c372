// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! A process that does nothing but fault.

use std::ptr::null_mut;

use anyhow::{Result, ensure};
use bysyscall_tests::process::stay_on_one_cpu;
use libc::{MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE};

const PAGE: usize = 4096;

/// Maps a page, writes to it and unmaps it, so many times.
pub fn fault_loop(faults: u32) -> Result<()> {
    stay_on_one_cpu()?;
    for _ in 0..faults {
        let (rights, flags) = (PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
        // SAFETY: maps new memory, anywhere.
        let page = unsafe { libc::mmap(null_mut(), PAGE, rights, flags, -1, 0) };
        ensure!(page != MAP_FAILED, "cannot map a page");
        // SAFETY: the page is ours, and writable.
        unsafe { page.cast::<u8>().write_volatile(1) };
        // SAFETY: nothing refers to it any more.
        ensure!(unsafe { libc::munmap(page, PAGE) } == 0, "cannot unmap a page");
    }
    Ok(())
}
