// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What the tests, the demo and the benchmarks share.

pub mod built;
pub mod namespace;
pub mod process;
pub mod symbols;
