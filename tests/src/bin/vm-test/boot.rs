// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The boots of each kernel, and what is run in each.

use std::time::Duration;

use crate::kernel::Kernel;

/// What is run in a guest.
#[derive(Clone, Debug)]
pub enum Selection {
    /// The same tests as natively, but for the next ones.
    Integration,
    /// Those of them that start and stop the service over and over, in a guest beside the other.
    Service,
    /// Those that need a whole machine, but not CPython's, nor those for a kernel that refuses us.
    Lab,
    /// Tests with this in their names.
    Named(String),
    /// These of the tests that bracket answers, by parts of their names.
    Bracket(&'static [&'static str]),
    /// The loader must refuse to start and say these words.
    Refusal(&'static str),
    /// Those of the packages, on a machine of their own, with one of these words in their names.
    Machine(&'static str),
    /// An operation that a power cut is to interrupt, after the machine has got over the last one.
    Operation(&'static str),
    /// Random trees of processes.
    Soak {
        /// For how long.
        seconds: u64,
        /// Of the trees.
        seed: Option<u32>,
    },
}

/// One start of a guest.
#[derive(Clone, Debug)]
pub struct Boot {
    /// What it is called.
    pub name: &'static str,
    /// Number of CPUs.
    pub cpus: u32,
    /// Whether the CPUs have `rdpid`.
    pub rdpid: bool,
    /// The kernel's lockdown state.
    pub lockdown: &'static str,
    /// The first process.
    pub init: &'static str,
    /// What is run.
    pub selection: Selection,
}

/// The first process of a machine.
pub const INIT: &str = "/sbin/init";

/// All boots of a kernel. The first one is that for single tests.
pub fn boots(kernel: &Kernel) -> Vec<Boot> {
    // What depends on the number of CPUs; `migrate` as root takes a minute, to no avail here.
    const ON_CPUS: &[&str] = &[
        "::threads",
        "::fork-storm",
        "::churn",
        "::creds-broadcast",
        "::creds-exec",
        "::load",
        "user::migrate",
        "lsl::migrate",
        "clocks::root::busy",
        "clocks::root::churn",
    ];
    // Whether answers are right by the instructions that other CPUs have.
    const BRIEFLY: &[&str] =
        &["::threads", "root::creds", "::load", "clocks::root::", "clocks::vdso::"];
    let lab = Boot {
        name: "lab",
        cpus: 2,
        rdpid: true,
        lockdown: "none",
        init: INIT,
        selection: Selection::Lab,
    };
    if kernel.version < OLDEST {
        let selection = Selection::Refusal("task local storage for tracing programs (Linux 5.12)");
        return vec![Boot { selection, ..lab }];
    }
    let confidentiality = Selection::Refusal("lockdown=confidentiality");
    vec![
        lab.clone(),
        // As machines with Secure Boot are, so all of it works there.
        Boot {
            name: "integrity",
            lockdown: "integrity",
            selection: Selection::Integration,
            ..lab.clone()
        },
        Boot { name: "service", selection: Selection::Service, ..lab.clone() },
        Boot {
            name: "confidentiality",
            lockdown: "confidentiality",
            selection: confidentiality,
            ..lab.clone()
        },
        Boot {
            name: "no-rdpid",
            rdpid: false,
            selection: Selection::Bracket(BRIEFLY),
            ..lab.clone()
        },
        Boot { name: "1-cpu", cpus: 1, selection: Selection::Bracket(ON_CPUS), ..lab.clone() },
        Boot { name: "4-cpus", cpus: 4, selection: Selection::Bracket(ON_CPUS), ..lab },
    ]
}

/// Kernels before it refuse us.
pub const OLDEST: (u32, u32) = (5, 19);
/// In the names of [`Selection::Service`].
const SERVICE: [&str; 3] = ["lifecycle::", "enabling::", "configuration::"];
const MACHINE: &str = "/lab/target/lab/machine --color never";

impl Boot {
    /// The commands that the guest runs.
    pub fn plan(&self, time_scale: u32) -> String {
        let Self { cpus, rdpid, lockdown, .. } = self;
        let lab = format!(
            "LAB_CPUS={cpus} LAB_RDPID={rdpid} LAB_LOCKDOWN={lockdown} /lab/target/lab/lab --color never"
        );
        let integration = "/lab/target/lab/integration --color never";
        // Whether all of it is on; the last one stops the service.
        let whole = format!(
            "BYSYSCALL_TESTS='guest:: service::all_is_on service::finds_the_cpu service::leaves_nothing' {lab}"
        );
        let commands = match &self.selection {
            Selection::Integration => {
                let skip: String = SERVICE.iter().map(|name| format!(" --skip {name}")).collect();
                vec![whole, format!("{integration}{skip}")]
            }
            Selection::Service => {
                vec![format!("BYSYSCALL_TESTS='{}' {integration}", SERVICE.join(" "))]
            }
            // CPython's tests alone would take most of the time that a kernel has.
            Selection::Lab => {
                vec![format!("{lab} --skip refusal:: --skip soak:: --skip foreign::cpython")]
            }
            Selection::Named(name) => {
                vec![format!("{integration} -- '{name}'"), format!("{lab} -- '{name}'")]
            }
            Selection::Bracket(names) => {
                let names = names.join(" ");
                vec![whole, format!("BYSYSCALL_TESTS='{names}' {integration}")]
            }
            Selection::Machine(names) => vec![format!("BYSYSCALL_TESTS='{names}' {MACHINE}")],
            Selection::Operation(operation) => vec![
                format!("BYSYSCALL_TESTS=cut:: {MACHINE}"),
                format!("/lab/tests/vm/operation {operation}"),
            ],
            Selection::Soak { seconds, seed } => {
                let seed = seed.map(|seed| format!(" --seed {seed}")).unwrap_or_default();
                vec![format!("BYSYSCALL_SOAK='--seconds {seconds}{seed}' {lab} soak::")]
            }
            Selection::Refusal(words) => {
                vec![format!("{lab} guest::"), format!("LAB_REFUSAL='{words}' {lab} refusal::")]
            }
        };
        let scale = format!("BYSYSCALL_TEST_TIME_SCALE={time_scale}");
        commands.iter().map(|command| format!("{scale} {command}\n")).collect()
    }

    /// A boot that takes longer is ended.
    pub fn time_limit(&self) -> Duration {
        const TESTS: Duration = Duration::from_secs(40 * 60);
        match self.selection {
            // With its warm-up.
            Selection::Soak { seconds, .. } => TESTS + Duration::from_secs(seconds) * 5 / 4,
            // CPython's tests are run by name.
            Selection::Named(_) => 2 * TESTS,
            _ => TESTS,
        }
    }

    /// A guest that says nothing for so long hangs.
    pub fn silence_limit(&self) -> Duration {
        const TEST: Duration = Duration::from_secs(6 * 60);
        match self.selection {
            // Some of CPython's modules take far longer than any test of ours, and if they hang they are
            // ended by themselves after 40 minutes.
            Selection::Named(_) => 8 * TEST,
            _ => TEST,
        }
    }

    /// The commands of a guest that is there for a person.
    pub const SHELL: &str =
        "stty -F /dev/ttyS1 sane; cd; setsid --ctty --wait bash --login <>/dev/ttyS1 >&0 2>&1\n";
}
