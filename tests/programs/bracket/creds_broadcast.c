// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// libc changes the ids of all threads before its call returns. Whoever has learnt that it has
// returned must not be given the old ids any more: not by a wrapper either.
//
// The ids only grow, so an answer must lie between the id of the last call that had returned before
// the question and that of the last one that had begun after the answer.

#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "../real.h"
#include "check.h"
#include "process.h"
#include "scenario.h"

#define WATCHERS 3
#define CHECKS_IN_A_ROW 5
#define FIRST_ID 1000

struct ids {
	atomic_long begun, returned;
};

static struct ids users, groups;
static atomic_bool stop;

static void check_between(const char *name, long got, long low, const struct ids *ids)
{
	const long high = atomic_load(&ids->begun);

	check_equal(name, got, got < low ? low : got > high ? high : got);
}

// By its own statement each, so that nothing is between the load, the question and the load.
#define CHECK(ids, question)                                                                        \
	do {                                                                                        \
		const long low_ = atomic_load(&(ids).returned);                                     \
		check_between(#question, (long)(question), low_, &(ids));                           \
	} while (0)

typedef int (*triple)(uint32_t *, uint32_t *, uint32_t *);

static void check_triple(const char *name, triple ask, const struct ids *ids)
{
	const long low = atomic_load(&ids->returned);
	uint32_t got[3];

	ask(&got[0], &got[1], &got[2]);
	for (int i = 0; i < 3; i++)
		check_between(name, got[i], low, ids);
}

static int users_through_syscall(uint32_t *a, uint32_t *b, uint32_t *c)
{
	return (int)wrappers.syscall(SYS_getresuid, a, b, c);
}

static int groups_through_syscall(uint32_t *a, uint32_t *b, uint32_t *c)
{
	return (int)wrappers.syscall(SYS_getresgid, a, b, c);
}

static void check_order(void)
{
	CHECK(users, wrappers.getuid());
	CHECK(users, wrappers.geteuid());
	CHECK(groups, wrappers.getgid());
	CHECK(groups, wrappers.getegid());
	CHECK(users, wrappers.syscall(SYS_getuid));
	CHECK(users, wrappers.syscall(SYS_geteuid));
	CHECK(groups, wrappers.syscall(SYS_getgid));
	CHECK(groups, wrappers.syscall(SYS_getegid));
	check_triple("getresuid", wrappers.getresuid, &users);
	check_triple("getresgid", wrappers.getresgid, &groups);
	check_triple("syscall(SYS_getresuid)", users_through_syscall, &users);
	check_triple("syscall(SYS_getresgid)", groups_through_syscall, &groups);
}

static void *watch(void *unused)
{
	while (!atomic_load(&stop)) {
		for (int i = 0; i < CHECKS_IN_A_ROW; i++)
			check_order();
		// Each call waits for each of us.
		real(SYS_sched_yield);
	}
	return unused;
}

static void *watch_once(void *unused)
{
	check_order();
	return unused;
}

// With the ids and the memory of its parent's at one time: a call that had returned had changed the
// forking thread too.
static void watch_in_child(void *unused)
{
	watch_once(unused);
	run_threads(1, watch_once, unused);
}

static int watch_vforked(void *unused)
{
	watch_once(unused);
	return 0;
}

static void *make_watchers(void *unused)
{
	while (!atomic_load(&stop)) {
		run_threads(2, watch_once, unused);
		reap(start(watch_in_child, unused));
		reap((pid_t)raw_spawn(SYS_vfork, 0, 0, 0, 0, 0, watch_vforked, unused));
	}
	return unused;
}

static int change_users(long id)
{
	switch (id % 3) {
	case 0:
		return setresuid(id, id, id);
	case 1:
		return setreuid(id, id);
	default:
		return setuid(id);
	}
}

static int change_groups(long id)
{
	switch (id % 3) {
	case 0:
		return setresgid(id, id, id);
	case 1:
		return setregid(id, id);
	default:
		return setgid(id);
	}
}

static void change(struct ids *ids, int (*by)(long))
{
	const long id = atomic_load(&ids->begun) + 1;

	atomic_store(&ids->begun, id);
	if (by(id))
		fail("a change of ids", errno);
	atomic_store(&ids->returned, id);
	check_order();
}

static void *change_all(void *unused)
{
	const gid_t supplementary[] = {7, 8};

	change(&groups, change_groups);
	change(&users, change_users);
	if (setgroups(2, supplementary) || initgroups("root", 0))
		fail("setgroups or initgroups", errno);
	check_order();
	return unused;
}

static void broadcast(void *number)
{
	struct crowd watchers, maker;

	// Each thread must be allowed to change its ids again when it is not root any more.
	real(SYS_prctl, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP);
	atomic_store(&users.begun, FIRST_ID);
	atomic_store(&groups.begun, FIRST_ID);
	change_all(NULL);
	crowd_start(&watchers, WATCHERS, watch, NULL);
	crowd_start(&maker, 1, make_watchers, NULL);
	for (long i = 0; i < *(long *)number; i++) {
		change_all(NULL);
		// By a thread that is not the leader, too.
		run_threads(1, change_all, NULL);
	}
	atomic_store(&stop, true);
	crowd_join(&watchers);
	crowd_join(&maker);
}

void scenario_creds_broadcast(long number, const char *text)
{
	(void)text;
	reap(start(broadcast, &number));
}
