// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The constructor: registers the process and maps the cells.

use core::ffi::{CStr, c_char, c_int};
use core::sync::atomic::Ordering::Relaxed;

use bysyscall_abi as abi;
use bysyscall_abi::arch::Cpu;
use bysyscall_abi::{Cell, Header, Process, Record, WRAPPERS};

use crate::sys::{Errno, File, find_variable, is_glibc, is_secure_execution, stack_top, unmap};
use crate::wrappers::bit;
use crate::{account, counter, log, state, vdso};

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn(c_int, *const *const c_char, *const *const c_char) = constructor;

#[used]
#[unsafe(link_section = ".fini_array")]
static DESTRUCTOR: extern "C" fn() = destructor;

extern "C" fn destructor() {
    log::report();
}

extern "C" fn constructor(_: c_int, _: *const *const c_char, environment: *const *const c_char) {
    vdso::find();
    if is_secure_execution() {
        return;
    }
    let environment = if is_glibc() { environment } else { core::ptr::null() };
    // SAFETY: glibc passes the environment to constructors (elf/dl-init.c, call_init).
    let variable = |name: &[u8]| unsafe { find_variable(environment, name) };
    if let Some(level) = variable(b"BYSYSCALL_LOG") {
        log::set_level(level);
    }
    let disabled = variable(b"BYSYSCALL_DISABLE").map_or(0, disabled_wrappers);
    let without_clock = if vdso::is_found() { 0 } else { TIMED };
    let wanted = WRAPPERS.iter().fold(0, |bits, wrapper| bits | 1 << wrapper.bit);
    let wanted = wanted & !disabled & !without_clock;
    if wanted == 0 {
        return;
    }
    let by_lsl = variable(b"BYSYSCALL_CPU_NUMBER") == Some(b"lsl");
    let by_clock = variable(b"BYSYSCALL_TIME") == Some(b"vdso");
    match connect() {
        Ok(service) => {
            if by_clock {
                counter::set_off();
            }
            state::OWN_ID.store(service.flags & abi::RECORD_OWN_ID != 0, Relaxed);
            let by_lsl = by_lsl || service.flags & abi::RECORD_RDPID == 0 || !rdpid_is_right_here();
            answer_from(service.cells, wanted, by_lsl);
        }
        Err(failure) => log::not_bypassing(failure.what, failure.errno),
    }
}

/// The wrappers that ask how much time has passed.
const TIMED: u32 =
    1 << bit::clock_gettime | 1 << bit::clock | 1 << bit::times | 1 << bit::getrusage;

/// Whether `rdpid` tells the CPU on which we are. The service has looked on all of them, but a hypervisor may
/// have lost what it reads since (`MSR_TSC_AUX`), as when it brought the machine back from a snapshot.
fn rdpid_is_right_here() -> bool {
    const ATTEMPTS: u32 = 4;
    for _ in 0..ATTEMPTS {
        let before = Cpu::by_lsl().number();
        let told = Cpu::by_rdpid().number();
        if Cpu::by_lsl().number() == before {
            return told == before;
        }
    }
    false
}

/// Lets the wrappers in `wanted` answer from the cells.
fn answer_from(cells: *mut Cell, wanted: u32, by_lsl: bool) {
    state::STACK_TOP.store(stack_top(), Relaxed);
    state::CELLS.store(cells, Relaxed);
    state::BY_LSL.store(by_lsl, Relaxed);
    // The slower way needs the stores above, and a signal handler may be what takes it.
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::Release);
    state::WANTED.store(wanted, Relaxed);
    if state::COUNTING.load(Relaxed) {
        return;
    }
    let mark = if by_lsl { state::BY_LSL_MARK } else { 0 };
    for (bit, pointer) in state::DIRECT.iter().enumerate() {
        if wanted & (1 << bit) != 0 {
            pointer.store(cells.map_addr(|address| address | mark), Relaxed);
        }
    }
}

/// `BYSYSCALL_DISABLE`: `1` for all wrappers, or names separated by commas.
fn disabled_wrappers(list: &[u8]) -> u32 {
    if list == b"1" {
        return !0;
    }
    let named = |wrapper: &&abi::Wrapper| {
        list.split(|&byte| byte == b',').any(|name| name.trim_ascii() == wrapper.name.as_bytes())
    };
    WRAPPERS.iter().filter(named).fold(0, |bits, wrapper| bits | 1 << wrapper.bit)
}

/// Why the process makes real calls only.
struct Failure {
    what: &'static str,
    errno: Option<Errno>,
}

fn failed(what: &'static str) -> impl Fn(Errno) -> Failure {
    move |errno| Failure { what, errno: Some(errno) }
}

fn refused(what: &'static str) -> Failure {
    Failure { what, errno: None }
}

/// What the service gives a process.
struct Service {
    /// The cell of CPU 0.
    cells: *mut Cell,
    /// `RECORD_*`
    flags: u32,
}

/// Registers the process and maps the cells.
fn connect() -> Result<Service, Failure> {
    let register = File::open(abi::REGISTER_PATH)
        .map_err(failed("cannot open /run/bysyscall/register; is the service running?"))?;
    // SAFETY: a record is all integers.
    let record = unsafe { register.read::<Record>() }
        .map_err(failed("cannot read /run/bysyscall/register"))?
        .ok_or_else(|| refused("the service is of another version"))?;
    drop(register);
    if record.abi_version != abi::ABI_VERSION
        || record.record_size as usize != size_of::<Record>()
        || record.cell_size as usize != size_of::<Cell>()
    {
        return Err(refused("the service is of another version"));
    }
    if record.flags & abi::RECORD_LEFT_ALONE != 0 {
        return Err(refused("left alone by the configuration"));
    }
    if record.flags & abi::RECORD_REGISTERED == 0 {
        return Err(refused("the service is starting or stopping"));
    }
    if record.seccomp_mode != 0 {
        return Err(refused("the process has a seccomp filter"));
    }
    if record.flags & abi::RECORD_HELD != 0 {
        hold(record.generation).map_err(failed("cannot map the file in /run/bysyscall-hold"))?;
    }
    let cells =
        File::open_pin(abi::CELLS_PATH).map_err(failed("cannot open /run/bysyscall/cells"))?;
    let length = size_of::<Header>() + record.cell_count as usize * size_of::<Cell>();
    let map = cells.map_shared(0, length).map_err(failed("cannot map /run/bysyscall/cells"))?;
    // SAFETY: the mapping starts with a header, which no longer changes.
    let header = unsafe { *map.cast::<Header>() };
    if header.abi_version != record.abi_version
        || header.cell_size != record.cell_size
        || header.cell_count != record.cell_count
        || header.generation != record.generation
    {
        // SAFETY: nobody has seen the mapping yet.
        unsafe { unmap(map, length) };
        return Err(refused("the service was restarted meanwhile"));
    }
    account::set_up(&header);
    counter::set_up(&header);
    if record.process != 0 {
        map_processes(&cells, record.process);
    }
    // SAFETY: the cells follow the header.
    let cells = unsafe { map.cast::<Header>().add(1) }.cast_mut().cast();
    Ok(Service { cells, flags: record.flags })
}

/// Maps the page with the record of this process, and those of its children. What needs it makes
/// real calls without.
fn map_processes(cells: &File, process: u32) {
    let first = process - process % abi::PAGE_ELEMENTS;
    let offset = first as usize * size_of::<Process>();
    let length = abi::PAGE_ELEMENTS as usize * size_of::<Process>();
    if let Ok(page) = cells.map_shared(offset, length) {
        account::set_processes(first, page.cast_mut().cast());
    }
}

/// Keeps the hooks of this start of the service attached for as long as this
/// address space lives, whatever happens to the pins: see docs/design.md.
fn hold(generation: u64) -> Result<(), Errno> {
    const DIR: &[u8] = abi::HOLD_DIR.as_bytes();
    let mut path = [0; DIR.len() + 18];
    let (dir, rest) = path.split_at_mut(DIR.len());
    dir.copy_from_slice(DIR);
    let Some((slash, digits)) = rest.split_first_mut() else { return Ok(()) };
    *slash = b'/';
    for (index, digit) in digits.iter_mut().take(16).enumerate() {
        let nibble = (generation >> (60 - 4 * index) & 15) as u8;
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    }
    let path = CStr::from_bytes_until_nul(&path).unwrap_or(c"");
    File::open(path)?.hold()
}
