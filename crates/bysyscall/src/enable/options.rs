// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The options of `enable` and `disable`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

/// What of `bysyscall enable` the user wants.
#[derive(Args)]
#[command(group = ArgGroup::new("where").required(true))]
pub struct Enable {
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub how: How,
}

/// What of `bysyscall disable` the user wants.
#[derive(Args)]
#[command(group = ArgGroup::new("where").required(true))]
pub struct Disable {
    #[command(flatten)]
    pub place: Place,
    /// Wherever it is enabled; also removes what is remembered of it, as when a package is removed
    #[arg(long, group = "where")]
    pub everything: bool,
    #[command(flatten)]
    pub how: How,
}

/// Which programs.
#[derive(Args)]
pub struct Place {
    /// All programs of the machine, by /etc/ld.so.preload
    #[arg(long, group = "where")]
    pub global: bool,
    /// These systemd services, each by a drop-in; `.service` may be left out
    #[arg(long, group = "where", value_name = "UNIT", num_args = 1..)]
    pub service: Vec<String>,
    /// What this user's systemd manager starts, by a drop-in; a name or a uid
    #[arg(long, group = "where", value_name = "NAME")]
    pub user: Option<String>,
}

/// How it is done.
#[derive(Args)]
pub struct How {
    /// Work on the image or chroot in this directory; no program is run there
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Show what would be changed, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}
