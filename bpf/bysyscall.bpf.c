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
#include "state.h"
#include "usage.h"
#include "processes.h"
#include "accounting.h"
#include "programs.h"
#include "publish.h"

char LICENSE[] SEC("license") = "GPL";

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
	bool has_memory = next->mm;
	struct mark *mark;
	struct rq *queue;

	if (!state || !cell)
		return 0;
	note_preempted(state, preempt, prev, next);
	note_hidden(state, prev);
	state->came = identity(next);
	stop_running(state);
	count_usage_now(prev);
	/*
	 * Without user memory it will not run user code: the cell is nobody's meanwhile. If that is
	 * because it ends, it still runs for its process, which is there until the times are taken over.
	 */
	if (!has_memory && !(is_exiting(next) && has_times(next)))
		return 0;
	leader = next->group_leader;
	mark = mark_of(leader);
	if (!mark && state->preempted_count && cannot_be_asked(leader))
		switches_are_hidden = 1;
	if (mark && next->signal->nr_threads != 1)
		start_running(state, mark);
	if (!has_memory)
		return 0;
	if (!mark) {
		describe_nobody(cell, state);
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

/* The current process may have CPU timers now; whoever describes it next looks. */
static __always_inline void note_cpu_timers(struct bysyscall_cell *cell, struct mark *mark)
{
	struct bysyscall_process *process = mark ? record_of(mark) : NULL;

	if (cell)
		*(volatile __u32 *)&cell->has_cpu_timers = 1;
	if (process)
		process->has_cpu_timers = 1;
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
	/*
	 * What as_queued() has to say of trusted pointers goes for all of these: once, before anything branches.
	 * When a thread has no times any more its leader may be gone, so there nothing is read.
	 */
	struct task_struct *leader = task->group_leader, *queued;
	struct signal_struct *signal = task->signal;
	bool has_ended = !has_times(task), may_count = !has_ended && leader->bpf_storage;
	struct cpu_state *state;
	struct bysyscall_cell *cell;
	struct mark *mark;
	struct rq *queue;
	bool is_alone, is_settled;
	__u32 cpu;

	if (kept_right & TIMES_FLAGS)
		note_jiffies();
	/* What another CPU has charged to it just now the kernel may have taken over before we looked. */
	if (has_ended && identity(task) != identity(bpf_get_current_task_btf()))
		miss_remotely(task);
	if (!may_count) {
		if (!told_of_lost_marks && !has_ended)
			note_lost_mark(leader);
		return 0;
	}
	is_alone = signal->nr_threads == 1;
	/* It goes to sleep, and is looked at when it comes back; nobody else counts what it has run. */
	if (is_alone && task->__state)
		return 0;
	queue = queue_of(task);
	if (!queue)
		return 0;
	if (identity(task) != identity(bpf_get_current_task_btf())) {
		if (!is_alone)
			count_remotely(stored_mark_of(leader), task, signal, runtime_of(queue, task));
		return 0;
	}
	cpu = bpf_get_smp_processor_id();
	state = bpf_map_lookup_elem(&bysys_cpus, &cpu);
	cell = cell_of(cpu);
	if (!state || !cell)
		return 0;
	queued = as_queued(queue, task);
	if (queued && is_alone && !is_due(cell, state, queued, queue) && !is_asking(task)) {
		watch_clock(state, queue);
		return 0;
	}
	mark = stored_mark_of(leader);
	state->uncounted = !mark;
	if (!mark) {
		/* Not registered, or not to be found at the moment: then the times in the cell are old. */
		if (state->process == identity(leader)) {
			describe_nobody(cell, state);
		}
		return 0;
	}
	if (!is_alone && mark->record) {
		note_hidden(state, task);
		state->counts++;
		count_thread(mark, task, signal, runtime_of(queue, task));
	}
	if (!is_accounted(mark) && is_asking(task))
		mark->has_asked = 1;
	if (!queued) {
		is_settled = false;
	} else if (is_accounted(mark)) {
		is_settled = account_current(cell, state, mark, task, queued, queue);
	} else {
		watch_clock(state, queue);
		is_settled = !lacks_flags(cell);
	}
	if (!is_settled)
		publish_once();
	/* The kernel looks at the clock just before a timer begins to count. */
	if (is_setting_timers(task) && may_hold_siglock(task))
		note_cpu_timers(cell, mark);
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

	if (mark)
		note_ring(mark);
	/* Without a mark too: see bysys_lost. */
	take_flags_away((struct victims){.process = identity(task->group_leader)});
	return 0;
}

static __always_inline int note_cpu_timers_of_current(void)
{
	note_cpu_timers(cell_of(bpf_get_smp_processor_id()), mark_of(bpf_get_current_task_btf()->group_leader));
	return 0;
}

SEC("tp_btf/itimer_state")
int BPF_PROG(bysys_itimer, int which)
{
	return which == ITIMER_REAL ? 0 : note_cpu_timers_of_current();
}

SEC("fexit/posix_cpu_timer_set")
int bysys_cpu_timer(void *context)
{
	return note_cpu_timers_of_current();
}

/* Where it is another process's limit, that one notices it at its next tick. */
SEC("fexit/update_rlimit_cpu")
int bysys_cpu_limit(void *context)
{
	return note_cpu_timers_of_current();
}

/* A child process inherits the mark; a new thread has it with its group leader. */
SEC("tp_btf/task_newtask")
int BPF_PROG(bysys_newtask, struct task_struct *task, __u64 clone_flags)
{
	struct task_struct *parent = bpf_get_current_task_btf();
	struct mark *mark, *inherited = mark_of(parent->group_leader);
	struct bysyscall_cell *cell;

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
		find_child_record(task, mark, inherited);
	mark->registered = 1;
	return 0;
}

/* The last of a task: the kernel has waited for all that might still count for it (kernel/exit.c, delayed_put_task_struct). */
SEC("tp_btf/sched_process_free")
int BPF_PROG(bysys_free, struct task_struct *task)
{
	give_record_back(task);
	return 0;
}

/*
 * Where a call to clone() fails early, the new task still has the storage of the one that it was copied from, and takes
 * that with it when it is freed some time later (kernel/fork.c, before "bpf,fork: wipe ->bpf_storage before bailouts
 * that access it" of 2026). From then on hooks take the other process for one that has not registered, while cells
 * describe it. So it makes real calls from here on.
 */
SEC("fentry/bpf_task_storage_free")
int BPF_PROG(bysys_lost, struct task_struct *copy)
{
	struct bpf_local_storage *storage = copy->bpf_storage;
	struct task_struct *owner, *leader = NULL;
	struct mark *mark;

	if (!storage || identity(storage->owner) == identity(copy))
		return 0;
	mark = bpf_task_storage_get(&bysys_marks, copy, 0, 0);
	if (mark)
		mark->real_calls_only = 1;
	/* Nothing says that it is still there, so it is only looked at. */
	owner = storage->owner;
	bpf_core_read(&leader, sizeof(leader), &owner->group_leader);
	take_flags_away((struct victims){.process = identity(leader)});
	/* With the last of these the owner forgets its storage too, which some kernels would leave it. */
	bpf_task_storage_delete(&bysys_marks, copy);
	bpf_task_storage_delete(&bysys_threads, copy);
	return 0;
}

/* The new image registers for itself, if it has the library at all. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(bysys_exec, struct task_struct *task)
{
	struct mark *mark = any_mark_of(task->group_leader);
	__u32 cpu = bpf_get_smp_processor_id();
	struct bysyscall_process *process;
	struct bysyscall_cell *cell;
	struct cpu_state *state;

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
	state = bpf_map_lookup_elem(&bysys_cpus, &cpu);
	cell = cell_of(cpu);
	if (state && cell)
		describe_nobody(cell, state);
	return 0;
}

/* The current process makes real calls from here on, for good. */
static __always_inline void forbid_current(void)
{
	struct task_struct *leader = bpf_get_current_task_btf()->group_leader;
	struct mark *mark = mark_of(leader);

	if (mark)
		mark->real_calls_only = 1;
	/* Without a mark too: see bysys_lost. */
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
			find_record(task->group_leader, mark);
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
		if (!watched_until)
			watched_until = bpf_ktime_get_ns() + WATCH_TAKES;
		__sync_fetch_and_or(&kept_right, control->wrappers);
		enabled_wrappers = control->wrappers;
		/* publish() looks at this before and after it gives flags, so none stays. */
		if (before & ~control->wrappers)
			take_flags_away(EVERYBODY);
	}
	if (control->operation == BYSYSCALL_CONTROL_STOP)
		forbid(~0U);
	if (now(&switches_are_hidden))
		return published_wrappers() | BYSYSCALL_CONTROL_HIDDEN;
	return published_wrappers() | (are_switches_told() ? 0 : BYSYSCALL_CONTROL_WATCHED);
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
