// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Starting and stopping: all or nothing, one at a time.
//!
//! A start is complete when the registration file appears, which is its last
//! step; processes that find none make real calls. So whatever an interrupted
//! start or stop leaves behind is inert, and the next start or stop removes it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use bysyscall_abi as abi;
use bysyscall_abi::{HOOKS, Service};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::bpf::{self, Attached};
use crate::config::Config;
use crate::mounts::{self, Mounted};
use crate::settings::Options;
use crate::{clocks, kernel, paths, programs, settings};

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Modes of what users open, where everyone may.
const REGISTER_MODE: u32 = 0o444;
const CELLS_MODE: u32 = 0o666;

/// What is there of the service.
pub enum State {
    /// Complete, of this ABI.
    Running(Service),
    /// Something is there, but not a service of ours that is complete.
    Remains,
    /// Nothing.
    Absent,
}

/// Looks what is there; needs root.
pub fn state() -> State {
    let traces = [paths::pin_dir(), paths::public_dir(), paths::hold_dir(), paths::links_dir()];
    if !traces.iter().any(|path| path.exists()) {
        return State::Absent;
    }
    match bpf::read_service(&paths::pin_dir().join(bpf::SERVICE)) {
        Ok(Some(service)) if service.abi_version == abi::ABI_VERSION && is_complete(&service) => {
            State::Running(service)
        }
        _ => State::Remains,
    }
}

fn is_complete(service: &Service) -> bool {
    let hooks = HOOKS.iter().filter(|hook| hook.is_in(service.hooks));
    let pins = hooks.map(|hook| hook.name).chain([bpf::CONTROL, bpf::COUNT, bpf::PROGRAMS]);
    let is_held = || paths::hold_dir().join(paths::hold_file(service.generation)).exists();
    pins.map(|name| paths::pin_dir().join(name)).all(|pin| pin.exists())
        && (service.record_flags & abi::RECORD_HELD == 0 || is_held())
        && paths::cells().exists()
        && paths::register().exists()
}

/// The version that a service says it is of.
pub fn version_of(service: &Service) -> String {
    String::from_utf8_lossy(&service.version).trim_end_matches('\0').to_owned()
}

/// Held while the service is started, stopped or asked, so that two never do it
/// at once. The file is gone afterwards.
pub struct Lock {
    file: File,
    path: &'static Path,
}

impl Lock {
    /// Waits for its turn, or until the user asks us to end.
    ///
    /// # Errors
    ///
    /// If the lock file cannot be opened or locked, or we are interrupted.
    pub fn take(interrupts: &Interrupts) -> Result<Self> {
        Self::take_at(paths::lock_file(), interrupts)
    }

    /// The same by another file, which only root may be able to open.
    ///
    /// # Errors
    ///
    /// As of [`Lock::take`].
    pub fn take_at(path: &'static Path, interrupts: &Interrupts) -> Result<Self> {
        const PAUSE: Duration = Duration::from_millis(20);
        let name = || format!("cannot lock {}", path.display());
        loop {
            interrupts.check()?;
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(path)
                .with_context(name)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Its last holder may have removed it after we opened it: then it locks nothing.
                Ok(())
                    if fs::metadata(path).is_ok_and(|now| {
                        file.metadata().is_ok_and(|ours| ours.ino() == now.ino())
                    }) =>
                {
                    return Ok(Self { file, path });
                }
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => std::thread::sleep(PAUSE),
                Err(error) => return Err(error).with_context(name),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Before the lock goes with the file; a lock file that stays would do no harm.
        let _ = fs::remove_file(self.path);
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Knows whether the user has asked us to end (SIGINT, SIGTERM, SIGHUP).
pub struct Interrupts(Arc<AtomicBool>);

impl Interrupts {
    /// From now on these signals no longer end us.
    ///
    /// # Errors
    ///
    /// If a handler cannot be installed.
    pub fn catch() -> Result<Self> {
        let caught = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&caught))
                .context("cannot catch signals")?;
        }
        Ok(Self(caught))
    }

    /// # Errors
    ///
    /// If they have.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(Interrupted.into());
        }
        Ok(())
    }
}

/// The user has asked us to end; what was begun has been undone.
#[derive(Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("interrupted; nothing was left behind")
    }
}

impl std::error::Error for Interrupted {}

/// Which hooks this kernel takes, and why not the others.
pub struct Hooks {
    /// Bits of [`HOOKS`].
    pub accepted: u32,
    /// The refused ones, with the kernel's reason.
    pub refused: Vec<(&'static abi::Hook, String)>,
}

/// Asks the kernel about the hooks whose bits are in `which`.
pub fn probe_hooks(which: u32) -> Hooks {
    let mut hooks = Hooks { accepted: 0, refused: Vec::new() };
    for hook in HOOKS.iter().filter(|hook| hook.is_in(which)) {
        match kernel::check_runs(hook.attach_point).and_then(|()| bpf::probe(hook)) {
            Ok(()) => hooks.accepted |= 1 << hook.bit,
            Err(error) => hooks.refused.push((hook, format!("{error:#}"))),
        }
    }
    hooks
}

/// Starts the service; the caller holds the lock and has found none running.
///
/// # Errors
///
/// Says what failed; then nothing is left behind.
pub fn start(interrupts: &Interrupts, options: Options, config: &Config) -> Result<Service> {
    tear_down()
        .context("cannot remove what an earlier start has left behind; try: bysyscall stop")?;
    let result = set_up(interrupts, options, config);
    if result.is_err()
        && let Err(error) = tear_down()
    {
        log::warn!("{error:#}");
    }
    result
}

/// Loads and attaches what this kernel takes: all at once, or what is left after it was asked
/// about hooks.
fn attach(service: &mut Service) -> Result<Attached> {
    let unfit =
        unfit_wrappers(service.tick_origin).iter().fold(0, |bits, (wrappers, _)| bits | wrappers);
    let all = abi::wrappers_kept_right_by(!0) & !unfit;
    if all & !service.switched_off == 0 {
        bail!("all wrappers that this kernel allows are switched off; leave one on");
    }
    if HOOKS.iter().all(|hook| kernel::check_runs(hook.attach_point).is_ok()) {
        choose(service, !0, unfit);
        if let Ok(attached) = Attached::new(service) {
            return Ok(attached);
        }
    }
    // A kernel that is locked down refuses those on functions alone, and to ask takes long.
    let on_functions = HOOKS.iter().filter(|hook| !hook.attach_point.starts_with("tp_btf/"));
    let on_functions = on_functions.fold(0, |bits, hook| bits | 1 << hook.bit);
    choose(service, probe_hooks(on_functions).accepted | !on_functions, unfit);
    if service.wrappers != 0
        && let Ok(attached) = Attached::new(service)
    {
        return Ok(attached);
    }
    let hooks = probe_hooks(!0);
    choose(service, hooks.accepted, unfit);
    if service.wrappers == 0 {
        let reasons = hooks
            .refused
            .iter()
            .map(|(hook, reason)| format!("\n  {} ({}): {reason}", hook.name, hook.attach_point));
        let missing = kernel::likely_missing()
            .map(|feature| format!(": it lacks {feature}"))
            .unwrap_or_default();
        bail!(
            "kernel {} cannot run the service{missing}{}",
            kernel::release(),
            reasons.collect::<String>()
        );
    }
    Attached::new(service).or_else(|error| {
        service.reads_paths = 0;
        Attached::new(service).map_err(|_| error)
    })
}

/// When the kernel counts its ticks; 0 if that is not to be found out.
fn tick_origin() -> u64 {
    clocks::tick_origin().unwrap_or_else(|error| {
        log::warn!("{error:#}");
        0
    })
}

/// Takes the wrappers that the hooks keep right, and of the hooks those that the wrappers need: now,
/// and what a `reload` may switch on.
fn choose(service: &mut Service, hooks: u32, unfit: u32) {
    service.wrappers = abi::wrappers_kept_right_by(hooks) & !unfit & !service.switched_off;
    let accounting = abi::wrappers_that_need("bysys_tick");
    let can_account = abi::wrappers_kept_right_by(hooks) & !unfit & accounting != 0;
    let is_on = service.wrappers & abi::wrappers_that_need("bysys_wait") & !accounting != 0;
    service.usage_by_tick = if can_account && is_on { service.wants_usage_by_tick } else { 0 };
    service.hooks = hooks & hooks_now(service);
    let all = hooks & abi::hooks_for(service.wrappers | service.usage_by_tick);
    service.spare_hooks = all & !service.hooks;
}

/// The hooks of what is published. Processes can register whatever is.
fn hooks_now(service: &Service) -> u32 {
    let always = abi::WRAPPERS.iter().fold(!0, |bits, wrapper| bits & wrapper.hooks);
    always | abi::hooks_for(settings::published(service) | service.usage_by_tick)
}

/// Wrappers that no hook can keep right on this kernel, and why; `tick_origin` as in the service.
pub fn unfit_wrappers(tick_origin: u64) -> Vec<(u32, String)> {
    let clocks = clocks::obstacle().map(|reason| (abi::wrappers_that_need("bysys_tick"), reason));
    let times = (tick_origin == 0).then(|| {
        let reason = "the kernel's ticks were not to be found out at the start".to_owned();
        let counts_ticks =
            abi::wrappers_that_need("bysys_wait") & abi::wrappers_that_need("bysys_tick");
        (counts_ticks, reason)
    });
    clocks.into_iter().chain(times).collect()
}

fn set_up(interrupts: &Interrupts, options: Options, config: &Config) -> Result<Service> {
    kernel::check_support()?;
    interrupts.check()?;

    let held = mounts::has_overlay();
    if !held {
        log::warn!(
            "the kernel has no overlayfs (CONFIG_OVERLAY_FS), so the hooks last only as long as {} is mounted: \
             never unmount it by hand",
            paths::links_dir().display()
        );
    }
    let held_flag = if held { abi::RECORD_HELD } else { 0 };
    let rdpid_is_right = kernel::rdpid_is_right();
    let rdpid_flag = if rdpid_is_right { abi::RECORD_RDPID } else { 0 };
    let own_id_flag = if kernel::own_id_may_be_refused() { 0 } else { abi::RECORD_OWN_ID };
    // That takes a while, and so does what comes between.
    let counter = clocks::Counter::measure(rdpid_is_right);
    let tick_origin = tick_origin();
    let service = Service {
        generation: random_number()?,
        started_at: SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64,
        abi_version: abi::ABI_VERSION,
        record_flags: held_flag | rdpid_flag | own_id_flag,
        cell_count: kernel::possible_cpus()?,
        tick_origin,
        counter_step: counter.map_or(0, clocks::Counter::step),
        reads_paths: 1,
        ..Service::default()
    };
    let mut service = settings::configured(&service, options, config);
    for (to, from) in service.version.iter_mut().zip(VERSION.bytes()) {
        *to = from;
    }
    let attached = attach(&mut service)?;
    settings::check_paths(&service, config)?;
    programs::install(&attached.programs()?, config)?;
    interrupts.check()?;

    mounts::mount_public(paths::public_dir())?;
    let hold_file = held.then(|| paths::hold_file(service.generation));
    mounts::mount_hold(paths::links_dir(), paths::hold_dir(), hold_file.as_deref(), |dir| {
        attached.pin_holders(dir)
    })?;
    interrupts.check()?;
    mounts::mount_system_bpffs(Path::new(paths::BPFFS))?;
    fs::create_dir(paths::pin_dir())
        .with_context(|| format!("cannot create {}", paths::pin_dir().display()))?;
    mounts::set_mode(paths::pin_dir(), 0o700)?;
    attached.pin_private(paths::pin_dir())?;
    attached.pin_cells(paths::cells())?;
    mounts::give_to(paths::cells(), CELLS_MODE, config.group)?;
    attached.enable(settings::published(&service))?;
    interrupts.check()?;
    let prepared = paths::public_dir().join("register-new");
    attached.pin_register(&prepared)?;
    mounts::give_to(&prepared, REGISTER_MODE, config.group)?;
    fs::rename(&prepared, paths::register())
        .with_context(|| format!("cannot rename {}", prepared.display()))?;
    Ok(service)
}

/// Whether a running service, whose lock the caller holds, is as a configuration has it.
///
/// # Errors
///
/// If the kernel does not tell which lists of programs are in effect.
pub fn follows(service: &Service, config: &Config) -> Result<bool> {
    let place = bpf::pinned_map(&paths::pin_dir().join(bpf::PROGRAMS))?;
    Ok(settings::follows(service, config) && programs::are_installed(&place, config)?)
}

/// Has a running service, whose lock the caller holds, follow a configuration.
///
/// # Errors
///
/// Says what failed. What only a new start can do is refused before anything is changed.
pub fn reload(service: &Service, config: &Config) -> Result<Service> {
    let mut new = settings::reconfigured(service, config)?;
    let pin = |name: &str| paths::pin_dir().join(name);
    attach_spares(&mut new)?;
    programs::install(&bpf::pinned_map(&pin(bpf::PROGRAMS))?, config)?;
    mounts::give_to(paths::register(), REGISTER_MODE, config.group)?;
    mounts::give_to(paths::cells(), CELLS_MODE, config.group)?;
    // In this order, so that whatever is published is known to have its hooks.
    bpf::write_service(&pin(bpf::SERVICE), &new)?;
    bpf::publish(&pin(bpf::CONTROL), settings::published(&new))?;
    Ok(new)
}

/// Attaches the hooks that something to be published needs and that were spared so far.
fn attach_spares(service: &mut Service) -> Result<()> {
    let needed = service.spare_hooks & hooks_now(service);
    if needed == 0 {
        return Ok(());
    }
    let dirs = [paths::pin_dir(), paths::links_dir()];
    mounts::change_links(paths::links_dir(), || {
        HOOKS
            .iter()
            .filter(|hook| hook.is_in(needed))
            .try_for_each(|hook| bpf::attach_spare(hook, &dirs))
    })?;
    service.hooks |= needed;
    service.spare_hooks &= !needed;
    Ok(())
}

/// Stops the service or removes what is left of one; the caller holds the lock.
///
/// # Errors
///
/// Says what could not be removed. It can be called again.
pub fn tear_down() -> Result<()> {
    let public = paths::public_dir();
    if matches!(mounts::mounted(public)?, Mounted::Ours(_)) {
        remove_file(paths::register())?;
    }
    // From here on all processes make real calls; only then may the hooks go. Either of the two
    // directories may be gone, and each has the control program.
    let stop = |dir: &Path| {
        let control = dir.join(bpf::CONTROL);
        if control.exists() && mounts::is_bpffs(dir) {
            bpf::stop_publishing(&control)
        } else {
            Ok(())
        }
    };
    stop(paths::pin_dir())?;
    mounts::unmount_hold(paths::hold_dir())?;
    mounts::unmount_links(paths::links_dir(), stop)?;
    mounts::remove_pins(paths::pin_dir())?;
    mounts::remove_dir(paths::pin_dir())?;
    mounts::unmount_system_bpffs(Path::new(paths::BPFFS));
    mounts::unmount_public(public)
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn random_number() -> Result<u64> {
    let mut bytes = [0; 8];
    getrandom(&mut bytes, GetRandomFlags::empty()).context("cannot get a random number")?;
    Ok(u64::from_ne_bytes(bytes).max(1))
}
