/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/* What the programs remember, in variables and maps, and which wrappers it is for. */
#ifndef BYSYSCALL_STATE_H
#define BYSYSCALL_STATE_H

/* NR_CPUS is at most 8192 on x86; a loop over CPUs ends where the map ends. */
#define MAX_CPUS 8192

#define HOOK(name) HOOK_##name
enum hook_bits {
#define HOOK_BIT(bit, name, where) HOOK(name) = 1 << bit,
	BYSYSCALL_HOOKS(HOOK_BIT)
};

/* The wrappers whose row names a hook. */
enum wrapper_bits {
#define IF_NAMED(hook, bit, hooks) | ((hooks) & HOOK(hook) ? 1 << bit : 0)
#define CREDS_FLAG(bit, name, hooks) IF_NAMED(bysys_creds, bit, hooks)
#define PARENT_FLAG(bit, name, hooks) IF_NAMED(bysys_exit, bit, hooks)
#define GROUPS_FLAG(bit, name, hooks) IF_NAMED(bysys_regroup, bit, hooks)
#define FTRACE_FLAG(bit, name, hooks) IF_NAMED(bysys_ftrace, bit, hooks)
#define TICK_FLAG(bit, name, hooks) IF_NAMED(bysys_tick, bit, hooks)
#define CHILDREN_FLAG(bit, name, hooks) IF_NAMED(bysys_wait, bit, hooks)
#define TIMES_FLAG(bit, name, hooks) IF_NAMED(bysys_tick, bit, (hooks) & HOOK(bysys_wait) ? (hooks) : 0)
	CREDS_FLAGS = 0 BYSYSCALL_WRAPPERS(CREDS_FLAG),
	PARENT_FLAGS = 0 BYSYSCALL_WRAPPERS(PARENT_FLAG),
	GROUPS_FLAGS = 0 BYSYSCALL_WRAPPERS(GROUPS_FLAG),
	FTRACE_FLAGS = 0 BYSYSCALL_WRAPPERS(FTRACE_FLAG),
	ACCOUNT_FLAGS = BYSYSCALL_USAGE_BY_TICK BYSYSCALL_WRAPPERS(TICK_FLAG),
	CHILDREN_FLAGS = 0 BYSYSCALL_WRAPPERS(CHILDREN_FLAG),
	TIMES_FLAGS = 0 BYSYSCALL_WRAPPERS(TIMES_FLAG),
	/* Whose answer another task can change, on another CPU. */
	RELATION_FLAGS = PARENT_FLAGS | GROUPS_FLAGS,
};

/* Not 0: bysys_lost is attached; set before loading. */
const volatile __u32 told_of_lost_marks = 0;
/* Where the records of processes begin; set before loading. */
const volatile __u32 process_start = 0;

/* As in the header; set before loading. */
const volatile __u64 tick_origin = 0;
const volatile __u64 tick = 0;

/*
 * How often tracepoint programs themselves have migration disabled: 0, or 1
 * since Linux 7.0. bysys_newtask finds out; before, nothing is published.
 */
volatile __s32 own_migration_disabled = -1;

/*
 * Wrappers whose hooks are all attached and that were wanted once, so that what they read is filled in.
 * Bits are only ever added, before they are in enabled_wrappers. Whoever gives flags
 * reads that first, so it knows of each flag what has to be filled in for it.
 */
volatile __u32 kept_right = 0;

/* Wrappers that the loader wants published. 0 until the service is complete; changed by bysys_control alone. */
volatile __u32 enabled_wrappers = 0;

/* Wrappers that must not be published any more. Bits are only ever added. */
__u32 forbidden_wrappers = 0;

/*
 * Changes of a process group or session that have begun and that have ended.
 * They take place one at a time, under the kernel's tasklist_lock. If the end of
 * one goes unnoticed, these differ until the next has ended.
 */
__u32 regroupings_begun = 0;
volatile __u32 regroupings_ended = 0;

/*
 * Not 0: a task has left a CPU to which it had not come, as far as bysys_switch
 * was told. Such a kernel hides some switches from its tracepoints (seen for
 * those away from threads of one process). A CPU's cell has no flags after
 * those, but who runs beside whom is not known.
 */
__u32 switches_are_hidden = 0;

/* CLOCK_MONOTONIC, ns: until then they are watched, and who runs beside whom is not known either. 0: not published yet. */
volatile __u64 watched_until = 0;
/* Not 0: that time has passed. */
volatile __u32 were_watched = 0;
/* Those that hide switches did so within a second, of 16 starts. */
#define WATCH_TAKES (5ULL * 1000 * 1000 * 1000)

/* The ticks that the header tells of. */
volatile __u64 last_jiffies = 0;

/* Tasks on all CPUs that were preempted with migration disabled. */
__u32 preempted_tasks = 0;

static __always_inline __u32 now(__u32 *shared)
{
	return *(volatile __u32 *)shared;
}

/* Whether all switches are told, as far as we were told long enough. */
static __always_inline bool are_switches_told(void)
{
	if (!were_watched && watched_until && bpf_ktime_get_ns() >= watched_until)
		were_watched = 1;
	return were_watched && !now(&switches_are_hidden);
}

static __always_inline __u32 published_wrappers(void)
{
	return enabled_wrappers & ~now(&forbidden_wrappers);
}

/* Nothing will ever be published again. */
static __always_inline bool is_stopped(void)
{
	return now(&forbidden_wrappers) == ~0U;
}

union element {
	struct bysyscall_header header;
	struct bysyscall_cell cell;
	struct bysyscall_process process;
};
_Static_assert(sizeof(struct bysyscall_header) == BYSYSCALL_CELL_SIZE, "the header is one element");
_Static_assert(sizeof(struct bysyscall_cell) == BYSYSCALL_CELL_SIZE, "a cell is one element");
_Static_assert(sizeof(struct bysyscall_process) == BYSYSCALL_CELL_SIZE, "so is a process's record");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 2); /* the loader sets the place for the CPUs and the processes */
	__type(key, __u32);
	__type(value, union element);
} bysys_cells SEC(".maps");

/* What the programs must remember about a CPU and users need not see. */
#define PREEMPTED_SLOTS 8
struct cpu_state {
	/* Group leader of the task that the cell describes while it has flags. */
	__u64 process;
	/* The thread that is its parent. */
	__u64 parent;
	/* Tasks that were preempted on this CPU with migration disabled. */
	__u64 preempted[PREEMPTED_SLOTS];
	__u32 preempted_count;
	/* More than the slots hold: from then on, no flags on this CPU. */
	__u32 overflowed;
	/* The record that counts the task which is on this CPU as running. 0: none. */
	__u32 running;
	/*
	 * Not 0: what was charged to it last was not counted, as its mark could not be looked up
	 * (see cannot_be_asked()) or it was ending.
	 */
	__u32 uncounted;
	/* What was kept right when the cell got the accounting that it has. */
	__u32 accounted_for;
	/* The task that has come to this CPU last. 0: not known yet. */
	__u64 came;
	/* The task whose accounting the cell has. 0: nobody's. */
	__u64 accounted;
	/* See lead_of(): the best lead, and the queue's clock when it was seen, and when it was looked for. */
	__u64 lead;
	__u64 lead_at;
	/* See note_slew(): when it was looked for, whether that look was late, and whether it found the same lead. */
	__u64 looked_at;
	__u32 late_looks;
	__u32 lead_is_sure;
	/* What the anchor in the cell was set by, see account(), and the task's times in ticks then. */
	__u64 anchor_lead;
	__u64 anchor_lag;
	__u64 charged_utime;
	__u64 charged_stime;
	/* Not 0: the cell has the task's usage too. */
	__u32 has_usage;
	/* How often the task of this CPU was counted here; see begin_record(). */
	__u32 counts;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* the loader sets the number of CPUs */
	__type(key, __u32);
	__type(value, struct cpu_state);
} bysys_cpus SEC(".maps");

/*
 * What the record of a process has of one of its threads; in the storage of the thread. The times
 * in `usage` are what getrusage() has told of the thread.
 */
struct thread {
	__u64 runtime;
	__u64 utime;
	__u64 stime;
	struct bysyscall_usage usage;
};

/* The mark of a process that is or was registered lies in the storage of its group leader. */
struct mark {
	/* 0: another image runs there now, which has not registered. */
	volatile __u32 registered;
	/* Not 0: something may answer this process's system calls in the kernel's place. */
	volatile __u32 real_calls_only;
	/* The element that is the process's record; 0: it has none. */
	__u32 record;
	/* Not 0: threads have storage of their own. */
	__u32 had_threads;
	/* Not 0: nobody has begun to wait for a child since its record got the usage of the children. */
	__u32 children_known;
	/* Not 0: it may wait for children unnoticed. */
	__u32 has_ring;
	/* Not 0: it has asked for CPU time; see is_accounted(). */
	__u32 has_asked;
	/* How many CPUs have asked to split the times of its threads; the first of them does it for all. */
	__u32 splitting;
	/* What getrusage() has told of the thread while there was none but one; ns. */
	__u64 utime;
	__u64 stime;
	/* The children's times when their usage was copied; ns. */
	__u64 children_utime;
	__u64 children_stime;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct mark);
} bysys_marks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bysyscall_service);
} bysys_service SEC(".maps");

static __always_inline struct bysyscall_cell *cell_of(__u32 cpu)
{
	__u32 index = cpu + 1;

	return bpf_map_lookup_elem(&bysys_cells, &index);
}

static __always_inline struct mark *any_mark_of(struct task_struct *leader)
{
	/* Spares the helper call for nearly every task of a machine. */
	if (!leader || !leader->bpf_storage)
		return NULL;
	return bpf_task_storage_get(&bysys_marks, leader, 0, 0);
}

static __always_inline struct mark *if_registered(struct mark *mark)
{
	return mark && mark->registered ? mark : NULL;
}

/* NULL: the process is not registered, or cannot be looked up. */
static __always_inline struct mark *mark_of(struct task_struct *leader)
{
	return if_registered(any_mark_of(leader));
}

/* The same of one that is known to have storage. */
static __always_inline struct mark *stored_mark_of(struct task_struct *leader)
{
	return if_registered(bpf_task_storage_get(&bysys_marks, leader, 0, 0));
}

/*
 * Whether a mark was perhaps not found because a task was preempted inside of a storage operation
 * on this CPU, up to Linux 6.1 (kernel/bpf/bpf_task_storage.c, bpf_task_storage_trylock).
 */
static __always_inline bool cannot_be_asked(struct task_struct *leader)
{
	return !bpf_core_enum_value_exists(enum bpf_func_id___storage, BPF_FUNC_cgrp_storage_get) &&
	       leader->bpf_storage && !any_mark_of(leader);
}

#endif
