// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The rpm packages: what is in them, and what rpm does with them in a root directory.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bysyscall_tests::built;
use bysyscall_tests::fixture::trial;
use bysyscall_tests::process::succeed;
use libtest_mimic::Trial;

use crate::support::{VERSION, errors, rpm, rpm_query, write_program};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("rpm::has_what_is_to_be_installed", has_what_is_to_be_installed),
        trial("rpm::keeps_what_the_administrator_wrote", keeps_what_the_administrator_wrote),
        trial("rpm::rpmlint_finds_no_error", rpmlint_finds_no_error),
        trial("rpm::installs_upgrades_and_erases", installs_upgrades_and_erases),
    ]
}

fn has_what_is_to_be_installed() -> Result<()> {
    let files = rpm_query(&rpm("bysyscall")?, &["--qf", "[%{FILEMODES:perms} %{FILENAMES}\\n]"])?;
    let expected = [
        "-rw-r--r-- /etc/bysyscall.conf",
        "-rw-r--r-- /usr/lib/systemd/system/bysyscall.service",
        "-rwxr-xr-x /usr/lib64/libbysyscall.so",
        "-rwxr-xr-x /usr/sbin/bysyscall",
        "-rwxr-xr-x /usr/sbin/bysyscall-disable",
        "-rwxr-xr-x /usr/sbin/bysyscall-enable",
        "-rwxr-xr-x /usr/sbin/bysyscall-rescue",
        "-rw-r--r-- /usr/share/bash-completion/completions/bysyscall",
        "-rw-r--r-- /usr/share/bash-completion/completions/bysyscall-disable",
        "-rw-r--r-- /usr/share/bash-completion/completions/bysyscall-enable",
        "-rw-r--r-- /usr/share/doc/bysyscall/README.md",
        "-rw-r--r-- /usr/share/doc/bysyscall/design.md",
        "-rw-r--r-- /usr/share/fish/vendor_completions.d/bysyscall-disable.fish",
        "-rw-r--r-- /usr/share/fish/vendor_completions.d/bysyscall-enable.fish",
        "-rw-r--r-- /usr/share/fish/vendor_completions.d/bysyscall.fish",
        "-rw-r--r-- /usr/share/licenses/bysyscall/LICENSE",
        "-rw-r--r-- /usr/share/licenses/bysyscall/copyright",
        "-rw-r--r-- /usr/share/man/man5/bysyscall.conf.5.gz",
        "-rw-r--r-- /usr/share/man/man7/libbysyscall.7.gz",
        "-rw-r--r-- /usr/share/man/man8/bysyscall-disable.8.gz",
        "-rw-r--r-- /usr/share/man/man8/bysyscall-enable.8.gz",
        "-rw-r--r-- /usr/share/man/man8/bysyscall-rescue.8.gz",
        "-rw-r--r-- /usr/share/man/man8/bysyscall.8.gz",
        "-rw-r--r-- /usr/share/zsh/site-functions/_bysyscall",
        "-rw-r--r-- /usr/share/zsh/site-functions/_bysyscall-disable",
        "-rw-r--r-- /usr/share/zsh/site-functions/_bysyscall-enable",
    ];
    let files: Vec<&str> = files.lines().collect();
    ensure!(files == expected, "bysyscall has {files:#?}");
    // What a program that was linked with it requires.
    let provides = rpm_query(&rpm("bysyscall")?, &["--provides"])?;
    ensure!(
        provides.lines().any(|name| name.trim() == "libbysyscall.so()(64bit)"),
        "bysyscall provides {provides}"
    );
    let files = rpm_query(&rpm("bysyscall-devel")?, &["--list"])?;
    ensure!(files.contains("/usr/lib64/pkgconfig/bysyscall.pc\n"), "bysyscall-devel has {files}");
    Ok(())
}

fn keeps_what_the_administrator_wrote() -> Result<()> {
    let flags = rpm_query(&rpm("bysyscall")?, &["--qf", "[%{FILENAMES} %{FILEFLAGS:fflags}\\n]"])?;
    ensure!(flags.contains("/etc/bysyscall.conf cn\n"), "not %config(noreplace): {flags}");
    Ok(())
}

fn rpmlint_finds_no_error() -> Result<()> {
    let config = built::repository().join("rpm/rpmlint.toml");
    for name in ["bysyscall", "bysyscall-devel"] {
        let mut rpmlint = Command::new("rpmlint");
        let found = errors(rpmlint.arg("--config").arg(&config).arg(rpm(name)?), ": E: ")?;
        ensure!(found.is_empty(), "{found:#?}");
    }
    Ok(())
}

const ROOT: &str = "/run/rpm-root";

/// rpm with a root directory and a database of its own.
fn in_root(arguments: &[&str], packages: &[PathBuf]) -> Result<Vec<String>> {
    let log = Path::new(ROOT).join("log");
    fs::write(&log, "")?;
    succeed(
        Command::new("rpm")
            .args(["--root", ROOT, "--dbpath", "/var/lib/rpm"])
            .args(arguments)
            .args(packages),
    )?;
    Ok(fs::read_to_string(log)?.lines().map(str::to_owned).collect())
}

/// A shell and a few tools; programs that tell that they were called, where rpm looks first.
pub fn prepare_root(root: &Path) -> Result<()> {
    for directory in ["bin", "sbin", "run/systemd/system", "var/lib/bysyscall", "etc", "tmp", "dev"]
    {
        fs::create_dir_all(root.join(directory))?;
    }
    // A file will do for what nobody reads, and devices are not allowed here.
    fs::write(root.join("dev/null"), "")?;
    const SHELL: &str = "/bin/busybox";
    fs::copy(SHELL, root.join("bin/busybox"))
        .with_context(|| format!("{SHELL} (busybox-static) is what scripts run with"))?;
    for tool in ["sh", "grep", "sed", "sync", "cp", "mv", "rm", "rmdir"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(tool))?;
    }
    for (program, rest) in [
        ("systemctl", ""),
        // Whether the library is still there when it is taken out of /etc/ld.so.preload.
        ("bysyscall", "[ -e /usr/lib64/libbysyscall.so ] || echo too late >>/log\n"),
    ] {
        let script = format!("#!/bin/sh\necho {program} \"$@\" >>/log\n{rest}");
        write_program(&root.join("sbin").join(program), &script)?;
    }
    Ok(())
}

/// A package that has what ours require of a distribution.
pub fn stub(package: &Path) -> Result<PathBuf> {
    let requires = rpm_query(package, &["--requires"])?;
    let mut spec =
        "Name: stub\nVersion: 1\nRelease: 1\nSummary: stub\nLicense: none\nBuildArch: noarch\n"
            .to_owned();
    for line in
        requires.lines().filter(|line| !line.starts_with("rpmlib(") && !line.starts_with("config("))
    {
        writeln!(spec, "Provides: {line}")?;
    }
    spec.push_str("%description\nstub\n%files\n");
    fs::write("/run/stub.spec", spec)?;
    succeed(Command::new("rpmbuild").args([
        "-bb",
        "--define",
        "_topdir /run/stub",
        "/run/stub.spec",
    ]))?;
    Ok(PathBuf::from("/run/stub/RPMS/noarch/stub-1-1.noarch.rpm"))
}

/// The same package with the next release number.
pub fn next_release() -> Result<PathBuf> {
    succeed(
        Command::new(env!("CARGO"))
            .current_dir(built::repository())
            .args([
                "generate-rpm",
                "--package",
                "crates/bysyscall",
                "--set-metadata",
                "release = \"2\"",
            ])
            .args(["--target-dir", "target/package", "--output", "/run/next.rpm"]),
    )?;
    Ok(PathBuf::from("/run/next.rpm"))
}

fn installs_upgrades_and_erases() -> Result<()> {
    let package = rpm("bysyscall")?;
    prepare_root(Path::new(ROOT))?;
    in_root(&["-i"], &[stub(&package)?])?;
    let expect = |what: &str, called: &[String], calls: &[&str]| {
        ensure!(called == calls, "{what} has called {called:#?}, not {calls:#?}");
        Ok(())
    };

    let called = in_root(&["-i"], &[package, rpm("bysyscall-devel")?])?;
    expect("installing", &called, &["systemctl --no-reload preset bysyscall.service"])?;
    let verified = in_root(&["--verify", "bysyscall"], &[]);
    ensure!(verified.is_ok(), "{verified:?}");

    in_root(&["-e", "bysyscall-devel"], &[])?;
    let called = in_root(&["-U"], &[next_release()?])?;
    let calls = [
        "systemctl daemon-reload",
        "systemctl --quiet is-active bysyscall.service",
        "bysyscall status --json",
        // That of the old version, after it has gone.
        "systemctl daemon-reload",
    ];
    expect("upgrading", &called, &calls)?;

    fs::write(Path::new(ROOT).join("etc/bysyscall.conf"), "# mine\n")?;
    let called = in_root(&["-e", "bysyscall"], &[])?;
    let calls = [
        "bysyscall disable --everything",
        "systemctl --no-reload disable --now bysyscall.service",
        "systemctl daemon-reload",
    ];
    expect("erasing", &called, &calls)?;
    let left = succeed(Command::new("find").arg(ROOT).args(["-name", "*bysyscall*"]))?;
    let left: Vec<&str> = left.lines().collect();
    let expected = [format!("{ROOT}/sbin/bysyscall"), format!("{ROOT}/etc/bysyscall.conf.rpmsave")];
    ensure!(
        left.len() == 2 && expected.iter().all(|path| left.contains(&path.as_str())),
        "version {VERSION} has left {left:#?}"
    );
    Ok(())
}
