// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Compiles the BPF programs and generates their skeleton.

use std::path::Path;
use std::{env, error::Error};

use libbpf_cargo::SkeletonBuilder;

fn main() -> Result<(), Box<dyn Error>> {
    let bpf = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../bpf");
    let out = env::var("OUT_DIR")?;
    let out = Path::new(&out);
    SkeletonBuilder::new()
        .source(bpf.join("bysyscall.bpf.c"))
        .clang_args(["-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-mcpu=v3"])
        .obj(out.join("bysyscall.bpf.o"))
        .build_and_generate(out.join("bysyscall.skel.rs"))?;
    println!("cargo:rerun-if-changed={}", bpf.display());
    // Where `make install` puts the library; the default is the path that users know.
    println!("cargo:rerun-if-env-changed=LIBDIR");
    let libdir = env::var("LIBDIR").unwrap_or_else(|_| "/usr/lib64".to_owned());
    println!("cargo:rustc-env=BYSYSCALL_LIBDIR={libdir}");
    Ok(())
}
