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
 * Whoever reads it from another CPU may find it half written, and finds out in
 * the end that it is not his.
 *
 * Structs grow only at their end, into what is reserved. Any other change, a
 * row taken out of a table or a bit with a new meaning is a new ABI version.
 */
#ifndef BYSYSCALL_H
#define BYSYSCALL_H

/* Library and service work together only if both have the same number. */
#define BYSYSCALL_ABI_VERSION 3

/* Bytes of a map element: the header is element 0, the cell of CPU n is element n + 1. */
#define BYSYSCALL_CELL_SIZE 256

/* Processes that can have a record at once, and how many of these elements a page has. */
#define BYSYSCALL_PROCESSES 4096
#define BYSYSCALL_PAGE_ELEMENTS 16

/* bysyscall_cell.state */
#define BYSYSCALL_FLAGS_MASK 0xffffff
#define BYSYSCALL_COUNT_SHIFT 24

/*
 * A flag like those of the wrappers: getrusage() may answer for the thread and the
 * process too, by what was published at the last tick or switch. The administrator chooses it.
 */
#define BYSYSCALL_USAGE_BY_TICK 0x800000

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
	ROW(9, bysys_regrouped, "fexit/change_pid")          \
	ROW(10, bysys_tick, "tp_btf/sched_stat_runtime")     \
	ROW(11, bysys_wait, "tp_btf/sched_process_wait")     \
	ROW(12, bysys_itimer, "tp_btf/itimer_state")         \
	ROW(13, bysys_cpu_timer, "fexit/posix_cpu_timer_set") \
	ROW(14, bysys_cpu_limit, "fexit/update_rlimit_cpu")  \
	ROW(15, bysys_free, "tp_btf/sched_process_free")     \
	ROW(16, bysys_ring, "tp_btf/io_uring_create")        \
	ROW(17, bysys_lost, "fentry/bpf_task_storage_free")

/* Hooks that every wrapper needs: see below. */
#define BYSYSCALL_ALWAYS HOOK(bysys_switch) | HOOK(bysys_newtask) | HOOK(bysys_filter)
/* Hooks on functions of the kernel, which the administrator can switch off. */
#define BYSYSCALL_CREDS HOOK(bysys_creds) | HOOK(bysys_ftrace)
#define BYSYSCALL_GROUPS HOOK(bysys_regroup) | HOOK(bysys_regrouped) | HOOK(bysys_ftrace)
/* The scheduler's account of a task, and what makes the process's clock another one. */
#define BYSYSCALL_CLOCKS HOOK(bysys_tick) | HOOK(bysys_itimer)
#define BYSYSCALL_TIMES HOOK(bysys_tick) | HOOK(bysys_wait)
/*
 * Of the hooks that no wrapper needs those that only accounting has a use for. Not bysys_ring: the
 * rings that were made before accounting begins must be known then.
 */
#define BYSYSCALL_ACCOUNT_HOOKS HOOK(bysys_cpu_timer) | HOOK(bysys_cpu_limit) | HOOK(bysys_free)

/*
 * Wrappers, one row each: flag bit, libc function, the hooks that keep its
 * answer right. The system call is SYS_<function>; that of clock() is
 * SYS_clock_gettime.
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
 * CPU time grows while the task runs, and the reader adds what has passed since
 * the anchor; bysys_tick sets a new one at each tick and each real call, from the first
 * real call on that asks for CPU time.
 * bysys_wait notices that a process may take over the usage of a child, which changes
 * in no other way; what getrusage() answers for children needs nothing else.
 * bysys_itimer notices a timer that makes the process's clock stand still between ticks.
 *
 * bysys_exec, bysys_dispatch, bysys_cpu_timer, bysys_cpu_limit, bysys_free, bysys_ring and bysys_lost are in no row.
 * Without the first, a new image is described as the old one was. The second
 * notices a syscall user dispatch that a task turns on by a system call of its
 * own; one by libc's prctl() or syscall() the library notices itself. The next
 * two do as bysys_itimer for timer_settime() and RLIMIT_CPU; without them
 * bysys_tick notices the look at the clock that these take. bysys_free gives a process's record back.
 * bysys_ring notices a ring by which a process can wait without a system call; a
 * kernel that lacks the place has no such rings. bysys_lost notices that the kernel takes a process for another
 * one and frees what the other hooks know of it; without it, that is noticed at the next switch or tick.
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
	ROW(11, getsid, BYSYSCALL_ALWAYS | BYSYSCALL_GROUPS)     \
	ROW(12, clock_gettime, BYSYSCALL_ALWAYS | BYSYSCALL_CLOCKS) \
	ROW(13, clock, BYSYSCALL_ALWAYS | BYSYSCALL_CLOCKS)      \
	ROW(14, times, BYSYSCALL_ALWAYS | BYSYSCALL_TIMES)       \
	ROW(15, getrusage, BYSYSCALL_ALWAYS | HOOK(bysys_wait))

/*
 * Element 0 of the cells map.
 * Writer: the loader, once, before the map is frozen; `jiffies`: bysys_tick, on
 * any CPU, one store. Reader: the library's constructor, and times() each time.
 */
struct bysyscall_header {
	__u32 abi_version; /* BYSYSCALL_ABI_VERSION of the service. 0: not yet filled in. */
	__u32 cell_size;   /* bytes from one cell to the next. Never 0. */
	__u32 cell_count;  /* CPUs that can ever exist: highest CPU number + 1. Never 0. */
	__u32 tick;        /* ns from one tick of the kernel to the next (TICK_NSEC). Never 0. */
	__u64 generation;  /* random number of this start of the service. Never 0. */
	/*
	 * The kernel counts tick number n at CLOCK_MONOTONIC = tick_origin + n * tick
	 * or later, modulo 2^64. 0: unknown, and times() is off.
	 */
	__u64 tick_origin;
	__u64 jiffies;       /* ticks that the kernel had counted (jiffies_64) at the last one seen. 0: none seen. */
	__u32 process_start; /* element of the first record of a process; the first of a page. Never 0. */
	/*
	 * The time that a step of the time stamp counter takes, or slightly less, in 2^-32 ns.
	 * 0: the clock must be asked for the time since an anchor.
	 */
	__u32 counter_step;
	__u32 reserved[52];  /* 0. */
};

/* What getrusage() tells, of a thread, a process or its children. */
struct bysyscall_usage {
	__u64 utime;   /* user time, ns. */
	__u64 stime;   /* system time, ns. */
	__u64 maxrss;  /* most memory that was resident at once, pages. */
	__u64 minflt;  /* page faults without I/O. */
	__u64 majflt;  /* page faults with I/O. */
	__u64 inblock; /* blocks of 512 bytes that were read. */
	__u64 oublock; /* blocks of 512 bytes that were written. */
	__u64 nvcsw;   /* voluntary context switches. */
	__u64 nivcsw;  /* involuntary context switches. */
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
	/*
	 * Not 0: the process has CPU timers, and while it does the kernel answers its
	 * CPU-time clock as of the last tick (kernel/time/posix-cpu-timers.c,
	 * cpu_clock_sample_group).
	 */
	__u32 has_cpu_timers;
	__u32 runtime_seconds;         /* whole seconds in `runtime`, or one less: spares the reader a division. */
	__u32 process_runtime_seconds; /* the same of `process_runtime`. */

	/*
	 * CPU accounting, all in ns. `anchor` and what is "at the anchor" are of one
	 * moment. The flags of the wrappers that read these are given only where they are of this task.
	 */
	__u64 anchor;          /* CLOCK_MONOTONIC of the anchor. */
	__u64 runtime;         /* the task has run so long at the anchor (sum_exec_runtime). */
	__u64 process_runtime; /* so long its process, with the threads that have ended, at the anchor. 0: unknown. */
	__u64 utime;           /* user time of the process, counted in ticks. */
	__u64 stime;           /* system time of the process, counted in ticks. */
	__u64 told_utime;      /* user time of the process that a real call has told last. */
	__u64 told_stime;      /* the same of its system time. */
	__u64 anchor_seconds;  /* whole seconds in `anchor`, or one less. */
	__u64 children_utime;  /* user time of the children that the process has waited for. */
	__u64 children_stime;  /* system time of these. */
	__u32 process;         /* element of the process's record. 0: none. */
	/* The following is for a process of several threads: see bysyscall_process. */
	__u32 is_counted;      /* not 0: the task is among those that the record counts as running. */
	__u64 counted;         /* so much of the task's run time is in the record's. */
	__u32 remote;          /* odd while another CPU writes the record's run time and `counted`. Counts up. */
	__u32 reserved32;      /* 0. */
	/* Of the thread, at the last tick or switch; filled in only where BYSYSCALL_USAGE_BY_TICK is wanted. */
	struct bysyscall_usage usage;
	__u64 reserved[2];     /* 0. */
};

/*
 * The elements from bysyscall_header.process_start on: a record for a process, for what
 * is not in the cells: the usage of its children, and what several threads have
 * together. No CPU knows all of these, so their hooks add up here. The process maps
 * the page that has its record; those of its children are in the same page, as long as there is room.
 *
 * Writer: BPF programs on all CPUs. Reader: the threads of the process.
 */
struct bysyscall_process {
	/*
	 * ns that all threads have run, those that have ended too, as of the kernel's last look at each;
	 * of the reader itself `counted` is in it. While there are several threads it is only added to, atomically;
	 * while there is one, it means nothing.
	 */
	__u64 runtime;
	__u32 incomplete;     /* not 0: threads could not be counted, or not yet; real calls. Written 0 when a second one is made. */
	__u32 has_cpu_timers; /* as in the cell; while there are several threads, only set. */
	/*
	 * Threads of the process that are on a CPU. Of one that is, the kernel may know more than
	 * `runtime` for a moment, so only a thread that is alone on a CPU, 1, may answer.
	 */
	__u32 running;
	/*
	 * Not 0: a child's usage may have been taken over, so `children` here, and its times in
	 * the cells, are old. Written 0 while there is one thread.
	 */
	__u32 has_waited;
	/* As in the cell, of all threads. */
	__u64 utime;
	__u64 stime;
	__u64 told_utime;
	__u64 told_stime;
	struct bysyscall_usage children; /* of the children that the process has waited for. */
	/* Of all threads, those that have ended too; of each as of its last tick or switch. See the cell. */
	struct bysyscall_usage usage;
	__u32 is_over;     /* not 0: the process has been freed, but a thread that it had has not left its CPU yet. */
	__u32 reserved32;  /* 0. */
	__u64 reserved[6]; /* 0. */
};

/* bysyscall_record.flags */
#define BYSYSCALL_RECORD_REGISTERED 1 /* the process is marked: its cells will be filled in. */
#define BYSYSCALL_RECORD_HELD 2       /* hooks are held by hold/<generation>: map it before you believe a cell. */
#define BYSYSCALL_RECORD_RDPID 4      /* the CPUs have rdpid, and it tells the truth. */
#define BYSYSCALL_RECORD_OWN_ID 8     /* no security module is asked about getpgid() and getsid() of one's own pid. */
#define BYSYSCALL_RECORD_LEFT_ALONE 16 /* the configuration names the program, or does not; never with REGISTERED of this reading. */

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
	__u32 process;      /* element of the process's record in the cells map. 0: it has none. */
	__u32 reserved;     /* 0. */
	__u32 seccomp_mode; /* of the reading task: SECCOMP_MODE_*. 0: no filter, bpf() may be called. */
};

/* bysyscall_control.operation; each returns the wrappers that are published then, and perhaps one of the bits below. */
#define BYSYSCALL_CONTROL_QUERY 0  /* only return the wrappers that are published. */
#define BYSYSCALL_CONTROL_ENABLE 1 /* publish the wrappers in `wrappers` from the next switch on, and no others from now on. */
#define BYSYSCALL_CONTROL_STOP 2   /* no flag in any cell from now on; cannot be undone. */

/* In what is returned: the kernel hides switches, so processes of several threads get real calls for their CPU times. */
#define BYSYSCALL_CONTROL_HIDDEN 0x80000000
/* The same, for the moment: whether it does is watched for some seconds after the start. */
#define BYSYSCALL_CONTROL_WATCHED 0x40000000

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
 * Key of a list of programs: an absolute path as d_path() tells it, or what the kernel
 * calls the process (comm), which has no slash at its beginning; then NULs. The value is a
 * number. That of the key without a name tells what the list has: BYSYSCALL_LISTS_*; of
 * others it is BYSYSCALL_PROGRAM_*.
 * Writer: the loader, before the list is found in bysys_programs. Reader: bysys_register.
 */
struct bysyscall_program {
	char name[256];
};

#define BYSYSCALL_LISTS_NAMES 1 /* names of processes. */
#define BYSYSCALL_LISTS_PATHS 2 /* paths of executables. */
#define BYSYSCALL_LISTS_ONLY 4  /* what is not named must be left alone. */
#define BYSYSCALL_PROGRAM_NEVER 1 /* must be left alone. */
#define BYSYSCALL_PROGRAM_ONLY 2  /* need not be, where others must. */

/* bysyscall_service.group: everyone may use the service. No group has this number. */
#define BYSYSCALL_EVERYONE 0xffffffff

/*
 * The one element of the service map, which only root can open. What is used by others than
 * the loader never changes; the configuration in effect is here for `status` and `reload`.
 * Writer: the loader, at the start and by `reload`. Reader: the loader, bysys_register.
 */
struct bysyscall_service {
	__u64 generation;   /* as in the header. */
	__u64 started_at;   /* CLOCK_REALTIME, ns. */
	__u32 abi_version;  /* as in the header. */
	__u32 record_flags; /* BYSYSCALL_RECORD_*, but for REGISTERED. */
	__u32 hooks;        /* bit n: the hook of row n is attached. */
	__u32 wrappers;     /* bit n: the wrapper of row n is kept right, or is once the spare hooks are attached. */
	__u32 cell_count;   /* as in the header. */
	__u32 switched_off; /* bit n: the wrapper of row n was switched off by an option. */
	__u64 tick_origin;  /* as in the header. */
	__u32 usage_by_tick; /* BYSYSCALL_USAGE_BY_TICK: the hooks keep what getrusage() may tell a tick late. 0: they do not. */
	__u32 wants_usage_by_tick; /* BYSYSCALL_USAGE_BY_TICK: and it is to tell that. */
	__u32 usage_is_option; /* not 0: that was chosen by an option, which the configuration does not change. */
	__u32 configured_off; /* bit n: the configuration leaves the wrapper of row n off. */
	__u32 reads_paths;  /* not 0: the kernel lets bysys_register ask for the path of an executable. */
	__u32 group;        /* number of the group that may use the service, or BYSYSCALL_EVERYONE. */
	__u32 never;        /* programs that the configuration has left alone. */
	__u32 only;         /* programs that alone it has served. 0: all. */
	__u32 log_level;    /* of the loader: 1 error, 2 warn, 3 info, 4 debug. */
	__u32 spare_hooks;  /* bit n: that of row n is loaded, but attached only when a wrapper that needs it is switched on. */
	char version[32];   /* of the loader; NUL-terminated text. */
	__u32 counter_step; /* as in the header. */
	__u32 reserved;     /* 0. */
};

#endif
