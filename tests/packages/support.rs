// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What the package tests share.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bysyscall_tests::built;
use bysyscall_tests::process::{output, succeed, text};

/// The version that all of it is of.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What scripts write to goes to a tmpfs, not to this machine.
pub fn spare_the_machine() -> Result<()> {
    for directory in ["/etc", "/var/lib"] {
        let layers = Path::new("/run/layers").join(&directory[1..]);
        for layer in ["upper", "work"] {
            fs::create_dir_all(layers.join(layer))?;
        }
        let options =
            format!("lowerdir={directory},upperdir={0}/upper,workdir={0}/work", layers.display());
        succeed(Command::new("mount").args(["-t", "overlay", "-o", &options, "over", directory]))?;
    }
    Ok(())
}

/// A Debian package of `make deb`.
pub fn deb(name: &str) -> Result<PathBuf> {
    built::target(&format!("package/debian/{name}_{VERSION}_amd64.deb"))
}

/// An rpm package of `make rpm`.
pub fn rpm(name: &str) -> Result<PathBuf> {
    built::target(&format!("package/generate-rpm/{name}-{VERSION}-1.x86_64.rpm"))
}

/// What a Debian package has: mode, path, and the target of a link.
pub fn deb_files(package: &Path) -> Result<Vec<String>> {
    let list = succeed(Command::new("dpkg-deb").arg("--contents").arg(package))?;
    let mut files: Vec<String> = list
        .lines()
        .filter(|line| !line.starts_with('d'))
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            [&words[..2], &words[5..]].concat().join(" ")
        })
        .collect();
    files.sort_by_key(|line| line.split(' ').nth(2).map(str::to_owned));
    Ok(files)
}

/// What a query tells of an rpm package.
pub fn rpm_query(package: &Path, query: &[&str]) -> Result<String> {
    succeed(Command::new("rpm").arg("-qp").args(query).arg(package))
}

/// Lines of a checker's output that are errors; where there are none, it must say by its exit code too
/// that it has looked and found none.
pub fn errors(command: &mut Command, mark: &str) -> Result<Vec<String>> {
    let output = output(command)?;
    let said = text(&output.stdout) + &text(&output.stderr);
    let errors: Vec<String> =
        said.lines().filter(|line| line.contains(mark)).map(str::to_owned).collect();
    ensure!(
        output.status.success() || !errors.is_empty(),
        "{command:?}: {}: {said}",
        output.status
    );
    Ok(errors)
}

/// Writes an executable file.
pub fn write_program(path: &Path, script: &str) -> Result<()> {
    fs::write(path, script).with_context(|| path.display().to_string())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
