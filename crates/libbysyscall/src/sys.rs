// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The few system calls and libc functions that the library itself uses.
//!
//! The constructor may run under a filter that kills, so until the kernel has
//! said that there is none it makes only calls that ld.so has just made:
//! openat, read, close, mmap.

use core::ffi::{CStr, c_char, c_int, c_long, c_ulong, c_void};
use core::mem::MaybeUninit;

use crate::arch::{mmap_file, number, raw_syscall, register_atfork_address};
use crate::real::real_call;

unsafe extern "C" {
    /// glibc, `csu/errno-loc.c`: where the thread's `errno` lies.
    pub fn __errno_location() -> *mut c_int;
    fn getauxval(kind: c_ulong) -> c_ulong;
}

/// An error number of the kernel.
pub type Errno = i32;

fn checked(result: c_long) -> Result<usize, Errno> {
    if result < 0 { Err(-result as Errno) } else { Ok(result as usize) }
}

/// Whether the process has gained privileges by its exec (`AT_SECURE`, getauxval(3)).
pub fn is_secure_execution() -> bool {
    const AT_SECURE: c_ulong = 23;
    // SAFETY: looks up a number in the process's auxiliary vector.
    unsafe { getauxval(AT_SECURE) != 0 }
}

/// An address at the top of the main thread's stack, where the kernel has put
/// the random bytes for the stack protector (`AT_RANDOM`, getauxval(3)).
pub fn stack_top() -> usize {
    const AT_RANDOM: c_ulong = 25;
    // SAFETY: looks up a number in the process's auxiliary vector.
    unsafe { getauxval(AT_RANDOM) as usize }
}

/// Where the kernel has mapped the vDSO (`AT_SYSINFO_EHDR`, getauxval(3)); null: nowhere.
pub fn vdso_image() -> *const u8 {
    const AT_SYSINFO_EHDR: c_ulong = 33;
    // SAFETY: looks up a number in the process's auxiliary vector.
    unsafe { getauxval(AT_SYSINFO_EHDR) as *const u8 }
}

/// An open file that is closed when it goes out of scope.
pub struct File(c_int);

impl File {
    /// Opens a file for reading.
    pub fn open(path: &CStr) -> Result<Self, Errno> {
        const AT_FDCWD: isize = -100;
        const O_CLOEXEC: usize = 0o2000000;
        let arguments = [AT_FDCWD as usize, path.as_ptr() as usize, O_CLOEXEC, 0];
        // SAFETY: `path` is a C string, which the kernel only reads.
        checked(unsafe { raw_syscall(number::OPENAT, arguments) }).map(|fd| Self(fd as c_int))
    }

    /// Opens a pinned BPF object (`BPF_OBJ_GET`, bpf(2)).
    pub fn open_pin(path: &CStr) -> Result<Self, Errno> {
        const BPF_OBJ_GET: usize = 7;
        /// The members of `union bpf_attr` for this command.
        #[repr(C)]
        struct Attributes {
            pathname: u64,
            bpf_fd: u32,
            file_flags: u32,
        }
        let attributes = Attributes { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
        let arguments = [BPF_OBJ_GET, &raw const attributes as usize, size_of::<Attributes>(), 0];
        // SAFETY: the attributes and the path live over the call, which only reads them.
        checked(unsafe { raw_syscall(number::BPF, arguments) }).map(|fd| Self(fd as c_int))
    }

    /// Reads one `T`, or nothing.
    ///
    /// # Safety
    ///
    /// Any bytes must be a valid `T`.
    pub unsafe fn read<T>(&self) -> Result<Option<T>, Errno> {
        let mut buffer = MaybeUninit::<T>::uninit();
        let arguments = [self.0 as usize, buffer.as_mut_ptr() as usize, size_of::<T>(), 0];
        // SAFETY: the kernel writes at most the size of the buffer.
        let length = checked(unsafe { raw_syscall(number::READ, arguments) })?;
        // SAFETY: the kernel has filled the whole buffer, and any bytes will do.
        Ok((length == size_of::<T>()).then(|| unsafe { buffer.assume_init() }))
    }

    /// Maps `length` bytes from a page on, shared and read-only.
    pub fn map_shared(&self, offset: usize, length: usize) -> Result<*const c_void, Errno> {
        const PROT_READ: c_int = 1;
        const MAP_SHARED: c_int = 1;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let address = unsafe { mmap_file(length, PROT_READ, MAP_SHARED, self.0, offset) };
        checked(address).map(|address| address as *const c_void)
    }

    /// Keeps the file open for the life of the address space, without access to it.
    pub fn hold(&self) -> Result<(), Errno> {
        const PROT_NONE: c_int = 0;
        const MAP_PRIVATE: c_int = 2;
        // SAFETY: a new mapping at an address of the kernel's choice, which nobody accesses.
        checked(unsafe { mmap_file(1, PROT_NONE, MAP_PRIVATE, self.0, 0) }).map(drop)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours.
        unsafe { raw_syscall(number::CLOSE, [self.0 as usize, 0, 0, 0]) };
    }
}

/// Unmaps what [`File::map_shared`] mapped.
///
/// # Safety
///
/// Nobody may use the mapping any more.
pub unsafe fn unmap(address: *const c_void, length: usize) {
    // SAFETY: the caller's promise.
    unsafe { raw_syscall(number::MUNMAP, [address as usize, length, 0, 0]) };
}

/// Writes to standard error; what cannot be written is lost. As the program's own
/// calls are made, for at its exit syscall user dispatch may still be on.
pub fn write_stderr(text: &[u8]) {
    // SAFETY: the kernel only reads the text.
    unsafe { real_call(number::WRITE, [2, text.as_ptr() as usize, text.len()]) };
}

/// `__register_atfork` of glibc (`posix/register-atfork.c`).
type RegisterAtFork = unsafe extern "C" fn(
    prepare: Option<extern "C" fn()>,
    parent: Option<extern "C" fn()>,
    child: Option<extern "C" fn()>,
    dso_handle: *const c_void,
) -> c_int;

/// Has `child` called in each child that libc's `fork()` makes, if libc can do that.
pub fn at_fork_in_child(child: extern "C" fn()) {
    let address = register_atfork_address();
    if address != 0 {
        // SAFETY: it is the address of the function of this type.
        let register = unsafe { core::mem::transmute::<usize, RegisterAtFork>(address) };
        // SAFETY: the library is never unloaded (-z nodelete), so the function stays.
        unsafe { register(None, None, Some(child), core::ptr::null()) };
    }
}

/// Whether the libc is glibc, which alone passes arguments to constructors.
pub fn is_glibc() -> bool {
    register_atfork_address() != 0
}

/// The value of a variable in an environment. Not by `getenv()`, which programs
/// such as shells define themselves and are not yet ready to be asked.
///
/// # Safety
///
/// `environment` must be an array of C strings that ends with a null pointer.
pub unsafe fn find_variable(
    environment: *const *const c_char,
    name: &[u8],
) -> Option<&'static [u8]> {
    let mut entry = environment;
    // SAFETY: as the caller promises; a null pointer ends the array.
    unsafe {
        while !entry.is_null() && !(*entry).is_null() {
            let value = CStr::from_ptr(*entry).to_bytes().strip_prefix(name);
            if let Some(value) = value.and_then(|rest| rest.strip_prefix(b"=")) {
                return Some(value);
            }
            entry = entry.add(1);
        }
    }
    None
}
