// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Debian's packages of any suite, without touching the machine's own apt.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cache::Cache;
use crate::command::{digest, output};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One suite, with an apt configuration and lists of its own.
pub struct Suite {
    name: String,
    source: String,
    config: PathBuf,
    /// How the machine gets its packages: proxies and the like.
    acquire: PathBuf,
}

/// A package that apt would install.
pub struct Package {
    /// Name.
    pub name: String,
    /// Name of the file, with the version.
    pub file: String,
}

impl Suite {
    /// Fetches the suite's lists, from where the machine gets its own packages.
    pub fn open(cache: &Cache, name: &str) -> Result<Self> {
        let dir = cache.dir(&format!("apt-{name}"))?;
        for sub in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        let path = |file: &str| dir.join(file).display().to_string();
        let source = format!("deb [signed-by={KEYRING}] {} {name} main", mirror()?);
        fs::write(dir.join("sources"), &source)?;
        fs::write(dir.join("status"), "")?;
        let acquire = dir.join("acquire");
        fs::write(&acquire, acquire_options()?)?;
        let config = dir.join("config");
        let options = [
            ("APT::Architecture", "amd64".to_owned()),
            ("APT::Install-Recommends", "false".to_owned()),
            ("APT::Sandbox::User", "root".to_owned()),
            ("Dir::State", path("")),
            ("Dir::State::status", path("status")),
            ("Dir::Cache", path("cache")),
            ("Dir::Etc::sourcelist", path("sources")),
            ("Dir::Etc::sourceparts", "/dev/null".to_owned()),
            // The machine's hooks are not for us.
            ("Dir::Etc::main", "/dev/null".to_owned()),
            ("Dir::Etc::parts", "/dev/null".to_owned()),
        ];
        let options: String =
            options.iter().map(|(option, value)| format!("{option} \"{value}\";\n")).collect();
        fs::write(&config, options + &fs::read_to_string(&acquire)?)?;
        let suite = Self { name: name.to_owned(), source, config, acquire };
        if let Err(error) = output(suite.apt_get().args(["update", "--error-on=any"])) {
            let known = fs::read_dir(dir.join("lists"))?
                .any(|entry| entry.is_ok_and(|entry| entry.path().is_file()));
            ensure!(known, "{error:#}");
            println!("{name}: cannot ask for new versions, so the last known ones are used");
        }
        Ok(suite)
    }

    fn apt_get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.env("APT_CONFIG", &self.config).arg("-qq");
        command
    }

    /// What apt would install for these packages, on a machine that has nothing.
    pub fn resolve(&self, packages: &[&str]) -> Result<Vec<Package>> {
        let mut command = self.apt_get();
        let lines = output(command.args(["install", "--print-uris", "--yes"]).args(packages))?;
        Ok(lines.lines().filter_map(package).collect())
    }

    /// Downloads packages, of the versions that [`Suite::resolve`] tells, and unpacks them.
    pub fn unpack(&self, packages: &[Package], dir: &Path) -> Result<()> {
        let download = dir.join("download");
        self.download(packages, &download)?;
        for entry in fs::read_dir(&download)? {
            output(Command::new("dpkg-deb").arg("--extract").arg(entry?.path()).arg(dir))?;
        }
        Ok(fs::remove_dir_all(&download)?)
    }

    /// Downloads packages to `dir`, which it makes.
    pub fn download(&self, packages: &[Package], dir: &Path) -> Result<()> {
        fs::create_dir(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let names = packages.iter().map(|package| package.name.as_str());
        output(self.apt_get().arg("download").args(names).current_dir(dir)).map(drop)
    }

    /// Makes `dir` a file system with these packages; `hooks` are commands to be run on it.
    pub fn debootstrap(
        &self,
        variant: &str,
        packages: &[&str],
        hooks: &[&str],
        dir: &Path,
    ) -> Result<()> {
        let mut command = Command::new("mmdebstrap");
        command.args(["--quiet", "--mode=root", "--architectures=amd64"]);
        command.arg(format!("--variant={variant}"));
        command.arg(format!("--include={}", packages.join(",")));
        command.arg(format!("--aptopt={}", self.acquire.display()));
        command.args(hooks.iter().map(|hook| format!("--customize-hook={hook}")));
        output(command.arg(&self.name).arg(dir).arg(&self.source)).map(drop)
    }
}

/// A key for what is made of packages in such and such a way.
pub fn key(packages: &[Package], recipe: &str) -> Result<String> {
    let files: Vec<&str> = packages.iter().map(|package| package.file.as_str()).collect();
    digest(&format!("{recipe}\n{}", files.join("\n")))
}

/// A line of `--print-uris`: URI, file, size, digest.
fn package(line: &str) -> Option<Package> {
    let file = line.split_whitespace().nth(1)?;
    let name = file.split_once('_')?.0;
    file.ends_with(".deb").then(|| Package { name: name.to_owned(), file: file.to_owned() })
}

/// Where the machine gets its own suite.
fn mirror() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release")?;
    let own = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("/etc/os-release names no suite")?;
    // apt tells only of lists that it has.
    if let Some(uri) = mirror_of(own)? {
        return Ok(uri);
    }
    output(Command::new("apt-get").args(["-qq", "update"]))?;
    mirror_of(own)?.with_context(|| format!("apt does not know where {own} is"))
}

fn mirror_of(suite: &str) -> Result<Option<String>> {
    let format = "$(CREATED_BY) $(RELEASE) $(COMPONENT) $(REPO_URI)";
    let targets = output(Command::new("apt-get").args(["indextargets", "--format", format]))?;
    let wanted = format!("Packages {suite} main ");
    Ok(targets.lines().find_map(|line| line.strip_prefix(&wanted)).map(str::to_owned))
}

fn acquire_options() -> Result<String> {
    let options = output(Command::new("apt-config").arg("dump"))?;
    let acquire = options.lines().filter(|line| line.starts_with("Acquire::"));
    Ok(acquire.map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_told_by_their_files() {
        let line = "'http://d/pool/l/linux-base_4.9%7edeb12u1_all.deb' linux-base_4.9~deb12u1_all.deb 32 MD5Sum:e0";
        let Some(package) = package(line) else { panic!("not understood: {line}") };
        assert_eq!(package.name, "linux-base");
        assert_eq!(package.file, "linux-base_4.9~deb12u1_all.deb");
        assert!(super::package("E: nothing").is_none());
    }
}
