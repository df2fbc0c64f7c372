// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Asserts, when compiled, that the Rust structs are the C structs: each field
//! against the BTF that the compiler made of `bpf/bysyscall.h`.

use core::mem::{offset_of, size_of};

use crate::bpf::types;

const fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// Each field has the same place and size in both, and together they are the
/// whole struct: so neither has one more, and neither has padding.
macro_rules! assert_same {
    ($rust:ident, $c:ident { $($field:ident),* $(,)? }) => {
        const _: () = {
            use bysyscall_abi::$rust;
            assert!(size_of::<$rust>() == size_of::<types::$c>());
            $(
                assert!(offset_of!($rust, $field) == offset_of!(types::$c, $field));
                assert!(
                    size_of_field(|rust: &$rust| &rust.$field) == size_of_field(|c: &types::$c| &c.$field)
                );
            )*
            assert!(0 $(+ size_of_field(|rust: &$rust| &rust.$field))* == size_of::<$rust>());
        };
    };
}

assert_same!(
    Header,
    bysyscall_header {
        abi_version,
        cell_size,
        cell_count,
        tick,
        generation,
        tick_origin,
        jiffies,
        process_start,
        counter_step,
        reserved
    }
);
assert_same!(
    Cell,
    bysyscall_cell {
        state,
        pid,
        tid,
        uid,
        euid,
        suid,
        gid,
        egid,
        sgid,
        ppid,
        pgid,
        sid,
        has_cpu_timers,
        runtime_seconds,
        process_runtime_seconds,
        anchor,
        runtime,
        process_runtime,
        utime,
        stime,
        told_utime,
        told_stime,
        anchor_seconds,
        children_utime,
        children_stime,
        process,
        is_counted,
        counted,
        remote,
        reserved32,
        usage,
        reserved
    }
);
assert_same!(
    Usage,
    bysyscall_usage { utime, stime, maxrss, minflt, majflt, inblock, oublock, nvcsw, nivcsw }
);
assert_same!(
    Record,
    bysyscall_record {
        abi_version,
        record_size,
        cell_size,
        cell_count,
        generation,
        flags,
        process,
        reserved,
        seccomp_mode
    }
);
assert_same!(
    Process,
    bysyscall_process {
        runtime,
        incomplete,
        has_cpu_timers,
        running,
        has_waited,
        utime,
        stime,
        told_utime,
        told_stime,
        children,
        usage,
        is_over,
        reserved32,
        reserved
    }
);
assert_same!(Control, bysyscall_control { operation, wrappers });
assert_same!(Count, bysyscall_count { processes, threads });
assert_same!(Program, bysyscall_program { name });
assert_same!(
    Service,
    bysyscall_service {
        generation,
        started_at,
        abi_version,
        record_flags,
        hooks,
        wrappers,
        cell_count,
        switched_off,
        tick_origin,
        usage_by_tick,
        wants_usage_by_tick,
        usage_is_option,
        configured_off,
        reads_paths,
        group,
        never,
        only,
        log_level,
        spare_hooks,
        version,
        counter_step,
        reserved
    }
);
