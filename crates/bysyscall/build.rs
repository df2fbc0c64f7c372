// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Compiles the BPF programs and generates their skeleton.

use std::path::Path;
use std::{env, error::Error};

use libbpf_cargo::SkeletonBuilder;

fn main() -> Result<(), Box<dyn Error>> {
    let repository = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../..").canonicalize()?;
    let bpf = repository.join("bpf");
    // The kernel shows source lines, and a package must not depend on where it was built.
    let names = format!("-ffile-prefix-map={}=/usr/src/bysyscall", repository.display());
    let out = env::var("OUT_DIR")?;
    let out = Path::new(&out);
    SkeletonBuilder::new()
        .source(bpf.join("bysyscall.bpf.c"))
        .clang_args([
            "-Wall",
            "-Wextra",
            "-Wno-unused-parameter",
            "-Werror",
            "-mcpu=v3",
            names.as_str(),
        ])
        .obj(out.join("bysyscall.bpf.o"))
        .build_and_generate(out.join("bysyscall.skel.rs"))?;
    println!("cargo:rerun-if-changed={}", bpf.display());
    // Where `make install` puts the library; the default is the path that users know.
    println!("cargo:rerun-if-env-changed=LIBDIR");
    let libdir = env::var("LIBDIR").unwrap_or_else(|_| "/usr/lib64".to_owned());
    println!("cargo:rustc-env=BYSYSCALL_LIBDIR={libdir}");
    Ok(())
}
