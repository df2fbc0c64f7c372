// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! All that a file has besides its content.

use std::fs::File;

use anyhow::{Context, Result};
use rustix::fs::{
    Gid, Mode, Stat, Uid, XattrFlags, fchmod, fchown, fgetxattr, flistxattr, fsetxattr,
};
use rustix::io::Errno;

/// Owner, mode and extended attributes: access lists and the SELinux label are such.
///
/// # Errors
///
/// If the kernel refuses.
pub fn copy(from: &File, stat: &Stat, file: &File) -> Result<()> {
    let Stat { st_uid, st_gid, st_mode, .. } = *stat;
    fchown(file, Some(Uid::from_raw(st_uid)), Some(Gid::from_raw(st_gid)))?;
    fchmod(file, Mode::from_raw_mode(st_mode))?;
    for name in names(from)? {
        // The kernel makes these of the content.
        if [&b"security.ima"[..], b"security.evm"].contains(&name.as_slice()) {
            continue;
        }
        copy_one(from, file, &name)?;
    }
    Ok(())
}

/// The SELinux label alone, where there is one.
///
/// # Errors
///
/// If the kernel refuses.
pub fn copy_label(from: &File, to: &File) -> Result<()> {
    const LABEL: &[u8] = b"security.selinux";
    if names(from)?.iter().any(|name| name == LABEL) { copy_one(from, to, LABEL) } else { Ok(()) }
}

fn copy_one(from: &File, to: &File, name: &[u8]) -> Result<()> {
    let mut value = vec![0; 65536];
    let length = fgetxattr(from, name, value.as_mut_slice())?;
    let value = value.get(..length).unwrap_or_default();
    fsetxattr(to, name, value, XattrFlags::empty())
        .with_context(|| format!("cannot copy {}", String::from_utf8_lossy(name)))
}

fn names(file: &File) -> Result<Vec<Vec<u8>>> {
    let mut names = vec![0; 65536];
    let length = match flistxattr(file, names.as_mut_slice()) {
        Err(Errno::NOTSUP) => 0,
        result => result?,
    };
    let names = names.get(..length).unwrap_or_default().split(|&byte| byte == 0);
    Ok(names.filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
}
