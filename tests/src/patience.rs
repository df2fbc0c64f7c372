// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! How long to wait: an emulated machine takes many times longer.

use std::time::Duration;

/// A limit that no healthy run reaches.
pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds) * scale()
}

/// How many times longer than on a machine things take.
pub fn scale() -> u32 {
    let given = std::env::var("BYSYSCALL_TEST_TIME_SCALE");
    given.ok().and_then(|scale| scale.parse().ok()).unwrap_or(1)
}
