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
        // One writable page in all: what RELRO would protect is a handful of pointers to libc, and it
        // costs each process of the machine a page, a fault and a system call.
        "-Wl,-z,norelro",
        "-Wl,-z,noexecstack",
        // Function pointers into an interposing library outlive a dlclose().
        "-Wl,-z,nodelete",
        // Two segments for ld.so to map, not four. An option of lld, which is rustc's own here.
        "-Wl,--no-rosegment",
        // The writable one at the start of a page, so that it does not reach into a second one.
        "-Wl,-z,separate-loadable-segments",
        "-Wl,--hash-style=gnu",
        "-Wl,--gc-sections",
    ];
    for option in options {
        println!("cargo:rustc-cdylib-link-arg={option}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
