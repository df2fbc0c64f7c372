/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/* How the cell of a CPU comes to describe a task, and how its flags are taken away again. */
#ifndef BYSYSCALL_PUBLISH_H
#define BYSYSCALL_PUBLISH_H

/* How often a task is described where something comes between. */
#define PUBLISHED_AT_ONCE 3

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

/* The task of this CPU is not registered: nothing is told of it, and nobody's account is here. */
static __always_inline void describe_nobody(struct bysyscall_cell *cell, struct cpu_state *state)
{
	state->accounted = 0;
	withdraw(cell);
}

/* The same if the cell describes a process that has nothing any more by which it could be known. */
static __always_inline void note_lost_mark(struct task_struct *leader)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct cpu_state *state = bpf_map_lookup_elem(&bysys_cpus, &cpu);
	struct bysyscall_cell *cell = cell_of(cpu);

	if (!state || !cell || state->process != identity(leader))
		return;
	state->uncounted = 1;
	describe_nobody(cell, state);
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
		describe_nobody(cell, state);
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

#endif
