// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The kernel's clocks and ticks: whether processes can tell CPU time by what is published.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use bysyscall_abi::arch::{Cpu, has_counter};
use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::Struct;
use rustix::time::{ClockId, clock_getres, clock_gettime};

use crate::kernel;

/// Clock sources that the vDSO can read (`enum vdso_clock_mode`), by their names in sysfs.
const READABLE: [&str; 3] = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page"];

/// Why this kernel's account of CPU time cannot be told from outside; `None`: it can.
pub fn obstacle() -> Option<String> {
    const NOHZ_FULL: &str = "/sys/devices/system/cpu/nohz_full";

    let clocksource = clocksource();
    if !READABLE.contains(&clocksource.as_str()) {
        return Some(format!("the vDSO cannot read the clock source {clocksource}"));
    }
    // There the kernel charges times at each entry (kernel/sched/cputime.c, vtime_task_switch).
    if has_cpus(&fs::read_to_string(NOHZ_FULL).unwrap_or_default()) {
        return Some("the kernel runs with nohz_full".to_owned());
    }
    let Ok(kernel) = Btf::from_vmlinux() else {
        return Some("the kernel's types cannot be read".to_owned());
    };
    // Interrupts take place unseen between two looks at the account, and are no run time there.
    if kernel.type_by_name::<Struct<'_>>("irqtime").is_some() {
        return Some("the kernel accounts for interrupts (CONFIG_IRQ_TIME_ACCOUNTING)".to_owned());
    }
    let has_queue = kernel.type_by_name::<Struct<'_>>("cfs_rq").is_some_and(|queue| {
        queue.iter().any(|member| member.name.is_some_and(|name| name == "rq"))
    });
    (!has_queue).then(|| "the kernel lacks CONFIG_FAIR_GROUP_SCHED".to_owned())
}

/// By what the kernel tells the time.
fn clocksource() -> String {
    const PATH: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    fs::read_to_string(PATH).unwrap_or_default().trim().to_owned()
}

/// The time stamp counter, where it is what the kernel tells the time by, and so steps alike on all CPUs.
pub struct Counter {
    since: Look,
}

impl Counter {
    /// Begins to measure it; `None`: it is not to be read instead of the clock.
    ///
    /// `rdpid_is_right`: what [`kernel::rdpid_is_right`] says; `rdtscp` tells the number that `rdpid` tells.
    pub fn measure(rdpid_is_right: bool) -> Option<Self> {
        let tells_cpus = || rdpid_is_right || kernel::tells_cpus(|| Cpu::with_counter().1);
        let may_be_read = clocksource() == "tsc" && has_counter() && tells_cpus();
        may_be_read.then(|| Self { since: Look::take() })
    }

    /// What a header says of it; 0: it could not be measured.
    pub fn step(self) -> u32 {
        const LONG_ENOUGH: Duration = Duration::from_millis(50);
        /// Millionths that are taken off, lest it be more than what the scheduler's clock counts by: two looks may be wrong by 20
        /// together, and a hypervisor may give that clock a rate of its own (`arch/x86/kernel/kvmclock.c`, `kvm_sched_clock_init`).
        const LESS: u128 = 200;
        /// ns
        const NEAR: u64 = 500;

        let elapsed = Look::take().time.saturating_sub(self.since.time);
        sleep(LONG_ENOUGH.saturating_sub(Duration::from_nanos(elapsed)));
        let now = Look::take();
        let time = u128::from(now.time.saturating_sub(self.since.time));
        let steps = u128::from(now.counter.saturating_sub(self.since.counter)).max(1);
        let step = |less: u128| (time << 32) * (1_000_000 - less) / (steps * 1_000_000);
        let is_near = |look: &Look| (u128::from(look.took) * step(0)) >> 32 < u128::from(NEAR);
        match u32::try_from(step(LESS)) {
            Ok(step) if is_near(&now) && is_near(&self.since) => step,
            _ => 0,
        }
    }
}

/// The counter beside the clock that it drives, unslewed.
struct Look {
    counter: u64,
    /// ns
    time: u64,
    /// Steps from the counter to the clock and back.
    took: u64,
}

impl Look {
    /// The nearest of several.
    fn take() -> Self {
        const LOOKS: u32 = 50;
        let look = |_| {
            let (before, _) = Cpu::with_counter();
            let time = clock_gettime(ClockId::MonotonicRaw);
            let (after, _) = Cpu::with_counter();
            let took = after.saturating_sub(before);
            let time = time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
            Self { counter: before + took / 2, time, took }
        };
        let first = look(0);
        (1..LOOKS)
            .map(look)
            .fold(first, |best, next| if next.took < best.took { next } else { best })
    }
}

/// Whether a list of CPUs, as sysfs has it, names one.
fn has_cpus(list: &str) -> bool {
    !matches!(list.trim(), "" | "(null)")
}

/// ns from one tick to the next: what the kernel gives as resolution of its coarse clocks
/// (`kernel/time/posix-timers.c`, `posix_get_coarse_res`).
pub fn tick() -> u32 {
    clock_getres(ClockId::MonotonicCoarse).tv_nsec as u32
}

/// When the kernel counts its ticks: number n at this time + n * [`tick`] of
/// `CLOCK_MONOTONIC` or later, modulo 2^64 (`kernel/time/tick-sched.c`, `tick_do_update_jiffies64`).
///
/// # Errors
///
/// If `/proc/timer_list` does not tell, or not the same each time.
pub fn tick_origin() -> Result<u64> {
    const PATH: &str = "/proc/timer_list";
    const LOOKS: usize = 50;
    // Over a tenth of a second: a virtual CPU that counts ticks may have to wait for so long.
    const LEAST_LOOKS: usize = 12;
    const SEEN_AT_LEAST: usize = 6;
    // Each at another tick, and at another time of it.
    let pause = Duration::from_nanos(u64::from(tick()) * 23 / 10);

    let (mut origins, mut unclear) = (Vec::new(), None);
    for look in 1..=LOOKS {
        let (list, after) = timers(PATH).with_context(|| format!("cannot read {PATH}"))?;
        match origin(&list, after, tick().into()) {
            Ok(origin) => origins.push(origin as i64),
            Err(error) => unclear = Some(error),
        }
        // A tick that is late, on a machine that is not let run, makes an origin later, never earlier.
        let earliest = origins.iter().min().copied();
        let times = origins.iter().filter(|origin| Some(**origin) == earliest).count();
        if let Some(earliest) = earliest
            && look >= LEAST_LOOKS
            && times >= SEEN_AT_LEAST
        {
            return Ok(earliest as u64);
        }
        sleep(pause);
    }
    Err(unclear
        .unwrap_or_else(|| anyhow!("the kernel's ticks come too late to tell their times"))
        .context(format!("{PATH} is not clear")))
}

/// The list, and the time when the count of ticks in it had been read; in ns.
fn timers(path: &str) -> io::Result<(String, u64)> {
    // The kernel makes the list as it is read, one CPU after the other, and the count is at the end of the
    // first: so much that it begins with that one, and so little that it does not go on to the next.
    const AT_ONCE: usize = 1024;
    let mut file = BufReader::with_capacity(AT_ONCE, File::open(path)?);
    let (mut list, mut after) = (String::new(), None);
    loop {
        let start = list.len();
        if file.read_line(&mut list)? == 0 {
            return Ok((list, after.unwrap_or(u64::MAX)));
        }
        if after.is_none() && list[start..].starts_with(TICKS) {
            let now = clock_gettime(ClockId::Monotonic);
            after = Some(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64);
        }
    }
}

/// What the line with the count of ticks begins with.
const TICKS: &str = "jiffies: ";

/// From when a list was made, how many ticks there had been, and when CPUs have their next. `after`: when
/// the number of ticks had been read.
fn origin(list: &str, after: u64, tick: u64) -> Result<u64> {
    let number = |prefix: &str| {
        let rest = list.lines().find_map(|line| line.strip_prefix(prefix));
        rest.and_then(first_number).with_context(|| format!("no line `{prefix}`"))
    };
    let (now, jiffies) = (number("now at ")?, number(TICKS)?);
    // Named so up to Linux 6.7, and from then on.
    let is_tick =
        |line: &str| line.contains(", tick_sched_timer,") || line.contains(", tick_nohz_handler,");
    let expiries = list.lines().zip(list.lines().skip(1)).filter(|(line, _)| is_tick(line));
    let mut phases: Vec<u64> = expiries
        .filter_map(|(_, expiry)| first_number(expiry.trim_start().strip_prefix("# expires at ")?))
        .map(|expiry| expiry % tick)
        .collect();
    phases.sort_unstable();
    phases.dedup();
    ensure!(phases.len() == 1, "CPUs have {} different ticks", phases.len());
    let last = now - (now - phases[0]) % tick;
    ensure!(after - last < tick, "a tick came meanwhile");
    Ok(last.wrapping_sub(jiffies.wrapping_mul(tick)))
}

/// The number that a text begins with.
fn first_number(text: &str) -> Option<u64> {
    text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 2_691_193_041_763;
    const LIST: &str = "Timer List Version: v0.10
HRTIMER_MAX_CLOCK_BASES: 8
now at 2691193041763 nsecs

cpu: 0
active timers:
 #0: <0>, tick_nohz_handler, S:01
 # expires at 2691196000000-2691196000000 nsecs [in 2958237 to 2958237 nsecs]
 #1: <0>, hrtimer_wakeup, S:01
 # expires at 2691231792957-2691231842957 nsecs [in 38751194 to 38801194 nsecs]
  .last_jiffies   : 4295564900
jiffies: 4295565031
cpu: 1
 #0: <0>, tick_nohz_handler, S:01
 # expires at 2691196000000-2691196000000 nsecs [in 2958237 to 2958237 nsecs]
";

    #[test]
    fn ticks_are_where_timers_expire() {
        let counted = 4_295_565_031u64 * 4_000_000;
        let origin_at = |after| origin(LIST, after, 4_000_000).ok();
        assert_eq!(origin_at(NOW + 1), Some(2_691_192_000_000u64.wrapping_sub(counted)));
        assert_eq!(origin_at(2_691_196_000_000), None);
    }

    #[test]
    fn ticks_that_differ_are_none() {
        let skewed = LIST.replacen("2691196000000-", "2691196000001-", 1);
        assert!(origin(&skewed, NOW, 4_000_000).is_err());
        assert!(origin(&LIST.replace("tick_nohz_handler", "other"), NOW, 4_000_000).is_err());
        assert!(origin("", NOW, 4_000_000).is_err());
    }

    #[test]
    fn no_cpus_are_no_cpus() {
        assert!(!has_cpus("") && !has_cpus("\n") && !has_cpus("(null)\n"));
        assert!(has_cpus("1-3\n"));
    }
}
