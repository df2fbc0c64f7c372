// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// vfork and posix_spawn: the child runs in its parent's memory until it execs.

#define _GNU_SOURCE
#include <spawn.h>
#include <unistd.h>

#include "../real.h"
#include "check.h"
#include "process.h"
#include "scenario.h"

#define CHECKS_IN_CHILD 3
#define SPAWNING_THREADS 2

// Not inlined: the frame of the function that called vfork is the parent's.
static __attribute__((noinline)) int child_then_exec(void *unused)
{
	(void)unused;
	check_times(CHECKS_IN_CHILD);
	exec_self("exec-child", real(SYS_getpid));
	fail("exec of this program", 0);
	return 1;
}

static __attribute__((noinline)) int child_then_exit(void *unused)
{
	(void)unused;
	check_times(CHECKS_IN_CHILD);
	return 0;
}

static __attribute__((noinline)) void by_libc(int (*child)(void *))
{
	const pid_t pid = vfork();

	if (pid == 0)
		leave(child(NULL));
	check_all();
	reap(pid);
}

static void by_instruction(int (*child)(void *))
{
	const long pid = raw_spawn(SYS_vfork, 0, 0, 0, 0, 0, child, NULL);

	check_all();
	reap((pid_t)pid);
}

static void *make_children(void *count)
{
	for (long i = 0; i < *(long *)count; i++) {
		by_libc(child_then_exit);
		by_instruction(child_then_exit);
		by_libc(child_then_exec);
		by_instruction(child_then_exec);
		check_all();
	}
	return NULL;
}

void scenario_vfork(long number, const char *text)
{
	long half = (number + 1) / 2;

	(void)text;
	// In two threads, and one more that stays itself: vfork stops only its own caller.
	struct crowd crowd;

	crowd_start(&crowd, SPAWNING_THREADS, make_children, &half);
	check_times(number);
	crowd_join(&crowd);
}

static void *spawn_children(void *count)
{
	char *const arguments[] = {"bracket", "single", "5", NULL};

	for (long i = 0; i < *(long *)count; i++) {
		pid_t child;
		const int error = posix_spawn(&child, "/proc/self/exe", NULL, NULL, arguments, environ);

		check_all();
		if (error)
			fail("posix_spawn", error);
		else
			reap(child);
	}
	return NULL;
}

void scenario_spawn(long number, const char *text)
{
	long half = (number + 1) / 2;

	(void)text;
	run_threads(SPAWNING_THREADS, spawn_children, &half);
}
