// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Link options of a library that every process of a machine may load.

fn main() {
    let options = [
        // No start files, no libgcc: nothing that asks for a newer glibc or an unwinder.
        "-nostdlib",
        "-lc",
        "-Wl,-soname,libbysyscall.so",
        // A program that defines getpid() by syscall(SYS_getpid) must not be called back for it.
        "-Wl,-Bsymbolic",
        // Whatever is missing must be seen here, not when a program starts.
        "-Wl,--no-undefined",
        "-Wl,-z,now",
        "-Wl,-z,relro",
        "-Wl,-z,noexecstack",
        // Function pointers into an interposing library outlive a dlclose().
        "-Wl,-z,nodelete",
        // Two segments less for ld.so to map in each process.
        "-Wl,-z,noseparate-code",
        "-Wl,--hash-style=gnu",
        "-Wl,--gc-sections",
    ];
    for option in options {
        println!("cargo:rustc-cdylib-link-arg={option}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
