// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The drive with what is tested.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use bysyscall_tests::built;
use serde_json::Value;

use crate::cache::Cache;
use crate::command::output;
use crate::image;

/// What of the repository the tests of the lab need.
pub const OF_LAB: [&str; 12] = [
    "README.md",
    "etc",
    "man",
    "crates",
    "tests/programs",
    "tests/vm",
    "target/other-abi/bysyscall",
    "target/other-abi/libbysyscall.so",
    "target/programs",
    "target/release/bysyscall",
    "target/release/libbysyscall.so",
    "target/static/release/bysyscall-rescue",
];
/// And what those of the packages do.
pub const OF_PACKAGES: [&str; 5] = [
    "tests/vm",
    "target/other-abi/bysyscall",
    "target/other-abi/libbysyscall.so",
    "target/programs",
    "target/package/debian",
];

/// Builds test programs, and tells where they are: theirs, and that of the soak.
pub fn build_tests(names: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    println!("building the tests");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--release", "--locked", "--no-run", "--message-format=json"]);
    cargo.args(["--package", "bysyscall-tests"]);
    cargo.args(names.iter().flat_map(|name| ["--test", name]));
    let messages = output(cargo.current_dir(built::repository()))?;
    let mut programs = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line)?;
        // Cargo builds the binaries of a package with its tests.
        let (kind, name) = (&message["target"]["kind"][0], &message["target"]["name"]);
        if (kind == "test" || name == "soak")
            && let (Some(name), Some(path)) = (name.as_str(), message["executable"].as_str())
        {
            programs.push((name.to_owned(), PathBuf::from(path)));
        }
    }
    ensure!(programs.len() == names.len() + 1, "cargo has built {programs:?}");
    Ok(programs)
}

/// Makes the drive, laid out as the repository is: these files and directories of it, and test programs.
pub fn make(cache: &Cache, paths: &[&str], tests: &[(String, PathBuf)]) -> Result<PathBuf> {
    let dir = cache.scratch().join("payload");
    for path in paths {
        let (from, to) = (built::repository().join(path), dir.join(path));
        ensure!(from.exists(), "{} does not exist; run `make programs other-abi`", from.display());
        fs::create_dir_all(to.parent().unwrap_or(&dir))?;
        output(Command::new("cp").arg("--archive").arg(from).arg(to))?;
    }
    fs::create_dir_all(dir.join("target/lab"))?;
    for (name, path) in tests {
        fs::copy(path, dir.join("target/lab").join(name))?;
    }
    let packages = dir.join("target/package");
    if packages.exists() {
        make_next_versions(&packages)?;
    }
    let image = cache.scratch().join("payload.ext4");
    image::make(&dir, &image, 0)?;
    Ok(image)
}

/// The same package with a higher version, to upgrade to, and then with one of another ABI.
fn make_next_versions(packages: &Path) -> Result<()> {
    let script = "
        package=$(ls debian/bysyscall_*.deb)
        version=$(dpkg-deb --field $package Version)
        dpkg-deb --raw-extract $package unpacked
        for next in next other-abi; do
            sed -i \"s/^Version: .*/Version: $version+$next/\" unpacked/DEBIAN/control
            if [ $next = other-abi ]; then
                install ../other-abi/bysyscall unpacked/usr/sbin
                install --mode=644 ../other-abi/libbysyscall.so unpacked/usr/lib/x86_64-linux-gnu
            fi
            mkdir $next
            dpkg-deb --root-owner-group -Zgzip --build unpacked $next
        done
        rm -r unpacked";
    let mut command = Command::new("sh");
    output(command.args(["-euc", script]).current_dir(packages)).map(drop)
}
