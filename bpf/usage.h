/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * What getrusage() tells, as the kernel puts it together (kernel/sys.c).
 *
 * Of children it tells what it has taken over from each that was waited for,
 * which is copied. Of a thread or a process some of it changes without any hook
 * being told: faults, blocks, memory; and user and system time are split anew by
 * each call, which remembers what it has told. So those are published only
 * where the administrator is content with what was true at the last tick or switch.
 */
#ifndef BYSYSCALL_USAGE_H
#define BYSYSCALL_USAGE_H

/* Blocks have 512 bytes (include/linux/task_io_accounting_ops.h). */
#define BLOCK_SHIFT 9

/*
 * whole * part / total, where part is at most total; exact to 31 bits. The kernel's
 * exact one takes numbers of 128 bits.
 */
static __always_inline __u64 share_of(__u64 whole, __u64 part, __u64 total)
{
	__u64 fraction;

	if (!part)
		return 0;
	if (part >= total)
		return whole;
#pragma unroll
	for (int bits = 16; bits; bits >>= 1) {
		if (total >> (32 + bits)) {
			total >>= bits;
			part >>= bits;
		}
	}
	if (total >> 32) {
		total >>= 1;
		part >>= 1;
	}
	fraction = (part << 31) / total;
	return ((whole >> 32) * fraction << 1) + ((whole & 0xffffffff) * fraction >> 31);
}

/*
 * kernel/sched/cputime.c, cputime_adjust(): splits a run time as ticks have
 * sampled it, so that neither part gets less than it was, or than the kernel has told;
 * where these are more than the whole, than it was.
 */
static __always_inline void split(__u64 *utime, __u64 *stime, __u64 runtime, __u64 user_ticks,
				  __u64 system_ticks, __u64 told_utime, __u64 told_stime)
{
	__u64 least_user = *utime > told_utime ? *utime : told_utime;
	__u64 least_system = *stime > told_stime ? *stime : told_stime;
	__u64 user, system;

	if (*utime + *stime >= runtime)
		return;
	if (least_user + least_system > runtime) {
		least_user = *utime;
		least_system = *stime;
	}
	system = share_of(runtime, system_ticks, user_ticks + system_ticks);
	if (system < least_system)
		system = least_system;
	/* Least of both are not more than the whole, so this leaves the least of the other. */
	user = system < runtime ? runtime - system : 0;
	if (user < least_user)
		user = least_user;
	*utime = user;
	*stime = runtime - user;
}

static __always_inline __u64 pages_of(__s64 count)
{
	return count > 0 ? count : 0;
}

/* By a helper, as the verifier of 6.1 does not follow arrays of a typedef. */
static __always_inline __u64 pages_at(struct mm_struct *mm, __u32 offset)
{
	__s64 count = 0;

	bpf_probe_read_kernel(&count, sizeof(count), (void *)mm + offset);
	return pages_of(count);
}

#define COUNTED_PAGES(mm, kind) \
	pages_at(mm, bpf_core_field_offset(struct mm_struct___counted, rss_stat.count[kind].counter))

/* include/linux/mm.h, get_mm_rss() and setmax_mm_hiwater_rss(); pages. */
static __always_inline __u64 most_resident(struct task_struct *task, struct signal_struct *signal)
{
	struct mm_struct *mm = task->mm;
	__u64 most = signal->maxrss;
	__u64 now;

	if (!mm)
		return most;
	if (bpf_core_field_exists(struct mm_struct___counted, rss_stat.count)) {
		now = COUNTED_PAGES(mm, MM_FILEPAGES) + COUNTED_PAGES(mm, MM_ANONPAGES) +
		      COUNTED_PAGES(mm, MM_SHMEMPAGES);
	} else {
		now = pages_of(mm->rss_stat[MM_FILEPAGES].count) +
		      pages_of(mm->rss_stat[MM_ANONPAGES].count) +
		      pages_of(mm->rss_stat[MM_SHMEMPAGES].count);
	}
	if (most < mm->hiwater_rss)
		most = mm->hiwater_rss;
	return most < now ? now : most;
}

/* All of a thread but its times. */
static __always_inline void fill_usage(struct bysyscall_usage *usage, struct task_struct *task,
				       struct signal_struct *signal)
{
	usage->maxrss = most_resident(task, signal);
	usage->minflt = task->min_flt;
	usage->majflt = task->maj_flt;
	if (bpf_core_field_exists(task->ioac.read_bytes)) {
		usage->inblock = task->ioac.read_bytes >> BLOCK_SHIFT;
		usage->oublock = task->ioac.write_bytes >> BLOCK_SHIFT;
	}
	usage->nvcsw = task->nvcsw;
	usage->nivcsw = task->nivcsw;
}

/* The same of a process, whose one thread has used this. */
static __always_inline void add_up_usage(struct bysyscall_usage *sum, struct signal_struct *signal,
					 const struct bysyscall_usage *thread)
{
	sum->maxrss = thread->maxrss;
	sum->minflt = signal->min_flt + thread->minflt;
	sum->majflt = signal->maj_flt + thread->majflt;
	sum->inblock = signal->inblock + thread->inblock;
	sum->oublock = signal->oublock + thread->oublock;
	sum->nvcsw = signal->nvcsw + thread->nvcsw;
	sum->nivcsw = signal->nivcsw + thread->nivcsw;
}

/* What the process has taken over of its children, which nobody changes at the moment. */
static __always_inline void fill_children(struct bysyscall_usage *children,
					  struct signal_struct *signal)
{
	children->utime = signal->cutime;
	children->stime = signal->cstime;
	children->maxrss = signal->cmaxrss;
	children->minflt = signal->cmin_flt;
	children->majflt = signal->cmaj_flt;
	children->inblock = signal->cinblock;
	children->oublock = signal->coublock;
	children->nvcsw = signal->cnvcsw;
	children->nivcsw = signal->cnivcsw;
}

#endif
