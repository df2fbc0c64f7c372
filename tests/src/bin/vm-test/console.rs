// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What a guest's kernel complains of.
//!
//! A warning, a bug or a use of `bpf_probe_write_user` is always a failure. A
//! stall is one only if BPF code is in its trace: an emulated CPU that the
//! machine does not let run for a while stalls without anybody's fault.

/// A complaint of a kernel.
#[derive(Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Its lines.
    pub lines: Vec<String>,
    /// Whether it makes the run fail.
    pub fails: bool,
}

const ALWAYS: [&str; 7] = [
    "WARNING:",
    "BUG:",
    "Oops",
    "general protection fault",
    "Kernel panic",
    "bpf_probe_write_user",
    "UBSAN:",
];
const STALLS: [&str; 5] = [
    "detected stall",
    "self-detected stall",
    "soft lockup",
    "blocked for more than",
    "rcu_preempt kthread",
];
/// What says that our code is in a trace.
const OURS: [&str; 2] = ["bpf_prog_", "bysys_"];
/// Lines that a trace may have.
const TRACE_LINES: usize = 80;

/// Finds the complaints in what a console has shown.
pub fn complaints(console: &str) -> Vec<Complaint> {
    let lines: Vec<&str> = console.lines().filter_map(message).collect();
    let mut complaints = Vec::new();
    let mut rest = lines.as_slice();
    while let Some((line, following)) = rest.split_first() {
        rest = following;
        if !begins(line) {
            continue;
        }
        let is_stall = has_one_of(line, &STALLS);
        let length = trace_length(following);
        let lines: Vec<String> =
            [*line].iter().chain(&following[..length]).map(|line| (*line).to_owned()).collect();
        rest = &following[length..];
        let is_ours = lines.iter().any(|line| has_one_of(line, &OURS));
        complaints.push(Complaint { lines, fails: !is_stall || is_ours });
    }
    complaints
}

fn has_one_of(line: &str, words: &[&str]) -> bool {
    words.iter().any(|words| line.contains(words))
}

/// Whether a complaint begins with this line.
fn begins(line: &str) -> bool {
    has_one_of(line, &STALLS) || has_one_of(line, &ALWAYS)
}

/// How many lines belong to a complaint: up to the end of its last trace.
fn trace_length(lines: &[&str]) -> usize {
    let near = lines.iter().take(TRACE_LINES).take_while(|line| !begins(line)).count();
    lines[..near]
        .iter()
        .rposition(|line| line.contains("</TASK>") || line.contains("end trace"))
        .map_or(0, |last| last + 1)
}

/// What the kernel itself says: `[   12.345678] words`.
fn message(line: &str) -> Option<&str> {
    let (time, words) = line.trim_start().strip_prefix('[')?.split_once("] ")?;
    let is_time =
        time.trim().split_once('.').is_some_and(|(seconds, _)| seconds.parse::<u64>().is_ok());
    // systemd writes to the same place.
    (is_time && !words.starts_with("systemd")).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(console: &str) -> Vec<bool> {
        complaints(console).iter().map(|complaint| complaint.fails).collect()
    }

    #[test]
    fn warnings_and_bugs_fail() {
        assert_eq!(
            found("[    1.000000] WARNING: CPU: 0 PID: 1 at kernel/x.c:1 f+0x1/0x2"),
            [true]
        );
        assert_eq!(found("[   10.5] BUG: sleeping function called from invalid context"), [true]);
        assert_eq!(
            found("[  1.0] bash[12] is installing a program with bpf_probe_write_user helper"),
            [true]
        );
        assert_eq!(found("[  1.0] [Firmware Bug]: TSC doesn't count"), [false; 0]);
        assert_eq!(found("[  1.0] systemd[1]: WARNING: not the kernel's"), [false; 0]);
        assert_eq!(found("WARNING: a program's"), [false; 0]);
    }

    #[test]
    fn a_stall_fails_if_we_are_in_its_trace() {
        let stall = |function: &str| {
            format!(
                "[  9.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:\n\
                 [  9.0] <TASK>\n[  9.0]  {function}\n[  9.0]  </TASK>\n[  9.1] fine"
            )
        };
        assert_eq!(found(&stall("schedule+0x1/0x2")), [false]);
        assert_eq!(found(&stall("bpf_prog_0123456789abcdef_bysys_switch+0x1/0x2")), [true]);
        let complaints = complaints(&stall("schedule"));
        assert_eq!(complaints[0].lines.len(), 4);
    }

    #[test]
    fn a_stall_hides_nothing() {
        let after = |words: &str| {
            format!(
                "[  9.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:\n[  9.0]  </TASK>\n\
                 [  9.1] {words}\n[  9.2]  </TASK>\n[  9.3] ---[ end trace 1 ]---"
            )
        };
        assert_eq!(found(&after("WARNING: CPU: 0 PID: 1 at kernel/x.c:1")), [false, true]);
        assert_eq!(found(&after("installing a program with bpf_probe_write_user")), [false, true]);
        assert_eq!(found(&after("rcu: INFO: rcu_preempt self-detected stall")), [false, false]);
    }

    #[test]
    fn a_soft_lockup_is_a_stall() {
        assert_eq!(found("[ 50.0] watchdog: BUG: soft lockup - CPU#0 stuck for 26s!"), [false]);
    }
}
