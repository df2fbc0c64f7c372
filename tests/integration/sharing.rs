// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! No user may write what another process reads.

use anyhow::Result;
use bysyscall_tests::process::output;
use libtest_mimic::Trial;

use crate::fixture::{as_nobody, ensure_success, plain, start, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("sharing::a_user_can_only_read", || cells_are_locked_for(true)),
        trial("sharing::root_can_only_read", || cells_are_locked_for(false)),
    ]
}

fn cells_are_locked_for(nobody: bool) -> Result<()> {
    start()?;
    let command = plain("locked", &["/run/bysyscall/cells"]);
    let mut command = if nobody { as_nobody(command) } else { command };
    ensure_success("locked", &output(&mut command)?)
}
