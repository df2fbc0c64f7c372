// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The Debian packages as files.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bysyscall_tests::built;
use bysyscall_tests::fixture::{path, trial};
use bysyscall_tests::process::{output, succeed, text};
use libtest_mimic::Trial;

use crate::support::{VERSION, deb, deb_files, errors};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("deb::has_what_is_to_be_installed", has_what_is_to_be_installed),
        trial("deb::keeps_what_the_administrator_wrote", keeps_what_the_administrator_wrote),
        trial("deb::lintian_finds_no_error", lintian_finds_no_error),
        trial("deb::is_of_one_version", is_of_one_version),
        trial("deb::library_may_be_preloaded", library_may_be_preloaded),
        trial("deb::programs_link_with_it", programs_link_with_it),
        trial("deb::copyright_names_what_is_linked", copyright_names_what_is_linked),
    ]
}

fn has_what_is_to_be_installed() -> Result<()> {
    let files = deb_files(&deb("bysyscall")?)?;
    let expected = [
        "-rw-r--r-- root/root ./etc/apparmor.d/abstractions/base.d/bysyscall",
        "-rw-r--r-- root/root ./etc/bysyscall.conf",
        "-rw-r--r-- root/root ./usr/lib/systemd/system/bysyscall.service",
        "-rw-r--r-- root/root ./usr/lib/x86_64-linux-gnu/libbysyscall.so",
        "lrwxrwxrwx root/root ./usr/lib64/libbysyscall.so -> ../lib/x86_64-linux-gnu/libbysyscall.so",
        "-rwxr-xr-x root/root ./usr/sbin/bysyscall",
        "lrwxrwxrwx root/root ./usr/sbin/bysyscall-disable -> bysyscall",
        "lrwxrwxrwx root/root ./usr/sbin/bysyscall-enable -> bysyscall",
        "-rwxr-xr-x root/root ./usr/sbin/bysyscall-rescue",
        "-rw-r--r-- root/root ./usr/share/bash-completion/completions/bysyscall",
        "-rw-r--r-- root/root ./usr/share/bash-completion/completions/bysyscall-disable",
        "-rw-r--r-- root/root ./usr/share/bash-completion/completions/bysyscall-enable",
        "-rw-r--r-- root/root ./usr/share/doc/bysyscall/README.md",
        "-rw-r--r-- root/root ./usr/share/doc/bysyscall/changelog.gz",
        "-rw-r--r-- root/root ./usr/share/doc/bysyscall/copyright",
        "-rw-r--r-- root/root ./usr/share/doc/bysyscall/design.md",
        "-rw-r--r-- root/root ./usr/share/fish/vendor_completions.d/bysyscall-disable.fish",
        "-rw-r--r-- root/root ./usr/share/fish/vendor_completions.d/bysyscall-enable.fish",
        "-rw-r--r-- root/root ./usr/share/fish/vendor_completions.d/bysyscall.fish",
        "-rw-r--r-- root/root ./usr/share/lintian/overrides/bysyscall",
        "-rw-r--r-- root/root ./usr/share/man/man5/bysyscall.conf.5.gz",
        "-rw-r--r-- root/root ./usr/share/man/man7/libbysyscall.7.gz",
        "lrwxrwxrwx root/root ./usr/share/man/man8/bysyscall-disable.8.gz -> bysyscall-enable.8.gz",
        "-rw-r--r-- root/root ./usr/share/man/man8/bysyscall-enable.8.gz",
        "lrwxrwxrwx root/root ./usr/share/man/man8/bysyscall-rescue.8.gz -> bysyscall-enable.8.gz",
        "-rw-r--r-- root/root ./usr/share/man/man8/bysyscall.8.gz",
        "-rw-r--r-- root/root ./usr/share/zsh/vendor-completions/_bysyscall",
        "-rw-r--r-- root/root ./usr/share/zsh/vendor-completions/_bysyscall-disable",
        "-rw-r--r-- root/root ./usr/share/zsh/vendor-completions/_bysyscall-enable",
    ];
    let files: Vec<String> = files.iter().map(|line| line.replace("0/0", "root/root")).collect();
    ensure!(files == expected, "bysyscall has {files:#?}");
    let files = deb_files(&deb("libbysyscall-dev")?)?;
    let expected = [
        "-rw-r--r-- root/root ./usr/lib/x86_64-linux-gnu/pkgconfig/bysyscall.pc",
        "-rw-r--r-- root/root ./usr/share/doc/libbysyscall-dev/changelog.gz",
        "-rw-r--r-- root/root ./usr/share/doc/libbysyscall-dev/copyright",
    ];
    let files: Vec<String> = files.iter().map(|line| line.replace("0/0", "root/root")).collect();
    ensure!(files == expected, "libbysyscall-dev has {files:#?}");
    Ok(())
}

fn keeps_what_the_administrator_wrote() -> Result<()> {
    let info =
        succeed(Command::new("dpkg-deb").arg("--info").arg(deb("bysyscall")?).arg("conffiles"))?;
    let mut files: Vec<&str> = info.lines().collect();
    files.sort_unstable();
    let expected = ["/etc/apparmor.d/abstractions/base.d/bysyscall", "/etc/bysyscall.conf"];
    ensure!(files == expected, "conffiles: {info}");
    Ok(())
}

fn lintian_finds_no_error() -> Result<()> {
    for name in ["bysyscall", "libbysyscall-dev"] {
        let mut lintian = Command::new("lintian");
        let found = errors(lintian.arg("--allow-root").arg(deb(name)?), "E: ")?;
        ensure!(found.is_empty(), "{found:#?}");
    }
    Ok(())
}

/// Where a version cannot be left to cargo, it is the same.
fn is_of_one_version() -> Result<()> {
    let top = built::repository();
    let places = [
        ("debian/changelog", format!("bysyscall ({VERSION}) ")),
        ("rpm/bysyscall.spec", format!("Version:        {VERSION}\n")),
        ("crates/libbysyscall/Cargo.toml", format!("depends = \"bysyscall (= {VERSION})\"")),
        ("crates/libbysyscall/Cargo.toml", format!("bysyscall = \"= {VERSION}-1\"")),
        ("crates/libbysyscall/Cargo.toml", format!("\"pkgconfig(bysyscall)\" = \"= {VERSION}\"")),
    ];
    for (file, words) in places {
        let text = fs::read_to_string(top.join(file)).context(file)?;
        ensure!(text.contains(&words), "{file} does not say `{words}`");
    }
    Ok(())
}

/// By the packaged program's own judgement of the packaged library.
fn library_may_be_preloaded() -> Result<()> {
    let root = unpacked()?;
    let program = root.join("usr/sbin/bysyscall");
    succeed(Command::new(program).args(["enable", "--global", "--root"]).arg(&root))?;
    let list = fs::read_to_string(root.join("etc/ld.so.preload"))?;
    ensure!(list == "/usr/lib64/libbysyscall.so\n", "{list}");
    let library = root.join("usr/lib64/libbysyscall.so");
    let dynamic = succeed(Command::new("readelf").args(["--dynamic", "--wide"]).arg(library))?;
    ensure!(dynamic.contains("Library soname: [libbysyscall.so]"), "{dynamic}");
    Ok(())
}

/// As `pkg-config` tells to.
fn programs_link_with_it() -> Result<()> {
    let root = unpacked()?;
    let mut flags = Command::new("pkg-config");
    flags.env("PKG_CONFIG_PATH", root.join("usr/lib/x86_64-linux-gnu/pkgconfig"));
    let flags = succeed(flags.env("PKG_CONFIG_SYSROOT_DIR", &root).args(["--libs", "bysyscall"]))?;
    let program = root.join("program");
    let source = built::repository().join("tests/programs/identity.c");
    let mut compiler = Command::new("gcc");
    compiler.arg("-DCALL=getpid").arg(source).arg("-o").arg(&program);
    succeed(compiler.args(flags.split_whitespace()).arg("-Wl,--no-as-needed,--wrap=getpid"))?;
    let mut run = Command::new(program);
    run.env("LD_LIBRARY_PATH", root.join("usr/lib/x86_64-linux-gnu")).arg("1000");
    let said = output(run.env("BYSYSCALL_LOG", "info"))?;
    ensure!(said.status.success(), "{said:?}");
    ensure!(text(&said.stderr).contains("bysyscall"), "it has not loaded the library: {said:?}");
    Ok(())
}

/// Both packages, where they stay until the namespace is gone.
fn unpacked() -> Result<PathBuf> {
    let root = path("unpacked");
    for name in ["bysyscall", "libbysyscall-dev"] {
        succeed(Command::new("dpkg-deb").arg("--extract").arg(deb(name)?).arg(&root))?;
    }
    Ok(root)
}

fn copyright_names_what_is_linked() -> Result<()> {
    let copyright = fs::read_to_string(built::repository().join("debian/copyright"))?;
    let named: Vec<&str> = copyright.split(|c: char| c.is_whitespace() || c == ',').collect();
    let mut tree = Command::new(env!("CARGO"));
    tree.current_dir(built::repository())
        .args(["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none"])
        .args(["--package", "bysyscall", "--package", "libbysyscall"])
        .args(["--package", "bysyscall-rescue", "--format", "{p}"]);
    for line in succeed(&mut tree)?.lines() {
        let Some(name) = line.split(' ').next().filter(|name| !name.is_empty()) else { continue };
        ensure!(
            name.contains("bysyscall") || named.contains(&name),
            "debian/copyright does not name {name}"
        );
    }
    Ok(())
}
