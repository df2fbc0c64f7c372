// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Log lines go to standard error, and to syslog as well when a service
//! manager runs us.

use std::io::{IsTerminal, Write};

use log::{LevelFilter, Log, Metadata, Record};
use syslog::{BasicLogger, Facility, Formatter3164};

struct Both {
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
        // Nobody is left to tell when standard error is closed.
        let _ = writeln!(std::io::stderr(), "bysyscall: {}", record.args());
        if let Some(syslog) = &self.syslog {
            syslog.log(record);
        }
    }

    fn flush(&self) {}
}

/// Sets up logging; to syslog as well if asked or if there is no terminal.
/// Where no syslog listens, standard error has to do.
pub fn init(to_syslog: bool) {
    let wanted = to_syslog || !std::io::stderr().is_terminal();
    let formatter = Formatter3164 {
        facility: Facility::LOG_DAEMON,
        hostname: None,
        process: "bysyscall".to_owned(),
        pid: std::process::id(),
    };
    let syslog = wanted.then(|| syslog::unix(formatter).ok()).flatten().map(BasicLogger::new);
    if log::set_boxed_logger(Box::new(Both { syslog })).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}
