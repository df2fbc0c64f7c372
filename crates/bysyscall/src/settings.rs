// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What of options and configuration is in effect. The service's map remembers it.

use anyhow::{Result, bail};
use bysyscall_abi as abi;
use bysyscall_abi::Service;
use log::LevelFilter;

use crate::config::{Config, Getrusage};
use crate::programs;

/// What the command line of `start` has said; the configuration does not change it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bits of the wrappers that are to be left off, and the hooks that only they need.
    pub switched_off: u32,
    /// What `getrusage()` tells.
    pub getrusage: Option<Getrusage>,
}

impl Options {
    /// What a service was started with.
    pub fn of(service: &Service) -> Self {
        let getrusage =
            if service.wants_usage_by_tick != 0 { Getrusage::Tick } else { Getrusage::Exact };
        Self {
            switched_off: service.switched_off,
            getrusage: (service.usage_is_option != 0).then_some(getrusage),
        }
    }
}

/// The service as options and configuration have it.
pub fn configured(service: &Service, options: Options, config: &Config) -> Service {
    let by_tick = options.getrusage.unwrap_or(config.getrusage) == Getrusage::Tick;
    Service {
        switched_off: options.switched_off,
        wants_usage_by_tick: if by_tick { abi::USAGE_BY_TICK } else { 0 },
        usage_is_option: options.getrusage.is_some().into(),
        configured_off: abi::wrappers_kept_right_by(!0) & !config.wrappers,
        group: config.group.unwrap_or(abi::EVERYONE),
        never: config.never.len() as u32,
        only: config.only.len() as u32,
        log_level: config.log_level as u32,
        ..*service
    }
}

/// What a running service becomes by a configuration.
///
/// # Errors
///
/// If only a new start can bring that about.
pub fn reconfigured(service: &Service, config: &Config) -> Result<Service> {
    let new = configured(service, Options::of(service), config);
    check_paths(&new, config)?;
    if new.wants_usage_by_tick & !service.wants_usage_by_tick & !service.usage_by_tick != 0 {
        bail!(
            "the service was started with getrusage = \"exact\" and keeps nothing that is a tick old; \
             restart it for \"tick\""
        );
    }
    Ok(new)
}

/// Whether a running service is as a configuration has it, but for its lists of programs.
pub fn follows(service: &Service, config: &Config) -> bool {
    let new = configured(service, Options::of(service), config);
    let fields = |service: &Service| {
        let Service { wants_usage_by_tick, configured_off, group, log_level, .. } = *service;
        [wants_usage_by_tick, configured_off, group, log_level]
    };
    fields(&new) == fields(service)
}

/// Whether this kernel can tell the programs of a configuration apart.
///
/// # Errors
///
/// If it cannot.
pub fn check_paths(service: &Service, config: &Config) -> Result<()> {
    if service.reads_paths == 0 && programs::have_paths(config) {
        bail!(
            "the kernel does not tell BPF programs the path of an executable (bpf_d_path); \
             use names without slashes in `never` and `only`"
        );
    }
    Ok(())
}

/// The wrappers to publish: what is kept right and wanted.
pub fn published(service: &Service) -> u32 {
    service.wrappers & !service.configured_off | service.usage_by_tick & service.wants_usage_by_tick
}

/// What the loader of a service logs.
pub fn log_level(service: &Service) -> LevelFilter {
    let levels = LevelFilter::iter().find(|level| *level as u32 == service.log_level);
    levels.unwrap_or(LevelFilter::Info)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by it")]
mod tests {
    use super::*;

    const NO_OPTIONS: Options = Options { switched_off: 0, getrusage: None };
    const BY_TICK: Config = Config {
        wrappers: !0,
        getrusage: Getrusage::Tick,
        group: None,
        never: std::collections::BTreeSet::new(),
        only: std::collections::BTreeSet::new(),
        log_level: LevelFilter::Info,
    };

    fn started(options: Options, config: &Config) -> Service {
        let mut service =
            configured(&Service { reads_paths: 1, ..Service::default() }, options, config);
        service.usage_by_tick = service.wants_usage_by_tick;
        service.wrappers = abi::wrappers_kept_right_by(!0);
        service
    }

    #[test]
    fn what_a_tick_brings_is_decided_at_the_start() {
        let exact = Config::default();
        assert!(reconfigured(&started(NO_OPTIONS, &exact), &BY_TICK).is_err());
        let service = started(NO_OPTIONS, &BY_TICK);
        assert_ne!(published(&service) & abi::USAGE_BY_TICK, 0);
        let service = reconfigured(&service, &exact).unwrap();
        assert_eq!(published(&service) & abi::USAGE_BY_TICK, 0);
        let service = reconfigured(&service, &BY_TICK).unwrap();
        assert_ne!(published(&service) & abi::USAGE_BY_TICK, 0);
    }

    #[test]
    fn options_win_over_the_configuration() {
        let options = Options { switched_off: 1, getrusage: Some(Getrusage::Exact) };
        let service = started(options, &BY_TICK);
        assert!(Options::of(&service) == options && service.wants_usage_by_tick == 0);
        assert!(reconfigured(&service, &BY_TICK).is_ok_and(|new| new.wants_usage_by_tick == 0));
    }

    #[test]
    fn wrappers_that_are_configured_off_are_not_published() {
        let service = started(NO_OPTIONS, &Config { wrappers: 2, ..Config::default() });
        assert_eq!(published(&service), 2);
        let none = reconfigured(&service, &Config { wrappers: 0, ..Config::default() }).unwrap();
        assert_eq!(published(&none), 0);
    }

    #[test]
    fn paths_need_a_kernel_that_tells_them() {
        let never = [crate::config::Program::new("/bin/cat").unwrap()].into();
        let config = Config { never, ..Config::default() };
        let service = started(NO_OPTIONS, &Config::default());
        assert!(reconfigured(&service, &config).is_ok());
        let blind = Service { reads_paths: 0, ..service };
        assert!(reconfigured(&blind, &config).is_err());
        assert!(reconfigured(&blind, &Config::default()).is_ok());
    }
}
