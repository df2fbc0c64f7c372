// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Fork in all its shapes, and what a parent or a session call changes in a running child.

#define _GNU_SOURCE
#include "../real.h"
#include "check.h"
#include "process.h"
#include "scenario.h"

#define CHECKS_IN_CHILD 20
#define FORKING_THREADS 4

static void check_child(void *unused)
{
	(void)unused;
	check_times(CHECKS_IN_CHILD);
}

void scenario_fork(long number, const char *text)
{
	pid_t (*const ways[])(void (*)(void *), void *) = {start, start_raw, start_by_syscall};

	(void)text;
	for (long i = 0; i < number; i++) {
		const pid_t child = ways[i % 3](check_child, NULL);

		check_all();
		reap(child);
		check_all();
	}
}

static void *fork_and_check(void *count)
{
	scenario_fork(*(long *)count, NULL);
	return NULL;
}

void scenario_fork_thread(long number, const char *text)
{
	(void)text;
	run_threads(FORKING_THREADS, fork_and_check, &number);
}

// Checks on both sides of the moment at which its parent ends.
static void orphan(void *parent)
{
	const long left = *(long *)parent;

	while (real(SYS_getppid) == left)
		check_all();
	check_times(CHECKS_IN_CHILD);
}

static void leave_an_orphan(void *unused)
{
	long self = real(SYS_getpid);

	(void)unused;
	start(orphan, &self);
	check_all();
}

void scenario_double_fork(long number, const char *text)
{
	(void)text;
	for (long i = 0; i < number; i++) {
		reap(start(leave_an_orphan, NULL));
		check_all();
	}
	reap_all();
}

static void branch(void *generations)
{
	long left = *(long *)generations - 1;
	pid_t children[2];

	check_times(CHECKS_IN_CHILD);
	if (left <= 0)
		return;
	for (int i = 0; i < 2; i++)
		children[i] = start(branch, &left);
	check_times(CHECKS_IN_CHILD);
	for (int i = 0; i < 2; i++)
		reap(children[i]);
	check_all();
}

void scenario_fork_tree(long number, const char *text)
{
	(void)text;
	branch(&number);
}

static void wait_for_the_others(void *unused)
{
	(void)unused;
	check_all();
	arrive(&score->arrived);
	await(&score->gate, 1);
	check_all();
}

void scenario_fork_storm(long number, const char *text)
{
	uint32_t started = 0;

	(void)text;
	while (started < number && start(wait_for_the_others, NULL) > 0)
		started++;
	await(&score->arrived, started);
	announce(&score->gate, 1);
	check_times(CHECKS_IN_CHILD);
	reap_all();
	check_all();
}

static void change_sessions(void *unused)
{
	(void)unused;
	arrive(&score->arrived);
	// The parent moves us between process groups meanwhile.
	while (!atomic_load(&score->gate))
		check_all();
	if (real(SYS_setpgid, 0, 0) == 0)
		check_all();
	const pid_t child = start(check_child, NULL);

	check_all();
	reap(child);
	// A group leader may not; a child that the parent moved back may.
	real(SYS_setsid);
	check_times(CHECKS_IN_CHILD);
}

static void move(pid_t child, long group)
{
	atomic_fetch_add(&score->relations.begun, 1);
	real(SYS_setpgid, child, group);
	atomic_fetch_add(&score->relations.ended, 1);
}

void scenario_sessions(long number, const char *text)
{
	(void)text;
	for (long i = 0; i < number; i++) {
		const pid_t child = start(change_sessions, NULL);

		await(&score->arrived, 1);
		for (int round = 0; round < 50; round++) {
			move(child, round % 2 ? 0 : child);
			move(child, real(SYS_getpgid, 0));
		}
		announce(&score->gate, 1);
		reap(child);
		atomic_store(&score->arrived, 0);
		atomic_store(&score->gate, 0);
		check_all();
	}
}
