// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What this program does when it is one of those that are tried with the library.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

/// How what the library says begins, where it may not ask the kernel for anything.
pub const SAID_UNDER_FILTER: &str = "bysyscall: real calls only: ";

/// Which of them.
#[derive(Clone, Copy, ValueEnum)]
pub enum Probed {
    /// Asks for its ids from two threads
    Threads,
    /// Becomes `/bin/true`, under a filter
    Filtered,
}

impl Probed {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::Filtered => "filtered",
        }
    }
}

/// Fails unless all is as without the library, and a line of the memory map ends with `library`.
///
/// # Errors
///
/// Says what is not.
pub fn run(probed: Probed, library: &str) -> Result<()> {
    match probed {
        Probed::Threads => threads(library),
        Probed::Filtered => Err(filtered()?).context("cannot run /bin/true"),
    }
}

fn threads(library: &str) -> Result<()> {
    let maps = fs::read_to_string("/proc/self/maps").context("cannot read /proc/self/maps")?;
    ensure!(maps.lines().any(|line| line.ends_with(library)), "{library} is not loaded");
    check_ids()?;
    let other = std::thread::spawn(check_ids);
    check_ids()?;
    other.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
}

/// What libc's functions say, which the library may answer, against what the kernel says.
fn check_ids() -> Result<()> {
    for _ in 0..1000 {
        // SAFETY: these only tell numbers.
        let said = unsafe { [libc::getpid(), libc::gettid(), libc::getppid()] };
        let process = rustix::process::getpid().as_raw_pid();
        let parent = rustix::process::getppid().map_or(0, |parent| parent.as_raw_pid());
        let right = [process, rustix::thread::gettid().as_raw_pid(), parent];
        ensure!(said == right, "pid, tid and parent are {right:?}, not {said:?}");
    }
    Ok(())
}

/// Kills for whatever is not in the list, as filters of services do. `bpf()` is not in it.
fn filtered() -> Result<std::io::Error> {
    let allowed = ALLOWED.iter().map(|&call| (call, Vec::new())).collect::<BTreeMap<_, _>>();
    let filter = SeccompFilter::new(
        allowed,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        TargetArch::x86_64,
    )?;
    apply_filter(&BpfProgram::try_from(filter)?)?;
    Ok(Command::new("/bin/true").exec())
}

/// What the start and the end of a program take, with any glibc.
const ALLOWED: [i64; 58] = [
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup2,
    libc::SYS_execve,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_futex,
    libc::SYS_getcwd,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_ioctl,
    libc::SYS_lseek,
    libc::SYS_lstat,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_newfstatat,
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_poll,
    libc::SYS_prctl,
    libc::SYS_pread64,
    libc::SYS_prlimit64,
    libc::SYS_read,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    libc::SYS_stat,
    libc::SYS_statfs,
    libc::SYS_write,
];
