// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Each wrapper, libc's function and `sched_getcpu()`, by divan. Ratios come
//! from `make bench`, which measures pairs; this is for looking at one of them.

use std::hint::black_box;
use std::sync::OnceLock;

use bysyscall_abi::WRAPPERS;
use bysyscall_tests::accounting::tells_account;
use bysyscall_tests::symbols::Library;
use bysyscall_tests::{built, namespace, process};
use divan::Bencher;

struct Pair {
    libc: Library,
    bysyscall: Library,
}

// SAFETY: dlsym may be called from any thread.
unsafe impl Send for Pair {}
// SAFETY: as above.
unsafe impl Sync for Pair {}

static PAIR: OnceLock<Pair> = OnceLock::new();

fn main() -> anyhow::Result<()> {
    namespace::enter()?;
    process::loader(&["start"])?;
    let pair = Pair { libc: Library::libc()?, bysyscall: Library::open(&built::library()?)? };
    let _ = PAIR.set(pair);
    divan::main();
    process::loader(&["stop"]).map(drop)
}

fn names() -> impl Iterator<Item = &'static str> {
    // Those of CPU time take other arguments; `make bench` has them.
    WRAPPERS.iter().filter(|wrapper| !tells_account(wrapper)).map(|wrapper| wrapper.name)
}

fn measure(bencher: Bencher<'_, '_>, library: fn(&Pair) -> &Library, name: &str) {
    let Some(library) = PAIR.get().map(library) else { return };
    if name.starts_with("getres") {
        if let Ok(function) = library.three_ids(name) {
            let mut ids = [0; 3];
            let [real, effective, saved] = &mut ids;
            bencher.bench_local(|| black_box(function(real, effective, saved)));
        }
    } else if let Ok(function) = library.plain(name) {
        bencher.bench_local(|| black_box(function(0)));
    }
}

#[divan::bench(args = names())]
fn bysyscall(bencher: Bencher<'_, '_>, name: &str) {
    measure(bencher, |pair| &pair.bysyscall, name);
}

#[divan::bench(args = names())]
fn libc(bencher: Bencher<'_, '_>, name: &str) {
    measure(bencher, |pair| &pair.libc, name);
}

#[divan::bench]
fn sched_getcpu(bencher: Bencher<'_, '_>) {
    measure(bencher, |pair| &pair.libc, "sched_getcpu");
}
