/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * The run time of processes with several threads.
 *
 * The kernel adds up what it has last seen of each thread, and what the asking
 * one has run since. Here each of these looks adds its part to the process's
 * record. A thread's part is counted by whoever holds the lock of its run queue, so never by two at once.
 */
#ifndef BYSYSCALL_PROCESSES_H
#define BYSYSCALL_PROCESSES_H

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread);
} bysys_threads SEC(".maps");

/* What is known of a thread of several; NULL: nothing, or it cannot be looked up. */
static __always_inline struct thread *thread_of(struct task_struct *task)
{
	struct thread *thread = bpf_task_storage_get(&bysys_threads, task, 0, 0);

	if (!thread)
		return NULL;
	/* Else clang finds the places of fields before it has looked, which the verifier refuses. */
	asm volatile("" : "+r"(thread));
	return thread;
}

/* Which records of a page are in use: bit n for the n-th of them. */
#define PROCESS_PAGES (BYSYSCALL_PROCESSES / BYSYSCALL_PAGE_ELEMENTS)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PROCESS_PAGES);
	__type(key, __u32);
	__type(value, __u64);
} bysys_pages SEC(".maps");

/*
 * Which record each process has, by the address of its group leader. The mark says so too, but may be lost
 * before the process ends (see bysys_lost), or not be found when it does (see cannot_be_asked()).
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BYSYSCALL_PROCESSES);
	__type(key, __u64);
	__type(value, __u32);
} bysys_owners SEC(".maps");

/* Where the next process that registers begins to look for a page with room. */
__u32 next_page = 0;

/* Pages in which it looks. */
#define PAGES_TRIED 4
/* Others may take the record that was found free. */
#define ATTEMPTS 4
/* bysyscall_process.incomplete, while a record is written. */
#define BEING_BEGUN 2

static __always_inline struct bysyscall_process *record_at(__u32 index)
{
	union element *element;

	if (index < process_start)
		return NULL;
	element = bpf_map_lookup_elem(&bysys_cells, &index);
	if (!element)
		return NULL;
	/* As in thread_of(). */
	asm volatile("" : "+r"(element));
	return &element->process;
}

static __always_inline struct bysyscall_process *record_of(const struct mark *mark)
{
	return record_at(mark->record);
}

/* A free record of a page: its element, or 0. */
static __always_inline __u32 take_record(__u32 page)
{
	__u64 *used = bpf_map_lookup_elem(&bysys_pages, &page);

	if (!used)
		return 0;
	for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
		__u64 now = *(volatile __u64 *)used;

		for (__u32 i = 0; i < BYSYSCALL_PAGE_ELEMENTS; i++) {
			if (now & 1ULL << i)
				continue;
			if (__sync_val_compare_and_swap(used, now, now | 1ULL << i) == now)
				return process_start + page * BYSYSCALL_PAGE_ELEMENTS + i;
			break;
		}
	}
	return 0;
}

static __always_inline void free_record(__u32 record)
{
	__u32 number = record - process_start;
	__u32 page = number / BYSYSCALL_PAGE_ELEMENTS;
	__u64 *used = bpf_map_lookup_elem(&bysys_pages, &page);

	if (record && used)
		__sync_fetch_and_and(used, ~(1ULL << number % BYSYSCALL_PAGE_ELEMENTS));
}

/* Frees a record of which no thread is on a CPU any more, if its process is over. One of those who see that does it. */
static __always_inline void free_if_over(struct bysyscall_process *process, __u32 record)
{
	if (now(&process->is_over) && __sync_val_compare_and_swap(&process->is_over, 1, 0))
		free_record(record);
}

/* When nobody counts for the process any more. */
static __always_inline void give_record_back(struct task_struct *leader)
{
	__u64 key = identity(leader);
	__u32 *owned = bpf_map_lookup_elem(&bysys_owners, &key);
	struct bysyscall_process *process;
	__u32 record;

	if (!owned)
		return;
	record = *owned;
	/* The element stays if the map is locked by whom we have interrupted (kernel/bpf/hashtab.c, htab_lock_bucket). */
	*owned = 0;
	bpf_map_delete_elem(&bysys_owners, &key);
	process = record_at(record);
	if (!process)
		return;
	/*
	 * A thread that has ended after the leader, or that execs, may not have left its CPU yet: then stop_running()
	 * frees it there. A full barrier on both sides, so one of us sees the other.
	 */
	__sync_lock_test_and_set(&process->is_over, 1);
	if (!now(&process->running) || !are_switches_told())
		free_if_over(process, record);
}

/* It knows nothing yet. */
static __always_inline void begin_with(struct mark *mark, __u32 record)
{
	struct bysyscall_process *process;

	mark->record = record;
	process = record_of(mark);
	if (!process)
		return;
	process->has_waited = 1;
	process->usage.utime = 0;
	process->usage.stime = 0;
}

/* A record that was taken belongs to a process now. */
static __always_inline void give_record(struct task_struct *leader, struct mark *mark, __u32 record)
{
	__u64 key = identity(leader);

	if (!record)
		return;
	if (bpf_map_update_elem(&bysys_owners, &key, &record, BPF_ANY))
		free_record(record);
	else
		begin_with(mark, record);
}

/* For a process that has registered now, if there is room. */
static __always_inline void find_record(struct task_struct *leader, struct mark *mark)
{
	__u64 key = identity(leader);
	__u32 *had, record = 0;

	if (mark->record)
		return;
	/* One whose mark was lost has its record still. */
	had = bpf_map_lookup_elem(&bysys_owners, &key);
	if (had && *had) {
		begin_with(mark, *had);
		return;
	}
	for (int tried = 0; !record && tried < PAGES_TRIED; tried++)
		record = take_record(__sync_fetch_and_add(&next_page, 1) % PROCESS_PAGES);
	give_record(leader, mark, record);
}

/* For a child: in the page that its parent has mapped. */
static __always_inline void find_child_record(struct task_struct *leader, struct mark *mark,
					      const struct mark *parent)
{
	/* Of a task that was there before, and was freed unnoticed. */
	give_record_back(leader);
	if (parent->record < process_start)
		return;
	give_record(leader, mark,
		    take_record((parent->record - process_start) / BYSYSCALL_PAGE_ELEMENTS));
}

/* Whether the times of a thread are its own still: the kernel takes them over when it ends. */
static __always_inline bool has_times(struct task_struct *task)
{
	return *(struct sighand_struct *volatile *)&task->sighand;
}

/*
 * A thread comes to this CPU, after it was counted last and before it is again. One that is
 * alone is not among those that run: whoever makes another counts it in, count_another().
 */
static __always_inline void start_running(struct cpu_state *state, struct mark *mark)
{
	struct bysyscall_process *process = record_of(mark);

	/* The current task may be switched at any time, and counted then. */
	if (process && !__sync_val_compare_and_swap(&state->running, 0, mark->record))
		__sync_fetch_and_add(&process->running, 1);
}

/* Whether the task that runs on this CPU is among those that its record counts as running. */
static __always_inline bool is_counted_as_running(struct cpu_state *state, struct mark *mark)
{
	return mark->record && state->running == mark->record && are_switches_told();
}

/*
 * The thread that was on this CPU has gone, and been counted. Or it is alone, under whatever record it
 * came. Where the last look could not count what it has run, that is in no record until it runs
 * again, and if it has ended, for good.
 */
static __always_inline void stop_running(struct cpu_state *state)
{
	__u32 uncounted = state->uncounted;
	struct bysyscall_process *process;
	__u32 record;

	state->uncounted = 0;
	if (!state->running)
		return;
	record = __sync_lock_test_and_set(&state->running, 0);
	process = record_at(record);
	if (!process)
		return;
	/* Before others believe the record again. */
	if (uncounted)
		process->incomplete = 1;
	if (__sync_fetch_and_add(&process->running, -1) == 1)
		free_if_over(process, record);
}

/* A task is on a CPU to which another one has come last, as far as we were told. */
static __always_inline void note_hidden(struct cpu_state *state, struct task_struct *task)
{
	if (state->came && state->came != identity(task))
		switches_are_hidden = 1;
}

/* What a thread that is on another CPU has run cannot be counted. */
static __always_inline void miss_remotely(struct task_struct *task)
{
	__u32 cpu = task->thread_info.cpu;
	struct cpu_state *state = bpf_map_lookup_elem(&bysys_cpus, &cpu);

	if (state)
		state->uncounted = 1;
}

/* Raises what has been told; whoever comes in between has newer numbers. */
static __always_inline void raise(__u64 *value, __u64 to)
{
	__u64 now = *(volatile __u64 *)value;

	if (now < to)
		__sync_val_compare_and_swap(value, now, to);
}

/* Adds what a thread has more of than was counted, whoever else counts it at the moment. */
static __always_inline void add_more(__u64 *sum, __u64 *counted, __u64 now)
{
	if (*(volatile __u64 *)counted != now)
		__sync_fetch_and_add(sum, now - __sync_lock_test_and_set(counted, now));
}

/* Adds to the record what getrusage() tells of a thread, but for its times. */
static __always_inline void count_usage(struct bysyscall_process *process, struct thread *thread,
					struct task_struct *task, struct signal_struct *signal)
{
	struct bysyscall_usage usage = {};

	fill_usage(&usage, task, signal);
	raise(&process->usage.maxrss, usage.maxrss);
	add_more(&process->usage.minflt, &thread->usage.minflt, usage.minflt);
	add_more(&process->usage.majflt, &thread->usage.majflt, usage.majflt);
	add_more(&process->usage.inblock, &thread->usage.inblock, usage.inblock);
	add_more(&process->usage.oublock, &thread->usage.oublock, usage.oublock);
	add_more(&process->usage.nvcsw, &thread->usage.nvcsw, usage.nvcsw);
	add_more(&process->usage.nivcsw, &thread->usage.nivcsw, usage.nivcsw);
}

/*
 * The same at a moment without an update of the run time: when the kernel has just counted a switch
 * away from the thread, or before it takes over what a thread that ends has used.
 */
static __always_inline void count_usage_now(struct task_struct *task)
{
	struct bysyscall_process *process;
	struct signal_struct *signal;
	struct thread *thread;
	struct mark *mark;

	if (!(kept_right & BYSYSCALL_USAGE_BY_TICK) || !has_times(task))
		return;
	signal = task->signal;
	if (signal->nr_threads == 1)
		return;
	mark = mark_of(task->group_leader);
	process = mark ? record_of(mark) : NULL;
	thread = process ? thread_of(task) : NULL;
	if (thread)
		count_usage(process, thread, task, signal);
}

/*
 * Splits the run time of several threads into what getrusage() tells. One at a time: two that
 * split different sums could raise one part each, and both together were more than either sum.
 * Whoever comes meanwhile leaves it to the one who is there, who then does it again.
 */
static __always_inline void split_of_threads(struct mark *mark, struct bysyscall_process *process,
					     struct signal_struct *signal)
{
	__u32 splitting = 1;

	if (__sync_fetch_and_add(&mark->splitting, 1))
		return;
	for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
		__u32 seen = splitting;

		split(&process->usage.utime, &process->usage.stime,
		      *(volatile __u64 *)&process->runtime, *(volatile __u64 *)&process->utime,
		      *(volatile __u64 *)&process->stime, signal->prev_cputime.utime,
		      signal->prev_cputime.stime);
		splitting = __sync_val_compare_and_swap(&mark->splitting, seen, 0);
		if (splitting == seen)
			return;
	}
	__sync_lock_test_and_set(&mark->splitting, 0);
}

/*
 * Adds to the record what a thread has run since it was last counted. While it
 * ends, the kernel takes over its times (kernel/exit.c, __exit_signal); what it
 * runs afterwards is nobody's. Whether what is found just then is of before nobody can tell.
 */
static __always_inline struct thread *count_thread(struct mark *mark, struct task_struct *task,
						   struct signal_struct *signal, __u64 runtime)
{
	struct bysyscall_process *process = record_of(mark);
	__u64 utime = task->utime, stime = task->stime;
	struct thread *thread;

	if (!process)
		return NULL;
	thread = thread_of(task);
	if (!thread) {
		process->incomplete = 1;
		return NULL;
	}
	if (*(volatile int *)&task->exit_state) {
		if (runtime != thread->runtime || utime != thread->utime || stime != thread->stime)
			process->incomplete = 1;
		return NULL;
	}
	if (utime != thread->utime)
		__sync_fetch_and_add(&process->utime, utime - thread->utime);
	if (stime != thread->stime)
		__sync_fetch_and_add(&process->stime, stime - thread->stime);
	raise(&process->told_utime, signal->prev_cputime.utime);
	raise(&process->told_stime, signal->prev_cputime.stime);
	__sync_fetch_and_add(&process->runtime, runtime - thread->runtime);
	thread->runtime = runtime;
	thread->utime = utime;
	thread->stime = stime;
	if (kept_right & BYSYSCALL_USAGE_BY_TICK) {
		count_usage(process, thread, task, signal);
		/* What is told never gets less, so not by a total that lacks or has too much. */
		if (!process->incomplete)
			split_of_threads(mark, process, signal);
	}
	/* It may have begun to end before this was added. */
	if (*(volatile int *)&task->exit_state)
		process->incomplete = 1;
	return thread;
}

/* The same by another CPU than that of the thread, which may be reading. `mark` may be NULL. */
static __always_inline void count_remotely(struct mark *mark, struct task_struct *task,
					   struct signal_struct *signal, __u64 runtime)
{
	__u32 cpu = task->thread_info.cpu;
	struct cpu_state *state = bpf_map_lookup_elem(&bysys_cpus, &cpu);
	struct bysyscall_cell *cell = cell_of(cpu);
	struct thread *thread;
	__u32 remote;

	if (!state || !cell)
		return;
	state->uncounted = !mark;
	if (!mark || !mark->record)
		return;
	note_hidden(state, task);
	/*
	 * The order of the stores is kept: x86 keeps it, and so does the compiler with these. The
	 * first one is a barrier too, for begin_record().
	 */
	remote = __sync_fetch_and_add(&cell->remote, 1);
	thread = count_thread(mark, task, signal, runtime);
	if (thread && state->accounted == identity(task))
		*(volatile __u64 *)&cell->counted = thread->runtime;
	*(volatile __u32 *)&cell->remote = remote + 2;
}

/* Whoever counts the task of this CPU says so; see begin_record(). */
struct counts {
	__u32 here;
	__u32 remote;
};

static __always_inline struct counts counts_now(struct cpu_state *state,
						struct bysyscall_cell *cell)
{
	struct counts counts;

	asm volatile("" ::: "memory");
	counts.here = *(volatile __u32 *)&state->counts;
	counts.remote = *(volatile __u32 *)&cell->remote;
	asm volatile("" ::: "memory");
	return counts;
}

/*
 * What the process has used so far goes to its record, where others will be added to
 * it. The current task was its only one, so what the scheduler has charged to it last says
 * all. Ticks, switches and other CPUs may charge and count it meanwhile, by what is half
 * written here: then all is written again.
 */
static __always_inline void begin_record(struct bysyscall_process *process, struct mark *mark,
					 struct task_struct *task)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct cpu_state *state = bpf_map_lookup_elem(&bysys_cpus, &cpu);
	struct bysyscall_cell *cell = cell_of(cpu);
	struct task_struct *queued = as_queued(queue_of(task), task);
	struct signal_struct *signal;
	struct counts before, after;
	struct thread none = {};
	struct thread *thread;
	__u32 barrier = 0;

	/* Before others, who say 1 where there is none, and then that stays. */
	thread = bpf_task_storage_get(&bysys_threads, task, &none, BPF_LOCAL_STORAGE_GET_F_CREATE);
	process->incomplete = BEING_BEGUN;
	if (!state || !cell || !thread || !queued)
		return;
	/* Nobody counts, and what is not counted is in no record. */
	if (!(kept_right & ACCOUNT_FLAGS))
		return;
	signal = queued->signal;
	if (!mark->had_threads) {
		thread->usage.utime = mark->utime;
		thread->usage.stime = mark->stime;
		mark->had_threads = 1;
	}
	start_running(state, mark);
	process->has_cpu_timers = signal->posix_cputimers.timers_active;
	for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
		before = counts_now(state, cell);
		thread->runtime = queued->se.sum_exec_runtime;
		thread->utime = queued->utime;
		thread->stime = queued->stime;
		process->runtime = signal->sum_sched_runtime + thread->runtime;
		process->utime = signal->utime + thread->utime;
		process->stime = signal->stime + thread->stime;
		process->told_utime = signal->prev_cputime.utime;
		process->told_stime = signal->prev_cputime.stime;
		if (kept_right & BYSYSCALL_USAGE_BY_TICK) {
			fill_usage(&thread->usage, queued, signal);
			add_up_usage(&process->usage, signal, &thread->usage);
		}
		cell->counted = thread->runtime;
		cell->process = mark->record;
		cell->is_counted = is_counted_as_running(state, mark);
		/* Whoever counts from now on finds this; whoever did before says so. */
		__sync_lock_test_and_set(&barrier, 1);
		after = counts_now(state, cell);
		if (after.here == before.here && after.remote == before.remote &&
		    before.remote % 2 == 0) {
			__sync_val_compare_and_swap(&process->incomplete, BEING_BEGUN, 0);
			break;
		}
	}
	if (kept_right & BYSYSCALL_USAGE_BY_TICK && !process->incomplete)
		split_of_threads(mark, process, signal);
}

/*
 * The current process gets another thread, which does not run yet and will not before it has
 * storage. That of a process whose threads were made before it registered is never complete.
 */
static __always_inline void count_another(struct mark *mark, struct task_struct *parent,
					  struct task_struct *task)
{
	struct bysyscall_process *process = record_of(mark);
	struct thread none = {};

	if (!process)
		return;
	if (parent->signal->nr_threads == 2)
		begin_record(process, mark, parent);
	if (!bpf_task_storage_get(&bysys_threads, task, &none, BPF_LOCAL_STORAGE_GET_F_CREATE))
		process->incomplete = 1;
}

#endif
