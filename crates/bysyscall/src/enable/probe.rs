// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Programs that are run to see whether they bear the library.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::probed::{self, Probed};
use crate::service::Interrupts;

/// How long a program may take that needs a moment.
const LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);
const PYTHONS: [&str; 2] = ["/usr/bin/python3", "/usr/libexec/platform-python"];
/// User `nobody`, or a user that nobody is.
const UNPRIVILEGED: u32 = 65534;

/// Ends with 0 if a line of the process's memory map ends with `$1`.
const SHELL: &str =
    r#"while read -r line; do case $line in *"$1") exit 0; esac; done </proc/self/maps; exit 1"#;
const PYTHON: &str = "
import os, sys, threading
asked = []
thread = threading.Thread(target=lambda: asked.append(os.getpid()))
thread.start()
thread.join()
with open('/proc/self/maps') as maps:
    loaded = any(line.rstrip().endswith(sys.argv[1]) for line in maps)
sys.exit(0 if loaded and asked == [int(os.readlink('/proc/self'))] else 1)
";

/// How a program comes to load the library.
#[derive(Clone, Copy)]
enum By {
    /// Not at all: to see whether it runs without.
    Nothing,
    /// It is told to.
    Environment,
    /// All are.
    System,
}

struct Probe {
    what: &'static str,
    program: PathBuf,
    /// Before the end of the library's path.
    arguments: Vec<OsString>,
    user: Option<u32>,
    /// The library makes no calls then, and says so when asked.
    is_filtered: bool,
    /// What it prints to standard error without the library: ld.so may have something to say of others.
    usual: String,
}

/// The programs that this machine can run, and the library that they are to load.
pub struct Probes<'a> {
    library: &'a Path,
    interrupts: &'a Interrupts,
    probes: Vec<Probe>,
}

impl<'a> Probes<'a> {
    /// `library` is where it really lies, as a memory map shows it.
    ///
    /// # Errors
    ///
    /// If it is not known how this program itself is run.
    pub fn new(library: &'a Path, interrupts: &'a Interrupts) -> Result<Self> {
        let own = std::env::current_exe().context("cannot tell where this program lies")?;
        let shell = || ["-c", SHELL, "sh"].map(OsString::from).to_vec();
        let probed = |which: Probed| vec!["probe".into(), which.name().into()];
        let probe = |what, program: &Path, arguments| Probe {
            what,
            program: program.to_owned(),
            arguments,
            user: None,
            is_filtered: false,
            usual: String::new(),
        };
        let sh = Path::new("/bin/sh");
        let mut probes = vec![
            probe("/bin/true", Path::new("/bin/true"), Vec::new()),
            probe("a shell", sh, shell()),
            probe("a program with threads", &own, probed(Probed::Threads)),
            Probe { user: Some(UNPRIVILEGED), ..probe("a shell of an ordinary user", sh, shell()) },
            Probe {
                is_filtered: true,
                ..probe(
                    "a program under a seccomp filter that kills",
                    &own,
                    probed(Probed::Filtered),
                )
            },
        ];
        if let Some(python) = PYTHONS.iter().map(Path::new).find(|path| path.exists()) {
            let arguments = ["-I", "-S", "-c", PYTHON].map(OsString::from).to_vec();
            probes.push(probe("Python", python, arguments));
        }
        Ok(Self { library, interrupts, probes })
    }

    /// Runs all of them without the library, and then with it in their environment. Those that
    /// fail without it tell nothing, and are left out.
    ///
    /// # Errors
    ///
    /// If one fails because of the library.
    pub fn run_by_environment(&mut self) -> Result<()> {
        let mut able = Vec::new();
        for mut probe in std::mem::take(&mut self.probes) {
            match self.run(&probe, By::Nothing) {
                Ok(usual) => {
                    probe.usual = usual;
                    able.push(probe);
                }
                Err(error) => {
                    self.interrupts.check()?;
                    log::warn!("not tried, as it fails without the library: {error:#}");
                }
            }
        }
        ensure!(!able.is_empty(), "no program runs, not even without the library");
        self.probes = able;
        self.probes.iter().try_for_each(|probe| self.check(probe, By::Environment))
    }

    /// Runs them as any program is run now.
    ///
    /// # Errors
    ///
    /// If one fails.
    pub fn run_by_system(&self) -> Result<()> {
        self.probes.iter().try_for_each(|probe| self.check(probe, By::System))
    }

    fn check(&self, probe: &Probe, by: By) -> Result<()> {
        let said = self.run(probe, by).context("with the library")?;
        let usual: Vec<&str> = probe.usual.lines().collect();
        let new: Vec<&str> = said.lines().filter(|line| !usual.contains(line)).collect();
        let is_right = match new.as_slice() {
            [] => !probe.is_filtered,
            [line] => probe.is_filtered && line.starts_with(probed::SAID_UNDER_FILTER),
            _ => false,
        };
        ensure!(is_right, "with the library, {} says: {:?}", probe.what, new.join("\n"));
        Ok(())
    }

    /// What it prints to standard error.
    fn run(&self, probe: &Probe, by: By) -> Result<String> {
        self.interrupts.check()?;
        let output = self.output(probe, by);
        // ^C ends the programs as well.
        self.interrupts.check()?;
        let output = output.with_context(|| format!("cannot run {}", probe.what))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.success(),
            "{} does not run: {} {}",
            probe.what,
            output.status,
            said.trim_end()
        );
        Ok(said)
    }

    fn output(&self, probe: &Probe, by: By) -> Result<Output> {
        let mut command = Command::new(&probe.program);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
        command.args(&probe.arguments);
        let is_loaded = !matches!(by, By::Nothing);
        if !probe.arguments.is_empty() {
            // Each line of a memory map ends with nothing.
            command.arg(if is_loaded { self.library.as_os_str() } else { "".as_ref() });
        }
        if matches!(by, By::Environment) {
            command.env("LD_PRELOAD", self.library);
        }
        if probe.is_filtered && is_loaded {
            command.env("BYSYSCALL_LOG", "err");
        }
        if let Some(user) = probe.user {
            command.uid(user).gid(user);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let deadline = Instant::now() + LIMIT;
        while child.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                child.kill()?;
                child.wait()?;
                bail!("it does not end within {} s", LIMIT.as_secs());
            }
            std::thread::sleep(PAUSE);
        }
        Ok(child.wait_with_output()?)
    }
}
