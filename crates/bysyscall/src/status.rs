// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! `bysyscall status`: what runs, what does not, and why.

use std::fmt;
use std::io::Read;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bysyscall_abi::{Count, HOOKS, Service, WRAPPERS, Wrapper};
use comfy_table::{Table, presets};
use libbpf_rs::{Iter, Link, libbpf_sys};
use nix::unistd::{Gid, Group};
use rustix::fd::AsRawFd;
use serde::{Serialize, Serializer};

use crate::bpf::Switches;
use crate::enable::Enabled;
use crate::service::{State, version_of};
use crate::{bpf, kernel, paths, service, settings};

/// All that `status` tells; with `--json` in this shape.
#[derive(Serialize)]
pub struct Status {
    /// Whether the service is complete.
    pub running: bool,
    /// Whether something of a service is there that is not complete or of another version.
    pub remains: bool,
    /// Seconds since 1970 of the start.
    since: Option<u64>,
    version: String,
    kernel: String,
    lockdown: String,
    /// Whether processes keep the hooks attached, whatever becomes of the pins.
    held: Option<bool>,
    /// How processes ask on which CPU they are: `rdpid` or `lsl`.
    cpu_number_by: Option<&'static str>,
    /// How they tell the time since an anchor: by the time stamp counter, `rdtscp`, or the clock of the `vdso`.
    time_by: Option<&'static str>,
    /// Whether CPU times of a process of several threads are answered; `null`: not yet, and perhaps never, or
    /// those of no process are.
    #[serde(rename = "threads_added_up", serialize_with = "are_all_told")]
    switches: Option<Switches>,
    /// What `getrusage()` tells of threads and processes: `exact`, by real calls, or as of the last `tick`.
    getrusage: Option<&'static str>,
    /// What the service has of its configuration.
    configuration: Option<Configuration>,
    hooks: Vec<HookStatus>,
    wrappers: Vec<WrapperStatus>,
    registered: Option<Registered>,
    /// Which programs load the library by themselves.
    enabled: Enabled,
}

#[derive(Serialize)]
struct Configuration {
    /// Wrappers that are off by it.
    off: Vec<&'static str>,
    /// What it, or an option of the start, wants `getrusage()` to tell.
    getrusage: &'static str,
    /// Who may use the service; `None`: everyone.
    group: Option<String>,
    /// How many programs it has left alone.
    never: u32,
    /// How many it has served alone; 0: all.
    only: u32,
    log_level: String,
}

impl Configuration {
    fn of(service: &Service) -> Self {
        let off = WRAPPERS.iter().filter(|wrapper| wrapper.is_in(service.configured_off));
        Self {
            off: off.map(|wrapper| wrapper.name).collect(),
            getrusage: if service.wants_usage_by_tick != 0 { "tick" } else { "exact" },
            group: (service.group != bysyscall_abi::EVERYONE).then(|| group_name(service.group)),
            never: service.never,
            only: service.only,
            log_level: settings::log_level(service).to_string().to_lowercase(),
        }
    }
}

/// The name of a group, or its number if it has lost that.
fn group_name(number: u32) -> String {
    let group = Group::from_gid(Gid::from_raw(number)).ok().flatten();
    group.map_or_else(|| number.to_string(), |group| group.name)
}

#[derive(Serialize)]
struct HookStatus {
    name: &'static str,
    attach_point: &'static str,
    attached: bool,
    /// Why it is not attached.
    reason: Option<String>,
    /// Runs that the kernel left out because the program was running already.
    missed_runs: Option<u64>,
    /// Runs and their mean time, while the kernel's BPF statistics are on.
    runs: Option<u64>,
    mean_ns: Option<f64>,
}

#[derive(Serialize)]
struct WrapperStatus {
    name: &'static str,
    on: bool,
    /// Why it is off.
    reason: Option<String>,
}

#[derive(Serialize)]
struct Registered {
    processes: u64,
    threads: u64,
}

/// Looks at everything; needs root.
///
/// # Errors
///
/// If something that is there cannot be read.
pub fn collect() -> Result<Status> {
    let state = service::state();
    let service = match &state {
        State::Running(service) => Some(service),
        State::Remains | State::Absent => None,
    };
    let attached = service.map_or(0, |service| service.hooks);
    let refused = service.map_or_else(Vec::new, |service| {
        service::probe_hooks(!(service.hooks | service.spare_hooks)).refused
    });
    let why_not = |bit: u32| match service {
        None => Some("the service is not running".to_owned()),
        Some(_) => {
            let reason = refused.iter().find(|(hook, _)| hook.bit == bit);
            let spared = || "no wrapper that is on needed it so far".to_owned();
            Some(reason.map_or_else(spared, |(_, reason)| reason.clone()))
        }
    };
    let mut hooks = Vec::new();
    for hook in &HOOKS {
        let info = if hook.is_in(attached) { Some(program_info(hook.name)?) } else { None };
        hooks.push(HookStatus {
            name: hook.name,
            attach_point: hook.attach_point,
            attached: info.is_some(),
            reason: if info.is_some() { None } else { why_not(hook.bit) },
            missed_runs: info.map(|info| info.recursion_misses),
            runs: info.map(|info| info.run_cnt).filter(|&runs| runs > 0),
            mean_ns: info
                .filter(|info| info.run_cnt > 0)
                .map(|info| info.run_time_ns as f64 / info.run_cnt as f64),
        });
    }
    let published =
        service.map(|_| bpf::published(&paths::pin_dir().join(bpf::CONTROL))).transpose()?;
    let unfit = match (service, published) {
        (Some(service), Some((published, _))) => unfit_wrappers(service, published),
        _ => Vec::new(),
    };
    let wrappers = WRAPPERS.iter().map(|wrapper| {
        let on = published.is_some_and(|(published, _)| wrapper.is_in(published));
        let lacking = HOOKS.iter().find(|hook| hook.is_in(wrapper.hooks & !attached));
        let obstacle = unfit.iter().find(|(wrappers, _)| wrapper.is_in(*wrappers));
        let reason = match service {
            _ if on => None,
            None => Some("the service is not running".to_owned()),
            Some(service) if wrapper.is_in(service.switched_off) => {
                Some("switched off at the start (--off)".to_owned())
            }
            Some(service) if wrapper.is_in(service.configured_off & service.wrappers) => {
                Some("off by the configuration".to_owned())
            }
            Some(_) if obstacle.is_some() => obstacle.map(|(_, reason)| reason.clone()),
            Some(_) => Some(lacking.map_or_else(
                || format!("{} since the start; stop and start again", forbidden_by(wrapper)),
                |hook| format!("needs {}, which is not attached", hook.attach_point),
            )),
        };
        WrapperStatus { name: wrapper.name, on, reason }
    });
    Ok(Status {
        running: service.is_some(),
        remains: matches!(state, State::Remains),
        since: service.map(|service| service.started_at / 1_000_000_000),
        version: service.map_or_else(|| service::VERSION.to_owned(), version_of),
        kernel: kernel::release(),
        lockdown: kernel::lockdown(),
        held: service.map(is_held),
        cpu_number_by: service.map(cpu_number_by),
        time_by: service.map(time_by),
        switches: published.and_then(|(published, switches)| {
            let accounted =
                bysyscall_abi::USAGE_BY_TICK | bysyscall_abi::wrappers_that_need("bysys_tick");
            (published & accounted != 0).then_some(switches)
        }),
        getrusage: published.map(|(published, _)| {
            if published & bysyscall_abi::USAGE_BY_TICK != 0 { "tick" } else { "exact" }
        }),
        configuration: service.map(Configuration::of),
        hooks,
        wrappers: wrappers.collect(),
        registered: service.map(|_| registered()).transpose()?,
        enabled: Enabled::find()?,
    })
}

/// What has made the programs forbid a wrapper whose hooks are all attached.
fn forbidden_by(wrapper: &Wrapper) -> &'static str {
    let needs = |hook| wrapper.is_in(bysyscall_abi::wrappers_that_need(hook));
    if needs("bysys_ftrace") {
        "kernel.ftrace_enabled was written"
    } else if needs("bysys_tick") {
        "a tick of the kernel came before its time"
    } else {
        "a hook was called when it should not have been, or too many tasks were preempted in one,"
    }
}

/// Asks only where it matters: the kernel's types take long to read.
fn unfit_wrappers(service: &Service, published: u32) -> Vec<(u32, String)> {
    let clocks = bysyscall_abi::wrappers_that_need("bysys_tick");
    if clocks & !published & !service.switched_off & !(service.configured_off & service.wrappers)
        == 0
    {
        return Vec::new();
    }
    service::unfit_wrappers(service.tick_origin)
}

fn is_held(service: &Service) -> bool {
    service.record_flags & bysyscall_abi::RECORD_HELD != 0
}

fn cpu_number_by(service: &Service) -> &'static str {
    if service.record_flags & bysyscall_abi::RECORD_RDPID != 0 { "rdpid" } else { "lsl" }
}

fn time_by(service: &Service) -> &'static str {
    if service.counter_step != 0 { "rdtscp" } else { "vdso" }
}

/// What the kernel knows of the program behind a pinned link (`struct bpf_prog_info`).
fn program_info(hook: &str) -> Result<libbpf_sys::bpf_prog_info> {
    let path = paths::pin_dir().join(hook);
    let link = Link::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let program =
        link.info().with_context(|| format!("cannot ask about {}", path.display()))?.prog_id;
    let program = libbpf_rs::Program::fd_from_id(program)
        .with_context(|| format!("cannot open program {program}"))?;
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut size = size_of_val(&info) as u32;
    // SAFETY: the kernel writes at most `size` bytes, and any bytes will do.
    let result = unsafe {
        libbpf_sys::bpf_obj_get_info_by_fd(
            program.as_raw_fd(),
            (&raw mut info).cast(),
            &raw mut size,
        )
    };
    if result < 0 {
        return Err(std::io::Error::from_raw_os_error(-result))
            .context("cannot ask about a program");
    }
    Ok(info)
}

fn registered() -> Result<Registered> {
    let path = paths::pin_dir().join(bpf::COUNT);
    let link = Link::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut answer = Vec::new();
    Iter::new(&link)?
        .read_to_end(&mut answer)
        .with_context(|| format!("cannot read {}", path.display()))?;
    // SAFETY: the struct is all integers.
    let count: Count =
        unsafe { bpf::from_bytes(&answer) }.context("the task iterator gave no answer")?;
    Ok(Registered { processes: count.processes, threads: count.threads })
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.since {
            Some(since) => format!("running for {}", age(since)),
            None if self.remains => {
                "not running, but something is left of it: run `bysyscall stop`".to_owned()
            }
            None => "not running".to_owned(),
        };
        writeln!(f, "bysyscall {}: {state}", self.version)?;
        writeln!(f, "kernel {}, lockdown {}", self.kernel, self.lockdown)?;
        if let Some(registered) = &self.registered {
            writeln!(
                f,
                "registered: {} processes, {} threads",
                registered.processes, registered.threads
            )?;
        }
        writeln!(f, "{}", self.enabled)?;
        if self.held == Some(false) {
            writeln!(f, "no overlayfs: do not unmount {}", paths::links_dir().display())?;
        }
        if self.cpu_number_by == Some("lsl") {
            let but = if self.time_by == Some("rdtscp") { " but of CPU times" } else { "" };
            writeln!(f, "the CPUs have no rdpid, so each answer{but} takes a slower lsl")?;
        }
        let why_not_added_up = match self.switches {
            None | Some(Switches::Told) => None,
            Some(Switches::Watched) => Some(
                "for some seconds after the start, until the kernel is seen to hide no context switch",
            ),
            Some(Switches::Hidden) => Some("the kernel hides context switches"),
        };
        if let Some(why) = why_not_added_up {
            writeln!(f, "CPU times of processes with several threads are real calls: {why}")?;
        }
        match self.getrusage {
            Some("tick") => writeln!(
                f,
                "getrusage tells of threads and processes what was true at the last tick or switch"
            )?,
            Some(_) => {
                writeln!(f, "getrusage is bypassed for children only (start --getrusage tick)")?;
            }
            None => {}
        }
        if let Some(configuration) = &self.configuration {
            writeln!(f, "{configuration}")?;
        }
        let mut hooks = table(["HOOK", "ATTACHED TO", "STATE", "MISSED", "MEAN COST"]);
        for hook in &self.hooks {
            hooks.add_row([
                hook.name.to_owned(),
                hook.attach_point.to_owned(),
                if hook.attached {
                    "attached".to_owned()
                } else {
                    hook.reason.clone().unwrap_or_default()
                },
                hook.missed_runs.map(|runs| runs.to_string()).unwrap_or_default(),
                hook.mean_ns.map(|mean| format!("{mean:.0} ns")).unwrap_or_default(),
            ]);
        }
        writeln!(f, "\n{}", hooks.trim_fmt())?;
        let mut wrappers = table(["WRAPPER", "STATE"]);
        for wrapper in &self.wrappers {
            let off = |reason: &String| format!("off: {reason}");
            wrappers.add_row([
                wrapper.name.to_owned(),
                wrapper.reason.as_ref().map_or("on".to_owned(), off),
            ]);
        }
        write!(f, "\n{}", wrappers.trim_fmt())
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { off, getrusage, group, never, only, log_level } = self;
        write!(f, "configuration: {} wrappers off, getrusage {getrusage}, ", off.len())?;
        match group {
            Some(group) => write!(f, "for group {group} only, ")?,
            None => write!(f, "for everyone, ")?,
        }
        let programs = |count: u32| if count == 1 { "program" } else { "programs" };
        write!(f, "{never} {} never, ", programs(*never))?;
        if *only > 0 {
            write!(f, "{only} {} only, ", programs(*only))?;
        }
        write!(f, "log level {log_level}")
    }
}

fn are_all_told<S: Serializer>(
    switches: &Option<Switches>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    match switches {
        None | Some(Switches::Watched) => serializer.serialize_none(),
        Some(Switches::Told) => serializer.serialize_bool(true),
        Some(Switches::Hidden) => serializer.serialize_bool(false),
    }
}

fn table<const COLUMNS: usize>(head: [&str; COLUMNS]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(head);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

fn age(since: u64) -> String {
    let started = UNIX_EPOCH + Duration::from_secs(since);
    let seconds = SystemTime::now().duration_since(started).unwrap_or_default().as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
