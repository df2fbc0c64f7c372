// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What the kernel is, allows and lacks.

use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use bysyscall_abi::arch::{Cpu, has_rdpid};
use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The kernel's own types, without which nothing can be loaded.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Highest possible CPU number + 1.
///
/// # Errors
///
/// If `/sys/devices/system/cpu/possible` cannot be read.
pub fn possible_cpus() -> Result<u32> {
    const PATH: &str = "/sys/devices/system/cpu/possible";
    let ranges = fs::read_to_string(PATH).with_context(|| format!("cannot read {PATH}"))?;
    highest_cpu(&ranges)
        .map(|cpu| cpu + 1)
        .with_context(|| format!("{PATH}: cannot make sense of {ranges:?}"))
}

/// The highest number in a list as `0-3,8-11`.
fn highest_cpu(ranges: &str) -> Option<u32> {
    ranges.trim().rsplit([',', '-']).next()?.parse().ok()
}

/// Whether `rdpid` tells the number of each CPU.
pub fn rdpid_is_right() -> bool {
    has_rdpid() && tells_cpus(Cpu::by_rdpid)
}

/// Whether an instruction tells the number of each CPU that we may run on; a
/// hypervisor that leaves its register unset must not be believed.
pub fn tells_cpus(tell: impl Fn() -> Cpu + Send + 'static) -> bool {
    // The affinity is that of the thread alone, and ends with it.
    let look = move || {
        let allowed = sched_getaffinity(None).unwrap_or_default();
        (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).all(|number| {
            let mut only = CpuSet::new();
            only.set(number);
            // A CPU that has just gone offline is nobody's.
            sched_setaffinity(None, &only).is_err()
                || (tell() == Cpu::by_lsl() && tell().number() == number)
        })
    };
    std::thread::spawn(look).join().unwrap_or(false)
}

/// Release of the running kernel, as `uname -r` prints it.
pub fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// A file of securityfs. That need not be mounted: then an own instance is
/// asked, which nobody else sees.
fn security_file(name: &str) -> std::io::Result<String> {
    fs::read_to_string(Path::new("/sys/kernel/security").join(name)).or_else(|_| {
        let filesystem = fsopen("securityfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&filesystem)?;
        let root =
            fsmount(&filesystem, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
        let file = openat(&root, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut text = String::new();
        fs::File::from(file).read_to_string(&mut text)?;
        Ok(text)
    })
}

/// Lockdown state: `none`, `integrity`, `confidentiality`, or `unknown`.
pub fn lockdown() -> String {
    security_file("lockdown").ok().as_deref().and_then(chosen).unwrap_or("unknown").to_owned()
}

/// Whether a security module may refuse `getpgid()` or `getsid()` of one's own
/// pid, as these do (`security_task_getpgid`): then each such call is the kernel's.
pub fn own_id_may_be_refused() -> bool {
    security_file("lsm").map_or(true, |modules| {
        modules.trim().split(',').any(|module| ["selinux", "smack"].contains(&module))
    })
}

/// The word in brackets: `none [integrity] confidentiality`.
fn chosen(states: &str) -> Option<&str> {
    Some(states.split_once('[')?.1.split_once(']')?.0)
}

/// A capability that loading needs.
struct Capability {
    name: &'static str,
    bit: u32,
    reason: &'static str,
}

/// `include/uapi/linux/capability.h`
const CAPABILITIES: [Capability; 3] = [
    Capability { name: "CAP_SYS_ADMIN", bit: 21, reason: "to mount a bpffs" },
    Capability { name: "CAP_PERFMON", bit: 38, reason: "to attach to tracepoints" },
    Capability { name: "CAP_BPF", bit: 39, reason: "to load BPF programs" },
];

/// Whether we may do what `start` and `stop` must.
///
/// # Errors
///
/// Names the capabilities that are missing.
pub fn check_privileges() -> Result<()> {
    const PATH: &str = "/proc/thread-self/status";
    let status = fs::read_to_string(PATH).with_context(|| format!("cannot read {PATH}"))?;
    let missing: Vec<String> = missing_capabilities(effective_capabilities(&status).unwrap_or(0))
        .map(|capability| format!("{} {}", capability.name, capability.reason))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("needs {}; run it as root, with all capabilities", missing.join(", "))
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn missing_capabilities(effective: u64) -> impl Iterator<Item = &'static Capability> {
    CAPABILITIES.iter().filter(move |capability| effective & 1 << capability.bit == 0)
}

/// Whether this kernel can run the service at all.
///
/// # Errors
///
/// Says what the kernel lacks or forbids.
pub fn check_support() -> Result<()> {
    if !Path::new(BTF).exists() {
        bail!("{BTF} does not exist: the kernel must be built with CONFIG_DEBUG_INFO_BTF=y");
    }
    if lockdown() == "confidentiality" {
        bail!(
            "the kernel is locked down (lockdown=confidentiality) and lets no program read kernel memory; \
             boot with lockdown=integrity or lockdown=none"
        );
    }
    Ok(())
}

/// Whether the kernel runs programs at such an attach point: those on functions
/// need ftrace, which the administrator can switch off.
///
/// # Errors
///
/// If it does not.
pub fn check_runs(attach_point: &str) -> Result<()> {
    const SWITCH: &str = "/proc/sys/kernel/ftrace_enabled";
    let on_function = attach_point.starts_with("fentry/") || attach_point.starts_with("fexit/");
    if on_function && fs::read_to_string(SWITCH).is_ok_and(|text| text.trim() == "0") {
        bail!("kernel.ftrace_enabled is 0; set it to 1 and start again");
    }
    Ok(())
}

/// What the running kernel is likely to lack, for the message when it has
/// refused a program. Distributions backport, so only the kernel itself decides.
pub fn likely_missing() -> Option<&'static str> {
    missing_feature(&release())
}

/// What the programs are built on, by the release that brought it.
const FEATURES: [(u32, u32, &str); 4] = [
    (5, 12, "task local storage for tracing programs (Linux 5.12)"),
    (5, 14, "BPF programs of type syscall (Linux 5.14)"),
    (5, 17, "the bpf_loop helper (Linux 5.17)"),
    (5, 19, "BPF_OBJ_GET for unprivileged users (Linux 5.19)"),
];

fn missing_feature(release: &str) -> Option<&'static str> {
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().ok());
    let (major, minor) = (numbers.next()??, numbers.next()??);
    FEATURES.iter().find(|feature| (major, minor) < (feature.0, feature.1)).map(|feature| feature.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn highest_cpu_is_the_last_number() {
        assert_eq!(highest_cpu("0\n"), Some(0));
        assert_eq!(highest_cpu("0-1\n"), Some(1));
        assert_eq!(highest_cpu("0-3,8-11\n"), Some(11));
        assert_eq!(highest_cpu(""), None);
    }

    #[test]
    fn lockdown_is_the_word_in_brackets() {
        assert_eq!(chosen("[none] integrity confidentiality\n"), Some("none"));
        assert_eq!(chosen("none integrity [confidentiality]\n"), Some("confidentiality"));
        assert_eq!(chosen(""), None);
    }

    #[test]
    fn missing_capabilities_are_named() {
        let names = |effective| {
            missing_capabilities(effective).map(|missing| missing.name).collect::<Vec<_>>()
        };
        assert_eq!(names(u64::MAX), [""; 0]);
        assert_eq!(names(!(1 << 39)), ["CAP_BPF"]);
        assert_eq!(
            effective_capabilities("CapPrm:\t0\nCapEff:\t000001fffeffffff\n"),
            Some(0x1ff_feff_ffff)
        );
    }

    #[test]
    fn old_kernels_lack_the_first_feature_they_lack() {
        assert_eq!(missing_feature("5.10.0-32-cloud-amd64"), Some(FEATURES[0].2));
        assert_eq!(missing_feature("5.15.0-1"), Some(FEATURES[2].2));
        assert_eq!(missing_feature("6.1.0-37-cloud-amd64"), None);
        assert_eq!(missing_feature("7.2+deb14-amd64"), None);
        assert_eq!(missing_feature("unknown"), None);
    }
}
