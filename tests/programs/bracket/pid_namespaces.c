// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Pid namespaces: other scenarios within them, and what they hide. A parent, a leader of a group or
// of a session outside of the namespace reads as 0.

#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "../real.h"
#include "check.h"
#include "process.h"
#include "scenario.h"
#include "spin.h"

#define CHECKS 10
#define DEPTH 2
#define DOOMED 4

static void rewind_gates(void)
{
	atomic_store(&score->arrived, 0);
	atomic_store(&score->gate, 0);
}

static bool enter_new(void)
{
	if (unshare(CLONE_NEWPID) == 0)
		return true;
	fail("unshare of a pid namespace", errno);
	return false;
}

// Children are of our own namespace again: where the last ones are, nobody can be made once its
// first process has ended, and a namespace within it cannot be made by us.
static void return_home(void)
{
	const long fd = real(SYS_pidfd_open, real(SYS_getpid), 0);
	const long result = real(SYS_setns, fd, CLONE_NEWPID);

	if (result)
		fail("setns to the own pid namespace", result);
	real(SYS_close, fd);
}

// ---- other scenarios, by the first process of a namespace in a namespace

struct within {
	void (*run)(long number, const char *text);
	long number;
	int depth;
};

static const struct within scenarios[] = {
	{.run = scenario_groups, .number = 2},
	{.run = scenario_moved_by_parent, .number = 4000},
	{.run = scenario_relation_arguments, .number = 3},
	{.run = scenario_parents, .number = 1},
	{.run = scenario_children, .number = 3},
	{.run = scenario_double_fork, .number = 20},
	{.run = scenario_threads, .number = 20},
	{.run = scenario_fork_tree, .number = 4},
	{.run = scenario_vfork, .number = 6},
	{.run = scenario_spawn, .number = 6},
	{.run = scenario_exec_thread, .number = 4},
	{.run = scenario_exec_leader, .number = 4},
	{.run = scenario_nesting, .number = 8},
};

static void descend(void *argument)
{
	struct within within = *(struct within *)argument;

	if (within.depth > 0)
		check_equal("getpid of a first process", wrappers.getpid(), 1);
	if (within.depth == DEPTH) {
		rewind_gates();
		within.run(within.number, NULL);
	} else if (enter_new()) {
		within.depth++;
		reap(start(descend, &within));
	}
	reap_all();
}

void scenario_within_pid_namespaces(long number, const char *text)
{
	(void)text;
	while (number-- > 0) {
		for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
			struct within within = scenarios[i];

			reap(start(descend, &within));
		}
	}
}

// ---- seen from within, moved from without

static void check_relations(const char *what, long parent, long group, long session)
{
	check_equal(what, getppid(), parent);
	check_equal(what, getpgrp(), group);
	check_equal(what, getpgid(0), group);
	check_equal(what, getsid(0), session);
	check_equal(what, real(SYS_getppid), parent);
	check_equal(what, real(SYS_getpgid, 0), group);
	check_equal(what, real(SYS_getsid, 0), session);
	check_times(CHECKS);
}

static void lead_group_within(void *unused)
{
	(void)unused;
	check_relations("a second process from outside", 0, 0, 0);
	real(SYS_setpgid, 0, 0);
	const long self = real(SYS_getpid);

	check_relations("a leader of a group within", 0, self, 0);
	atomic_store(&score->told, self);
	arrive(&score->arrived);
	await(&score->gate, 1);
}

static void moved_first_process(void *unused)
{
	struct spin spin;

	(void)unused;
	check_relations("a first process", 0, 0, 0);
	spin_start(&spin);
	arrive(&score->arrived);
	while (atomic_load(&score->gate) < 1)
		check_all();
	spin_settle(&spin);
	check_relations("a first process in a group within", 0, atomic_load(&score->told), 0);
	spin_settle(&spin);
	spin_end(&spin);
	if (real(SYS_setsid) != 1)
		fail("setsid", 0);
	check_relations("a first process in a session within", 0, 1, 1);
}

static void move_first_process(void *argument)
{
	const long self = real(SYS_setsid);
	const long moves = *(long *)argument;

	if (!enter_new())
		return;
	const pid_t first = start(moved_first_process, NULL);

	await(&score->arrived, 1);
	const pid_t second = start(lead_group_within, NULL);
	const long groups[] = {first, self, second};

	await(&score->arrived, 2);
	for (long i = 0; i < moves * 3; i++) {
		atomic_fetch_add(&score->relations.begun, 1);
		const long result = real(SYS_setpgid, first, groups[i % 3]);

		atomic_fetch_add(&score->relations.ended, 1);
		if (result) {
			fail("setpgid of a first process", result);
			break;
		}
		if (i / 100 % 2)
			check_all();
	}
	announce(&score->gate, 1);
	reap(second);
	reap(first);
}

// ---- entered

static void be_foreign(void *unused)
{
	const long self = real(SYS_getpid);
	struct spin spin;

	(void)unused;
	spin_start(&spin);
	check_relations("a process that comes from outside", 0, 0, 0);
	arrive(&score->arrived);
	await(&score->gate, 1);
	// Its next parent is outside as well.
	spin_settle(&spin);
	check_relations("after its parent", 0, 0, 0);
	check_equal("setpgid", real(SYS_setpgid, 0, 0), 0);
	spin_settle(&spin);
	check_relations("in a group of its own", 0, self, 0);
	spin_end(&spin);
	exec_self("child-of", 0);
	fail("exec of this program", 0);
}

static int be_foreign_vforked(void *unused)
{
	(void)unused;
	check_relations("a vfork child that comes from outside", 0, 0, 0);
	exec_self("child-of", 0);
	fail("exec of this program", 0);
	return 1;
}

static void enter_and_fork(void *first)
{
	const long fd = real(SYS_pidfd_open, *(pid_t *)first, 0);
	const long result = real(SYS_setns, fd, CLONE_NEWPID);

	if (result) {
		fail("setns by a pidfd", result);
		arrive(&score->arrived);
		return;
	}
	check_times(CHECKS);
	reap((pid_t)raw_spawn(SYS_vfork, 0, 0, 0, 0, 0, be_foreign_vforked, NULL));
	atomic_store(&score->told, start(be_foreign, NULL));
	await(&score->arrived, 2);
}

static void wait_within(void *unused)
{
	(void)unused;
	arrive(&score->arrived);
	await(&score->gate, 2);
}

static void be_entered(void *unused)
{
	(void)unused;
	atomic_store(&score->told, 0);
	real(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	if (!enter_new())
		return;
	pid_t first = start(wait_within, NULL);

	await(&score->arrived, 1);
	return_home();
	reap(start(enter_and_fork, &first));
	announce(&score->gate, 1);
	reap((pid_t)atomic_load(&score->told));
	announce(&score->gate, 2);
	reap(first);
}

// ---- ended as a whole

static void ask_for_ever(void *unused)
{
	struct spin spin;

	(void)unused;
	spin_start(&spin);
	arrive(&score->arrived);
	for (;;)
		check_all();
}

static int ask_for_ever_vforked(void *unused)
{
	(void)unused;
	arrive(&score->arrived);
	for (;;)
		check_all();
	return 0;
}

static void wait_for_vforked(void *unused)
{
	(void)unused;
	raw_spawn(SYS_vfork, 0, 0, 0, 0, 0, ask_for_ever_vforked, NULL);
}

static void end_namespace(void *unused)
{
	const uint32_t arrived = atomic_load(&score->arrived);

	(void)unused;
	for (int i = 0; i < DOOMED; i++)
		start(i ? ask_for_ever : wait_for_vforked, NULL);
	await(&score->arrived, arrived + DOOMED);
	// The kernel ends all others with us.
}

static void end_namespaces(void *number)
{
	for (long i = 0; i < *(long *)number; i++) {
		if (!enter_new())
			return;
		reap(start(end_namespace, NULL));
		check_all();
		return_home();
	}
}

void scenario_pid_namespace_relations(long number, const char *text)
{
	long moves = number * 100, ends = number / 10 + 1;

	(void)text;
	reap(start(move_first_process, &moves));
	rewind_gates();
	reap(start(be_entered, NULL));
	rewind_gates();
	reap(start(end_namespaces, &ends));
}
