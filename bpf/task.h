/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/* What the kernel knows of a task, read out of its structs. */
#ifndef BYSYSCALL_TASK_H
#define BYSYSCALL_TASK_H

/* An address as a number: it is only ever stored and compared. */
static __always_inline __u64 identity(const void *pointer)
{
	__u64 number = (__u64)pointer;

	asm volatile("" : "+r"(number));
	return number;
}

/* The run queue that the task is on; NULL on a kernel that does not tell. */
static __always_inline struct rq *queue_of(struct task_struct *task)
{
	if (!bpf_core_field_exists(task->se.cfs_rq->rq))
		return NULL;
	return task->se.cfs_rq->rq;
}

/*
 * A task that runs on this CPU, or is about to, as its run queue has it: the same task, to read
 * through. Only what is to be passed to a helper is read through the other pointer. NULL: the queue
 * says that another one runs there; not in sched_switch, just before which the kernel has set it
 * (kernel/sched/core.c, __schedule). The same pointer on a kernel that does not tell the queue.
 *
 * What a tracepoint or a helper gives is trusted by verifiers. For each pointer that is read through
 * such a one, on each way to there, they search all types of the kernel by name, several times
 * (kernel/bpf/btf.c, btf_nested_type_is_trusted). That took most of the time of a start. What was read
 * is not trusted: helpers do not take it, but nothing is searched for.
 */
static __always_inline struct task_struct *as_queued(struct rq *queue, struct task_struct *task)
{
	struct task_struct *running;

	if (!bpf_core_field_exists(task->se.cfs_rq->rq))
		return task;
	running = queue ? queue->curr : NULL;
	return running && identity(running) == identity(task) ? running : NULL;
}

/*
 * Whether something may answer system calls of the task in the kernel's place:
 * a tracer, a seccomp filter, syscall user dispatch.
 */
static __always_inline bool may_be_emulated(struct task_struct *task)
{
	unsigned long work =
		1UL << bpf_core_enum_value(enum syscall_work_bit, SYSCALL_WORK_BIT_SECCOMP) |
		1UL << bpf_core_enum_value(enum syscall_work_bit, SYSCALL_WORK_BIT_SYSCALL_TRACE) |
		1UL << bpf_core_enum_value(enum syscall_work_bit, SYSCALL_WORK_BIT_SYSCALL_EMU) |
		1UL << bpf_core_enum_value(enum syscall_work_bit, SYSCALL_WORK_BIT_SYSCALL_USER_DISPATCH);

	return task->ptrace || task->thread_info.syscall_work & work;
}

/* The number of the system call that the task is in; something else where it is in none. */
static __always_inline __u32 system_call_of(struct task_struct *task)
{
	struct pt_regs *registers = (struct pt_regs *)bpf_task_pt_regs(task);

	/* The kernel looks at 32 bits, without the mark of the x32 ABI. */
	return (__u32)registers->orig_ax & ~0x40000000U;
}

/*
 * Whether the task is inside a system call that can install a filter or a
 * dispatch, by its number for 64-bit or 32-bit callers (prctl, seccomp).
 */
static __always_inline bool is_installing(struct task_struct *task)
{
	__u32 number = system_call_of(task);

	return number == 157 || number == 317 || number == 172 || number == 354;
}

/*
 * Whether the task is inside a system call that can take over the times of a
 * child: wait4 and waitid, waitid of the x32 ABI, and waitpid, wait4 and waitid
 * for 32-bit callers.
 */
static __always_inline bool is_waiting(struct task_struct *task)
{
	__u32 number = system_call_of(task);

	if (task->thread_info.status & TS_COMPAT)
		return number == 7 || number == 114 || number == 284;
	return number == 61 || number == 247 || number == 529;
}

/*
 * Whether the task is inside a system call that can give its process a CPU timer or limit: setitimer, setrlimit, timer_settime,
 * clock_nanosleep and prlimit64; of 32-bit callers setrlimit, setitimer, timer_settime, clock_nanosleep, prlimit64 and those
 * of the latter that take 64-bit times.
 */
static __always_inline bool is_setting_timers(struct task_struct *task)
{
	__u32 number = system_call_of(task);

	if (task->thread_info.status & TS_COMPAT)
		return number == 75 || number == 104 || number == 260 || number == 267 || number == 340 ||
		       number == 407 || number == 409;
	return number == 38 || number == 160 || number == 223 || number == 230 || number == 302;
}

/*
 * Whether somebody holds the lock of the task's signals, under which CPU timers begin to count, with interrupts off. Where it is a
 * lock that sleeps (PREEMPT_RT), nothing is known: yes.
 */
static __always_inline bool may_hold_siglock(struct task_struct *task)
{
	if (!bpf_core_field_exists(task->sighand->siglock.rlock))
		return true;
	return task->sighand->siglock.rlock.raw_lock.val.counter;
}

/*
 * Whether the task is inside a system call whose answer is its own CPU time: getitimer,
 * getrusage, times, timer_gettime, clock_gettime. Or one that sets timers by it; or in any for 32-bit callers.
 */
static __always_inline bool is_asking(struct task_struct *task)
{
	__u32 number = system_call_of(task);

	if (task->thread_info.status & TS_COMPAT)
		return true;
	return number == 36 || number == 98 || number == 100 || number == 224 || number == 228 ||
	       is_setting_timers(task);
}

/* Whether the clocks of the vDSO are not the kernel's for this task. */
static __always_inline bool has_own_time(struct task_struct *task)
{
	struct time_namespace *ns;

	if (!bpf_core_field_exists(task->nsproxy->time_ns))
		return false;
	if (!task->nsproxy)
		return true;
	ns = task->nsproxy->time_ns;
	return ns->offsets.monotonic.tv_sec || ns->offsets.monotonic.tv_nsec;
}

/* Where a pid keeps its number in the namespace of a level that it has. */
static __always_inline const void *number_at(struct pid *pid, __u32 level)
{
	/* The mask takes nothing away (MAX_PID_NS_LEVEL is 32), and the verifier of 6.1 wants a bound. */
	return (void *)pid + bpf_core_field_offset(struct pid, numbers) +
	       (level * bpf_core_type_size(struct upid) & 0xfff);
}

/* kernel/pid.c, pid_nr_ns(): the number of `pid` in the namespace that `own` was made in. 0: it has none. */
static __always_inline __u32 number_for(struct pid *own, struct pid *pid)
{
	__u32 level, number = 0;
	__u64 here = 0, there = 0;

	if (!own || !pid)
		return 0;
	level = own->level;
	if (level == 0) {
		number = pid->numbers[0].nr;
		/* Else clang makes one load of this and the last one, which the verifier refuses. */
		asm volatile("" : "+r"(number));
		return number;
	}
	if (level > pid->level)
		return 0;
	bpf_probe_read_kernel(&here, sizeof(here),
			      number_at(own, level) + bpf_core_field_offset(struct upid, ns));
	bpf_probe_read_kernel(&there, sizeof(there),
			      number_at(pid, level) + bpf_core_field_offset(struct upid, ns));
	if (here == there)
		bpf_probe_read_kernel(&number, sizeof(number),
				      number_at(pid, level) + bpf_core_field_offset(struct upid, nr));
	return number;
}

/* Set for good early in do_exit(), before the thread loses its children. */
static __always_inline bool is_exiting(struct task_struct *task)
{
	return *(volatile unsigned int *)&task->flags & PF_EXITING;
}

/* A map of ids, if it has up to five extents; include/linux/user_namespace.h. */
struct extent {
	__u32 first, lower_first, count;
};

struct id_map {
	__u32 extents;
	struct extent extent[UID_GID_MAP_MAX_BASE_EXTENTS];
};

#define IS_LIKE_OURS(field) \
	(bpf_core_field_offset(struct uid_gid_extent, field) == offsetof(struct extent, field))

static __always_inline void copy_map(struct id_map *copy, struct uid_gid_map *map)
{
	/* First, as it is written last. */
	copy->extents = *(volatile __u32 *)&map->nr_extents;
	bpf_probe_read_kernel(copy->extent, sizeof(copy->extent), map->extent);
}

/*
 * kernel/user_namespace.c, from_kuid(). Not 0: `*mapped` is what the id is mapped to. An id that
 * the map lacks would read as the overflow id, which the administrator can set, so it counts
 * as unknown like a map not yet written.
 *
 * A global function: verifiers would else look at each way through all ids together, a third
 * of what they had to look at.
 */
__noinline int map_id(const struct id_map *map, __u32 id, __u32 *mapped)
{
	if (!map || !mapped || map->extents > UID_GID_MAP_MAX_BASE_EXTENTS)
		return 0;
#pragma unroll
	for (__u32 i = 0; i < UID_GID_MAP_MAX_BASE_EXTENTS; i++) {
		__u32 offset = id - map->extent[i].lower_first;

		if (i < map->extents && offset < map->extent[i].count) {
			*mapped = map->extent[i].first + offset;
			return 1;
		}
	}
	return 0;
}

/*
 * A task in user mode has one set of credentials; in the kernel `cred` may for
 * a while be somebody else's (override_creds), `real_cred` never is.
 */
static __always_inline bool fill_credentials(struct bysyscall_cell *cell, struct task_struct *task)
{
	const struct cred *cred = task->real_cred;
	struct user_namespace *ns = cred->user_ns;
	struct id_map map;

	if (ns->level == 0) {
		cell->uid = cred->uid.val;
		cell->euid = cred->euid.val;
		cell->suid = cred->suid.val;
		cell->gid = cred->gid.val;
		cell->egid = cred->egid.val;
		cell->sgid = cred->sgid.val;
		return true;
	}
	if (bpf_core_type_size(struct uid_gid_extent) != sizeof(struct extent) ||
	    !IS_LIKE_OURS(lower_first) || !IS_LIKE_OURS(count))
		return false;
	copy_map(&map, &ns->uid_map);
	if (!map_id(&map, cred->uid.val, &cell->uid) ||
	    !map_id(&map, cred->euid.val, &cell->euid) ||
	    !map_id(&map, cred->suid.val, &cell->suid))
		return false;
	copy_map(&map, &ns->gid_map);
	return map_id(&map, cred->gid.val, &cell->gid) &&
	       map_id(&map, cred->egid.val, &cell->egid) &&
	       map_id(&map, cred->sgid.val, &cell->sgid);
}

#endif
