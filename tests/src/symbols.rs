// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The same function in two libraries, called in the same way: by pointer.

use std::ffi::{CStr, CString, c_int, c_long, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// An opened shared library; it stays loaded.
pub struct Library(*mut c_void);

/// A function like `getpid`, or like `getpgid`; the former looks at no argument.
pub type Plain = extern "C" fn(c_int) -> c_int;
/// A function like `getresuid`.
pub type ThreeIds = extern "C" fn(*mut u32, *mut u32, *mut u32) -> c_int;
/// A function like `clock_gettime`.
pub type Clock = extern "C" fn(c_int, *mut libc::timespec) -> c_int;
/// A function like `times`.
pub type Times = extern "C" fn(*mut libc::tms) -> c_long;
/// A function like `getrusage`.
pub type Usage = extern "C" fn(c_int, *mut libc::rusage) -> c_int;
/// `syscall`, with no more arguments than are used here.
pub type Syscall = extern "C" fn(c_long, c_long) -> c_long;

impl Library {
    /// Loads a library, with its constructor.
    ///
    /// # Errors
    ///
    /// If `dlopen` fails.
    pub fn open(path: &Path) -> Result<Self> {
        let c_path = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: the library's constructor makes no demands on us.
        let handle = unsafe { libc::dlopen(c_path.as_ptr(), libc::RTLD_NOW) };
        if handle.is_null() {
            bail!("cannot load {}", path.display());
        }
        Ok(Self(handle))
    }

    /// The C library.
    ///
    /// # Errors
    ///
    /// If `dlopen` fails.
    pub fn libc() -> Result<Self> {
        Self::open(Path::new("libc.so.6"))
    }

    fn address(&self, name: &CStr) -> Result<*mut c_void> {
        // SAFETY: looks up a name in a library that stays loaded.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        if address.is_null() {
            bail!("no function {}", name.to_string_lossy());
        }
        Ok(address)
    }

    /// A function with at most one argument.
    ///
    /// # Errors
    ///
    /// If the library has none of this name.
    pub fn plain(&self, name: &str) -> Result<Plain> {
        let address = self.address(&CString::new(name)?).context("dlsym")?;
        // SAFETY: the callers ask for functions of this type.
        Ok(unsafe { std::mem::transmute::<*mut c_void, Plain>(address) })
    }

    /// A function that stores three ids.
    ///
    /// # Errors
    ///
    /// If the library has none of this name.
    pub fn three_ids(&self, name: &str) -> Result<ThreeIds> {
        let address = self.address(&CString::new(name)?).context("dlsym")?;
        // SAFETY: the callers ask for functions of this type.
        Ok(unsafe { std::mem::transmute::<*mut c_void, ThreeIds>(address) })
    }

    /// `clock_gettime()`.
    ///
    /// # Errors
    ///
    /// If the library has none.
    pub fn clock_gettime(&self) -> Result<Clock> {
        let address = self.address(c"clock_gettime").context("dlsym")?;
        // SAFETY: the function is of this type.
        Ok(unsafe { std::mem::transmute::<*mut c_void, Clock>(address) })
    }

    /// `times()`.
    ///
    /// # Errors
    ///
    /// If the library has none.
    pub fn times(&self) -> Result<Times> {
        let address = self.address(c"times").context("dlsym")?;
        // SAFETY: the function is of this type.
        Ok(unsafe { std::mem::transmute::<*mut c_void, Times>(address) })
    }

    /// `getrusage()`; as libc has one, a library without it finds libc's.
    ///
    /// # Errors
    ///
    /// If the library has none.
    pub fn getrusage(&self) -> Result<Usage> {
        let address = self.address(c"getrusage").context("dlsym")?;
        // SAFETY: the function is of this type.
        Ok(unsafe { std::mem::transmute::<*mut c_void, Usage>(address) })
    }

    /// `syscall()`.
    ///
    /// # Errors
    ///
    /// If the library has none.
    pub fn syscall(&self) -> Result<Syscall> {
        let address = self.address(c"syscall").context("dlsym")?;
        // SAFETY: on x86-64 a variadic function without floating-point arguments is called like this.
        Ok(unsafe { std::mem::transmute::<*mut c_void, Syscall>(address) })
    }
}
