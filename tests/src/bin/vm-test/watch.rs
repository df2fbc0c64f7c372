// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Reading what a guest says, and ending it when it hangs.

use std::io::{Read, Write};
use std::process::ChildStdout;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::boot::Boot;

/// How a guest has ended.
pub enum End {
    /// By itself.
    ByGuest,
    /// When it was asked for.
    ByCut,
    /// It had to be ended; what was wrong with it.
    Hung(String),
}

/// Hands the lines that a guest says on, until it ends, or must be ended: so long after a line as `take` says.
pub fn watch(
    stdout: ChildStdout,
    boot: &Boot,
    mut take: impl FnMut(&str) -> Option<Duration>,
) -> Result<End> {
    let (limit, silence_limit) = (boot.time_limit(), boot.silence_limit());
    let pieces = read_in_thread(stdout);
    let begin = Instant::now();
    let mut cut: Option<Instant> = None;
    let mut text = Vec::new();
    let end = loop {
        let rest = limit.saturating_sub(begin.elapsed()).min(silence_limit);
        let until_cut = cut.map(|cut| cut.saturating_duration_since(Instant::now()));
        match pieces.recv_timeout(until_cut.unwrap_or(rest)) {
            Ok(piece) => text.extend(piece),
            Err(RecvTimeoutError::Disconnected) => break End::ByGuest,
            Err(RecvTimeoutError::Timeout) if cut.is_some() => break End::ByCut,
            Err(RecvTimeoutError::Timeout) if begin.elapsed() >= limit => {
                break End::Hung(format!("it took longer than {} s", limit.as_secs()));
            }
            Err(RecvTimeoutError::Timeout) => {
                break End::Hung(format!("it said nothing for {} s", silence_limit.as_secs()));
            }
        }
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            if let Some(delay) = take(String::from_utf8_lossy(&line).trim_end()) {
                cut = Some(Instant::now() + delay);
            }
        }
        std::io::stdout().flush()?;
    };
    if !text.is_empty() {
        take(&String::from_utf8_lossy(&text));
    }
    Ok(end)
}

fn read_in_thread(mut stdout: ChildStdout) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = stdout.read(&mut piece) {
            if sender.send(piece[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}
