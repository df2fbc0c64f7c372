// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Guests: starting, watching and ending them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::boot::Boot;
use crate::cache::Cache;
use crate::command::{self, Running};
use crate::debian::{self, Suite};
use crate::kernel::{self, Kernel};
use crate::results::{Report, Results};
use crate::watch::{End, watch};
use crate::{console, image};

/// The suite whose QEMU is taken if the machine's own is too old.
const SUITE: &str = "trixie";
const PROGRAM: &str = "qemu-system-x86_64";
const MEMORY: &str = "2048";
/// How much longer things take than on a machine.
const EMULATED_TIME_SCALE: u32 = 8;
/// Lines of the console that are shown of a guest that was ended.
const CONSOLE_LINES: usize = 60;

/// A QEMU whose emulated CPUs have `rdpid`.
pub struct Emulator {
    /// Program and what it must be called with.
    words: Vec<String>,
    /// For its modules.
    modules: Option<PathBuf>,
}

impl Emulator {
    /// The machine's own, if it will do; else that of [`SUITE`].
    pub fn choose(cache: &Cache) -> Result<Self> {
        let own = Self { words: vec![PROGRAM.to_owned()], modules: None };
        if own.knows_rdpid() {
            return Ok(own);
        }
        let suite = Suite::open(cache, SUITE)?;
        let packages = ["qemu-system-x86"];
        let key = debian::key(&suite.resolve(&packages)?, "")?;
        let dir = cache.get("qemu", &key, |dir| {
            println!("fetching QEMU of {SUITE}");
            suite.debootstrap("extract", &packages, &[], dir)
        })?;
        let fetched = Self::unpacked(&dir)?;
        ensure!(fetched.knows_rdpid(), "QEMU of {SUITE} does not know rdpid");
        Ok(fetched)
    }

    /// One that is unpacked in `dir`, run by the loader there with the libraries there.
    fn unpacked(dir: &Path) -> Result<Self> {
        let libraries = dir.join("usr/lib/x86_64-linux-gnu");
        let mut path = vec![libraries.clone()];
        for entry in fs::read_dir(&libraries)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                path.push(entry.path());
            }
        }
        let path = std::env::join_paths(path)?.to_string_lossy().into_owned();
        let below = |name: &str| dir.join(name).display().to_string();
        let words = vec![
            below("usr/lib64/ld-linux-x86-64.so.2"),
            "--library-path".to_owned(),
            path,
            below(&format!("usr/bin/{PROGRAM}")),
            "-L".to_owned(),
            below("usr/share/qemu"),
            "-L".to_owned(),
            below("usr/share/seabios"),
        ];
        Ok(Self { words, modules: Some(libraries.join("qemu")) })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).args(["-nodefaults", "-no-user-config", "-display", "none"]);
        if let Some(modules) = &self.modules {
            command.env("QEMU_MODULE_DIR", modules);
        }
        command
    }

    fn knows_rdpid(&self) -> bool {
        let mut ask = self.command();
        ask.args(["-accel", "tcg", "-cpu", "qemu64,+rdpid,enforce", "-S", "-qmp", "stdio"]);
        command::succeeds(&mut ask, r#"{"execute":"qmp_capabilities"}{"execute":"quit"}"#)
    }
}

/// The root file system of a guest.
#[derive(Clone)]
pub enum Disk {
    /// What is written to it is gone with the guest.
    Snapshot(PathBuf),
    /// The next boot finds what this one has written.
    Lasting(PathBuf),
}

/// A kernel with all that it takes to boot it.
#[derive(Clone)]
pub struct Guest<'a> {
    cache: &'a Cache,
    emulator: &'a Emulator,
    kernel: &'static Kernel,
    files: kernel::Files,
    disk: Disk,
    payload: &'a Path,
    initial: PathBuf,
    has_kvm: bool,
}

impl<'a> Guest<'a> {
    /// Fetches and builds what is missing.
    pub fn prepare(
        cache: &'a Cache,
        emulator: &'a Emulator,
        kernel: &'static Kernel,
        disk: Disk,
        payload: &'a Path,
    ) -> Result<Self> {
        let files = kernel::fetch(cache, kernel)?;
        let initial = image::initial(cache, kernel, &files)?;
        let mut guest =
            Self { cache, emulator, kernel, files, disk, payload, initial, has_kvm: false };
        guest.has_kvm = guest.kvm_works();
        Ok(guest)
    }

    /// The same machine with a copy of its disk, on which what is written lasts.
    pub fn lasting(&self, copy: &Path) -> Result<Self> {
        let (Disk::Snapshot(disk) | Disk::Lasting(disk)) = &self.disk;
        let mut cp = Command::new("cp");
        command::output(cp.args(["--sparse=always", "--reflink=auto"]).arg(disk).arg(copy))?;
        Ok(self.on(copy))
    }

    /// The same machine with another disk, on which what is written lasts.
    pub fn on(&self, disk: &Path) -> Self {
        Self { disk: Disk::Lasting(disk.to_owned()), ..self.clone() }
    }

    /// For files of this run.
    pub fn scratch(&self) -> &Path {
        self.cache.scratch()
    }

    /// The kernel.
    pub fn kernel(&self) -> &'static Kernel {
        self.kernel
    }

    /// `uname -r`
    pub fn release(&self) -> &str {
        &self.files.release
    }

    /// QEMU with the kernel, without drives.
    fn machine(&self, has_kvm: bool, cpu_options: &str, append: &str) -> Command {
        let mut qemu = self.emulator.command();
        let accelerator = if has_kvm { "kvm" } else { "tcg,thread=multi" };
        let model = if has_kvm { "host" } else { "max" };
        qemu.args(["-machine", "q35", "-no-reboot", "-m", MEMORY, "-accel", accelerator]);
        qemu.args(["-cpu", &format!("{model}{cpu_options}")]);
        qemu.arg("-kernel").arg(&self.files.vmlinuz).arg("-initrd").arg(&self.initial);
        // A kernel that is lost ends QEMU. The time stamp counter is the machine's, whatever a kernel
        // thinks of it that is not let run for a while.
        let options = "console=ttyS0 panic=-1 oops=panic clocksource=tsc tsc=reliable";
        qemu.args(["-append", &format!("{options} {append}")]);
        qemu
    }

    /// Whether a kernel really runs with KVM; there are machines where it only can be opened.
    fn kvm_works(&self) -> bool {
        if !Path::new("/dev/kvm").exists() {
            return false;
        }
        let limited = |program: &Command| {
            let mut timeout = Command::new("timeout");
            timeout.args(["--signal=KILL", "10"]).arg(program.get_program());
            timeout.args(program.get_args());
            let set = program.get_envs().filter_map(|(name, value)| Some((name, value?)));
            timeout.envs(set);
            timeout
        };
        let mut probe = self.machine(true, "", "lab.probe");
        probe.args(["-serial", "stdio"]);
        command::output(&mut limited(&probe))
            .is_ok_and(|said| said.contains("lab: the kernel runs"))
    }

    fn qemu(&self, boot: &Boot, plan: &str) -> Result<(Command, PathBuf)> {
        let here = |what: &str| {
            self.cache.scratch().join(format!("{}-{}-{what}", self.kernel.name, boot.name))
        };
        let (plan_drive, console) = (here("plan"), here("console"));
        fs::write(&plan_drive, drive(plan))?;
        let mut append = match boot.lockdown {
            "none" => String::new(),
            state => format!("lockdown={state}"),
        };
        append += &format!(" init={}", boot.init);
        let (root, root_option) = match &self.disk {
            Disk::Snapshot(path) => (path, "snapshot=on"),
            Disk::Lasting(path) => {
                append += " lab.lasting";
                // The machine below loses no power.
                (path, "cache=unsafe")
            }
        };
        let cpu_options = if boot.rdpid { "" } else { ",-rdpid" };
        let mut qemu = self.machine(self.has_kvm, cpu_options, &append);
        qemu.args(["-smp", &boot.cpus.to_string()]);
        let drives = [
            (root.as_path(), root_option),
            (&self.files.modules, "readonly=on"),
            (self.payload, "readonly=on"),
            (&plan_drive, "readonly=on"),
        ];
        for (path, option) in drives {
            let path = path.display();
            qemu.args(["-drive", &format!("file={path},format=raw,if=virtio,{option}")]);
        }
        // For what is written to the root file system.
        qemu.env("TMPDIR", self.cache.scratch());
        // The first port is the console, the second belongs to run-plan.
        qemu.arg("-serial").arg(format!("file:{}", console.display()));
        qemu.args(["-chardev", "stdio,id=plan,signal=off", "-serial", "chardev:plan"]);
        Ok((qemu, console))
    }

    /// Boots, runs the boot's plan and counts.
    pub fn run(&self, boot: &Boot) -> Result<Report> {
        self.run_until(boot, |_| None)
    }

    /// The same, until the power is cut: so long after a line of which `cut` says so.
    pub fn run_until(
        &self,
        boot: &Boot,
        mut cut: impl FnMut(&str) -> Option<Duration>,
    ) -> Result<Report> {
        let prefix = format!("{} {}", self.kernel.name, boot.name);
        println!("{prefix} | booting Linux {}", self.release());
        let begin = Instant::now();
        let plan = boot.plan(if self.has_kvm { 1 } else { EMULATED_TIME_SCALE });
        let (mut qemu, console) = self.qemu(boot, &plan)?;
        qemu.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut running = Running::start(&mut qemu)?;
        let stdout = running.child.stdout.take().context("no standard output")?;
        let mut results = Results::new(self.kernel.version);
        let end = watch(stdout, boot, |line| {
            if !line.is_empty() {
                println!("{prefix} {:4} s | {line}", begin.elapsed().as_secs());
            }
            if let Some(problem) = results.take(line) {
                println!("{prefix} | {problem}");
            }
            cut(line)
        })?;
        running.kill();
        drop(running);
        let problem = match end {
            End::ByGuest if !results.is_done() => {
                Some("the guest has ended before its tests".to_owned())
            }
            End::ByGuest | End::ByCut => None,
            End::Hung(problem) => Some(problem),
        };
        let mut report = results.finish();
        let console = String::from_utf8_lossy(&fs::read(console)?).into_owned();
        if let Some(problem) = problem {
            let lines: Vec<&str> = console.lines().collect();
            for line in &lines[lines.len().saturating_sub(CONSOLE_LINES)..] {
                println!("{prefix} console | {line}");
            }
            println!("{prefix} | FAILED: {problem}");
            report.fail(problem);
        }
        for complaint in console::complaints(&console) {
            for line in &complaint.lines {
                println!("{prefix} kernel | {line}");
            }
            if complaint.fails {
                println!("{prefix} | FAILED: the kernel complains");
                let first = complaint.lines.first().map_or("", String::as_str);
                report.fail(format!("the kernel complains: {first}"));
            } else {
                println!("{prefix} | not held against us: BPF is not in the trace");
            }
        }
        println!("{prefix} | {} in {} s", report.tally, begin.elapsed().as_secs());
        for failure in &mut report.failures {
            *failure = format!("{prefix} | {failure}");
        }
        Ok(report)
    }

    /// Boots and gives the user a shell.
    pub fn shell(&self, boot: &Boot) -> Result<()> {
        let (mut qemu, console) = self.qemu(boot, Boot::SHELL)?;
        println!("booting Linux {}; its console goes to {}", self.release(), console.display());
        // In our process group: only the foreground one may use the terminal.
        command::end_with_parent(&mut qemu);
        let status = qemu.status().context("cannot run QEMU")?;
        ensure!(status.success(), "QEMU: {status}");
        Ok(())
    }
}

/// The content of a drive: whole sectors.
fn drive(plan: &str) -> String {
    const SECTOR: usize = 512;
    let padding = SECTOR - plan.len() % SECTOR;
    plan.to_owned() + &"\n".repeat(padding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_fills_whole_sectors() {
        assert_eq!(drive("true\n").len(), 512);
        assert!(drive("true\n").starts_with("true\n\n"));
        assert_eq!(drive(&"x".repeat(512)).len(), 1024);
    }
}
