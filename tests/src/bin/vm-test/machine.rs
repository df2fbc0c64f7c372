// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The packages on one machine over several boots, from their installation to their removal.

use std::fs;
use std::time::Duration;

use anyhow::Result;

use crate::boot::{Boot, INIT, Selection};
use crate::cuts::Cuts;
use crate::qemu::Guest;
use crate::results::Report;

/// The boots, and which tests each runs. The machine is shut down in between.
const STAGES: [(&str, &str); 4] = [
    ("install", "before:: install::"),
    ("service", "service:: refused:: chosen:: enabling:: journal::of_this_boot"),
    ("enabled", "enabled:: journal::of_the_boot_before programs:: journal::of_this_boot"),
    (
        "again",
        "enabled:: journal::of_the_boot_before bracket:: upgrade:: journal::of_this_boot removal::",
    ),
];

/// Boots a stock machine again and again. A boot in which something fails is
/// followed by the others all the same: what they show is worth knowing.
pub fn run(stock: &Guest<'_>, cuts: Cuts) -> Result<Report> {
    let name = stock.kernel().name;
    let disk = stock.scratch().join(format!("{name}-machine.ext4"));
    let installed = stock.scratch().join(format!("{name}-installed.ext4"));
    let machine = stock.lasting(&disk)?;
    let mut report = Report::default();
    for (number, (name, tests)) in STAGES.into_iter().enumerate() {
        report += machine.run(&boot(name, Selection::Machine(tests)))?;
        if number == 0 {
            // Where the power cuts begin.
            fs::copy(&disk, &installed)?;
        }
    }
    fs::remove_file(&disk)?;
    let machine = machine.on(&installed);
    report += cuts.run(&machine)?;
    report += rescue(&machine)?;
    fs::remove_file(&installed)?;
    Ok(report)
}

/// Preloads a library with which no program starts, boots the machine by what the package has for that, and
/// once more with garbage in its files.
fn rescue(machine: &Guest<'_>) -> Result<Report> {
    let mut report = machine.run_until(&boot("broken", Selection::Operation("break")), |line| {
        (line == "cut: end break").then_some(Duration::ZERO)
    })?;
    let tests = "rescued:: cut::programs_run cut::machine_is_up garbage::is_written";
    let tests = Selection::Machine(tests);
    report +=
        machine.run(&Boot { init: "/usr/sbin/bysyscall-rescue", ..boot("rescued", tests) })?;
    report += machine
        .run(&boot("garbage", Selection::Machine("garbage::machine_works garbage::is_told_of")))?;
    Ok(report)
}

/// A boot of such a machine.
pub fn boot(name: &'static str, selection: Selection) -> Boot {
    Boot { name, cpus: 2, rdpid: true, lockdown: "none", init: INIT, selection }
}
