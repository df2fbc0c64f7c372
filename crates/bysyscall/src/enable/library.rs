// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The file that is to be loaded into programs, and the names it goes by.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::fd::AsRawFd;
use rustix::fs::{FileType, OFlags, Stat, fstat, stat};

use super::elf;
use super::root::Root;
use crate::paths;

/// Where distributions keep libraries, and ld.so looks for those of set-uid programs.
const TRUSTED_DIRS: [&str; 6] = [
    "/usr/lib64",
    "/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/x86_64-linux-gnu",
    "/usr/lib",
    "/lib",
];

/// Looks whether every program may load the installed library. Where it really lies, in the tree.
///
/// # Errors
///
/// Says what is wrong with it, and where.
pub fn check(root: &Root) -> Result<PathBuf> {
    let path = paths::installed_library();
    let shown = root.shown(&path);
    let file = root
        .open_at(&path, OFlags::RDONLY | OFlags::NONBLOCK)
        .with_context(|| format!("cannot open {}; install the package again", shown.display()))?;
    let mut file = File::from(file);
    let real = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .context("cannot tell where the library lies; mount /proc")?;
    let inside = Path::new("/").join(real.strip_prefix(root.path()).unwrap_or(&real));
    let dir = inside.parent().context("a file is in a directory")?;
    ensure!(
        is_trusted_dir(dir),
        "{} is {}, which is in none of the directories for libraries: {}",
        shown.display(),
        real.display(),
        TRUSTED_DIRS.join(" ")
    );
    let of_file = fstat(&file).with_context(|| format!("cannot look at {}", real.display()))?;
    ensure!(
        FileType::from_raw_mode(of_file.st_mode) == FileType::RegularFile,
        "{} is not a regular file; install the package again",
        real.display()
    );
    for step in way_to(&inside) {
        let step = root.shown(step);
        let found = stat(&step).with_context(|| format!("cannot look at {}", step.display()))?;
        ensure!(
            is_trusted(&found),
            "others than root can change {}; it must belong to root and be writable by root alone",
            step.display()
        );
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).with_context(|| format!("cannot read {}", real.display()))?;
    elf::check(&bytes)
        .map_err(|fault| anyhow!("{} {fault}; install the package again", real.display()))?;
    Ok(inside)
}

/// Whether somebody else than root can change what lies at a path, or put another there.
fn is_trusted(stat: &Stat) -> bool {
    stat.st_uid == 0 && stat.st_mode & 0o022 == 0
}

/// Each directory on the way to a path, from the top, and the path itself.
fn way_to(path: &Path) -> Vec<&Path> {
    let mut way: Vec<&Path> = path.ancestors().collect();
    way.reverse();
    way
}

fn is_trusted_dir(dir: &Path) -> bool {
    let trusted = TRUSTED_DIRS.iter().map(Path::new);
    trusted.chain(paths::installed_library().parent()).any(|trusted| trusted == dir)
}

/// Whether an entry of a list of preloaded libraries means ours: by name, or as the same file.
pub fn is_ours(root: &Root, entry: &[u8]) -> bool {
    let entry = Path::new(OsStr::from_bytes(entry));
    if has_known_name(entry) {
        return true;
    }
    let installed = root.stat(&paths::installed_library());
    let same = |other: Stat| {
        installed.is_some_and(|ours| (ours.st_dev, ours.st_ino) == (other.st_dev, other.st_ino))
    };
    entry.is_absolute() && root.stat(entry).is_some_and(same)
}

/// One of the names of the installed library, also when it is no longer there.
fn has_known_name(entry: &Path) -> bool {
    let (Some(name), Some(dir)) = (entry.file_name(), entry.parent()) else { return false };
    if Some(name) != paths::installed_library().file_name() {
        return false;
    }
    // ld.so looks for a name without a slash in its own directories.
    if !entry.as_os_str().as_bytes().contains(&b'/') {
        return true;
    }
    let plain: PathBuf = dir.components().filter(|part| *part != Component::CurDir).collect();
    let lib = |text: &str| {
        let dir = plain.to_string_lossy().replace("${LIB}", text).replace("$LIB", text);
        is_trusted_dir(Path::new(&dir))
    };
    ["lib64", "lib/x86_64-linux-gnu"].into_iter().any(lib)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_installed_library_has_many_names() {
        for name in [
            "/usr/lib64/libbysyscall.so",
            "/usr//lib64/./libbysyscall.so",
            "/lib64/libbysyscall.so",
            "/usr/lib/x86_64-linux-gnu/libbysyscall.so",
            "/usr/$LIB/libbysyscall.so",
            "/${LIB}/libbysyscall.so",
            "libbysyscall.so",
        ] {
            assert!(has_known_name(Path::new(name)), "{name}");
        }
        for other in
            ["/opt/libbysyscall.so", "/usr/lib64/libbysyscall.so.1", "/usr/lib64/x.so", "/", ""]
        {
            assert!(!has_known_name(Path::new(other)), "{other}");
        }
    }
}
