/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * Which programs the configuration has left alone, as they register.
 *
 * The lists are a map that the loader fills before it puts it into its place, so
 * whoever looks finds the old ones or the new ones, whole. Without lists there is none.
 */
#ifndef BYSYSCALL_PROGRAMS_H
#define BYSYSCALL_PROGRAMS_H

/* 0 where the kernel does not let us ask for paths: then nothing here does. Set before loading. */
const volatile __u32 reads_paths = 1;

struct program_list {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1); /* the loader makes maps of the size that it needs */
	__type(key, struct bysyscall_program);
	__type(value, __u32);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct program_list);
} bysys_programs SEC(".maps");

/*
 * Too large for the stack, and a task that registers may be preempted, so it is not the CPU's:
 * in the storage of the thread, while it is in here.
 */
struct scratch {
	struct bysyscall_program key;
	/* After a path d_path() leaves what it needed on the way. */
	char path[sizeof(struct bysyscall_program)];
} __attribute__((aligned(8)));

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct scratch);
} bysys_scratch SEC(".maps");

/* What a list says of the name in the key. */
static __always_inline __u32 listed(void *list, struct bysyscall_program *key)
{
	__u32 *flags = bpf_map_lookup_elem(list, key);

	return flags ? *flags : 0;
}

static __always_inline void forget_name(struct scratch *scratch)
{
	__builtin_memset(&scratch->key, 0, sizeof(scratch->key));
}

/* What a list says of the executable's path. False: the path cannot be told. */
static __always_inline bool look_up_path(void *list, struct scratch *scratch,
					 struct task_struct *task, __u32 *flags)
{
	struct mm_struct *mm = task->mm;
	struct file *file;
	long length;

	if (!mm)
		return false;
	/* As in record_of(), both. */
	asm volatile("" : "+r"(mm));
	file = mm->exe_file;
	if (!file)
		return false;
	asm volatile("" : "+r"(file));
	length = bpf_d_path(&file->f_path, scratch->path, sizeof(scratch->path));
	/* No list has one that is so long. */
	if (length == -ENAMETOOLONG)
		return true;
	if (length <= 0)
		return false;
	forget_name(scratch);
	bpf_probe_read_kernel_str(scratch->key.name, sizeof(scratch->key.name), scratch->path);
	*flags |= listed(list, &scratch->key);
	return true;
}

/* The same by `list`, which has something. */
static __always_inline bool is_left_alone_by(void *list, struct scratch *scratch,
					     struct task_struct *task)
{
	__u32 flags = 0, kinds;

	forget_name(scratch);
	kinds = listed(list, &scratch->key);
	if (kinds & BYSYSCALL_LISTS_NAMES) {
		bpf_probe_read_kernel_str(scratch->key.name, TASK_COMM_LEN, task->group_leader->comm);
		/* A process can call itself anything: nothing, which is no program's key, or like a path. */
		if (scratch->key.name[0] && scratch->key.name[0] != '/')
			flags |= listed(list, &scratch->key);
	}
	if (reads_paths && kinds & BYSYSCALL_LISTS_PATHS &&
	    !look_up_path(list, scratch, task, &flags))
		return true;
	if (flags & BYSYSCALL_PROGRAM_NEVER)
		return true;
	return kinds & BYSYSCALL_LISTS_ONLY && !(flags & BYSYSCALL_PROGRAM_ONLY);
}

/* Whether the program that the current task runs must not be served; also if that cannot be found out. */
static __always_inline bool is_left_alone(struct task_struct *task)
{
	struct scratch *scratch;
	bool left_alone;
	__u32 zero = 0;
	void *list;

	list = bpf_map_lookup_elem(&bysys_programs, &zero);
	if (!list)
		return false;
	scratch = bpf_task_storage_get(&bysys_scratch, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!scratch)
		return true;
	asm volatile("" : "+r"(scratch));
	left_alone = is_left_alone_by(list, scratch, task);
	bpf_task_storage_delete(&bysys_scratch, task);
	return left_alone;
}

#endif
