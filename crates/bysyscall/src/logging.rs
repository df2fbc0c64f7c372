// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Log lines go to standard error, and to syslog as well when a service
//! manager runs us.

use std::io::{IsTerminal, Write};

use log::{Level, LevelFilter, Log, Metadata, Record};
use syslog::{BasicLogger, Facility, Formatter3164};

struct Both {
    is_journal: bool,
    syslog: Option<BasicLogger>,
}

impl Log for Both {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // The journal knows who says it, and takes a priority (sd-daemon(3)).
        let line = if self.is_journal {
            format!("<{}>{}\n", priority(record.level()), record.args())
        } else {
            format!("bysyscall: {}\n", record.args())
        };
        // Nobody is left to tell when standard error is closed.
        let _ = std::io::stderr().write_all(line.as_bytes());
        if let Some(syslog) = &self.syslog {
            syslog.log(record);
        }
    }

    fn flush(&self) {}
}

/// As syslog(3) numbers them.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// From here on, says less or more.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// Whether standard error is the journal, as systemd tells by device and inode (systemd.exec(5)).
fn is_journal() -> bool {
    let Ok(stat) = rustix::fs::fstat(std::io::stderr()) else { return false };
    std::env::var("JOURNAL_STREAM")
        .is_ok_and(|journal| journal == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Sets up logging; to syslog as well if asked or if there is no terminal.
/// Where no syslog listens, standard error has to do.
pub fn init(to_syslog: bool) {
    // What a service manager hands to its journal is there once only.
    let is_journal = is_journal();
    let wanted = to_syslog || !(std::io::stderr().is_terminal() || is_journal);
    let formatter = Formatter3164 {
        facility: Facility::LOG_DAEMON,
        hostname: None,
        process: "bysyscall".to_owned(),
        pid: std::process::id(),
    };
    let syslog = wanted.then(|| syslog::unix(formatter).ok()).flatten().map(BasicLogger::new);
    if log::set_boxed_logger(Box::new(Both { is_journal, syslog })).is_ok() {
        set_level(LevelFilter::Info);
    }
}
