// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Debian's kernels, as packages and as files to boot.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cache::Cache;
use crate::command::output;
use crate::debian::{self, Package, Suite};
use crate::image;

/// A kernel that people run.
pub struct Kernel {
    /// What it is called here.
    pub name: &'static str,
    /// The same as numbers.
    pub version: (u32, u32),
    /// The suite that ships it.
    pub suite: &'static str,
    /// The suite of the file system: one that can run what was built on this machine.
    pub root_suite: &'static str,
}

/// All that are tested. The first is too old for us.
pub const KERNELS: [Kernel; 4] = [
    Kernel { name: "5.10", version: (5, 10), suite: "bullseye", root_suite: "bookworm" },
    Kernel { name: "6.1", version: (6, 1), suite: "bookworm", root_suite: "bookworm" },
    Kernel { name: "6.12", version: (6, 12), suite: "trixie", root_suite: "trixie" },
    Kernel { name: "7.2", version: (7, 2), suite: "sid", root_suite: "sid" },
];

/// Change it with what is built here.
const RECIPE: &str = "3";
/// What must be there before the drives are.
const EARLY_MODULES: [&str; 3] = ["virtio_pci", "virtio_blk", "ext4"];

/// Files of a kernel.
#[derive(Clone)]
pub struct Files {
    /// `uname -r`
    pub release: String,
    /// The kernel.
    pub vmlinuz: PathBuf,
    /// Its modules, as a drive.
    pub modules: PathBuf,
    /// Those that find the drives, in the order to insert them.
    pub early: Vec<PathBuf>,
}

/// Finds the version that Debian ships now, and fetches it.
pub fn fetch(cache: &Cache, kernel: &Kernel) -> Result<Files> {
    let suite = Suite::open(cache, kernel.suite)?;
    let is_kernel = |package: &Package| {
        package.name.starts_with("linux-") && package.name.ends_with("-cloud-amd64")
    };
    let mut packages = suite.resolve(&["linux-image-cloud-amd64"])?;
    packages.retain(is_kernel);
    let key = debian::key(&packages, RECIPE)?;
    let dir = cache.get(&format!("kernel-{}", kernel.name), &key, |dir| {
        println!("{}: fetching {}", kernel.name, packages[0].file);
        unpack(&suite, &packages, dir)
    })?;
    let release = fs::read_to_string(dir.join("release"))?;
    ensure!(
        release.starts_with(&format!("{}.", kernel.name)),
        "{} ships Linux {release}, not {}",
        kernel.suite,
        kernel.name
    );
    let mut early: Vec<PathBuf> = files(&dir.join("early"))?;
    early.sort();
    Ok(Files { release, vmlinuz: dir.join("vmlinuz"), modules: dir.join("modules.ext4"), early })
}

fn unpack(suite: &Suite, packages: &[Package], dir: &Path) -> Result<()> {
    let tree = dir.join("tree");
    fs::create_dir(&tree)?;
    suite.unpack(packages, &tree)?;
    // Up to bookworm the modules are in /lib, where modprobe looks.
    if !tree.join("lib").exists() {
        symlink("usr/lib", tree.join("lib"))?;
    }
    let modules = files(&tree.join("lib/modules"))?.pop().context("no modules in the packages")?;
    let release = modules.file_name().context("a directory has a name")?.to_string_lossy();
    // Beside its modules in later packages.
    let places = [tree.join(format!("boot/vmlinuz-{release}")), modules.join("vmlinuz")];
    let vmlinuz = places.iter().find(|path| path.exists()).context("no kernel in the packages")?;
    output(Command::new("depmod").arg("--basedir").arg(&tree).arg(&*release))?;
    extract_early(&tree, &release, &dir.join("early"))?;
    image::make(&tree.join("lib/modules"), &dir.join("modules.ext4"), 0)?;
    fs::rename(vmlinuz, dir.join("vmlinuz"))?;
    fs::write(dir.join("release"), &*release)?;
    Ok(fs::remove_dir_all(&tree)?)
}

fn extract_early(tree: &Path, release: &str, early: &Path) -> Result<()> {
    fs::create_dir(early)?;
    let mut modprobe = Command::new("modprobe");
    modprobe.arg("--dirname").arg(tree).args(["--set-version", release]);
    let steps = output(modprobe.args(["--show-depends", "--all"]).args(EARLY_MODULES))?;
    let mut paths: Vec<&str> = Vec::new();
    // Each of the modules comes with all that it needs.
    for path in steps.lines().filter_map(|line| line.strip_prefix("insmod ")) {
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    for (number, path) in paths.into_iter().enumerate() {
        let path = Path::new(path.trim());
        let name = path.file_name().context("a module has a name")?.to_string_lossy();
        let (stem, _) = name.split_once(".ko").context("a module is a .ko")?;
        let target = early.join(format!("{number:02}-{stem}.ko"));
        // The initial file system has nothing that unpacks them.
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("xz") => unpack_module("xz", path, &target)?,
            Some("zst") => unpack_module("zstd", path, &target)?,
            _ => fs::copy(path, &target).map(drop)?,
        }
    }
    Ok(())
}

fn unpack_module(program: &str, path: &Path, target: &Path) -> Result<()> {
    let mut unpack = Command::new("sh");
    unpack.args(["-c", "\"$1\" --decompress --stdout \"$2\" >\"$3\"", "sh", program]);
    output(unpack.arg(path).arg(target)).map(drop)
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}
