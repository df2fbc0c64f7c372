// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Compiles the BPF program that the benchmark compares with.

use std::path::Path;
use std::{env, error::Error};

use libbpf_cargo::SkeletonBuilder;

fn main() -> Result<(), Box<dyn Error>> {
    let here = env::var("CARGO_MANIFEST_DIR")?;
    let source = Path::new(&here).join("bpf/empty.bpf.c");
    SkeletonBuilder::new()
        .source(&source)
        .clang_args([format!("-I{here}/../bpf")])
        .obj(Path::new(&env::var("OUT_DIR")?).join("empty.bpf.o"))
        .build()?;
    println!("cargo:rerun-if-changed={}", source.display());
    Ok(())
}
