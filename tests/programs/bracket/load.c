// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// A mixed load for a given time, under which the service may be stopped, started and killed.

#define _GNU_SOURCE
#include <sched.h>

#include "../real.h"
#include "check.h"
#include "process.h"
#include "scenario.h"

#define THREADS 4

static int64_t deadline;

static void *check_until_deadline(void *unused)
{
	while (now() < deadline)
		check_all();
	return unused;
}

static void many_threads(void *unused)
{
	run_threads(THREADS, check_until_deadline, unused);
}

static void short_threads(void *unused)
{
	(void)unused;
	while (now() < deadline)
		scenario_churn(10, NULL);
}

static void fork_again_and_again(void *unused)
{
	(void)unused;
	while (now() < deadline)
		scenario_fork(2, NULL);
}

static void vfork_again_and_again(void *unused)
{
	(void)unused;
	while (now() < deadline)
		scenario_vfork(2, NULL);
}

static void exec_again_and_again(void *unused)
{
	(void)unused;
	exec_self("exec-chain", deadline);
	fail("exec of this program", 0);
}

void scenario_exec_chain(long number, const char *text)
{
	(void)text;
	check_times(20);
	if (now() < number)
		exec_self("exec-chain", number);
}

static void *hop(void *unused)
{
	cpu_set_t allowed, one;

	CPU_ZERO(&allowed);
	real(SYS_sched_getaffinity, 0, sizeof(allowed), &allowed);
	for (int cpu = 0; now() < deadline; cpu = (cpu + 1) % CPU_SETSIZE) {
		if (!CPU_ISSET(cpu, &allowed))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		real(SYS_sched_setaffinity, 0, sizeof(one), &one);
		check_all();
	}
	return unused;
}

static void hopping_threads(void *unused)
{
	run_threads(2, hop, unused);
}

static void change_ids(void *unused)
{
	(void)unused;
	for (long id = 1000; now() < deadline; id = id < 60000 ? id + 1 : 1000) {
		real(SYS_setresgid, id, id + 1, 0);
		check_all();
		real(SYS_setresuid, id, id + 1, 0);
		check_all();
		real(SYS_setresuid, -1, 0, -1);
		check_all();
	}
}

void scenario_load(long number, const char *text)
{
	static void (*const parts[])(void *) = {
		many_threads,	      short_threads,	   fork_again_and_again,
		vfork_again_and_again, exec_again_and_again, hopping_threads,
		change_ids,
	};
	pid_t children[sizeof(parts) / sizeof(parts[0])];
	size_t count = sizeof(parts) / sizeof(parts[0]);

	(void)text;
	deadline = in_seconds(number);
	for (size_t i = 0; i < count; i++)
		children[i] = start(parts[i], NULL);
	check_until_deadline(NULL);
	for (size_t i = 0; i < count; i++)
		reap(children[i]);
}
