// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! A second build, in another directory, gives the same bytes; and the source packages give the same files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Result, anyhow, ensure};
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

/// An empty directory below `target`, as it is for what is large.
fn elsewhere(name: &str) -> Result<PathBuf> {
    let there = built::repository().join("target/elsewhere").join(name);
    if there.exists() {
        fs::remove_dir_all(&there)?;
    }
    fs::create_dir_all(&there)?;
    Ok(there)
}

/// The sources as they are, in a directory of another depth.
fn copy_sources() -> Result<PathBuf> {
    let there = elsewhere("of/source")?;
    for entry in fs::read_dir(built::repository())? {
        let entry = entry?;
        if entry.file_name() != "target" && entry.file_name() != ".git" {
            succeed(Command::new("cp").arg("--archive").arg(entry.path()).arg(&there))?;
        }
    }
    Ok(there)
}

fn elsewhere_gives_the_same_bytes() -> Result<()> {
    let there = copy_sources()?;
    // In other circumstances, too.
    let mut again = Command::new("sh");
    again.args(["-c", "umask 077; exec make deb rpm"]).current_dir(&there);
    succeed(again.env("TZ", "Pacific/Auckland").env("LC_ALL", "C"))?;
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

/// What `make dist` makes, unpacked.
fn source_archive(name: &str) -> Result<PathBuf> {
    static ARCHIVE: LazyLock<Result<PathBuf>> = LazyLock::new(|| {
        succeed(Command::new("make").current_dir(built::repository()).arg("dist"))?;
        built::target(&format!("package/dist/bysyscall-{VERSION}.tar.xz"))
    });
    let archive = ARCHIVE.as_ref().map_err(|error| anyhow!("{error:#}"))?;
    let there = elsewhere(name)?;
    let mut tar = Command::new("tar");
    succeed(tar.arg("--extract").arg("--file").arg(archive).arg("--directory").arg(&there))?;
    Ok(there.join(format!("bysyscall-{VERSION}")))
}

/// A command that has no network, like the builders of distributions.
fn without_network(there: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("unshare");
    succeed(command.arg("--net").args(arguments).current_dir(there)).map(drop)
}

fn debhelper_gives_the_same_files() -> Result<()> {
    let there = source_archive("debhelper")?;
    without_network(&there, &["dpkg-buildpackage", "--unsigned-source", "--unsigned-changes"])?;
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
    let there = source_archive("spec")?;
    without_network(&there, &["make", "rpmbuild"])?;
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
