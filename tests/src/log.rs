// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What the library says of its calls at `BYSYSCALL_LOG=info` and `debug`.

/// How often the processes whose log this is say that they bypassed a call.
pub fn bypassed<'a>(log: &'a str, wrapper: &str) -> impl Iterator<Item = u64> + use<'a> {
    counts(log, format!("{wrapper}: bypassed "), " times")
}

/// The most that one of them did.
pub fn most_bypassed(log: &str, wrapper: &str) -> u64 {
    bypassed(log, wrapper).max().unwrap_or(0)
}

/// How often they say that they made the real call.
pub fn real_calls<'a>(log: &'a str, wrapper: &str) -> impl Iterator<Item = u64> + use<'a> {
    counts(log, format!("{wrapper}: "), " real calls")
}

fn counts<'a>(
    log: &'a str,
    before: String,
    after: &'static str,
) -> impl Iterator<Item = u64> + use<'a> {
    // A line of the program's own may have no end before one of these begins.
    log.lines()
        .filter_map(move |line| line.split_once(&before)?.1.strip_suffix(after)?.parse().ok())
}
