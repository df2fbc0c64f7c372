// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Pids and ids as the task's own namespaces show them.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../real.h"
#include "check.h"
#include "process.h"
#include "scenario.h"

#define UNMAPPED 65534
#define MAPPED_ID 4242
#define LEVELS 2

struct level {
	long rounds;
	int depth;
};

static void *check_rounds(void *rounds)
{
	check_times(*(long *)rounds);
	return NULL;
}

static void check_child(void *rounds)
{
	check_times(*(long *)rounds);
}

static int check_vforked(void *rounds)
{
	check_times(*(long *)rounds);
	return 0;
}

static void exec_child(void *unused)
{
	(void)unused;
	exec_self("exec-child", real(SYS_getpid));
	fail("exec of this program", 0);
}

static void check_everywhere(long rounds)
{
	check_times(rounds);
	run_threads(2, check_rounds, &rounds);
	reap(start(check_child, &rounds));
	reap((pid_t)raw_spawn(SYS_vfork, 0, 0, 0, 0, 0, check_vforked, &rounds));
	reap(start(exec_child, NULL));
	check_all();
}

static void in_pid_namespace(void *argument)
{
	struct level level = *(struct level *)argument;

	if (level.depth > 0)
		check_equal("getpid of a pid namespace's first process", wrappers.getpid(), 1);
	check_everywhere(level.rounds);
	if (level.depth == LEVELS)
		return;
	if (unshare(CLONE_NEWPID)) {
		fail("unshare of a pid namespace", errno);
		return;
	}
	// We ourselves stay where we are.
	check_times(level.rounds);
	level.depth++;
	reap(start(in_pid_namespace, &level));
	check_all();
}

void scenario_pid_namespace(long number, const char *text)
{
	struct level level = {number, 0};

	(void)text;
	reap(start(in_pid_namespace, &level));
}

static bool write_proc(long pid, const char *name, const char *text)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%ld/%s", pid, name);
	const int fd = open(path, O_WRONLY);
	const bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (!written)
		fail(name, errno);
	close(fd);
	return written;
}

static bool write_maps(long pid)
{
	char map[64];

	snprintf(map, sizeof(map), "%d %ld 1\n", MAPPED_ID, real(SYS_geteuid));
	if (!write_proc(pid, "uid_map", map) || !write_proc(pid, "setgroups", "deny"))
		return false;
	snprintf(map, sizeof(map), "%d %ld 1\n", MAPPED_ID, real(SYS_getegid));
	return write_proc(pid, "gid_map", map);
}

static void *check_until_mapped(void *unused)
{
	while (atomic_load(&score->gate) < 1)
		check_all();
	return unused;
}

// The answers change under a task that makes no call at all: its parent writes the maps.
static void in_user_namespace(void *argument)
{
	const long rounds = *(long *)argument;
	struct crowd crowd;

	if (unshare(CLONE_NEWUSER)) {
		fail("unshare of a user namespace", errno);
		arrive(&score->arrived);
		return;
	}
	check_equal("real getuid before the map", real(SYS_getuid), UNMAPPED);
	check_equal("getuid before the map", wrappers.getuid(), UNMAPPED);
	check_equal("getegid before the map", wrappers.getegid(), UNMAPPED);
	check_everywhere(rounds);
	atomic_fetch_add(&maps_that_may_appear, 1);
	crowd_start(&crowd, 2, check_until_mapped, NULL);
	arrive(&score->arrived);
	check_until_mapped(NULL);
	crowd_join(&crowd);
	atomic_fetch_sub(&maps_that_may_appear, 1);
	check_equal("getuid after the map", wrappers.getuid(), real(SYS_getuid));
	check_equal("real getuid after the map", real(SYS_getuid), MAPPED_ID);
	check_everywhere(rounds);
	real(SYS_setresuid, MAPPED_ID, MAPPED_ID, MAPPED_ID);
	check_times(rounds);
	// Another namespace within, in which the ids have no names again.
	if (unshare(CLONE_NEWUSER) == 0)
		check_everywhere(rounds);
	arrive(&score->arrived);
	await(&score->gate, 2);
	check_times(rounds);
}

static pid_t start_namespace(long *rounds)
{
	const pid_t child = start(in_user_namespace, rounds);

	await(&score->arrived, 1);
	return child;
}

void scenario_user_namespace(long number, const char *text)
{
	(void)text;
	const pid_t child = start_namespace(&number);

	// Else the child fails at once, and says so.
	if (!atomic_load(&score->failures))
		write_maps(child);
	announce(&score->gate, 1);
	if (!atomic_load(&score->failures))
		await(&score->arrived, 2);
	announce(&score->gate, 2);
	reap(child);
}

struct target {
	long pid;
	long rounds;
};

static bool join(long pid, const char *name, int type)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%ld/ns/%s", pid, name);
	const int fd = open(path, O_RDONLY);
	const int result = fd < 0 ? -1 : setns(fd, type);

	if (result)
		fail(path, errno);
	close(fd);
	return result == 0;
}

static void join_user_namespace(void *argument)
{
	const struct target *target = argument;

	check_times(target->rounds);
	if (!join(target->pid, "user", CLONE_NEWUSER))
		return;
	check_everywhere(target->rounds);
}

static void join_pid_namespace(void *argument)
{
	struct target *target = argument;

	if (!join(target->pid, "pid", CLONE_NEWPID))
		return;
	check_times(target->rounds);
	reap(start(check_child, &target->rounds));
	reap((pid_t)raw_spawn(SYS_vfork, 0, 0, 0, 0, 0, check_vforked, &target->rounds));
	check_all();
}

static void wait_in_namespaces(void *unused)
{
	(void)unused;
	arrive(&score->arrived);
	await(&score->gate, 1);
}

static void hold_namespaces(void *unused)
{
	if (unshare(CLONE_NEWUSER | CLONE_NEWPID)) {
		fail("unshare of a user and a pid namespace", errno);
		arrive(&score->arrived);
		arrive(&score->arrived);
		return;
	}
	const pid_t first = start(wait_in_namespaces, unused);

	// Our own pid namespace is still the old one: this is the pid by which others know it.
	atomic_store(&score->told, first);
	arrive(&score->arrived);
	reap(first);
}

void scenario_setns(long number, const char *text)
{
	struct target target = {0, number};
	const pid_t holder = start(hold_namespaces, NULL);

	(void)text;
	await(&score->arrived, 2);
	target.pid = atomic_load(&score->told);
	if (target.pid > 0) {
		reap(start(join_pid_namespace, &target));
		reap(start(join_user_namespace, &target));
		if (write_maps(holder))
			reap(start(join_user_namespace, &target));
	}
	announce(&score->gate, 1);
	reap(holder);
}
