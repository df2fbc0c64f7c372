// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Any bytes as `/etc/ld.so.preload`: an edit takes effect, is undone to the byte, and never panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use preload::{entries, with_entry, without_entries};

#[path = "../../../crates/edit/src/preload.rs"]
mod preload;

const OURS: &[u8] = b"/l.so";

fn is_ours(entry: &[u8]) -> bool {
    entry == OURS
}

fuzz_target!(|content: &[u8]| {
    let clean = without_entries(content, is_ours).unwrap_or(content.to_vec());
    assert!(!entries(&clean).into_iter().any(|range| is_ours(&clean[range])));
    if let Ok(new) = with_entry(&clean, OURS, is_ours) {
        let new = new.expect("it has no entry of ours");
        assert!(entries(&new).into_iter().any(|range| is_ours(&new[range])));
        assert_eq!(with_entry(&new, OURS, is_ours), Ok(None));
        assert_eq!(without_entries(&new, is_ours), Some(clean));
    }
});
