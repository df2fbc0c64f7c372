// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! The list of an image: what is added, what stays, what is undone.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use rustix::fs::{XattrFlags, getxattr, setxattr};

use super::image::{ENTRY, Image, PRELOAD};
use crate::fixture::{as_nobody, loader, path, says, trial};

const ENABLE: &[&str] = &["enable", "--global"];
const DISABLE: &[&str] = &["disable", "--global"];

pub fn trials() -> Vec<Trial> {
    vec![
        trial("enabling::a_file_that_we_made_goes", a_file_that_we_made_goes),
        trial("enabling::all_else_of_the_file_stays", all_else_of_the_file_stays),
        trial(
            "enabling::a_new_list_has_the_label_of_the_cache",
            a_new_list_has_the_label_of_the_cache,
        ),
        trial("enabling::edits_in_between_stay", edits_in_between_stay),
        trial("enabling::other_spellings_are_ours", other_spellings_are_ours),
        trial("enabling::a_dry_run_changes_nothing", a_dry_run_changes_nothing),
        trial("enabling::the_first_original_is_kept", the_first_original_is_kept),
        trial("enabling::links_stay_inside_the_root", links_stay_inside_the_root),
        trial("enabling::everything_leaves_nothing", everything_leaves_nothing),
        trial("enabling::the_name_of_the_program_decides", the_name_of_the_program_decides),
        trial("enabling::only_root_enables", only_root_enables),
        trial("enabling::other_loaders_are_told_of", other_loaders_are_told_of),
    ]
}

fn a_file_that_we_made_goes() -> Result<()> {
    let image = Image::new("image")?;
    let before = image.all()?;
    image.succeed(DISABLE, "is not enabled")?;
    image.succeed(ENABLE, "enabled in")?;
    ensure!(image.read(PRELOAD)? == format!("{ENTRY}\n").as_bytes(), "{:?}", image.read(PRELOAD)?);
    ensure!(fs::metadata(image.path(PRELOAD))?.mode() & 0o7777 == 0o644, "its mode");
    image.succeed(ENABLE, "enabled already")?;
    image.succeed(DISABLE, "disabled in")?;
    ensure!(image.all()? == before, "left behind: {:?}", image.all()?.keys());
    // One that was there, and empty, stays.
    image.write(PRELOAD, "")?;
    image.succeed(ENABLE, "enabled in")?;
    image.succeed(DISABLE, "disabled in")?;
    ensure!(image.read(PRELOAD)?.is_empty(), "{:?}", image.read(PRELOAD)?);
    Ok(())
}

fn all_else_of_the_file_stays() -> Result<()> {
    let image = Image::new("image")?;
    let file = image.path(PRELOAD);
    for content in ["/a.so # why\n", "# one\n/a.so:/b.so /c.so", "\n\n", "\t", "/a.so\r\n"] {
        image.write(PRELOAD, content)?;
        image.set_mode(PRELOAD, 0o640)?;
        chown(&file, Some(0), Some(7))?;
        setxattr(&file, "security.selinux", b"a:b:c:s0\0", XattrFlags::empty())?;
        image.succeed(ENABLE, "enabled in")?;
        let new = image.read(PRELOAD)?;
        ensure!(new.starts_with(content.as_bytes()), "{content:?} became {new:?}");
        for command in [ENABLE, DISABLE] {
            let data = fs::metadata(&file)?;
            ensure!((data.mode() & 0o7777, data.gid()) == (0o640, 7), "mode or group");
            let mut label = [0; 64];
            let length = getxattr(&file, "security.selinux", &mut label[..])?;
            ensure!(&label[..length] == b"a:b:c:s0\0", "the label");
            image.succeed(command, "abled")?;
        }
        ensure!(image.read(PRELOAD)? == content.as_bytes(), "{content:?} does not come back");
    }
    Ok(())
}

fn a_new_list_has_the_label_of_the_cache() -> Result<()> {
    let image = Image::new("image")?;
    let cache = "etc/ld.so.cache";
    image.write(cache, "")?;
    setxattr(image.path(cache), "security.selinux", b"a:b:cache:s0\0", XattrFlags::empty())?;
    image.succeed(ENABLE, "enabled in")?;
    let mut label = [0; 64];
    let length = getxattr(image.path(PRELOAD), "security.selinux", &mut label[..])?;
    ensure!(&label[..length] == b"a:b:cache:s0\0", "the label");
    image.succeed(DISABLE, "disabled in").map(drop)
}

fn edits_in_between_stay() -> Result<()> {
    let image = Image::new("image")?;
    for before in ["", "/a.so\n", "/a.so"] {
        image.write(PRELOAD, before)?;
        image.succeed(ENABLE, "enabled in")?;
        let text = String::from_utf8(image.read(PRELOAD)?)?;
        image.write(PRELOAD, format!("# new\n{text}/later.so {ENTRY}\n"))?;
        // It needs no library.
        fs::remove_file(image.path(super::image::LIBRARY))?;
        image.succeed(DISABLE, "disabled in")?;
        let end = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
        let expected = format!("# new\n{before}{end}/later.so\n");
        let new = String::from_utf8(image.read(PRELOAD)?)?;
        ensure!(new == expected, "{new:?}, not {expected:?}");
        fs::copy(crate::fixture::library(), image.path(super::image::LIBRARY))?;
    }
    Ok(())
}

fn other_spellings_are_ours() -> Result<()> {
    let image = Image::new("image")?;
    let other = image.path("opt");
    fs::create_dir(&other)?;
    fs::hard_link(image.path(super::image::LIBRARY), other.join("same.so"))?;
    for spelling in
        ["/usr/lib/x86_64-linux-gnu/libbysyscall.so", "/usr/$LIB/libbysyscall.so", "/opt/same.so"]
    {
        image.write(PRELOAD, format!("/a.so\n{spelling}\n{spelling}:/b.so"))?;
        image.succeed(ENABLE, "enabled already")?;
        image.succeed(DISABLE, "disabled in")?;
        ensure!(image.read(PRELOAD)? == b"/a.so\n/b.so", "{:?}", image.read(PRELOAD)?);
    }
    image.write(PRELOAD, "/opt/libbysyscall.so\n")?;
    image.succeed(DISABLE, "is not enabled").map(drop)
}

fn a_dry_run_changes_nothing() -> Result<()> {
    let image = Image::new("image")?;
    image.write(PRELOAD, "/a.so\n")?;
    let before = image.all()?;
    let said = image.succeed(&["enable", "--global", "--dry-run"], &format!("+{ENTRY}"))?;
    ensure!(said.contains("--- ") && said.contains("@@"), "no unified difference: {said}");
    ensure!(image.all()? == before, "changed");
    image.succeed(ENABLE, "enabled in")?;
    let before = image.all()?;
    for what in ["--global", "--everything"] {
        image.succeed(&["disable", what, "--dry-run"], &format!("-{ENTRY}"))?;
        ensure!(image.all()? == before, "changed by disable {what}");
    }
    Ok(())
}

fn the_first_original_is_kept() -> Result<()> {
    let image = Image::new("image")?;
    for content in ["/first.so\n", "/second.so\n"] {
        image.write(PRELOAD, content)?;
        image.succeed(ENABLE, "enabled in")?;
        let kept = image.read("var/lib/bysyscall/ld.so.preload.original")?;
        ensure!(kept == b"/first.so\n", "{kept:?}");
        image.succeed(DISABLE, "disabled in")?;
    }
    Ok(())
}

fn links_stay_inside_the_root() -> Result<()> {
    let image = Image::new("image")?;
    fs::rename(image.path("etc"), image.path("real"))?;
    symlink("/real", image.path("etc"))?;
    fs::rename(image.path("var/lib"), image.path("state"))?;
    symlink("../../../../../state", image.path("var/lib"))?;
    image.succeed(ENABLE, "enabled in")?;
    ensure!(image.read("real/ld.so.preload")? == format!("{ENTRY}\n").as_bytes(), "not there");
    ensure!(image.path("state/bysyscall").is_dir(), "no state there");
    image.succeed(DISABLE, "disabled in").map(drop)
}

fn everything_leaves_nothing() -> Result<()> {
    let image = Image::new("image")?;
    image.write("usr/lib/systemd/system/x.service", "[Service]\nExecStart=/bin/true\n")?;
    image.write(PRELOAD, "/a.so\n")?;
    image.write("etc/systemd/system/y.service.d/bysyscall.conf", "[Service]\nNice=1\n")?;
    let before = image.all()?;
    image.succeed(&["disable", "--everything"], "is not enabled")?;
    ensure!(image.all()? == before, "changed");
    image.succeed(ENABLE, "enabled in")?;
    image.succeed(&["enable", "--service", "x"], "enabled for x.service")?;
    image.refuse(&["enable", "--user", "0"], "there is no service user@0.service")?;
    image.write("usr/lib/systemd/system/user@.service", "[Service]\nExecStart=/bin/true\n")?;
    image.succeed(&["enable", "--user", "0"], "enabled for user@0.service")?;
    fs::remove_file(image.path(super::image::LIBRARY))?;
    fs::remove_file(image.path("usr/lib/systemd/system/x.service"))?;
    // As a run that was killed leaves it.
    image.write("etc/.ld.so.preload.bysyscall-new", "half")?;
    image.succeed(&["disable", "--everything"], "disabled for user@0.service")?;
    let mut expected = before;
    expected.remove(&image.path(super::image::LIBRARY));
    expected.remove(&image.path("usr/lib/systemd/system/x.service"));
    fs::remove_file(image.path("usr/lib/systemd/system/user@.service"))?;
    ensure!(image.all()? == expected, "left behind: {:?}", image.all()?.keys());
    image.succeed(&["disable", "--everything"], "is not enabled").map(drop)
}

fn the_name_of_the_program_decides() -> Result<()> {
    let image = Image::new("image")?;
    for (name, words) in [("bysyscall-enable", "enabled in"), ("bysyscall-disable", "disabled in")]
    {
        let link = path(name);
        symlink("bysyscall", &link)?;
        let mut command = std::process::Command::new(&link);
        command.args(["--global", "--root"]).arg(image.path(""));
        let said = says(&mut command, 0, words);
        fs::remove_file(link)?;
        said?;
    }
    Ok(())
}

fn only_root_enables() -> Result<()> {
    for command in [ENABLE, DISABLE, &["disable", "--everything"]] {
        says(&mut as_nobody(loader(command)), 1, "only root")?;
    }
    for usage in [&["enable"][..], &["disable"], &["enable", "--global", "--user", "x"]] {
        says(&mut loader(usage), 2, "Usage")?;
    }
    Ok(())
}

fn other_loaders_are_told_of() -> Result<()> {
    let image = Image::new("image")?;
    image.write("lib/ld-linux.so.2", "")?;
    image.succeed(ENABLE, "wrong ELF class: ELFCLASS64").map(drop)
}
