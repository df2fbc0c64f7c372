// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
/*
 * Keeps the cell of each CPU true, and registers the processes that read them.
 *
 * Two kinds of programs write cells. bysys_switch runs with interrupts off, so
 * nothing comes between its stores. The others run in the context of the task
 * that they write about and may be preempted half way; then bysys_switch
 * rewrites the whole cell each time somebody is switched in, and when their
 * task is back the cell is that task's again. So whatever order the stores
 * take, a task that returns to user mode finds a cell that is wholly its own.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "bysyscall.h"
#include "task.h"

char LICENSE[] SEC("license") = "GPL";

/* How often a task is described where something comes between. */
#define PUBLISHED_AT_ONCE 3

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

/* The ticks that the header tells of. */
volatile __u64 last_jiffies = 0;

/* Tasks on all CPUs that were preempted with migration disabled. */
__u32 preempted_tasks = 0;

static __always_inline __u32 now(__u32 *shared)
{
	return *(volatile __u32 *)shared;
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

/* NULL: the process is not registered, or cannot be looked up. */
static __always_inline struct mark *mark_of(struct task_struct *leader)
{
	struct mark *mark = any_mark_of(leader);

	return mark && mark->registered ? mark : NULL;
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

#include "usage.h"
#include "processes.h"
#include "accounting.h"
#include "programs.h"

/*
 * Which wrappers may answer for this task now, on this CPU.
 *
 * A tracer, a seccomp filter or syscall user dispatch may be emulating system
 * calls, so their tasks get them all. A tracer cannot act before its tracee
 * has stopped, and so been switched.
 *
 * The kernel leaves out a run of a program while a task that was preempted in
 * it has not finished on this CPU (kernel/trace/bpf_trace.c, __bpf_trace_run;
 * kernel/bpf/trampoline.c, __bpf_prog_enter_recur). So while there may be such
 * a task nothing is certain here, and nothing anywhere that a task which runs
 * here can change of others. Where that can happen to bysys_filter, a task
 * that slept on after it was left out comes back inside its system call.
 */
static __always_inline __u32 allowed(struct task_struct *task, struct mark *mark,
				     volatile struct cpu_state *state)
{
	if (mark->real_calls_only || may_be_emulated(task))
		return 0;
	if (state->preempted_count || state->overflowed || own_migration_disabled < 0)
		return 0;
	if (own_migration_disabled > 0 && is_installing(task))
		return 0;
	return published_wrappers() & ~(now(&preempted_tasks) ? RELATION_FLAGS : 0);
}

/*
 * Nobody may read the cell any more. Also for the cell of another CPU, whose
 * programs may be writing: one operation, after which the word has no flags,
 * so that an exchange which fails because of it fails on the safe side. The
 * count stays; the next one with flags is higher.
 */
static __always_inline void withdraw(struct bysyscall_cell *cell)
{
	if (*(volatile __u64 *)&cell->state & BYSYSCALL_FLAGS_MASK)
		__sync_fetch_and_and(&cell->state, ~(__u64)BYSYSCALL_FLAGS_MASK);
}

/*
 * What others can change of a task, as publish() has found it.
 *
 * The parent changes only after the thread that it is has begun to exit, which
 * cannot be undone. Process group and session change between a beginning and an
 * end that are counted; so they are what they were if none has begun since.
 */
struct relations {
	struct task_struct *parent;
	__u32 regroupings;
};

static __always_inline struct relations relations_now(struct task_struct *task)
{
	struct relations relations = {task->real_parent, now(&regroupings_begun)};

	/* Before the values are read. */
	asm volatile("" ::: "memory");
	return relations;
}

/* The flags that must not be given, by what has changed or is about to. */
static __always_inline __u32 unsettled(struct task_struct *task, const struct relations *seen)
{
	__u32 flags = 0;

	if (kept_right & PARENT_FLAGS &&
	    (identity(task->real_parent) != identity(seen->parent) || is_exiting(seen->parent)))
		flags |= PARENT_FLAGS;
	if (kept_right & GROUPS_FLAGS &&
	    (now(&regroupings_begun) != seen->regroupings || regroupings_ended != seen->regroupings))
		flags |= GROUPS_FLAGS;
	return flags;
}

/* What is known of the children is old, or about to be. */
static __always_inline void forget_children(struct mark *mark)
{
	struct bysyscall_process *process = record_of(mark);

	mark->children_known = 0;
	if (process)
		*(volatile __u32 *)&process->has_waited = 1;
	asm volatile("" ::: "memory");
}

/* The process may wait for children unnoticed from here on. */
static __always_inline void note_ring(struct mark *mark)
{
	mark->has_ring = 1;
	forget_children(mark);
}

/*
 * What the process has taken over of its children. False while it may be changing: the task
 * is waiting for some, or can be told of them by a ring. Where there are several threads,
 * another one may have waited; then what the record says of that stays.
 *
 * Every child has run for a while, so the times tell whether there was another one
 * without bysys_wait, which may have been left out where `own_migration_disabled` says so.
 */
static __always_inline bool fill_in_children(struct bysyscall_cell *cell, struct mark *mark,
					     struct task_struct *task, struct task_struct *queued)
{
	struct signal_struct *signal = queued->signal;
	bool is_alone = *(volatile int *)&signal->nr_threads == 1;
	struct bysyscall_process *process;

	/* Before what others might change. */
	asm volatile("" ::: "memory");
	if (bpf_core_field_exists(task->io_uring) && queued->io_uring && !mark->has_ring)
		note_ring(mark);
	if (mark->has_ring)
		return false;
	if ((!mark->children_known || own_migration_disabled > 0) && is_waiting(task))
		return false;
	cell->process = mark->record;
	cell->children_utime = signal->cutime;
	cell->children_stime = signal->cstime;
	if (mark->children_known && mark->children_utime == cell->children_utime &&
	    mark->children_stime == cell->children_stime)
		return true;
	process = record_of(mark);
	if (!is_alone) {
		forget_children(mark);
	} else if (process) {
		fill_children(&process->children, signal);
		mark->children_utime = cell->children_utime;
		mark->children_stime = cell->children_stime;
		process->has_waited = 0;
		mark->children_known = 1;
	}
	return true;
}

/*
 * Describes `task`, current or about to be, in the cell of this CPU.
 *
 * The exchange is a full barrier between giving the flags and looking again
 * whether they may be given: whoever forbids them on another CPU first says so
 * and then takes them away (take_flags_away), so one of the two sees the other.
 * The second look also covers a caller that was preempted after the first one.
 *
 * The exchange fails if somebody has written meanwhile: flags were taken away,
 * or we were preempted and the cell was described anew when we came back, with
 * values that ours have now replaced. Then nobody may read it, and this is false.
 *
 * Where the run queue says that another task runs here, nobody may either, until the next switch or tick.
 */
static __always_inline bool publish(struct bysyscall_cell *cell, struct cpu_state *state,
				    struct task_struct *task, struct task_struct *queued,
				    struct task_struct *leader, struct mark *mark)
{
	__u64 old = *(volatile __u64 *)&cell->state;
	__u64 count = (old >> BYSYSCALL_COUNT_SHIFT) + 1;
	__u32 first = allowed(task, mark, state);
	struct relations relations;
	struct pid *own;
	__u32 flags;

	if (!queued) {
		forget_children(mark);
		withdraw(cell);
		return true;
	}
	relations = relations_now(queued);
	flags = first & ~unsettled(queued, &relations);
	own = queued->thread_pid;
	cell->pid = number_for(own, queued->group_leader->thread_pid);
	cell->tid = number_for(own, own);
	if (!cell->pid || !cell->tid)
		flags = 0;
	if (kept_right & CREDS_FLAGS && !fill_credentials(cell, queued))
		flags &= ~CREDS_FLAGS;
	if (kept_right & PARENT_FLAGS)
		cell->ppid = number_for(own, relations.parent->signal->pids[PIDTYPE_TGID]);
	if (kept_right & GROUPS_FLAGS) {
		cell->pgid = number_for(own, queued->signal->pids[PIDTYPE_PGID]);
		cell->sid = number_for(own, queued->signal->pids[PIDTYPE_SID]);
	}
	if (kept_right & ACCOUNT_FLAGS)
		flags &= ~ACCOUNT_FLAGS | (state->accounted == identity(task) ? state->accounted_for : 0);
	if (kept_right & BYSYSCALL_USAGE_BY_TICK && !state->has_usage)
		flags &= ~BYSYSCALL_USAGE_BY_TICK;
	if (kept_right & CHILDREN_FLAGS && !fill_in_children(cell, mark, task, queued))
		flags &= ~CHILDREN_FLAGS;
	/* bysys_wait may be left out for it, and other threads have flags elsewhere. */
	if (kept_right & CHILDREN_FLAGS && (state->preempted_count || state->overflowed))
		forget_children(mark);
	state->process = identity(leader);
	state->parent = identity(relations.parent);
	if (__sync_val_compare_and_swap(&cell->state, old,
					count << BYSYSCALL_COUNT_SHIFT | flags) != old ||
	    allowed(task, mark, state) != first || flags & unsettled(queued, &relations)) {
		withdraw(cell);
		return false;
	}
	return true;
}

/* Whose cells to take the flags from; 0: of whatever process, or parent. */
struct victims {
	__u64 process;
	__u64 parent;
};

static long take_flags_from(__u32 cpu, struct victims *victims)
{
	struct cpu_state *state = bpf_map_lookup_elem(&bysys_cpus, &cpu);
	struct bysyscall_cell *cell = cell_of(cpu);

	if (!state || !cell)
		return 1;
	if (victims->process && state->process != victims->process)
		return 0;
	if (victims->parent && state->parent != victims->parent)
		return 0;
	withdraw(cell);
	return 0;
}

/*
 * Takes the flags from cells. What forbids them, and what publish() looks at
 * twice, must have been stored.
 */
static __always_inline void take_flags_away(struct victims victims)
{
	__u32 barrier = 0;

	__sync_lock_test_and_set(&barrier, 1);
	bpf_loop(MAX_CPUS, take_flags_from, &victims, 0);
}

#define EVERYBODY ((struct victims){})

static __always_inline void forbid(__u32 wrappers)
{
	__sync_fetch_and_or(&forbidden_wrappers, wrappers);
	take_flags_away(EVERYBODY);
}

/*
 * Publishes the current task if it is registered; 0: something came between.
 *
 * A global function: verifiers look at it once for each program, else once for each way to
 * each attempt, which took most of the time of a start.
 */
__noinline int publish_once(void)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct cpu_state *state = bpf_map_lookup_elem(&bysys_cpus, &cpu);
	struct task_struct *task = bpf_get_current_task_btf();
	struct bysyscall_cell *cell = cell_of(cpu);
	struct task_struct *leader = task->group_leader;
	struct mark *mark;

	if (!cell || !state)
		return 1;
	mark = mark_of(leader);
	if (!mark) {
		state->accounted = 0;
		withdraw(cell);
		return 1;
	}
	return publish(cell, state, task, as_queued(queue_of(task), task), leader, mark);
}

/* Publishes the current task after something of it has changed. */
static __always_inline void publish_current(void)
{
	/* A tick that comes between would else leave the task without flags until the next one. */
	for (int attempt = 0; attempt < PUBLISHED_AT_ONCE; attempt++)
		if (publish_once())
			return;
}

/*
 * Notes which tasks were preempted inside what may be one of our programs: in
 * a program a task has migration disabled, and does not sleep of its own
 * accord, as kernel threads with migration disabled often do. Tasks are remembered by address, so
 * that one that was preempted before we were attached is not counted out.
 */
static __always_inline void note_preempted(struct cpu_state *state, bool preempt,
					   struct task_struct *prev, struct task_struct *next)
{
	if (!bpf_core_field_exists(prev->migration_disabled))
		return;
	/* We run as prev, so its count has ours in it. */
	if (state->preempted_count && next->migration_disabled) {
		__u64 task = identity(next);
#pragma unroll
		for (int i = 0; i < PREEMPTED_SLOTS; i++) {
			if (state->preempted[i] == task) {
				state->preempted[i] = 0;
				state->preempted_count--;
				__sync_fetch_and_add(&preempted_tasks, -1);
			}
		}
	}
	if (preempt && own_migration_disabled >= 0 &&
	    (__s32)prev->migration_disabled > own_migration_disabled) {
		__u64 task = identity(prev);
		bool placed = false;
#pragma unroll
		for (int i = 0; i < PREEMPTED_SLOTS; i++) {
			if (!placed && !state->preempted[i]) {
				state->preempted[i] = task;
				state->preempted_count++;
				placed = true;
			}
		}
		if (!placed) {
			state->overflowed = 1;
			__sync_fetch_and_or(&forbidden_wrappers, RELATION_FLAGS);
		}
		__sync_fetch_and_add(&preempted_tasks, placed);
		take_flags_away(EVERYBODY);
	}
}

SEC("tp_btf/sched_switch")
int BPF_PROG(bysys_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct cpu_state *state = bpf_map_lookup_elem(&bysys_cpus, &cpu);
	struct bysyscall_cell *cell = cell_of(cpu);
	struct task_struct *leader, *queued;
	struct mark *mark;
	struct rq *queue;

	if (!state || !cell)
		return 0;
	note_preempted(state, preempt, prev, next);
	if (state->came && state->came != identity(prev))
		switches_are_hidden = 1;
	state->came = identity(next);
	stop_running(state);
	count_usage_now(prev);
	/*
	 * Without user memory it will not run user code: the cell is nobody's meanwhile. If that is
	 * because it ends, it still runs for its process, which is there until the times are taken over.
	 */
	if (!next->mm && !(is_exiting(next) && has_times(next)))
		return 0;
	leader = next->group_leader;
	mark = mark_of(leader);
	if (!mark && state->preempted_count && cannot_be_asked(leader))
		switches_are_hidden = 1;
	if (mark && next->signal->nr_threads != 1)
		start_running(state, mark);
	if (!next->mm)
		return 0;
	if (!mark) {
		state->accounted = 0;
		withdraw(cell);
		return 0;
	}
	queue = queue_of(next);
	queued = as_queued(queue, next);
	account_next(cell, state, mark, next, queued, queue);
	publish(cell, state, next, queued, leader, mark);
	return 0;
}

/* The ticks that the kernel has counted, for times(). Others may be faster: then less is told than is true. */
static __always_inline void note_jiffies(void)
{
	__u64 jiffies = bpf_jiffies64();
	union element *element;
	__u32 zero = 0;

	if (jiffies == last_jiffies)
		return;
	element = bpf_map_lookup_elem(&bysys_cells, &zero);
	if (!element)
		return;
	/* No tick is counted before its time: else the times are not what the loader took them for. */
	if ((__s64)(bpf_ktime_get_ns() - (tick_origin + jiffies * tick)) < 0)
		forbid(TIMES_FLAGS);
	*(volatile __u64 *)&element->header.jiffies = jiffies;
	last_jiffies = jiffies;
}

/*
 * The scheduler has brought the run time of a task up to date: at a tick, after
 * the tick itself was charged; in a real call that asks for it; when somebody
 * is woken on this CPU, or when the task goes to sleep. From other CPUs too, but
 * that changes nothing here. The run queue is locked.
 */
SEC("tp_btf/sched_stat_runtime")
int BPF_PROG(bysys_tick, struct task_struct *task)
{
	struct task_struct *leader, *queued;
	struct cpu_state *state;
	struct bysyscall_cell *cell;
	struct mark *mark;
	struct rq *queue;
	bool is_alone;
	__u32 cpu;

	if (kept_right & TIMES_FLAGS)
		note_jiffies();
	if (!has_times(task))
		return 0;
	leader = task->group_leader;
	if (!leader->bpf_storage)
		return 0;
	is_alone = task->signal->nr_threads == 1;
	/* It goes to sleep, and is accounted for when it comes back; nobody else counts what it has run. */
	if (is_alone && task->__state)
		return 0;
	queue = queue_of(task);
	if (!queue)
		return 0;
	if (identity(task) != identity(bpf_get_current_task_btf())) {
		mark = is_alone ? NULL : mark_of(leader);
		if (mark && mark->record)
			count_remotely(mark, task, runtime_of(queue, task));
		return 0;
	}
	cpu = bpf_get_smp_processor_id();
	state = bpf_map_lookup_elem(&bysys_cpus, &cpu);
	cell = cell_of(cpu);
	if (!state || !cell)
		return 0;
	queued = as_queued(queue, task);
	if (queued && is_alone && !is_due(cell, state, queued, queue) && !is_asking(task))
		return 0;
	mark = mark_of(leader);
	if (!mark) {
		/* Not registered, or not to be found at the moment: then the times in the cell are old. */
		if (state->process == identity(leader)) {
			state->accounted = 0;
			withdraw(cell);
		}
		return 0;
	}
	if (!is_alone && mark->record) {
		state->counts++;
		count_thread(mark, task, runtime_of(queue, task));
	}
	if (!is_accounted(mark)) {
		if (!is_asking(task))
			return 0;
		mark->has_asked = 1;
	}
	if (!queued || !account_current(cell, state, mark, task, queued, queue))
		publish_once();
	return 0;
}

/*
 * Before a process takes over the usage of a child (kernel/exit.c,
 * wait_task_zombie). It gets the new one when it is described next, which is
 * not while it is in this call: see is_waiting(). For its other threads it is
 * unknown from here on, as long as there are some.
 */
SEC("tp_btf/sched_process_wait")
int bysys_wait(void *context)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct bysyscall_cell *cell = cell_of(bpf_get_smp_processor_id());
	struct mark *mark = mark_of(task->group_leader);

	/* First, so that nobody gives the flags again. */
	if (mark)
		forget_children(mark);
	if (cell && *(volatile __u64 *)&cell->state & CHILDREN_FLAGS)
		__sync_fetch_and_and(&cell->state, ~(__u64)CHILDREN_FLAGS);
	return 0;
}

/*
 * By a ring a process can wait for a child outside of any call that waits, and unnoticed
 * (IORING_OP_WAITID, Linux 6.7). One that is handed to another process is not noticed there.
 */
SEC("tp_btf/io_uring_create")
int bysys_ring(void *context)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mark *mark = mark_of(task->group_leader);

	if (!mark)
		return 0;
	note_ring(mark);
	take_flags_away((struct victims){.process = identity(task->group_leader)});
	return 0;
}

/* The current process may have CPU timers now; whoever describes it next looks. */
static __always_inline int note_cpu_timers(void)
{
	struct bysyscall_cell *cell = cell_of(bpf_get_smp_processor_id());
	struct mark *mark = mark_of(bpf_get_current_task_btf()->group_leader);
	struct bysyscall_process *process = mark ? record_of(mark) : NULL;

	if (cell)
		*(volatile __u32 *)&cell->has_cpu_timers = 1;
	if (process)
		process->has_cpu_timers = 1;
	return 0;
}

SEC("tp_btf/itimer_state")
int BPF_PROG(bysys_itimer, int which)
{
	return which == ITIMER_REAL ? 0 : note_cpu_timers();
}

SEC("fexit/posix_cpu_timer_set")
int bysys_cpu_timer(void *context)
{
	return note_cpu_timers();
}

/* Where it is another process's limit, that one notices it at its next tick. */
SEC("fexit/update_rlimit_cpu")
int bysys_cpu_limit(void *context)
{
	return note_cpu_timers();
}

/* A child process inherits the mark; a new thread has it with its group leader. */
SEC("tp_btf/task_newtask")
int BPF_PROG(bysys_newtask, struct task_struct *task, __u64 clone_flags)
{
	struct task_struct *parent = bpf_get_current_task_btf();
	struct bysyscall_cell *cell;
	struct mark *mark, *inherited;

	/* A process that makes a task has migration enabled, but for us. */
	if (own_migration_disabled < 0 && parent->mm)
		own_migration_disabled = bpf_core_field_exists(parent->migration_disabled) ?
						 parent->migration_disabled :
						 0;
	if (clone_flags & CLONE_THREAD) {
		/* The new one does not run yet. What the cell says of the process is of one thread. */
		cell = cell_of(bpf_get_smp_processor_id());
		if (cell)
			*(volatile __u64 *)&cell->process_runtime = 0;
	}
	inherited = mark_of(parent->group_leader);
	if (!inherited)
		return 0;
	if (clone_flags & CLONE_THREAD) {
		count_another(inherited, parent, task);
		return 0;
	}
	mark = bpf_task_storage_get(&bysys_marks, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!mark)
		return 0;
	mark->real_calls_only = inherited->real_calls_only;
	mark->has_ring = inherited->has_ring;
	mark->has_asked = inherited->has_asked;
	if (kept_right & (ACCOUNT_FLAGS | CHILDREN_FLAGS))
		give_child_record(mark, inherited);
	mark->registered = 1;
	return 0;
}

/* The last of a task: the kernel has waited for all that might still count for it (kernel/exit.c, delayed_put_task_struct). */
SEC("tp_btf/sched_process_free")
int BPF_PROG(bysys_free, struct task_struct *task)
{
	struct mark *mark = any_mark_of(task);

	if (mark)
		give_record_back(mark);
	return 0;
}

/* The new image registers for itself, if it has the library at all. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(bysys_exec, struct task_struct *task)
{
	struct mark *mark = any_mark_of(task->group_leader);
	struct bysyscall_process *process;

	if (!mark)
		return 0;
	/* Its record stays with the process: others may be counting. What the new image does first is not in it. */
	process = record_of(mark);
	if (process)
		process->incomplete = 1;
	forget_children(mark);
	mark->registered = 0;
	mark->real_calls_only = 0;
	mark->has_asked = 0;
	publish_current();
	return 0;
}

/* The current process makes real calls from here on, for good. */
static __always_inline void forbid_current(void)
{
	struct task_struct *leader = bpf_get_current_task_btf()->group_leader;
	struct mark *mark = mark_of(leader);

	if (!mark)
		return;
	mark->real_calls_only = 1;
	take_flags_away((struct victims){.process = identity(leader)});
}

/*
 * Every way to install a seccomp filter allocates a BPF program, and with it
 * this per-CPU struct, in the context of the task and before the filter acts
 * (kernel/bpf/core.c, bpf_prog_alloc). Other threads may get the filter by
 * SECCOMP_FILTER_FLAG_TSYNC. The size is argument 3, before Linux 6.0 argument
 * 2; the other one is then a bool or the alignment, and to be wrong about it
 * only costs speed.
 */
SEC("tp_btf/percpu_alloc_percpu")
int bysys_filter(__u64 *args)
{
	__u64 size = bpf_core_type_size(struct bpf_prog_stats);

	if (args[2] == size || args[3] == size)
		forbid_current();
	return 0;
}

/*
 * `sysctl kernel.ftrace_enabled=0` lets the kernel run on without fentry and
 * fexit programs, and tells nobody: what needs them is off before it happens.
 * Its own handler (kernel/trace/ftrace.c) cannot be traced, but calls this.
 */
SEC("fentry/proc_dointvec")
int BPF_PROG(bysys_ftrace, struct ctl_table *table, int write)
{
	static const char ftrace_enabled[] = "ftrace_enabled";
	char name[sizeof(ftrace_enabled)] = {};

	if (!write)
		return 0;
	bpf_probe_read_kernel_str(name, sizeof(name), table->procname);
	if (bpf_strncmp(name, sizeof(name), ftrace_enabled))
		return 0;
	forbid(FTRACE_FLAGS);
	return 0;
}

/* On the way out: a run that is left out then is one of a task that has no flags here. */
SEC("fexit/set_syscall_user_dispatch")
int BPF_PROG(bysys_dispatch)
{
	forbid_current();
	return 0;
}

/* commit_creds() is the one place where a task's own credentials change. */
SEC("fexit/commit_creds")
int BPF_PROG(bysys_creds)
{
	publish_current();
	return 0;
}

/* Where the lock is that guards each change of a parent (kernel/fork.c). 0 if the kernel does not tell. */
volatile __u64 tasklist_lock = 0;

/*
 * Whether an exiting thread may have children. Others' come to a thread that is
 * not yet marked as exiting, while tasklist_lock is held; so if nobody holds it
 * after the mark, which do_exit() has set before an atomic operation, the list is whole.
 */
static __always_inline bool may_be_a_parent(struct task_struct *task)
{
	__u8 held = 1;

	if (tasklist_lock && bpf_core_field_exists(rwlock_t, raw_lock.wlocked))
		bpf_probe_read_kernel(&held, sizeof(held),
				      (const void *)tasklist_lock +
					      bpf_core_field_offset(rwlock_t, raw_lock.wlocked));
	return held || identity(*(struct list_head *volatile *)&task->children.next) !=
			       identity(&task->children);
}

/*
 * Before the kernel gives the children of a thread another parent (kernel/exit.c,
 * forget_original_parent), and after it has marked the thread as exiting.
 */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(bysys_exit, struct task_struct *task)
{
	count_usage_now(task);
	if (!is_exiting(task))
		forbid(PARENT_FLAGS);
	else if (may_be_a_parent(task))
		take_flags_away((struct victims){.parent = identity(task)});
	return 0;
}

/*
 * The group leader whose process group or session change_pid() changes: its
 * first argument of three or, since Linux 6.15, its second of four.
 */
static __always_inline __u64 regrouped(void *context)
{
	__u64 task = 0;

	bpf_get_func_arg(context, bpf_get_func_arg_cnt(context) == 3 ? 0 : 1, &task);
	return task;
}

/*
 * Both run with interrupts off, so none is left out because a task was
 * preempted in it. A kernel where that is not so is PREEMPT_RT, and there the
 * flags are withheld while a task is.
 */
SEC("fentry/change_pid")
int bysys_regroup(void *context)
{
	__sync_fetch_and_add(&regroupings_begun, 1);
	take_flags_away((struct victims){.process = regrouped(context)});
	return 0;
}

SEC("fexit/change_pid")
int bysys_regrouped(void *context)
{
	struct task_struct *task = bpf_get_current_task_btf();

	regroupings_ended = now(&regroupings_begun);
	if (identity(task->group_leader) == regrouped(context))
		publish_current();
	return 0;
}

/* A function of its own, so that BTF tells the loader the layout of the record. */
static __noinline void fill_record(struct bysyscall_record *record,
				   const struct bysyscall_service *service)
{
	record->abi_version = service->abi_version;
	record->record_size = sizeof(*record);
	record->cell_size = BYSYSCALL_CELL_SIZE;
	record->cell_count = service->cell_count;
	record->generation = service->generation;
	record->flags = service->record_flags;
}

/* Reading the registration file runs this in the reader's context, once for the one element. */
SEC("iter/bpf_map_elem")
int bysys_register(struct bpf_iter__bpf_map_elem *ctx)
{
	struct bysyscall_record record = {};
	__u32 zero = 0, cpu = bpf_get_smp_processor_id();
	struct bysyscall_service *service;
	struct cpu_state *state;
	struct task_struct *task;
	struct mark *mark;

	if (!ctx->value)
		return 0;
	service = bpf_map_lookup_elem(&bysys_service, &zero);
	if (!service)
		return 0;
	task = bpf_get_current_task_btf();
	fill_record(&record, service);
	record.seccomp_mode = task->seccomp.mode;
	if (is_left_alone(task))
		record.flags |= BYSYSCALL_RECORD_LEFT_ALONE;
	/* Also where all wrappers are off at the moment: they may be switched on. */
	mark = is_stopped() || record.flags & BYSYSCALL_RECORD_LEFT_ALONE ?
		       NULL :
		       bpf_task_storage_get(&bysys_marks, task->group_leader, 0,
					    BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (mark) {
		record.flags |= BYSYSCALL_RECORD_REGISTERED;
		/* What other threads have run is not in any record. */
		if (kept_right & (ACCOUNT_FLAGS | CHILDREN_FLAGS) && task->signal->nr_threads == 1) {
			give_record(mark);
			state = bpf_map_lookup_elem(&bysys_cpus, &cpu);
			if (state)
				stop_running(state);
		}
		record.process = mark->record;
		mark->registered = 1;
		publish_current();
	}
	bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	return 0;
}

/* Asked here, since only this type of program may; libbpf would read the whole list of symbols. */
static __always_inline void find_tasklist_lock(void)
{
	static const char name[] = "tasklist_lock";
	__u64 address = 0;

	if (!bpf_kallsyms_lookup_name(name, sizeof(name), 0, &address))
		tasklist_lock = address;
}

SEC("syscall")
int bysys_control(struct bysyscall_control *control)
{
	if (control->operation == BYSYSCALL_CONTROL_ENABLE) {
		__u32 before = enabled_wrappers;

		find_tasklist_lock();
		__sync_fetch_and_or(&kept_right, control->wrappers);
		enabled_wrappers = control->wrappers;
		/* publish() looks at this before and after it gives flags, so none stays. */
		if (before & ~control->wrappers)
			take_flags_away(EVERYBODY);
	}
	if (control->operation == BYSYSCALL_CONTROL_STOP)
		forbid(~0U);
	return published_wrappers() | (now(&switches_are_hidden) ? BYSYSCALL_CONTROL_HIDDEN : 0);
}

static struct bysyscall_count counted;

/* Opened and read by `bysyscall status`, under its lock: one reader at a time. */
SEC("iter/task")
int bysys_count(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	if (!task) {
		bpf_seq_write(ctx->meta->seq, &counted, sizeof(counted));
		counted.processes = counted.threads = 0;
		return 0;
	}
	if (mark_of(task->group_leader)) {
		counted.threads++;
		if (identity(task) == identity(task->group_leader))
			counted.processes++;
	}
	return 0;
}
