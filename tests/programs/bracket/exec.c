// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// exec from the leader and from another thread, whose tid changes by it; and exec that fails.

#define _GNU_SOURCE
#include <unistd.h>

#include "../real.h"
#include "check.h"
#include "process.h"
#include "scenario.h"

#define OTHERS 3
#define CHECKS 20

void scenario_exec_child(long number, const char *text)
{
	(void)text;
	check_equal("real getpid after exec", real(SYS_getpid), number);
	check_equal("getpid after exec", wrappers.getpid(), number);
	check_equal("gettid after exec", wrappers.gettid(), number);
	check_times(CHECKS);
}

static void *check_until_exec(void *unused)
{
	arrive(&score->arrived);
	for (;;)
		check_all();
	return unused;
}

static void fail_to_exec(void)
{
	const char *const arguments[] = {"bracket", NULL};

	real(SYS_execve, "/nonexistent", arguments, environ);
	check_all();
	real(SYS_execve, "/", arguments, environ);
	check_all();
}

static void *exec_now(void *unused)
{
	check_times(CHECKS);
	fail_to_exec();
	check_times(CHECKS);
	exec_self("exec-child", real(SYS_getpid));
	fail("exec of this program", 0);
	leave(1);
	return unused;
}

static void with_others(void)
{
	struct crowd crowd;
	const uint32_t arrived = atomic_load(&score->arrived);

	crowd_start(&crowd, OTHERS, check_until_exec, NULL);
	await(&score->arrived, arrived + OTHERS);
}

static void exec_from_leader(void *unused)
{
	with_others();
	exec_now(unused);
}

static void exec_from_thread(void *unused)
{
	with_others();
	run_threads(1, exec_now, unused);
}

void scenario_exec_leader(long number, const char *text)
{
	(void)text;
	while (number-- > 0)
		reap(start(exec_from_leader, NULL));
}

void scenario_exec_thread(long number, const char *text)
{
	(void)text;
	while (number-- > 0)
		reap(start(exec_from_thread, NULL));
}
