// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What the tests, the demo and the benchmarks share.

pub mod accounting;
pub mod built;
pub mod fixture;
pub mod log;
pub mod namespace;
pub mod patience;
pub mod process;
pub mod records;
pub mod selection;
pub mod symbols;
