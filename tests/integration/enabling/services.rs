// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Drop-ins for services and users of an image.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;

use super::image::{ENTRY, Image};
use crate::fixture::trial;

const UNIT: &str = "usr/lib/systemd/system/x.service";
const DROP_IN: &str = "etc/systemd/system/x.service.d/bysyscall.conf";
const ENABLE: &[&str] = &["enable", "--service", "x"];
const DISABLE: &[&str] = &["disable", "--service", "x"];

pub fn trials() -> Vec<Trial> {
    vec![
        trial("enabling::a_drop_in_comes_and_goes", a_drop_in_comes_and_goes),
        trial("enabling::other_libraries_are_kept", other_libraries_are_kept),
        trial("enabling::a_later_drop_in_does_not_win", a_later_drop_in_does_not_win),
        trial("enabling::what_others_add_to_a_drop_in_stays", what_others_add_to_a_drop_in_stays),
        trial("enabling::services_that_cannot_be_are_refused", services_that_cannot_be_are_refused),
        trial("enabling::a_user_is_a_service", a_user_is_a_service),
        trial(
            "enabling::what_others_add_survives_another_time",
            what_others_add_survives_another_time,
        ),
        trial("enabling::units_become_aliases", units_become_aliases),
        trial("enabling::an_alias_keeps_its_instance", an_alias_keeps_its_instance),
        trial("enabling::what_is_no_directory_is_no_obstacle", what_is_no_directory_is_no_obstacle),
    ]
}

fn image() -> Result<Image> {
    let image = Image::new("image")?;
    image.write(UNIT, "[Service]\nExecStart=/bin/true\n")?;
    Ok(image)
}

fn assigned(image: &Image, path: &str) -> Result<String> {
    let text = String::from_utf8(image.read(path)?)?;
    let line = text.lines().find_map(|line| line.strip_prefix("Environment="));
    Ok(line.unwrap_or_default().to_owned())
}

fn a_drop_in_comes_and_goes() -> Result<()> {
    let image = image()?;
    image.write("usr/lib/systemd/system/y@.service", "[Service]\nExecStart=/bin/true\n")?;
    let before = image.all()?;
    image.succeed(DISABLE, "is not enabled for x.service")?;
    let said =
        image.succeed(&["enable", "--service", "x.service", "y@1"], "enabled for x.service")?;
    ensure!(said.contains("systemctl restart y@1.service"), "{said}");
    ensure!(assigned(&image, DROP_IN)? == format!("LD_PRELOAD={ENTRY}"), "the drop-in");
    image.succeed(ENABLE, "")?;
    image.succeed(ENABLE, "enabled already")?;
    image.succeed(&["disable", "--service", "x", "y@1"], "disabled for y@1.service")?;
    ensure!(image.all()? == before, "left behind: {:?}", image.all()?.keys());
    image.succeed(&["enable", "--service", "x", "--dry-run"], "+Environment=LD_PRELOAD=")?;
    ensure!(image.all()? == before, "a dry run has changed something");
    Ok(())
}

fn other_libraries_are_kept() -> Result<()> {
    let image = image()?;
    image.write(UNIT, "[Service]\nEnvironment=A=1 \"LD_PRELOAD=/a.so /b.so\"\n")?;
    image.succeed(ENABLE, "enabled for")?;
    ensure!(assigned(&image, DROP_IN)? == format!("LD_PRELOAD=/a.so:/b.so:{ENTRY}"), "the drop-in");
    // The unit changes, and its drop-in with it.
    image.write(UNIT, "[Service]\nEnvironment=LD_PRELOAD=/c.so\n")?;
    image.succeed(ENABLE, "enabled for")?;
    ensure!(assigned(&image, DROP_IN)? == format!("LD_PRELOAD=/c.so:{ENTRY}"), "the drop-in");
    image.succeed(DISABLE, "disabled for")?;
    image.write(UNIT, format!("[Service]\nEnvironment=LD_PRELOAD={ENTRY}\n"))?;
    image.succeed(ENABLE, "in its own environment already").map(drop)
}

/// `systemctl edit` makes override.conf, which systemd reads after bysyscall.conf.
fn a_later_drop_in_does_not_win() -> Result<()> {
    let image = image()?;
    image.write(
        "etc/systemd/system/x.service.d/override.conf",
        "[Service]\nEnvironment=LD_PRELOAD=/o.so\n",
    )?;
    let before = image.all()?;
    image.succeed(ENABLE, "enabled for")?;
    let later = "etc/systemd/system/x.service.d/zz-bysyscall.conf";
    ensure!(assigned(&image, later)? == format!("LD_PRELOAD=/o.so:{ENTRY}"), "the drop-in");
    ensure!(!image.path(DROP_IN).exists(), "two drop-ins");
    image.succeed(DISABLE, "disabled for")?;
    ensure!(image.all()? == before, "left behind: {:?}", image.all()?.keys());
    Ok(())
}

fn what_others_add_to_a_drop_in_stays() -> Result<()> {
    let image = image()?;
    image.succeed(ENABLE, "enabled for")?;
    let ours = String::from_utf8(image.read(DROP_IN)?)?;
    image.write(DROP_IN, format!("{ours}Nice=5\n").replace(ENTRY, &format!("{ENTRY}:/l.so")))?;
    image.succeed(DISABLE, "disabled for")?;
    let rest = String::from_utf8(image.read(DROP_IN)?)?;
    ensure!(rest == "[Service]\nEnvironment=LD_PRELOAD=/l.so\nNice=5\n", "{rest}");
    image.succeed(DISABLE, "is not enabled")?;
    image.refuse(ENABLE, "not of bysyscall")
}

fn services_that_cannot_be_are_refused() -> Result<()> {
    let image = image()?;
    for (unit, words) in [
        ("nosuch", "there is no service nosuch.service"),
        ("x.socket", "is not a service"),
        ("../x", "cannot be the name"),
        ("", "cannot be the name"),
    ] {
        image.refuse(&["enable", "--service", unit], words)?;
        // All or none.
        image.refuse(&["enable", "--service", "x", unit], words)?;
    }
    symlink("/dev/null", image.path("etc/systemd/system/masked.service"))?;
    image.refuse(&["enable", "--service", "masked"], "is masked")?;
    symlink("/usr/lib/systemd/system/x.service", image.path("etc/systemd/system/alias.service"))?;
    image.succeed(&["enable", "--service", "alias"], "enabled for x.service")?;
    image.succeed(&["disable", "--service", "alias"], "disabled for x.service")?;
    image.write(UNIT, "[Service]\nUnsetEnvironment=LD_PRELOAD\n")?;
    image.refuse(ENABLE, "UnsetEnvironment")?;
    image.write(UNIT, "[Service]\nEnvironmentFile=-/etc/default/x\n")?;
    image.write("etc/default/x", "LD_PRELOAD=/f.so\n")?;
    image.refuse(ENABLE, "/etc/default/x")?;
    fs::remove_file(image.path("etc/default/x"))?;
    image.succeed(ENABLE, "enabled for").map(drop)
}

fn a_user_is_a_service() -> Result<()> {
    let image = image()?;
    image.write("usr/lib/systemd/system/user@.service", "[Service]\nUser=%i\n")?;
    image.write("etc/passwd", "root:x:0:0::/root:/bin/sh\nann:x:1007:1007::/:/bin/sh\n")?;
    image.refuse(&["enable", "--user", "bob"], "there is no user bob")?;
    image.succeed(&["enable", "--user", "ann"], "enabled for user@1007.service")?;
    let path = "etc/systemd/system/user@1007.service.d/bysyscall.conf";
    ensure!(assigned(&image, path)? == format!("LD_PRELOAD={ENTRY}"), "the drop-in");
    image.succeed(&["disable", "--user", "1007"], "disabled for user@1007.service")?;
    ensure!(!image.path(path).exists(), "it is still there");
    Ok(())
}

fn what_others_add_survives_another_time() -> Result<()> {
    let image = image()?;
    image.succeed(ENABLE, "enabled for")?;
    let ours = String::from_utf8(image.read(DROP_IN)?)?;
    image.write(DROP_IN, format!("{ours}Nice=5\n"))?;
    image.succeed(ENABLE, "enabled already")?;
    image.write(UNIT, "[Service]\nEnvironment=LD_PRELOAD=/c.so\n")?;
    image.succeed(ENABLE, "enabled for")?;
    let text = String::from_utf8(image.read(DROP_IN)?)?;
    ensure!(text.ends_with(&format!("Environment=LD_PRELOAD=/c.so:{ENTRY}\nNice=5\n")), "{text}");
    image.write(DROP_IN, text + "Environment=LD_PRELOAD=/d.so\n")?;
    image.refuse(ENABLE, "LD_PRELOAD of somebody else")?;
    image.succeed(DISABLE, "disabled for")?;
    let rest = String::from_utf8(image.read(DROP_IN)?)?;
    ensure!(rest == "[Service]\nNice=5\nEnvironment=LD_PRELOAD=/d.so\n", "{rest}");
    Ok(())
}

/// What was enabled for a unit can be undone when its name has become another one's.
fn units_become_aliases() -> Result<()> {
    for disable in [DISABLE, &["disable", "--everything"]] {
        let image = image()?;
        image.write("usr/lib/systemd/system/y.service", "[Service]\nExecStart=/bin/true\n")?;
        image.succeed(&["enable", "--service", "x"], "enabled for x.service")?;
        fs::remove_file(image.path(UNIT))?;
        symlink("y.service", image.path(UNIT))?;
        image.succeed(disable, "disabled for x.service")?;
        ensure!(!image.path(DROP_IN).exists(), "{disable:?}: it is still there");
    }
    Ok(())
}

/// As Debian's `autovt@.service` is one of `getty@.service`.
fn an_alias_keeps_its_instance() -> Result<()> {
    let image = image()?;
    image.write("usr/lib/systemd/system/getty@.service", "[Service]\nExecStart=/bin/true\n")?;
    symlink("getty@.service", image.path("usr/lib/systemd/system/autovt@.service"))?;
    image.succeed(&["enable", "--service", "autovt@tty1"], "enabled for getty@tty1.service")?;
    let said = image.succeed(&["enable", "--service", "autovt@"], "enabled for getty@.service")?;
    ensure!(!said.contains("systemctl restart getty@.service"), "{said}");
    image.succeed(&["disable", "--service", "autovt@tty1"], "disabled for getty@tty1.service")?;
    image.succeed(&["disable", "--everything"], "disabled for getty@.service").map(drop)
}

/// Administrators put such things where a directory would be.
fn what_is_no_directory_is_no_obstacle() -> Result<()> {
    let image = image()?;
    image.succeed(ENABLE, "enabled for")?;
    symlink("/dev/null", image.path("etc/systemd/system/a.service.d"))?;
    symlink("b.service.d", image.path("etc/systemd/system/b.service.d"))?;
    image.write("etc/systemd/system/c.service.d", "")?;
    // Of a run that was killed.
    let killed = "etc/systemd/system/y.service.d";
    image.write(&format!("{killed}/.bysyscall.conf.bysyscall-new"), "")?;
    image.succeed(&["disable", "--everything"], "disabled for x.service")?;
    ensure!(!image.path(killed).exists(), "what a killed run has left is there");
    Ok(())
}
