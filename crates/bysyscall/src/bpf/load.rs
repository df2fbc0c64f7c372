// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Loading the object, with the hooks that this kernel takes.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, ensure};
use bysyscall_abi::{Control, HOOKS, Hook, Service};
use libbpf_rs::{
    Link, Map, MapCore, MapFlags, Object, ObjectBuilder, Program, ProgramMut, libbpf_sys,
};

use super::{
    CONTROL, COUNT, PROGRAMS, SERVICE, bytes_of, checked, explain, forget_said, pin, run_control,
    spare_name, types,
};
use crate::{clocks, kernel};

const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bysyscall.bpf.o"));

/// The program that answers who reads the registration file.
const REGISTER: &str = "bysys_register";
const CELLS: &str = "bysys_cells";
const CPUS: &str = "bysys_cpus";
/// The hook that must see a task being made before those after it are attached:
/// what it finds out tells bysys_switch whom they leave preempted.
const NEWTASK: &str = "bysys_newtask";
/// The hook without which another one has to look for what it would tell.
const LOST: &str = "bysys_lost";
/// The hook on a function so small that it is asked whether it is called.
const REGROUP: &str = "bysys_regroup";

/// What to load of the object.
#[derive(Clone, Copy, Default)]
struct Parts {
    /// Bits of [`HOOKS`].
    hooks: u32,
    tick_origin: u64,
    /// Also the programs that are no hooks.
    with_others: bool,
    /// One of these asks for paths of executables.
    reads_paths: u32,
}

fn load(parts: Parts) -> Result<Object> {
    forget_said();
    let cpus = kernel::possible_cpus()?;
    let mut open = ObjectBuilder::default().open_memory(OBJECT).map_err(explain)?;
    for mut map in open.maps_mut() {
        match map.name().to_str() {
            Some(CELLS) => map
                .set_max_entries(process_start(cpus) + bysyscall_abi::PROCESSES)
                .map_err(explain)?,
            Some(CPUS) => map.set_max_entries(cpus).map_err(explain)?,
            Some(name) if name.ends_with(".rodata") => {
                let lost = HOOKS.iter().find(|hook| hook.name == LOST);
                let told_of_lost = u32::from(lost.is_some_and(|hook| hook.is_in(parts.hooks)));
                let numbers: [(usize, &[u8]); 5] = [
                    (offset_of!(types::rodata, reads_paths), &parts.reads_paths.to_ne_bytes()),
                    (offset_of!(types::rodata, process_start), &process_start(cpus).to_ne_bytes()),
                    (offset_of!(types::rodata, told_of_lost_marks), &told_of_lost.to_ne_bytes()),
                    (offset_of!(types::rodata, tick_origin), &parts.tick_origin.to_ne_bytes()),
                    (offset_of!(types::rodata, tick), &u64::from(clocks::tick()).to_ne_bytes()),
                ];
                for (at, number) in numbers {
                    let value = map.initial_value_mut();
                    let place = value.and_then(|value| value.get_mut(at..at + number.len()));
                    place.context(".rodata is too short")?.copy_from_slice(number);
                }
            }
            _ => {}
        }
    }
    for mut program in open.progs_mut() {
        let hook = HOOKS.iter().find(|hook| program.name() == hook.name);
        program.set_autoload(hook.map_or(parts.with_others, |hook| hook.is_in(parts.hooks)));
    }
    open.load().map_err(explain)
}

/// The element of the cells map that is the first record of a process: after the cells, at the start of a page.
fn process_start(cell_count: u32) -> u32 {
    (1 + cell_count).next_multiple_of(bysyscall_abi::PAGE_ELEMENTS)
}

/// Whether the kernel takes a hook: loads and attaches it alone, and lets go.
pub fn probe(hook: &Hook) -> Result<()> {
    let object = load(Parts { hooks: 1 << hook.bit, ..Parts::default() })?;
    let link = program(&object, hook.name)?.attach().map_err(explain)?;
    if hook.name == REGROUP {
        ensure_is_called(&object)?;
    }
    drop(link);
    Ok(())
}

/// Whether the hook on `change_pid()` sees what it is there for: a kernel built
/// with link-time optimization may have copies of the function elsewhere.
fn ensure_is_called(object: &Object) -> Result<()> {
    let before = regroupings(object)?;
    make_a_session()?;
    ensure!(
        regroupings(object)? != before,
        "the kernel begins sessions without calling this function"
    );
    Ok(())
}

/// How many changes of process groups and sessions the hook has seen.
fn regroupings(object: &Object) -> Result<u32> {
    let bss = object.maps().find(|map| map.name().to_string_lossy().ends_with(".bss"));
    let bss = bss.context("no .bss")?.lookup(&0u32.to_ne_bytes(), MapFlags::ANY)?;
    let bytes = bss.as_deref().and_then(|bytes| {
        bytes.get(offset_of!(types::bss, regroupings_begun)..)?.first_chunk::<4>()
    });
    Ok(u32::from_ne_bytes(*bytes.context(".bss is too short")?))
}

/// Has a child begin a session.
fn make_a_session() -> Result<()> {
    let mut command = Command::new("/proc/self/exe");
    // SAFETY: setsid is async-signal-safe and touches no memory; it is all that runs before the exec.
    unsafe { command.pre_exec(|| rustix::process::setsid().map(drop).map_err(io::Error::from)) };
    command
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map(drop)
        .context("cannot run a child")
}

fn program<'obj>(object: &'obj Object, name: &str) -> Result<ProgramMut<'obj>> {
    object
        .progs_mut()
        .find(|program| program.name() == name)
        .with_context(|| format!("no BPF program {name}"))
}

/// The loaded programs, attached, publishing nothing yet. Dropping it detaches what is not pinned.
pub struct Attached {
    object: Object,
    links: Vec<(&'static Hook, Link)>,
    /// Those are loaded, and the kernel has shown that it takes them.
    spare: Vec<&'static Hook>,
    register: Link,
    count: Link,
}

impl Attached {
    /// Loads and attaches the hooks of a service; fills the maps.
    ///
    /// # Errors
    ///
    /// If the kernel refuses one of them.
    pub fn new(service: &Service) -> Result<Self> {
        let hooks = service.hooks | service.spare_hooks;
        let object = load(Parts {
            hooks,
            tick_origin: service.tick_origin,
            with_others: true,
            reads_paths: service.reads_paths,
        })
        .context("cannot load the BPF programs")?;
        let map = |name: &str| {
            object
                .maps()
                .find(|map| map.name() == name)
                .with_context(|| format!("no BPF map {name}"))
        };
        let (cells, service_map) = (map(CELLS)?, map(SERVICE)?);
        let zero = 0u32.to_ne_bytes();
        service_map
            .update(&zero, bytes_of(service), MapFlags::ANY)
            .context("cannot fill the service map")?;
        let header = bysyscall_abi::Header {
            abi_version: service.abi_version,
            cell_size: bysyscall_abi::CELL_SIZE,
            cell_count: service.cell_count,
            tick: clocks::tick(),
            generation: service.generation,
            tick_origin: service.tick_origin,
            jiffies: 0,
            process_start: process_start(service.cell_count),
            counter_step: service.counter_step,
            reserved: [0; 52],
        };
        cells
            .update(&zero, bytes_of(&header), MapFlags::ANY)
            .context("cannot fill the header of the cells map")?;
        freeze(cells.as_fd()).context("cannot freeze the cells map (BPF_MAP_FREEZE)")?;

        let register = program(&object, REGISTER)?;
        let register = register
            .attach_iter(service_map.as_fd())
            .context("cannot make the registration iterator")?;
        let count = program(&object, COUNT)?.attach().context("cannot make the task iterator")?;
        let (mut links, mut spare) = (Vec::new(), Vec::new());
        for hook in HOOKS.iter().filter(|hook| hook.is_in(hooks)) {
            let link = program(&object, hook.name)?.attach().map_err(explain);
            let failed = || format!("cannot attach {} to {}", hook.name, hook.attach_point);
            let link = link.with_context(failed)?;
            match hook.name {
                NEWTASK => make_a_task()?,
                REGROUP => ensure_is_called(&object).with_context(failed)?,
                _ => {}
            }
            if hook.is_in(service.hooks) { links.push((hook, link)) } else { spare.push(hook) }
        }
        Ok(Self { object, links, spare, register, count })
    }

    /// Pins a second holder of every hook, and the control program, in `dir`.
    ///
    /// # Errors
    ///
    /// If `dir` is not on a bpffs that can be written.
    pub fn pin_holders(&self, dir: &Path) -> Result<()> {
        for (hook, link) in &self.links {
            pin(link.as_fd(), &dir.join(hook.name))?;
        }
        pin(self.program(CONTROL)?.as_fd(), &dir.join(CONTROL))
    }

    /// Pins what only root uses in `dir`.
    ///
    /// # Errors
    ///
    /// If `dir` is not on a bpffs that can be written.
    pub fn pin_private(&self, dir: &Path) -> Result<()> {
        self.pin_holders(dir)?;
        pin(self.count.as_fd(), &dir.join(COUNT))?;
        for name in [SERVICE, PROGRAMS] {
            pin(self.map(name)?.as_fd(), &dir.join(name))?;
        }
        for hook in &self.spare {
            pin(self.program(hook.name)?.as_fd(), &dir.join(spare_name(hook)))?;
        }
        Ok(())
    }

    /// Pins the map that processes map.
    ///
    /// # Errors
    ///
    /// If the directory of `path` is not on a bpffs that can be written.
    pub fn pin_cells(&self, path: &Path) -> Result<()> {
        pin(self.map(CELLS)?.as_fd(), path)
    }

    /// Pins the file that processes read to register.
    ///
    /// # Errors
    ///
    /// If the directory of `path` is not on a bpffs that can be written.
    pub fn pin_register(&self, path: &Path) -> Result<()> {
        pin(self.register.as_fd(), path)
    }

    /// Has the programs publish these wrappers.
    ///
    /// # Errors
    ///
    /// If the kernel does not run the control program.
    pub fn enable(&self, wrappers: u32) -> Result<()> {
        let control = Control { operation: bysyscall_abi::CONTROL_ENABLE, wrappers };
        run_control(self.program(CONTROL)?.as_fd(), control).map(drop)
    }

    /// The map for the lists of programs.
    ///
    /// # Errors
    ///
    /// If the object has none.
    pub fn programs(&self) -> Result<Map<'_>> {
        self.map(PROGRAMS)
    }

    fn map(&self, name: &str) -> Result<Map<'_>> {
        let map = self.object.maps().find(|map| map.name() == name);
        map.with_context(|| format!("no BPF map {name}"))
    }

    fn program(&self, name: &str) -> Result<Program<'_>> {
        self.object
            .progs()
            .find(|program| program.name() == name)
            .with_context(|| format!("no BPF program {name}"))
    }
}

fn make_a_task() -> Result<()> {
    let thread = std::thread::Builder::new().spawn(|| {}).context("cannot make a thread")?;
    thread.join().map_err(|_| anyhow!("a thread that does nothing has failed"))
}

fn freeze(map: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: the descriptor lives over the call.
    checked(unsafe { libbpf_sys::bpf_map_freeze(map.as_raw_fd()) })
}
