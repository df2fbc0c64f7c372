/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * The layout that the BPF programs write and the preloaded library reads, and
 * the two tables from which everything else derives its names and numbers.
 *
 * This file is the only definition. The BPF programs include it; the Rust
 * crate `bysyscall-abi` reads the tables and the numbers out of it when it is
 * built; the loader asserts the Rust structs field by field against the BTF
 * that the compiler made of these.
 *
 * Terms: a task is a thread; a process is a thread group. A cell belongs to a
 * CPU. While user code runs on a CPU, the cell of that CPU describes the task
 * that runs there; at any other time its content means nothing.
 *
 * Atomicity: a cell is written by BPF programs on its own CPU for the task
 * that is current or about to be, so to that task the whole write looks
 * atomic, apart from the count in `state`. Only `state` is also written from other
 * CPUs, and only to take flags away; see take_flags_away() in bysyscall.bpf.c.
 *
 * Structs grow only at their end, into what is reserved. Any other change, a
 * row taken out of a table or a bit with a new meaning is a new ABI version.
 */
#ifndef BYSYSCALL_H
#define BYSYSCALL_H

/* Library and service work together only if both have the same number. */
#define BYSYSCALL_ABI_VERSION 1

/* Bytes of a map element: the header is element 0, the cell of CPU n is element n + 1. */
#define BYSYSCALL_CELL_SIZE 64

/* bysyscall_cell.state */
#define BYSYSCALL_FLAGS_MASK 0xffffff
#define BYSYSCALL_COUNT_SHIFT 24

/*
 * Hooks, one row each: bit, name, where the program is attached.
 * `name` is the program's name in the kernel and the name of its pin.
 */
#define BYSYSCALL_HOOKS(ROW)                             \
	ROW(0, bysys_switch, "tp_btf/sched_switch")          \
	ROW(1, bysys_newtask, "tp_btf/task_newtask")         \
	ROW(2, bysys_exec, "tp_btf/sched_process_exec")      \
	ROW(3, bysys_filter, "tp_btf/percpu_alloc_percpu")   \
	ROW(4, bysys_creds, "fexit/commit_creds")            \
	ROW(5, bysys_ftrace, "fentry/proc_dointvec")         \
	ROW(6, bysys_dispatch, "fexit/set_syscall_user_dispatch") \
	ROW(7, bysys_exit, "tp_btf/sched_process_exit")      \
	ROW(8, bysys_regroup, "fentry/change_pid")           \
	ROW(9, bysys_regrouped, "fexit/change_pid")

/* Hooks that every wrapper needs: see below. */
#define BYSYSCALL_ALWAYS HOOK(bysys_switch) | HOOK(bysys_newtask) | HOOK(bysys_filter)
/* Hooks on functions of the kernel, which the administrator can switch off. */
#define BYSYSCALL_CREDS HOOK(bysys_creds) | HOOK(bysys_ftrace)
#define BYSYSCALL_GROUPS HOOK(bysys_regroup) | HOOK(bysys_regrouped) | HOOK(bysys_ftrace)

/*
 * Wrappers, one row each: flag bit, libc function, the hooks that keep its
 * answer right. The system call is SYS_<function>.
 *
 * bysys_switch brings the task's values to the cell; bysys_filter notices a
 * seccomp filter that a task gives itself; bysys_newtask finds out what
 * bysys_switch must know of the kernel, and lets children inherit. That is all
 * for pid and tid, which cannot change while a task runs user code.
 *
 * Credentials change only by the task itself, and bysys_creds notices it.
 * Process group and session are changed by the process or its parent;
 * bysys_regroup and bysys_regrouped stand around the change. The parent changes
 * when the thread that it is exits; bysys_exit comes before. bysys_ftrace
 * notices that hooks on functions are about to be switched off.
 *
 * bysys_exec and bysys_dispatch are in no row. Without the first, a new image
 * is described as the old one was. The last notices a syscall user dispatch
 * that a task turns on by a system call of its own; one by libc's prctl() or
 * syscall() the library notices itself.
 */
#define BYSYSCALL_WRAPPERS(ROW)                                  \
	ROW(0, getpid, BYSYSCALL_ALWAYS)                         \
	ROW(1, gettid, BYSYSCALL_ALWAYS)                         \
	ROW(2, getuid, BYSYSCALL_ALWAYS | BYSYSCALL_CREDS)       \
	ROW(3, geteuid, BYSYSCALL_ALWAYS | BYSYSCALL_CREDS)      \
	ROW(4, getgid, BYSYSCALL_ALWAYS | BYSYSCALL_CREDS)       \
	ROW(5, getegid, BYSYSCALL_ALWAYS | BYSYSCALL_CREDS)      \
	ROW(6, getresuid, BYSYSCALL_ALWAYS | BYSYSCALL_CREDS)    \
	ROW(7, getresgid, BYSYSCALL_ALWAYS | BYSYSCALL_CREDS)    \
	ROW(8, getppid, BYSYSCALL_ALWAYS | HOOK(bysys_exit))           \
	ROW(9, getpgrp, BYSYSCALL_ALWAYS | BYSYSCALL_GROUPS)     \
	ROW(10, getpgid, BYSYSCALL_ALWAYS | BYSYSCALL_GROUPS)    \
	ROW(11, getsid, BYSYSCALL_ALWAYS | BYSYSCALL_GROUPS)

/*
 * Element 0 of the cells map.
 * Writer: the loader, once, before the map is frozen. Reader: the library's constructor.
 */
struct bysyscall_header {
	__u32 abi_version; /* BYSYSCALL_ABI_VERSION of the service. 0: not yet filled in. */
	__u32 cell_size;   /* bytes from one cell to the next. Never 0. */
	__u32 cell_count;  /* CPUs that can ever exist: highest CPU number + 1. Never 0. */
	__u32 reserved0;   /* 0. */
	__u64 generation;  /* random number of this start of the service. Never 0. */
	__u32 reserved[10]; /* 0. */
};

/*
 * Elements 1 and up of the cells map, one for each CPU.
 * Writer: BPF programs. Reader: every process that has mapped it, read-only.
 */
struct bysyscall_cell {
	/*
	 * Flags and count in one word, which the writer exchanges atomically and
	 * the reader loads whole. BYSYSCALL_FLAGS_MASK: bit n says that the wrapper
	 * of row n may answer from this cell; 0: make the real call. Above it, from
	 * BYSYSCALL_COUNT_SHIFT: a count of writes, so a reader that finds the word
	 * unchanged, on the same CPU, read one task's values. Wraps after 2^40
	 * writes. 0: never written.
	 */
	__u64 state;
	__u32 pid;  /* thread group id in the task's own pid namespace. Never 0 with its flag. */
	__u32 tid;  /* thread id in the task's own pid namespace. Never 0 with its flag. */
	__u32 uid;  /* real user id in the task's user namespace. 0: root of that namespace. */
	__u32 euid; /* effective user id, as above. */
	__u32 suid; /* saved user id, as above. */
	__u32 gid;  /* real group id in the task's user namespace, as above. */
	__u32 egid; /* effective group id, as above. */
	__u32 sgid; /* saved group id, as above. */
	__u32 ppid; /* thread group id of the parent in the task's own pid namespace. 0: is not in it. */
	__u32 pgid; /* process group id in the task's own pid namespace. 0: is not in it. */
	__u32 sid;  /* session id in the task's own pid namespace. 0: is not in it. */
	__u32 reserved[3]; /* 0. */
};

/* bysyscall_record.flags */
#define BYSYSCALL_RECORD_REGISTERED 1 /* the process is marked: its cells will be filled in. */
#define BYSYSCALL_RECORD_HELD 2       /* hooks are held by hold/<generation>: map it before you believe a cell. */
#define BYSYSCALL_RECORD_RDPID 4      /* the CPUs have rdpid, and it tells the truth. */
#define BYSYSCALL_RECORD_OWN_ID 8     /* no security module is asked about getpgid() and getsid() of one's own pid. */

/*
 * What reading the registration file answers.
 * Writer: bysys_register, in the context of the reading process. Reader: the library's constructor.
 */
struct bysyscall_record {
	__u32 abi_version;  /* as in the header. */
	__u32 record_size;  /* bytes of this record. */
	__u32 cell_size;    /* as in the header. */
	__u32 cell_count;   /* as in the header. */
	__u64 generation;   /* as in the header. */
	__u32 flags;        /* BYSYSCALL_RECORD_* */
	__u32 seccomp_mode; /* of the reading task: SECCOMP_MODE_*. 0: no filter, bpf() may be called. */
};

/* bysyscall_control.operation; each returns the wrappers that are published then. */
#define BYSYSCALL_CONTROL_QUERY 0  /* only return the wrappers that are published. */
#define BYSYSCALL_CONTROL_ENABLE 1 /* publish the wrappers in `wrappers` from the next switch on. */
#define BYSYSCALL_CONTROL_STOP 2   /* no flag in any cell from now on; cannot be undone. */

/* Argument of the control program. Writer: the loader. Reader: bysys_control. */
struct bysyscall_control {
	__u32 operation; /* BYSYSCALL_CONTROL_* */
	__u32 wrappers;  /* bit n: the wrapper of row n. */
};

/* What the task iterator answers. Writer: bysys_count. Reader: `bysyscall status`. */
struct bysyscall_count {
	__u64 processes; /* registered thread groups. */
	__u64 threads;   /* threads in them. */
};

/*
 * The one element of the service map, which only root can open.
 * Writer: the loader, once. Reader: `bysyscall status`, bysys_register.
 */
struct bysyscall_service {
	__u64 generation;   /* as in the header. */
	__u64 started_at;   /* CLOCK_REALTIME, ns. */
	__u32 abi_version;  /* as in the header. */
	__u32 record_flags; /* BYSYSCALL_RECORD_*, but for REGISTERED. */
	__u32 hooks;        /* bit n: the hook of row n is attached. */
	__u32 wrappers;     /* bit n: the wrapper of row n is on. */
	__u32 cell_count;   /* as in the header. */
	__u32 reserved;     /* 0. */
	char version[32];   /* of the loader; NUL-terminated text. */
};

#endif
