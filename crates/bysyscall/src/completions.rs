// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! `bysyscall completions`: what packages install for shells.

use std::io::Write;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;

/// Prints the completions of a command for a shell: those of `bysyscall`, or of a subcommand
/// that has a name of its own, as `bysyscall-enable`.
///
/// # Errors
///
/// If there is no such command, or nobody reads.
pub fn print(shell: Shell, name: &str) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(name)?, name, &mut script);
    std::io::stdout().write_all(&script).context("cannot print the completions")
}

fn command(name: &str) -> Result<clap::Command> {
    let whole = Cli::command();
    let Some(part) = name.strip_prefix("bysyscall-") else { return Ok(whole) };
    let part = whole
        .find_subcommand(part)
        .with_context(|| format!("there is no `bysyscall {part}`, so no completions for {name}"))?;
    let options = whole.get_arguments().filter(|argument| argument.is_global_set()).cloned();
    Ok(part.clone().name(name.to_owned()).bin_name(name).args(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subcommand_has_completions_of_its_own() {
        let named = command("bysyscall-status").map(|command| command.get_name().to_owned());
        assert_eq!(named.ok().as_deref(), Some("bysyscall-status"));
        assert!(command("bysyscall-begin").is_err());
    }
}
