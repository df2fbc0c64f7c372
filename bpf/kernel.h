/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * The few kernel types and fields that the programs use. CO-RE finds the real
 * offsets when the programs are loaded, so a build needs no kernel BTF, and a
 * field that a kernel lacks is asked for with bpf_core_field_exists().
 */
#ifndef BYSYSCALL_KERNEL_H
#define BYSYSCALL_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed int __s32;
typedef signed long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;

#define true 1
#define false 0
#define NULL ((void *)0)

/* include/uapi/linux/bpf.h */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};
enum {
	BPF_ANY = 0,
	BPF_F_NO_PREALLOC = 1U << 0,
	BPF_F_MMAPABLE = 1U << 10,
	BPF_LOCAL_STORAGE_GET_F_CREATE = 1ULL << 0,
};

/* include/uapi/asm-generic/errno-base.h, errno.h */
#define ENAMETOOLONG 36

/* include/uapi/linux/time.h */
#define ITIMER_REAL 0

/* include/uapi/linux/sched.h */
#define CLONE_THREAD 0x00010000ULL

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* include/uapi/linux/bpf.h, for its last one, which came with Linux 6.2. */
enum bpf_func_id___storage {
	BPF_FUNC_cgrp_storage_get = 210,
};

/* include/linux/thread_info.h, x86: bits of thread_info.syscall_work. */
enum syscall_work_bit {
	SYSCALL_WORK_BIT_SECCOMP,
	SYSCALL_WORK_BIT_SYSCALL_TRACEPOINT,
	SYSCALL_WORK_BIT_SYSCALL_TRACE,
	SYSCALL_WORK_BIT_SYSCALL_EMU,
	SYSCALL_WORK_BIT_SYSCALL_AUDIT,
	SYSCALL_WORK_BIT_SYSCALL_USER_DISPATCH,
};

/* A bit of thread_info.status: in a system call of the 32-bit ABI. */
#define TS_COMPAT 0x0002

struct thread_info {
	unsigned long syscall_work;
	__u32 status;
	__u32 cpu;
};

/* arch/x86/include/asm/ptrace.h */
struct pt_regs {
	unsigned long orig_ax;
};

struct pid_namespace;

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

/* include/linux/pid_types.h, pid.h */
enum pid_type {
	PIDTYPE_PID,
	PIDTYPE_TGID,
	PIDTYPE_PGID,
	PIDTYPE_SID,
	PIDTYPE_MAX,
};

typedef struct {
	__u32 val;
} kuid_t;

typedef struct {
	__u32 val;
} kgid_t;

struct uid_gid_extent {
	__u32 first;
	__u32 lower_first;
	__u32 count;
};

/* include/linux/user_namespace.h: up to five extents lie in the struct itself. */
#define UID_GID_MAP_MAX_BASE_EXTENTS 5

struct uid_gid_map {
	__u32 nr_extents;
	struct uid_gid_extent extent[UID_GID_MAP_MAX_BASE_EXTENTS];
};

struct user_namespace {
	struct uid_gid_map uid_map;
	struct uid_gid_map gid_map;
	int level;
};

struct cred {
	kuid_t uid;
	kgid_t gid;
	kuid_t suid;
	kgid_t sgid;
	kuid_t euid;
	kgid_t egid;
	struct user_namespace *user_ns;
};

/* include/linux/bpf_local_storage.h */
struct bpf_local_storage {
	void *owner;
};

/* include/asm-generic/qspinlock_types.h */
struct qspinlock {
	struct {
		int counter;
	} val;
};

/* include/linux/spinlock_types_raw.h */
struct raw_spinlock {
	struct qspinlock raw_lock;
};

/* include/linux/spinlock_types.h; PREEMPT_RT has another one. */
struct spinlock {
	struct raw_spinlock rlock;
};

/* include/linux/sched/signal.h */
struct sighand_struct {
	struct spinlock siglock;
};

struct io_uring_task;

/* include/linux/mm_types_task.h */
enum {
	MM_FILEPAGES,
	MM_ANONPAGES,
	MM_SWAPENTS,
	MM_SHMEMPAGES,
	NR_MM_COUNTERS,
};

/* include/linux/percpu_counter.h */
struct percpu_counter {
	__s64 count;
};

struct vfsmount;
struct dentry;

/* include/linux/fs.h; the path is only asked for where it lies. */
struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
};

/* include/linux/mm_types.h; pages */
struct mm_struct {
	struct file *exe_file;
	unsigned long hiwater_rss;
	struct percpu_counter rss_stat[NR_MM_COUNTERS];
};

/* Up to Linux 6.1. */
typedef struct {
	__s64 counter;
} atomic_long_t;

struct mm_rss_stat {
	atomic_long_t count[NR_MM_COUNTERS];
};

struct mm_struct___counted {
	struct mm_rss_stat rss_stat;
};

/* include/linux/task_io_accounting.h */
struct task_io_accounting {
	__u64 read_bytes;
	__u64 write_bytes;
};

struct seccomp {
	int mode;
};

struct list_head {
	struct list_head *next;
};

/* include/linux/sched.h; ns */
struct prev_cputime {
	__u64 utime;
	__u64 stime;
};

/* include/linux/posix-timers.h */
struct posix_cputimers {
	unsigned int timers_active;
};

/* include/linux/sched/signal.h */
struct signal_struct {
	int nr_threads;
	struct posix_cputimers posix_cputimers;
	struct pid *pids[PIDTYPE_MAX];
	__u64 utime, stime, cutime, cstime;
	struct prev_cputime prev_cputime;
	unsigned long nvcsw, nivcsw, cnvcsw, cnivcsw;
	unsigned long min_flt, maj_flt, cmin_flt, cmaj_flt;
	unsigned long inblock, oublock, cinblock, coublock;
	unsigned long maxrss, cmaxrss;
	unsigned long long sum_sched_runtime;
};

/* kernel/sched/sched.h; ns of the scheduler's clocks, as of their last update */
struct task_struct;

struct rq {
	__u64 clock;
	__u64 clock_task;
	struct task_struct *curr;
	struct task_struct *donor;
};

struct cfs_rq {
	struct rq *rq;
};

/* include/linux/sched.h */
struct sched_entity {
	__u64 exec_start;
	__u64 sum_exec_runtime;
	struct cfs_rq *cfs_rq;
};

/* include/linux/time_namespace.h */
struct timespec64 {
	__s64 tv_sec;
	long tv_nsec;
};

struct timens_offsets {
	struct timespec64 monotonic;
};

struct time_namespace {
	struct timens_offsets offsets;
};

struct nsproxy {
	struct time_namespace *time_ns;
};

/* include/asm-generic/qrwlock_types.h; PREEMPT_RT has another rwlock_t. */
struct qrwlock {
	__u8 wlocked;
};

typedef struct {
	struct qrwlock raw_lock;
} rwlock_t;

/* include/linux/sched.h: a bit of task_struct.flags, and bytes of a task's name, with a NUL */
#define PF_EXITING 0x00000004
#define TASK_COMM_LEN 16

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	unsigned int __state;
	unsigned int ptrace;
	int exit_state;
	unsigned short migration_disabled;
	struct sched_entity se;
	__u64 utime, stime;
	struct prev_cputime prev_cputime;
	unsigned long nvcsw, nivcsw;
	unsigned long min_flt, maj_flt;
	struct task_io_accounting ioac;
	struct io_uring_task *io_uring;
	struct mm_struct *mm;
	struct task_struct *real_parent;
	struct list_head children;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	const struct cred *real_cred;
	char comm[TASK_COMM_LEN];
	struct signal_struct *signal;
	struct sighand_struct *sighand;
	struct nsproxy *nsproxy;
	struct seccomp seccomp;
	struct bpf_local_storage *bpf_storage;
};

/* include/linux/sysctl.h */
struct ctl_table {
	const char *procname;
};

struct linux_binprm;

/* include/linux/filter.h; only its size is asked for. */
struct bpf_prog_stats {
	__u64 cnt;
};

struct seq_file;
struct bpf_map;

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
	__u64 seq_num;
};

#pragma clang attribute pop

/* include/linux/bpf.h, kernel/bpf/task_iter.c: the contexts of iterators, whose layout is part of their interface. */
struct bpf_iter__bpf_map_elem {
	union {
		struct bpf_iter_meta *meta;
	};
	union {
		struct bpf_map *map;
	};
	union {
		void *key;
	};
	union {
		void *value;
	};
};

struct bpf_iter__task {
	union {
		struct bpf_iter_meta *meta;
	};
	union {
		struct task_struct *task;
	};
};

#endif
