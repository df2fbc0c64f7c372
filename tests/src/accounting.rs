// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Which wrappers tell what the kernel accounts for: CPU times, of the caller and its children.

use bysyscall_abi::{WRAPPERS, Wrapper, wrappers_that_need};

/// Whether a wrapper is one of them.
pub fn tells_account(wrapper: &Wrapper) -> bool {
    wrapper.is_in(wrappers_that_need("bysys_tick") | wrappers_that_need("bysys_wait"))
}

/// Their names.
pub fn names() -> Vec<&'static str> {
    WRAPPERS.iter().filter(|wrapper| tells_account(wrapper)).map(|wrapper| wrapper.name).collect()
}
