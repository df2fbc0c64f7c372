// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// What a node may do. All that is random is drawn before the kernel is asked, and what the kernel
// refuses is left: a tree that has lost its rights goes on without them.

#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../bracket/check.h"
#include "../bracket/process.h"
#include "../real.h"
#include "node.h"

#define BLOCK_SIZE 65536
#define CHECKS 3
#define THREADS_AT_ONCE 3
#define VICTIM_CHECKS 500
#define EXTENTS_MOST 40

static void note(long result)
{
	if (real_failed(result))
		atomic_fetch_add(&census->refused, 1);
	check_all();
}

// ---- new processes

static long begun(long child, void (*body)(void *), void *argument)
{
	if (child == 0) {
		body(argument);
		leave(0);
	}
	note(child);
	return child;
}

// Refused where the first process of the pid namespace is ending.
static long begin(void (*body)(void *), void *argument)
{
	return begun(fork(), body, argument);
}

static long begin_raw(void (*body)(void *), void *argument)
{
	return begun(real(SYS_fork), body, argument);
}

// What a parent does to a child that runs already.
static void disturb(struct node *node, long child)
{
	const long groups[] = {child, real(SYS_getpgid, 0)};
	const uint32_t moves = draw(node, 4);
	const bool signalled = chance(node, 3), awaited = !chance(node, 4);

	for (uint32_t i = 0; i < moves && child > 0; i++) {
		atomic_fetch_add(&score->relations.begun, 1);
		real(SYS_setpgid, child, groups[i % 2]);
		atomic_fetch_add(&score->relations.ended, 1);
		check_all();
	}
	if (signalled && child > 0)
		real(SYS_kill, child, SIGURG);
	check_times(CHECKS);
	if (awaited)
		collect(child);
}

static void fork_by_libc(struct node *node)
{
	struct node child;

	if (have_child(node, &child, PROCESS))
		disturb(node, begin(node_be_process, &child));
}

static void fork_by_instruction(struct node *node)
{
	struct node child;

	// Where there may be other threads, they may hold libc's locks in the child for ever.
	if (have_child(node, &child, node->place == PROCESS ? PROCESS : BARE))
		disturb(node, begin_raw(node_be_process, &child));
}

static int be_bare(void *node)
{
	struct node own = *(struct node *)node;

	node_live(&own);
	return 0;
}

static int be_bare_then_exec(void *node)
{
	check_times(CHECKS);
	node_exec(node);
	return 0;
}

static void vfork_by_instruction(struct node *node)
{
	struct node child;
	const bool execs = chance(node, 2);

	if (have_child(node, &child, BARE))
		collect(raw_spawn(SYS_vfork, 0, 0, 0, 0, 0, execs ? be_bare_then_exec : be_bare,
				  &child));
}

static unsigned long draw_flags(struct node *node)
{
	static const unsigned long choices[] = {
		CLONE_VM,     CLONE_VFORK,   CLONE_FILES, CLONE_FS,	  CLONE_SIGHAND,
		CLONE_THREAD, CLONE_SYSVSEM, CLONE_IO,	  CLONE_NEWPID, CLONE_NEWUSER,
	};
	const uint32_t bits = draw(node, 1u << (sizeof(choices) / sizeof(choices[0])));
	unsigned long flags = 0;

	for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++)
		flags |= bits >> i & 1 ? choices[i] : 0;
	// What belongs together; the rest is for the kernel to refuse.
	if (flags & CLONE_THREAD)
		flags = (flags | CLONE_SIGHAND) & ~(CLONE_NEWPID | CLONE_NEWUSER | CLONE_VFORK);
	// The first process of a pid namespace ends by ignoring SIGCHLD, and with it whoever shares its
	// handlers (zap_pid_ns_processes()): waiting for one of several children would not return.
	if (flags & CLONE_NEWPID)
		flags &= ~CLONE_SIGHAND;
	if (flags & CLONE_SIGHAND)
		flags |= CLONE_VM;
	if (flags & CLONE_NEWUSER)
		flags &= ~CLONE_FS;
	return flags;
}

// The kernel clears the word when the child has left this memory, by whatever end.
static bool has_left(const void *word)
{
	return atomic_load((const _Atomic uint32_t *)word) == 0;
}

static void clone_by_instruction(struct node *node)
{
	unsigned long flags = draw_flags(node);
	const bool third = chance(node, 2), parents = chance(node, 5), execs = chance(node, 4);
	const bool shares = flags & CLONE_VM && !(flags & CLONE_VFORK);
	struct node child;

	if (!have_child(node, &child, BARE))
		return;
	char *block = (char *)real(SYS_mmap, NULL, BLOCK_SIZE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	_Atomic uint32_t *alive = (_Atomic uint32_t *)block;
	int (*const body)(void *) = execs && !(flags & CLONE_THREAD) ? be_bare_then_exec : be_bare;
	const bool adopted = parents || flags & CLONE_THREAD;
	long pid;

	if (real_failed((long)block))
		return;
	if (shares) {
		atomic_store(alive, 1);
		flags |= CLONE_CHILD_CLEARTID;
	}
	// Init's children are nobody else's, so the kernel refuses it there.
	if (parents && !(flags & CLONE_THREAD))
		flags |= CLONE_PARENT;
	if (third) {
		struct clone_args arguments = {
			.flags = flags,
			.child_tid = (unsigned long)alive,
			.exit_signal = adopted ? 0 : SIGCHLD,
			.stack = shares ? (unsigned long)block : 0,
			.stack_size = shares ? BLOCK_SIZE : 0,
		};

		pid = raw_spawn(SYS_clone3, (long)&arguments, sizeof(arguments), 0, 0, 0, body,
				&child);
	} else {
		pid = raw_spawn(SYS_clone, (long)(flags | (adopted ? 0 : SIGCHLD)),
				shares ? (long)(block + BLOCK_SIZE) : 0, 0, (long)alive, 0, body,
				&child);
	}
	note(pid);
	if (pid > 0 && shares)
		collect_until(has_left, alive);
	if (pid > 0 && !adopted)
		collect(pid);
	real(SYS_munmap, block, BLOCK_SIZE);
}

static void exec(struct node *node)
{
	struct node child;

	if (have_child(node, &child, PROCESS))
		node_exec(&child);
}

static void be_victim(void *unused)
{
	(void)unused;
	check_times(VICTIM_CHECKS);
}

static void kill_child(struct node *node)
{
	const uint32_t checks = draw(node, 20);
	const long child = begin_raw(be_victim, NULL);

	check_times(checks);
	if (child > 0)
		real(SYS_kill, child, SIGKILL);
	collect(child);
}

// ---- threads

struct threads {
	struct node nodes[THREADS_AT_ONCE];
	struct crowd crowd;
	uint32_t count;
};

static void *be_thread(void *argument)
{
	struct node *node = argument;

	node_live(node);
	return NULL;
}

static void start_threads(struct node *node, struct threads *threads)
{
	const uint32_t wanted = 1 + draw(node, THREADS_AT_ONCE);

	threads->count = 0;
	threads->crowd.count = 0;
	for (uint32_t i = 0; i < wanted; i++)
		if (have_child(node, &threads->nodes[threads->count], THREAD))
			threads->count++;
	for (uint32_t i = 0; i < threads->count; i++)
		if (pthread_create(&threads->crowd.ids[threads->crowd.count], NULL, be_thread,
				   &threads->nodes[i]) == 0)
			threads->crowd.count++;
}

static void run_and_join(struct node *node)
{
	struct threads threads;

	start_threads(node, &threads);
	check_times(CHECKS * CHECKS);
	crowd_join(&threads.crowd);
}

// The leader ends, the process goes on; its children are left to the next reaper.
static void leave_to_threads(struct node *node)
{
	struct threads threads;

	start_threads(node, &threads);
	if (threads.crowd.count == 0)
		return;
	for (;;)
		real(SYS_exit, 0);
}

// ---- credentials

static long draw_id(struct node *node)
{
	static const long odd[] = {0, 0, 0, -1, -1, 65534, 0xfffffff0, 0x80000000};
	const uint32_t which = draw(node, 12);
	const uint32_t any = draw(node, EXTENTS_MOST * 100);

	return which < sizeof(odd) / sizeof(odd[0]) ? odd[which] : (long)any;
}

static void change_by_libc(long number, const long ids[3])
{
	int unused = 0;

	atomic_fetch_add(&score->ids.begun, 1);
	switch (number) {
	case SYS_setuid:
		unused = setuid((uid_t)ids[0]);
		break;
	case SYS_setgid:
		unused = setgid((gid_t)ids[0]);
		break;
	case SYS_setreuid:
		unused = setreuid((uid_t)ids[0], (uid_t)ids[1]);
		break;
	case SYS_setregid:
		unused = setregid((gid_t)ids[0], (gid_t)ids[1]);
		break;
	case SYS_setresuid:
		unused = setresuid((uid_t)ids[0], (uid_t)ids[1], (uid_t)ids[2]);
		break;
	default:
		unused = setresgid((gid_t)ids[0], (gid_t)ids[1], (gid_t)ids[2]);
	}
	(void)unused;
	atomic_fetch_add(&score->ids.ended, 1);
}

static void change_ids(struct node *node)
{
	// Those that leave a way back more often, or all would soon be nobody.
	static const long numbers[] = {
		SYS_setresgid, SYS_setresgid, SYS_setregid,  SYS_setgid,    SYS_setresgid,
		SYS_setresuid, SYS_setresuid, SYS_setresuid, SYS_setreuid, SYS_setuid,
	};
	const long number = numbers[draw(node, sizeof(numbers) / sizeof(numbers[0]))];
	long ids[3] = {draw_id(node), draw_id(node), draw_id(node)};
	const bool keeps = !chance(node, 4), by_libc = chance(node, 2), through = chance(node, 2);

	if (keeps)
		ids[number == SYS_setreuid || number == SYS_setuid ? 0 : 2] = 0;
	// Threads that differ in their rights end the process when libc finds out, so there each
	// changes by itself.
	if (node->place == PROCESS && by_libc)
		change_by_libc(number, ids);
	else if (through)
		wrappers.syscall(number, ids[0], ids[1], ids[2]);
	else
		note(real(number, ids[0], ids[1], ids[2]));
}

static void replace_credentials(struct node *node)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];

	switch (draw(node, 6)) {
	case 0:
		note(real(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL));
		break;
	case 1:
		note(real(SYS_keyctl, KEYCTL_SESSION_TO_PARENT));
		break;
	case 2:
		note(real(SYS_capget, &header, data));
		note(real(SYS_capset, &header, data));
		break;
	case 3:
		note(real(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
		break;
	case 4:
		if (node->place == PROCESS)
			note(real(SYS_prctl, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP));
		break;
	default:
		real(SYS_setfsuid, draw_id(node));
		check_all();
		real(SYS_setfsgid, draw_id(node));
	}
}

// ---- relations

static long change_own_group(uint32_t way)
{
	switch (way) {
	case 0:
		return real(SYS_setpgid, 0, 0);
	case 1:
		return real(SYS_setpgid, 0, real(SYS_getppid));
	case 2:
		return real(SYS_setpgid, 0, real(SYS_getpgid, real(SYS_getppid)));
	default:
		return real(SYS_setsid);
	}
}

static void change_group(struct node *node)
{
	const uint32_t way = draw(node, 4);

	// Other threads of the process may be looking.
	atomic_fetch_add(&score->relations.begun, 1);
	const long result = change_own_group(way);

	atomic_fetch_add(&score->relations.ended, 1);
	note(result);
}

static void change_reaper(struct node *node)
{
	note(real(SYS_prctl, PR_SET_CHILD_SUBREAPER, draw(node, 2), 0, 0, 0));
}

// ---- namespaces

// By a process that ends with it: without rights there would be no way back.
static void live_in_new_pid_namespace(void *node)
{
	note(real(SYS_unshare, CLONE_NEWPID));
	collect(begin(node_be_process, node));
}

static void make_pid_namespace(struct node *node)
{
	struct node child;

	if (have_child(node, &child, PROCESS))
		collect(begin(live_in_new_pid_namespace, &child));
}

struct held {
	_Atomic uint32_t ready, over;
	long flags;
	long pid;
	struct node node;
};

static bool is_over(const void *held)
{
	return atomic_load(&((const struct held *)held)->over) > 0;
}

static void hold(void *argument)
{
	struct held *held = argument;

	announce(&held->ready, 1);
	// As the first of its namespace it gets the orphans of the others.
	collect_until(is_over, held);
}

// A pid namespace has its children as members, a user namespace has itself.
static void hold_namespace(void *argument)
{
	struct held *held = argument;

	note(real(SYS_unshare, held->flags));
	if (held->flags == CLONE_NEWUSER) {
		held->pid = real(SYS_getpid);
		hold(held);
		return;
	}
	held->pid = begin(hold, held);
	if (held->pid < 0)
		announce(&held->ready, 1);
	collect(held->pid);
}

static void enter_and_live(void *argument)
{
	struct held *held = argument;
	const long fd = real(SYS_pidfd_open, held->pid, 0);

	note(real(SYS_setns, fd, held->flags));
	real(SYS_close, fd);
	if (held->flags == CLONE_NEWPID)
		collect(begin(node_be_process, &held->node));
	else
		node_be_process(&held->node);
	// Also those that the child has made for us, by CLONE_PARENT: whoever took them in our place
	// would have to be waiting when their namespace ends.
	collect_all();
}

static void enter_namespace(struct node *node)
{
	const long flags = chance(node, 2) ? CLONE_NEWPID : CLONE_NEWUSER;
	struct node child;

	if (!have_child(node, &child, PROCESS))
		return;
	struct held *held = mmap(NULL, sizeof(*held), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (held == MAP_FAILED)
		return;
	*held = (struct held){.flags = flags, .node = child};
	const long holder = begin(hold_namespace, held);

	if (holder > 0) {
		await(&held->ready, 1);
		collect(begin(enter_and_live, held));
		announce(&held->over, 1);
		collect(holder);
	}
	munmap(held, sizeof(*held));
}

struct mapping {
	_Atomic uint32_t ready, over;
	// Our pid as /proc names it, which may be of a namespace further out.
	char pid[32];
	uint32_t extents;
	long user, group;
	// Then the namespace is one that others share, who would not know that its map may appear.
	bool is_refused;
};

static bool write_file(const struct mapping *mapping, const char *file, const char *text)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%s/%s", mapping->pid, file);
	const long fd = real(SYS_open, path, O_WRONLY);
	const long written = real(SYS_write, fd, text, strlen(text));

	real(SYS_close, fd);
	return written == (long)strlen(text);
}

// Extents that fit into one another at every depth: the inner ones in the opposite order.
static void write_both_maps(const struct mapping *mapping)
{
	char text[EXTENTS_MOST * 24], one[64];
	size_t used = 0;

	for (uint32_t i = 0; i < mapping->extents; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%u %u 50\n", i * 100,
					 (mapping->extents - 1 - i) * 100);
	check_all();
	// Who has no rights may map itself alone.
	if (!write_file(mapping, "uid_map", text)) {
		snprintf(one, sizeof(one), "0 %ld 1\n", mapping->user);
		write_file(mapping, "uid_map", one);
	}
	check_all();
	if (!write_file(mapping, "gid_map", text)) {
		write_file(mapping, "setgroups", "deny");
		snprintf(one, sizeof(one), "0 %ld 1\n", mapping->group);
		write_file(mapping, "gid_map", one);
	}
}

static void write_maps(void *argument)
{
	struct mapping *mapping = argument;

	await(&mapping->ready, 1);
	if (!mapping->is_refused)
		write_both_maps(mapping);
	announce(&mapping->over, 1);
}

static void make_user_namespace(struct node *node)
{
	static const uint32_t counts[] = {1, 4, 5, 6, EXTENTS_MOST};
	const uint32_t extents = counts[draw(node, sizeof(counts) / sizeof(counts[0]))];
	const bool is_mapped = !chance(node, 4);
	struct mapping *mapping = mmap(NULL, sizeof(*mapping), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mapping == MAP_FAILED)
		return;
	*mapping = (struct mapping){
		.extents = extents,
		.user = real(SYS_geteuid),
		.group = real(SYS_getegid),
	};
	real(SYS_readlink, "/proc/self", mapping->pid, sizeof(mapping->pid) - 1);
	const long writer = is_mapped ? begin(write_maps, mapping) : 0;
	const long result = real(SYS_unshare, CLONE_NEWUSER);

	note(result);
	mapping->is_refused = real_failed(result);
	// As its ids may be foreign to the namespace, our files in /proc would be root's.
	real(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
	if (is_mapped) {
		atomic_fetch_add(&maps_that_may_appear, 1);
		announce(&mapping->ready, 1);
		while (writer > 0 && !atomic_load(&mapping->over))
			check_all();
		atomic_fetch_sub(&maps_that_may_appear, 1);
		collect(writer);
	}
	munmap(mapping, sizeof(*mapping));
}

// ---- what emulates calls

static void trace(void *tracee)
{
	const long pid = *(long *)tracee;
	int status;

	if (real(SYS_ptrace, PTRACE_SEIZE, pid, 0, 0))
		return;
	check_times(CHECKS);
	real(SYS_ptrace, PTRACE_INTERRUPT, pid, 0, 0);
	real(SYS_wait4, pid, &status, __WALL, NULL);
}

static void be_traced(struct node *node)
{
	long self = real(SYS_gettid);
	const uint32_t checks = draw(node, 50);
	const long tracer = begin(trace, &self);

	check_times(checks);
	collect(tracer);
}

static void be_filtered(struct node *node)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = {.len = 1, .filter = &allow};

	// It stays for all that comes after, so seldom.
	if (!chance(node, 8))
		return;
	real(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	note(real(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}

// ---- the rest

static void hop(struct node *node)
{
	const uint64_t cpus = (uint64_t)draw(node, UINT32_MAX) << 32 | draw(node, UINT32_MAX);

	note(real(SYS_sched_setaffinity, 0, sizeof(cpus), &cpus));
	note(real(SYS_sched_yield));
}

static void be_signalled(struct node *node)
{
	const uint32_t signals = 1 + draw(node, 3);

	for (uint32_t i = 0; i < signals; i++)
		note(real(SYS_tgkill, real(SYS_getpid), real(SYS_gettid), SIGURG));
}

static void change_dumpable(struct node *node)
{
	note(real(SYS_prctl, PR_SET_DUMPABLE, draw(node, 2), 0, 0, 0));
}

struct action {
	void (*run)(struct node *node);
	uint32_t weight;
	bool in[PLACES];
};

#define EVERYWHERE {true, true, true}
#define WITH_LIBC {true, true, false}
#define ALONE {true, false, false}

static const struct action actions[] = {
	{fork_by_libc, 8, WITH_LIBC},
	{fork_by_instruction, 4, EVERYWHERE},
	{vfork_by_instruction, 4, EVERYWHERE},
	{clone_by_instruction, 8, EVERYWHERE},
	{exec, 2, EVERYWHERE},
	{kill_child, 2, EVERYWHERE},
	{run_and_join, 6, WITH_LIBC},
	{leave_to_threads, 1, ALONE},
	{change_ids, 10, EVERYWHERE},
	{replace_credentials, 4, EVERYWHERE},
	{change_group, 6, EVERYWHERE},
	{change_reaper, 2, EVERYWHERE},
	{make_pid_namespace, 2, ALONE},
	{make_user_namespace, 3, ALONE},
	{enter_namespace, 2, ALONE},
	{be_traced, 1, ALONE},
	{be_filtered, 1, EVERYWHERE},
	{hop, 4, EVERYWHERE},
	{be_signalled, 4, EVERYWHERE},
	{change_dumpable, 1, EVERYWHERE},
};
#define ACTIONS (sizeof(actions) / sizeof(actions[0]))

void act(struct node *node)
{
	uint32_t weights = 0;
	size_t i = 0;

	for (size_t j = 0; j < ACTIONS; j++)
		weights += actions[j].in[node->place] ? actions[j].weight : 0;
	uint32_t left = draw(node, weights);

	for (; !actions[i].in[node->place] || left >= actions[i].weight; i++)
		left -= actions[i].in[node->place] ? actions[i].weight : 0;
	actions[i].run(node);
}
