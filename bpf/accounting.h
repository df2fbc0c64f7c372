/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * The scheduler's account of a task, as its cell has it.
 *
 * The kernel keeps two numbers that are always of one moment: how long a task
 * has run (sum_exec_runtime), and when that was, by the clock of its run queue
 * (exec_start). Until the next update its run time is the first plus what has
 * passed since the second, and so real calls compute it. Readers have another
 * clock, CLOCK_MONOTONIC, so the second one is translated into it.
 */
#ifndef BYSYSCALL_ACCOUNTING_H
#define BYSYSCALL_ACCOUNTING_H

/*
 * CLOCK_MONOTONIC may be slewed by so much against the scheduler's clock, 1/2048:
 * about what NTP does to a clock that has settled. What is more is noticed.
 */
#define SLEW_SHIFT 11
/* ns after which a lead is not believed. Longer than a tick at 100 Hz. */
#define LEAD_KEEPS (16ULL * 1000 * 1000)
/* ns that most looks take, and ns that few take unless the clock is slewed. */
#define LOOK_TAKES (2LL * 1000)
#define LOOK_TAKES_LONG (10LL * 1000)
/* ns from one look to the next that counts. */
#define LOOKS_APART (500ULL * 1000)
/* ns in which a slew may not show yet, and how many looks must show it. */
#define SETTLES (3ULL * 1000 * 1000)
#define LATE_LOOKS 3
/* ns for which nothing is told once a clock was seen to be slewed by more. */
#define SLEW_LASTS (1000ULL * 1000 * 1000)
/* ns that may pass between the choice of a task and sched_switch. */
#define CHOICE_TAKES (1000ULL * 1000)
/* ns that a task may run until its anchor is set again; a tick is longer. */
#define ANCHOR_KEEPS (50ULL * 1000)

/* By the clocks of the run queues, ns: until then nothing is told of CPU time. */
volatile __u64 untold_until = 0;

/* Whether the task that runs is charged for itself, and not for one that waits for it (proxy execution). */
static __always_inline bool is_its_own(struct rq *queue)
{
	return !bpf_core_field_exists(queue->donor) ||
	       identity(queue->donor) == identity(queue->curr);
}

/* What the queue's other clock leaves out, as it is no run time: stolen time, and interrupts where they count. */
static __always_inline __u64 lag_of(struct rq *queue)
{
	return queue->clock - queue->clock_task;
}

/*
 * Whether looks at the lead show a clock that is slewed: one exceeds by far what
 * another had confirmed; or of several, none comes near it, before it is too old.
 * Single looks fall short where much was done since the queue's clock was
 * updated. `missing`: by how much this one does; less than 0: exceeds it.
 */
static __always_inline void note_slew(struct cpu_state *state, __u64 clock, __s64 missing,
				      __u64 elapsed)
{
	__u64 since_look = clock - state->looked_at;
	bool is_slewed = false;

	if (since_look < LOOKS_APART)
		return;
	state->looked_at = clock;
	if (missing > LOOK_TAKES_LONG) {
		state->late_looks++;
		is_slewed = elapsed > LEAD_KEEPS && elapsed < 2 * LEAD_KEEPS &&
			    state->late_looks >= LATE_LOOKS;
	} else {
		state->late_looks = elapsed < SETTLES ? state->late_looks : 0;
		is_slewed = state->lead_is_sure && since_look < LEAD_KEEPS &&
			    -missing > LOOK_TAKES_LONG + (__s64)(elapsed >> (SLEW_SHIFT - 1));
	}
	if (elapsed > LEAD_KEEPS)
		state->late_looks = 0;
	state->lead_is_sure = missing < LOOK_TAKES && -missing < LOOK_TAKES;
	if (is_slewed)
		untold_until = clock + SLEW_LASTS;
}

/*
 * By how much the clock of a run queue is ahead of CLOCK_MONOTONIC (modulo
 * 2^64), never more than it is. Seen from here it looks less, by the time since
 * the queue's clock was updated; so the most that was seen is the best, less what
 * the other clock may have gained since. Where `look` is not set, the lead is
 * only measured if the last measure is too old.
 *
 * A lead that is too small makes answers too small, by the time from the update
 * of the clock to here at most. That time is part of each real call, so an
 * answer that comes after a real call is still not less than it.
 *
 * A clock that is set right faster than that shows in some looks: note_slew().
 */
static __always_inline __u64 lead_of(struct cpu_state *state, __u64 clock, bool look)
{
	__u64 elapsed = clock - state->lead_at;
	__u64 lead = state->lead - (elapsed >> SLEW_SHIFT);
	bool is_old = elapsed > LEAD_KEEPS;
	__u64 seen;

	if (!look && !is_old)
		return lead;
	seen = clock - bpf_ktime_get_ns();
	if (look)
		note_slew(state, clock, (__s64)(lead - seen), elapsed);
	if (is_old || (__s64)(seen - lead) > 0) {
		state->lead_is_sure &= !is_old;
		state->lead = lead = seen;
		state->lead_at = clock;
	}
	return lead;
}

/*
 * Whole seconds in a run time, or one less: multiplied by slightly less than
 * 2^52 / 10^9, which is right for run times of up to 80 days and less than two
 * seconds too small for ten times as many.
 */
static __always_inline __u32 seconds_of(__u64 runtime)
{
	return (__u32)((runtime >> 20) * 4503599 >> 32);
}

/* What times() needs of a process of one thread. */
static __always_inline void account_times(struct bysyscall_cell *cell, struct task_struct *task)
{
	struct signal_struct *signal = task->signal;

	cell->utime = signal->utime + task->utime;
	cell->stime = signal->stime + task->stime;
	cell->told_utime = signal->prev_cputime.utime;
	cell->told_stime = signal->prev_cputime.stime;
}

/* Whether a real call has told times since, or the cell has none. */
static __always_inline bool has_told(struct bysyscall_cell *cell, struct task_struct *task)
{
	struct signal_struct *signal = task->signal;

	return kept_right & TIMES_FLAGS && cell->process_runtime &&
	       (cell->told_utime != signal->prev_cputime.utime ||
		cell->told_stime != signal->prev_cputime.stime);
}

/*
 * How long a task has run at the last update of its queue's clock. Real-time
 * classes call the hook on the update of this before they do it, up to Linux 6.7.
 */
static __always_inline __u64 runtime_of(struct rq *queue, struct task_struct *task)
{
	return task->se.sum_exec_runtime + (queue->clock_task - task->se.exec_start);
}

/* What getrusage() tells of the task's own, and of its process if it is alone there. */
static __always_inline void account_usage(struct bysyscall_cell *cell, struct cpu_state *state,
					  struct mark *mark, struct task_struct *task,
					  struct task_struct *queued)
{
	struct bysyscall_process *process = record_of(mark);
	struct bysyscall_usage *usage = &cell->usage;
	struct signal_struct *signal = queued->signal;
	__u64 *utime = &mark->utime, *stime = &mark->stime;

	state->has_usage = 0;
	if (!process)
		return;
	fill_usage(usage, queued, signal);
	/* So it was told last, and is not told less from here on. */
	if (mark->had_threads || !cell->process_runtime) {
		struct thread *thread = thread_of(task);

		if (!thread)
			return;
		utime = &thread->usage.utime;
		stime = &thread->usage.stime;
	}
	split(utime, stime, cell->runtime, state->charged_utime, state->charged_stime,
	      task->prev_cputime.utime, task->prev_cputime.stime);
	usage->utime = *utime;
	usage->stime = *stime;
	state->has_usage = 1;
	if (!cell->process_runtime)
		return;
	add_up_usage(&process->usage, signal, usage);
	split(&process->usage.utime, &process->usage.stime, cell->process_runtime,
	      signal->utime + state->charged_utime, signal->stime + state->charged_stime,
	      signal->prev_cputime.utime, signal->prev_cputime.stime);
}

/*
 * Accounts for `task`, current or about to be, in the cell of this CPU, whose
 * run queue is locked and was updated just before. False if that cannot be done.
 */
static __always_inline bool account(struct bysyscall_cell *cell, struct cpu_state *state,
				    struct mark *mark, struct task_struct *task,
				    struct task_struct *queued, struct rq *queue, __u64 lead)
{
	struct signal_struct *signal = queued->signal;
	struct bysyscall_process *process;
	struct thread *thread;

	state->accounted_for = kept_right;
	if (!is_its_own(queue) || has_own_time(queued) || (__s64)(untold_until - queue->clock) > 0)
		return false;
	cell->anchor = queue->clock - lead;
	cell->anchor_seconds = seconds_of(cell->anchor);
	cell->runtime = runtime_of(queue, task);
	cell->runtime_seconds = seconds_of(cell->runtime);
	state->anchor_lead = lead;
	state->anchor_lag = lag_of(queue);
	state->charged_utime = task->utime;
	state->charged_stime = task->stime;
	cell->has_cpu_timers = signal->posix_cputimers.timers_active;
	cell->process = mark->record;
	/* A thread that ends first adds its times to the process's, then leaves it. */
	if (*(volatile int *)&signal->nr_threads == 1) {
		asm volatile("" ::: "memory");
		cell->process_runtime = cell->runtime + signal->sum_sched_runtime;
		cell->process_runtime_seconds = seconds_of(cell->process_runtime);
		if (state->accounted_for & TIMES_FLAGS)
			account_times(cell, queued);
	} else {
		cell->process_runtime = 0;
		process = record_of(mark);
		thread = process ? thread_of(task) : NULL;
		cell->is_counted = thread && is_counted_as_running(state, mark);
		if (thread) {
			cell->counted = thread->runtime;
			if (cell->has_cpu_timers)
				process->has_cpu_timers = 1;
		}
	}
	if (kept_right & BYSYSCALL_USAGE_BY_TICK)
		account_usage(cell, state, mark, task, queued);
	return true;
}

/*
 * Whether a process is accounted for at each switch: from its first real call that asks for CPU
 * time on, so that all others pay nothing for it. As of the tick always, since getrusage()
 * for a thread asks unnoticed.
 */
static __always_inline bool is_accounted(const struct mark *mark)
{
	return mark->has_asked || kept_right & BYSYSCALL_USAGE_BY_TICK;
}

/* The same for a task that is switched in. */
static __always_inline void account_next(struct bysyscall_cell *cell, struct cpu_state *state,
					 struct mark *mark, struct task_struct *task,
					 struct task_struct *queued, struct rq *queue)
{
	__u64 lead;

	state->accounted = 0;
	if (!(kept_right & ACCOUNT_FLAGS) || !queued || !queue ||
	    queue->clock_task - task->se.exec_start >= CHOICE_TAKES)
		return;
	/* Here it is seen best, for whoever is accounted for next. */
	lead = lead_of(state, queue->clock, false);
	if (is_accounted(mark) && account(cell, state, mark, task, queued, queue, lead))
		state->accounted = identity(task);
}

/*
 * Whether what the cell has of the current task, which is alone in its process, is as
 * good as new. Not in a real call that asks for CPU time: its answer is by the latest
 * look, and ours after it must not be less.
 */
static __always_inline bool is_fresh(struct bysyscall_cell *cell, struct cpu_state *state,
				     struct task_struct *task, struct rq *queue)
{
	return state->accounted == identity(task) && state->accounted_for == kept_right &&
	       cell->process_runtime &&
	       runtime_of(queue, task) - cell->runtime < ANCHOR_KEEPS &&
	       lag_of(queue) == state->anchor_lag && task->utime == state->charged_utime &&
	       task->stime == state->charged_stime && !has_told(cell, task);
}

/* Whether the cell lacks flags that have nothing to do with the account. */
static __always_inline bool lacks_flags(struct bysyscall_cell *cell)
{
	return published_wrappers() & kept_right & ~ACCOUNT_FLAGS &
	       ~*(volatile __u64 *)&cell->state;
}

static __always_inline bool is_time_to_look(struct cpu_state *state, struct rq *queue)
{
	return queue->clock - state->looked_at >= LOOKS_APART;
}

/* Looks now and then whether the clock is slewed, also for those that nothing is told. */
static __always_inline void watch_clock(struct cpu_state *state, struct rq *queue)
{
	if (is_time_to_look(state, queue))
		lead_of(state, queue->clock, true);
}

/*
 * Whether it is to be looked at unless it asks. What has no account gets one when it does;
 * as of the tick at once, see is_accounted().
 */
static __always_inline bool is_due(struct bysyscall_cell *cell, struct cpu_state *state,
				   struct task_struct *task, struct rq *queue)
{
	if (is_time_to_look(state, queue) && lacks_flags(cell))
		return true;
	if (state->accounted != identity(task))
		return kept_right & BYSYSCALL_USAGE_BY_TICK;
	return !is_fresh(cell, state, task, queue);
}

/*
 * The same for the task that runs, at a tick or in a call that asks for its run
 * time. False if the cell has to be published for its flags.
 */
static __always_inline bool account_current(struct bysyscall_cell *cell, struct cpu_state *state,
					    struct mark *mark, struct task_struct *task,
					    struct task_struct *queued, struct rq *queue)
{
	__u32 wanted = published_wrappers() & kept_right;
	__u64 lead = lead_of(state, queue->clock, true);
	bool was_alone = cell->process_runtime;

	/* After a real call that asks, answers go by an anchor that is no older, as its own answer does. */
	if (is_fresh(cell, state, queued, queue) && (__s64)(lead - state->anchor_lead) <= 0 &&
	    !is_asking(task))
		return true;
	state->accounted = account(cell, state, mark, task, queued, queue, lead) ? identity(task) : 0;
	if (!state->accounted || (*(volatile __u64 *)&cell->state & wanted) != wanted)
		return false;
	/* One that has just ended may have waited for a child. */
	if (cell->process_runtime && !was_alone)
		return false;
	/* Whoever was reading reads again. */
	__sync_fetch_and_add(&cell->state, 1ULL << BYSYSCALL_COUNT_SHIFT);
	return true;
}

#endif
