// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! A second build, in another directory, gives the same bytes; and the source packages give the same files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use bysyscall_tests::built;
use bysyscall_tests::fixture::trial;
use bysyscall_tests::process::succeed;
use libtest_mimic::Trial;

use crate::support::{VERSION, deb, deb_files, rpm, rpm_query};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("again::elsewhere_gives_the_same_bytes", elsewhere_gives_the_same_bytes),
        trial("again::debhelper_gives_the_same_files", debhelper_gives_the_same_files),
        trial("again::the_spec_gives_the_same_files", the_spec_gives_the_same_files),
    ]
}

/// Below `target`, as it is large, and a directory of another depth.
fn elsewhere() -> PathBuf {
    built::repository().join("target/elsewhere/of/source")
}

/// The sources as they are, in another directory.
fn copy_sources() -> Result<PathBuf> {
    let there = elsewhere();
    if !there.exists() {
        fs::create_dir_all(&there)?;
        let top = built::repository();
        for entry in fs::read_dir(&top)? {
            let entry = entry?;
            if entry.file_name() != "target" && entry.file_name() != ".git" {
                succeed(Command::new("cp").arg("--archive").arg(entry.path()).arg(&there))?;
            }
        }
    }
    Ok(there)
}

fn make(there: &Path, targets: &[&str]) -> Result<()> {
    succeed(Command::new("make").current_dir(there).args(targets)).map(drop)
}

fn elsewhere_gives_the_same_bytes() -> Result<()> {
    if elsewhere().exists() {
        fs::remove_dir_all(elsewhere())?;
    }
    let there = copy_sources()?;
    make(&there, &["deb", "rpm"])?;
    for package in
        [deb("bysyscall")?, deb("libbysyscall-dev")?, rpm("bysyscall")?, rpm("bysyscall-devel")?]
    {
        let below = package.strip_prefix(built::repository().canonicalize()?)?;
        ensure!(
            fs::read(&package)? == fs::read(there.join(below))?,
            "{} has other bytes when it is built in {}",
            below.display(),
            there.display()
        );
    }
    Ok(())
}

fn debhelper_gives_the_same_files() -> Result<()> {
    let there = copy_sources()?;
    succeed(
        Command::new("dpkg-buildpackage")
            .current_dir(&there)
            .args(["--unsigned-source", "--unsigned-changes"]),
    )?;
    for name in ["bysyscall", "libbysyscall-dev"] {
        let package = there.with_file_name(format!("{name}_{VERSION}_amd64.deb"));
        let owned = |files: Vec<String>| {
            files.iter().map(|line| line.replace("0/0", "root/root")).collect::<Vec<_>>()
        };
        let (files, ours) = (owned(deb_files(&package)?), owned(deb_files(&deb(name)?)?));
        ensure!(files == ours, "{name}: debhelper packages {files:#?}, cargo-deb {ours:#?}");
        for script in ["postinst", "prerm", "postrm", "triggers", "conffiles"] {
            let of = |package: &Path| {
                let said = succeed(Command::new("dpkg-deb").arg("--info").arg(package).arg(script));
                let said = said.unwrap_or_default();
                said.lines()
                    .filter(|line| !line.is_empty() && !line.starts_with("# "))
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            let (theirs, ours) = (of(&package), of(&deb(name)?));
            ensure!(theirs == ours, "{name}: {script} is {theirs:#?} and {ours:#?}");
        }
    }
    Ok(())
}

fn the_spec_gives_the_same_files() -> Result<()> {
    let there = copy_sources()?;
    make(&there, &["rpmbuild"])?;
    for name in ["bysyscall", "bysyscall-devel"] {
        let package = there
            .join(format!("target/package/rpmbuild/RPMS/x86_64/{name}-{VERSION}-1.x86_64.rpm"));
        for query in [&["--qf", "[%{FILEMODES:perms} %{FILENAMES}\\n]"][..], &["--scripts"]] {
            let (theirs, ours) = (comparable(&package, query)?, comparable(&rpm(name)?, query)?);
            ensure!(theirs == ours, "{name} {query:?}: {theirs:#?} and {ours:#?}");
        }
    }
    Ok(())
}

/// Directories have nothing in them that cargo-generate-rpm could package, and it makes no links; whether
/// a page is compressed is up to the distribution; and rpmbuild names the shell.
fn comparable(package: &Path, query: &[&str]) -> Result<Vec<String>> {
    let said = rpm_query(package, query)?.replace(" (using /bin/sh)", "");
    let lines = said.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('d'));
    Ok(lines.map(|line| line.trim_end_matches(".gz").replace("lrwxrwxrwx", "-rwxr-xr-x")).collect())
}
