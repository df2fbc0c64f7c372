// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The manual pages tell of each option, key, wrapper, variable and path that there is, and of no other.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bysyscall_abi::{HOLD_DIR, LINKS_DIR, PIN_DIR, PUBLIC_DIR, WRAPPERS};
use bysyscall_tests::built;
use bysyscall_tests::process::{output, succeed, text};
use libtest_mimic::Trial;

use crate::fixture::{loader, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("manual::passes_lint", passes_lint),
        trial("manual::agrees_on_commands", agrees_on_commands),
        trial("manual::agrees_on_options", agrees_on_options),
        trial("manual::agrees_on_keys", agrees_on_keys),
        trial("manual::agrees_on_wrappers", agrees_on_wrappers),
        trial("manual::agrees_on_variables", agrees_on_variables),
        trial("manual::names_paths_and_version", names_paths_and_version),
    ]
}

const PAGES: [&str; 4] =
    ["bysyscall.8", "bysyscall-enable.8", "bysyscall.conf.5", "libbysyscall.7"];

fn page(name: &str) -> Result<String> {
    let path = built::repository().join("man").join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

fn ensure_equal(what: &str, in_page: &BTreeSet<String>, there: &BTreeSet<String>) -> Result<()> {
    let untold: Vec<_> = there.difference(in_page).collect();
    let invented: Vec<_> = in_page.difference(there).collect();
    ensure!(untold.is_empty(), "{what}: the page does not tell of {untold:?}");
    ensure!(invented.is_empty(), "{what}: the page tells of {invented:?}, which there is not");
    Ok(())
}

/// What is found nowhere is another package's, or ours before it is installed.
fn passes_lint() -> Result<()> {
    if std::env::var_os("BYSYSCALL_LAB").is_some() {
        // A guest has no mandoc; the machine that builds has looked.
        return Ok(());
    }
    for name in PAGES {
        let path = built::repository().join("man").join(name);
        let said = text(&output(Command::new("mandoc").args(["-T", "lint"]).arg(path))?.stdout);
        let bad: Vec<_> =
            said.lines().filter(|line| !line.contains("referenced manual not found: Xr")).collect();
        ensure!(bad.is_empty(), "{name}: {bad:#?}");
    }
    for name in PAGES {
        let text = page(name)?;
        for reference in text.lines().filter_map(|line| line.strip_prefix(".Xr ")) {
            let mut words = reference.split_whitespace();
            let (page, section) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let referred = format!("{page}.{section}");
            ensure!(
                !page.contains("bysyscall") || PAGES.contains(&referred.as_str()),
                "{name} refers to {referred}"
            );
        }
    }
    Ok(())
}

/// Names of commands, as `--help` lists them.
fn commands() -> Result<BTreeSet<String>> {
    let help = succeed(&mut loader(&["--help"]))?;
    let list = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    Ok(list
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect())
}

fn agrees_on_commands() -> Result<()> {
    let text = page("bysyscall.8")?;
    let items = text.lines().filter_map(|line| line.strip_prefix(".It Cm "));
    let told = items.flat_map(|names| names.split(" , ")).map(str::to_owned).collect();
    ensure_equal("commands", &told, &commands()?)
}

/// Long options that a command's help lists.
fn options(command: &[&str]) -> Result<BTreeSet<String>> {
    listed_options(&mut loader(command))
}

fn listed_options(command: &mut Command) -> Result<BTreeSet<String>> {
    let help = succeed(command.arg("--help"))?;
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    Ok(lines.filter_map(|line| long_option(line.split_once("--")?.1)).collect())
}

/// The option at the start of a text.
fn long_option(text: &str) -> Option<String> {
    let end = text.find(|c: char| c != '-' && !c.is_ascii_lowercase()).unwrap_or(text.len());
    (end > 0).then(|| format!("--{}", &text[..end]))
}

fn told_options(page: &str) -> BTreeSet<String> {
    let requests = page.lines().filter(|line| line.starts_with('.'));
    requests.flat_map(|line| line.split("Fl -").skip(1).filter_map(long_option)).collect()
}

fn agrees_on_options() -> Result<()> {
    let mut there = options(&[])?;
    for command in commands()? {
        if !["help", "enable", "disable"].contains(&command.as_str()) {
            there.extend(options(&[&command])?);
        }
    }
    ensure_equal("bysyscall.8", &told_options(&page("bysyscall.8")?), &there)?;
    let mut there = options(&["enable"])?;
    there.extend(options(&["disable"])?);
    there.extend(listed_options(&mut Command::new(built::rescue()?))?);
    // clap tells of them apart from its commands' own options.
    there.remove("--version");
    there.remove("--help");
    ensure_equal("bysyscall-enable.8", &told_options(&page("bysyscall-enable.8")?), &there)
}

/// The shipped file has each key, as a comment or not.
fn agrees_on_keys() -> Result<()> {
    let shipped = fs::read_to_string(built::repository().join("etc/bysyscall.conf"))?;
    let is_key =
        |word: &&str| !word.is_empty() && word.chars().all(|c| c == '_' || c.is_ascii_lowercase());
    let there = shipped
        .lines()
        .filter_map(|line| Some(line.trim_start_matches(['#', ' ']).split_once('=')?.0.trim()))
        .filter(is_key)
        .map(str::to_owned)
        .collect();
    let text = page("bysyscall.conf.5")?;
    let items = text.lines().filter_map(|line| line.strip_prefix(".It Ic "));
    let told = items.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    ensure_equal("keys", &told, &there)
}

fn agrees_on_wrappers() -> Result<()> {
    let text = page("libbysyscall.7")?;
    let items = text.lines().filter(|line| line.starts_with(".It Fn "));
    let told = items
        .flat_map(|line| line.split("Fn ").skip(1))
        .map(|name| name.trim_end_matches([' ', ',']).to_owned())
        .collect();
    let there = WRAPPERS.iter().map(|wrapper| wrapper.name.to_owned()).collect();
    ensure_equal("wrappers", &told, &there)
}

fn agrees_on_variables() -> Result<()> {
    let constructor =
        fs::read_to_string(built::repository().join("crates/libbysyscall/src/start.rs"))?;
    let there = constructor
        .split("variable(b\"")
        .skip(1)
        .filter_map(|quoted| quoted.split('"').next())
        .map(str::to_owned)
        .collect();
    let text = page("libbysyscall.7")?;
    let items = text.lines().filter_map(|line| line.strip_prefix(".It Ev "));
    ensure_equal("variables", &items.map(str::to_owned).collect(), &there)
}

fn names_paths_and_version() -> Result<()> {
    let text = page("bysyscall.8")?;
    let paths = [
        PUBLIC_DIR,
        HOLD_DIR,
        LINKS_DIR,
        PIN_DIR,
        "/run/bysyscall.lock",
        "/etc/bysyscall.conf",
        "/etc/ld.so.preload",
        "/usr/lib64/libbysyscall.so",
        "/var/lib/bysyscall",
    ];
    for path in paths {
        ensure!(text.contains(path), "bysyscall.8 does not name {path}");
    }
    let version = env!("CARGO_PKG_VERSION");
    ensure!(text.contains(&format!("version {version}.")), "bysyscall.8 is not of {version}");
    Ok(())
}
