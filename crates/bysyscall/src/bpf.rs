// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The BPF object: which hooks this kernel takes, and loading it with those.

use std::ffi::CString;
use std::fs;
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::ptr::null;
use std::sync::Mutex;

use anyhow::{Context, Result, anyhow, ensure};
use bysyscall_abi::{Control, HOOKS, Hook, Service};
use libbpf_rs::{
    Link, Map, MapCore, MapFlags, MapHandle, Object, ObjectBuilder, PrintLevel, Program,
    ProgramMut, libbpf_sys, set_print,
};

use crate::{clocks, kernel};

/// The types of the object's BTF, as Rust; for [`crate::layout`].
#[allow(
    missing_docs,
    unused,
    non_snake_case,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "generated"
)]
mod skeleton {
    include!(concat!(env!("OUT_DIR"), "/bysyscall.skel.rs"));
}
pub use skeleton::types;

const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bysyscall.bpf.o"));

/// The program that answers who reads the registration file.
const REGISTER: &str = "bysys_register";
/// The program that changes what the other programs publish.
pub const CONTROL: &str = "bysys_control";
/// The iterator that counts registered tasks.
pub const COUNT: &str = "bysys_count";
const CELLS: &str = "bysys_cells";
const CPUS: &str = "bysys_cpus";
/// The hook that must see a task being made before those after it are attached:
/// what it finds out tells bysys_switch whom they leave preempted.
const NEWTASK: &str = "bysys_newtask";
/// The hook on a function so small that it is asked whether it is called.
const REGROUP: &str = "bysys_regroup";
/// The map with what the service knows of itself.
pub const SERVICE: &str = "bysys_service";
/// The map with the lists of programs.
pub const PROGRAMS: &str = "bysys_programs";

/// What libbpf has said since it was last asked to do something.
static SAID: Mutex<String> = Mutex::new(String::new());

fn remember(_: PrintLevel, text: String) {
    if let Ok(mut said) = SAID.lock() {
        said.push_str(&text);
    }
}

/// Keeps libbpf from printing; its words are for [`verifier_said`].
pub fn quiet_libbpf() {
    set_print(Some((PrintLevel::Warn, remember)));
}

fn forget_said() {
    if let Ok(mut said) = SAID.lock() {
        said.clear();
    }
}

/// The verifier's last words, if it was the verifier that refused a program.
fn verifier_said() -> Option<String> {
    let said = SAID.lock().ok()?;
    let log = said.split("BEGIN PROG LOAD LOG --").nth(1)?;
    let words = log.lines().map(str::trim).filter(|line| !line.is_empty());
    let words = words
        .take_while(|line| !line.starts_with("processed ") && !line.contains("END PROG LOAD LOG"));
    words.last().map(str::to_owned)
}

/// Why something failed, with what the verifier had to say.
fn explain(error: libbpf_rs::Error) -> anyhow::Error {
    match verifier_said() {
        Some(words) => anyhow!("{error:#}: {words}"),
        None => anyhow!("{error:#}"),
    }
}

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
                let numbers: [(usize, &[u8]); 4] = [
                    (offset_of!(types::rodata, reads_paths), &parts.reads_paths.to_ne_bytes()),
                    (offset_of!(types::rodata, process_start), &process_start(cpus).to_ne_bytes()),
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
            reserved: [0; 53],
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

/// Name of the pin of a program that is not attached.
fn spare_name(hook: &Hook) -> String {
    format!("spare-{}", hook.name)
}

/// Attaches a spare hook, whose program is pinned in the first of `dirs`, and pins the link in each of them.
/// A pin of another link that has its name is replaced.
///
/// # Errors
///
/// If the program's pin is gone, or the kernel refuses.
pub fn attach_spare(hook: &Hook, dirs: &[&Path]) -> Result<()> {
    let failed = || format!("cannot attach {} to {}", hook.name, hook.attach_point);
    let pinned = dirs.first().map(|dir| dir.join(spare_name(hook))).unwrap_or_default();
    let program = Program::fd_from_pinned_path(&pinned)
        .map_err(explain)
        .with_context(|| format!("cannot open {}", pinned.display()))?;
    // SAFETY: the descriptor lives over the call; a program that knows its hook needs no name.
    let link = unsafe { libbpf_sys::bpf_raw_tracepoint_open(null(), program.as_raw_fd()) };
    checked(link).with_context(failed)?;
    // SAFETY: the kernel has just opened it for us.
    let link = unsafe { OwnedFd::from_raw_fd(link) };
    for dir in dirs {
        let path = dir.join(hook.name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot replace {}", path.display()));
            }
            _ => pin(link.as_fd(), &path)?,
        }
    }
    Ok(())
}

/// Has the programs behind a pinned control program publish nothing, for good.
///
/// # Errors
///
/// If the pin cannot be opened or the kernel does not run the program.
pub fn stop_publishing(control: &Path) -> Result<()> {
    ask(control, Control { operation: bysyscall_abi::CONTROL_STOP, wrappers: 0 }).map(drop)
}

/// Has the programs behind a pinned control program publish these wrappers and no others.
///
/// # Errors
///
/// If the pin cannot be opened or the kernel does not run the program.
pub fn publish(control: &Path, wrappers: u32) -> Result<()> {
    ask(control, Control { operation: bysyscall_abi::CONTROL_ENABLE, wrappers }).map(drop)
}

/// Whether the programs are told of each context switch, without which they cannot add up the run time of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switches {
    /// Not known yet: for some seconds after the start that is watched.
    Watched,
    /// Of each.
    Told,
    /// The kernel hid one.
    Hidden,
}

/// The wrappers that the programs behind a pinned control program publish, and whether they are told of each switch.
///
/// # Errors
///
/// If the pin cannot be opened or the kernel does not run the program.
pub fn published(control: &Path) -> Result<(u32, Switches)> {
    use bysyscall_abi::{CONTROL_HIDDEN, CONTROL_QUERY, CONTROL_WATCHED};
    let answer = ask(control, Control { operation: CONTROL_QUERY, wrappers: 0 })?;
    let switches = if answer & CONTROL_HIDDEN != 0 {
        Switches::Hidden
    } else if answer & CONTROL_WATCHED != 0 {
        Switches::Watched
    } else {
        Switches::Told
    };
    Ok((answer & !(CONTROL_HIDDEN | CONTROL_WATCHED), switches))
}

fn ask(path: &Path, control: Control) -> Result<u32> {
    let program = Program::fd_from_pinned_path(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    run_control(program.as_fd(), control).with_context(|| format!("cannot run {}", path.display()))
}

fn run_control(program: BorrowedFd<'_>, mut control: Control) -> Result<u32> {
    let mut options = libbpf_sys::bpf_test_run_opts {
        sz: size_of::<libbpf_sys::bpf_test_run_opts>() as u64,
        ctx_in: (&raw mut control).cast(),
        ctx_size_in: size_of::<Control>() as u32,
        ..Default::default()
    };
    // SAFETY: the descriptor and the context live over the call.
    let result =
        unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) };
    checked(result).context("the kernel refuses BPF_PROG_TEST_RUN")?;
    Ok(options.retval)
}

fn make_a_task() -> Result<()> {
    let thread = std::thread::Builder::new().spawn(|| {}).context("cannot make a thread")?;
    thread.join().map_err(|_| anyhow!("a thread that does nothing has failed"))
}

fn freeze(map: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: the descriptor lives over the call.
    checked(unsafe { libbpf_sys::bpf_map_freeze(map.as_raw_fd()) })
}

/// `BPF_OBJ_PIN`. libbpf's own pinning allows each link one pin only.
fn pin(object: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let c_path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the descriptor and the path live over the call.
    checked(unsafe { libbpf_sys::bpf_obj_pin(object.as_raw_fd(), c_path.as_ptr()) })
        .with_context(|| format!("cannot pin {}", path.display()))
}

fn checked(result: i32) -> Result<()> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result).into()) } else { Ok(()) }
}

/// The bytes of one of the shared structs, which have no padding.
fn bytes_of<T: Copy>(value: &T) -> &[u8] {
    // SAFETY: crate::layout asserts the structs against C; they are integers without padding.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// Reads a shared struct from its bytes, if they are as many.
///
/// # Safety
///
/// Any bytes must be a valid `T`.
pub unsafe fn from_bytes<T: Copy>(bytes: &[u8]) -> Option<T> {
    // SAFETY: the length is checked, and the caller promises that any bytes will do.
    (bytes.len() == size_of::<T>()).then(|| unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// A pinned map.
///
/// # Errors
///
/// If the pin cannot be opened.
pub fn pinned_map(path: &Path) -> Result<MapHandle> {
    MapHandle::from_pinned_path(path).with_context(|| format!("cannot open {}", path.display()))
}

/// Changes the one element of a pinned service map.
///
/// # Errors
///
/// If the pin cannot be opened or written.
pub fn write_service(path: &Path, service: &Service) -> Result<()> {
    pinned_map(path)?
        .update(&0u32.to_ne_bytes(), bytes_of(service), MapFlags::ANY)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The one element of a pinned service map; `None` if it is of another layout.
///
/// # Errors
///
/// If the pin cannot be opened or read.
pub fn read_service(path: &Path) -> Result<Option<Service>> {
    let value = pinned_map(path)?.lookup(&0u32.to_ne_bytes(), MapFlags::ANY)?.unwrap_or_default();
    // SAFETY: the struct is all integers.
    Ok(unsafe { from_bytes(&value) })
}
