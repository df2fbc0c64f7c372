// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Records of processes in the shared map.

use anyhow::{Context, Result};
use libbpf_rs::query::MapInfoIter;
use libbpf_rs::{MapCore, MapFlags, MapHandle};

/// How many belong to a process: bits of the service's map of their pages.
///
/// # Errors
///
/// If there is no service, or the caller may not read its map.
pub fn in_use() -> Result<u64> {
    let pages = pages()?;
    let mut used = 0;
    for page in pages.keys() {
        let bits = pages.lookup(&page, MapFlags::ANY)?.context("a page is gone")?;
        used += u64::from(bits.iter().map(|byte| byte.count_ones()).sum::<u32>());
    }
    Ok(used)
}

/// Leaves none for a process that comes after.
///
/// # Errors
///
/// As of [`in_use`].
pub fn occupy_all() -> Result<()> {
    let pages = pages()?;
    let all = vec![0xff; pages.value_size() as usize];
    pages.keys().try_for_each(|page| pages.update(&page, &all, MapFlags::ANY))?;
    Ok(())
}

/// The map is pinned nowhere. The service that was started last is meant.
fn pages() -> Result<MapHandle> {
    let maps = MapInfoIter::default().filter(|map| map.name == *"bysys_pages");
    let id = maps.map(|map| map.id).max().context("no map bysys_pages")?;
    MapHandle::from_map_id(id).context("cannot open bysys_pages")
}
