// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Any bytes as `/etc/bysyscall.conf`: they are read, or it is told in which line they are wrong; nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parse::parse;

#[path = "../../../crates/bysyscall/src/config/parse.rs"]
mod parse;
#[path = "../../../crates/bysyscall/src/config/program.rs"]
mod program;

fuzz_target!(|content: &[u8]| {
    let Ok(text) = std::str::from_utf8(content) else { return };
    if let Err(error) = parse(text, |name| (name == "users").then_some(100)) {
        assert!(!error.message.is_empty());
        let line = text.split('\n').nth(error.line - 1).expect("the line is one of the text");
        assert!((1..=line.chars().count() + 1).contains(&error.column), "{error}");
    }
});
