// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Every call that changes ids, made through libc (which changes all threads), through syscall() and
// by the instruction (which change the caller alone), with and without other threads.

#define _GNU_SOURCE
#include <grp.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <linux/securebits.h>
#include <unistd.h>

#include "../real.h"
#include "check.h"
#include "process.h"
#include "scenario.h"
#include "spin.h"

#define LONERS 8
#define CHECKS 3

enum way { BY_LIBC, BY_SYSCALL, BY_INSTRUCTION, WAYS };

struct change {
	long number;
	long a, b, c;
};

// Ordered so that each is allowed after the one before, up to the last, which gives root up. Ids
// above INT_MAX show a value that was widened with its sign.
static const struct change changes[] = {
	{SYS_setresuid, 1001, 1002, 0},
	{SYS_setresuid, -1, 0, -1},
	{SYS_setresuid, 0, 0, 0},
	{SYS_setreuid, 1003, 0, 0},
	{SYS_setreuid, 0, 0, 0},
	{SYS_setresuid, -1, 1004, -1},
	{SYS_setresuid, -1, 0, -1},
	{SYS_setresuid, 0xfffffff0, 0, 0x80000000},
	{SYS_setresuid, 0, 0, 0},
	{SYS_setfsuid, 1005, 0, 0},
	{SYS_setfsuid, 0, 0, 0},
	{SYS_setresgid, 2001, 2002, 2003},
	{SYS_setresgid, -1, 2004, -1},
	{SYS_setregid, 2005, 2006, 0},
	{SYS_setresgid, 0xfffffffd, 0x7fffffff, 0x80000001},
	{SYS_setfsgid, 2007, 0, 0},
	{SYS_setgroups, 3, 0, 0},
	{SYS_setgroups, 0, 0, 0},
	{SYS_setgid, 2008, 0, 0},
	{SYS_setresgid, 0, 0, 0},
	{SYS_setgid, 2009, 0, 0},
	{SYS_setuid, 1009, 0, 0},
	// Refused by now: ids stay.
	{SYS_setuid, 0, 0, 0},
	{SYS_setresgid, 0, 0, 0},
};
#define CHANGES (sizeof(changes) / sizeof(changes[0]))

static const gid_t groups[3] = {3001, 3002, 3003};

static void change_by_libc(const struct change *c)
{
	int unused = 0;

	switch (c->number) {
	case SYS_setresuid:
		if (c->a == -1 && c->c == -1)
			unused = seteuid(c->b);
		else
			unused = setresuid(c->a, c->b, c->c);
		break;
	case SYS_setresgid:
		if (c->a == -1 && c->c == -1)
			unused = setegid(c->b);
		else
			unused = setresgid(c->a, c->b, c->c);
		break;
	case SYS_setreuid:
		unused = setreuid(c->a, c->b);
		break;
	case SYS_setregid:
		unused = setregid(c->a, c->b);
		break;
	case SYS_setuid:
		unused = setuid(c->a);
		break;
	case SYS_setgid:
		unused = setgid(c->a);
		break;
	case SYS_setfsuid:
		unused = setfsuid(c->a);
		break;
	case SYS_setfsgid:
		unused = setfsgid(c->a);
		break;
	case SYS_setgroups:
		unused = setgroups(c->a, groups);
		break;
	}
	(void)unused;
}

static void apply(const struct change *c, enum way way)
{
	const long b = c->number == SYS_setgroups ? (long)groups : c->b;

	if (way == BY_LIBC) {
		// libc makes the other threads change as well, each at some moment in between.
		atomic_fetch_add(&score->begun, 1);
		change_by_libc(c);
		atomic_fetch_add(&score->ended, 1);
	} else if (way == BY_SYSCALL) {
		wrappers.syscall(c->number, c->a, b, c->c);
	} else {
		real(c->number, c->a, b, c->c);
	}
	check_times(CHECKS);
}

static void change_alone(void *way)
{
	for (size_t i = 0; i < CHANGES; i++)
		apply(&changes[i], *(enum way *)way);
}

static void change_among_spinners(void *way)
{
	struct spin spin;

	spin_start(&spin);
	for (size_t i = 0; i < CHANGES; i++) {
		spin_settle(&spin);
		apply(&changes[i], *(enum way *)way);
	}
	spin_settle(&spin);
	spin_end(&spin);
}

static void check_child(void *unused)
{
	(void)unused;
	check_times(CHECKS);
}

static void *check_in_thread(void *unused)
{
	check_times(CHECKS);
	return unused;
}

// Threads of one process with ids of their own, which threads and children of theirs inherit.
static void *live_alone(void *rounds)
{
	const long self = real(SYS_gettid);

	// Whether a change of uid costs the capabilities; the bits are this thread's alone.
	real(SYS_prctl, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP);
	for (long i = 0; i < *(long *)rounds; i++) {
		if (real(SYS_setresgid, self + i, self + i + 1, self + i + 2))
			fail("setresgid", self + i);
		check_times(CHECKS);
		if (real(SYS_setresuid, self + i, self + i + 1, self + i + 2))
			fail("setresuid", self + i);
		check_times(CHECKS);
		if (i % 8 == 0) {
			reap(start_raw(check_child, NULL));
			run_threads(1, check_in_thread, NULL);
		}
	}
	return NULL;
}

static void many_alone(void *rounds)
{
	run_threads(LONERS, live_alone, rounds);
}

static void exec_changed(void *unused)
{
	(void)unused;
	real(SYS_setresgid, 2001, 2002, 2003);
	real(SYS_setresuid, 1001, 1002, 1003);
	check_all();
	exec_self("exec-child", real(SYS_getpid));
	fail("exec of this program", 0);
}

void scenario_creds(long number, const char *text)
{
	(void)text;
	for (long round = 0; round < number; round++) {
		for (enum way way = BY_LIBC; way < WAYS; way++) {
			reap(start(change_alone, &way));
			reap(start(change_among_spinners, &way));
		}
		reap(start(exec_changed, NULL));
	}
	number *= 10;
	reap(start(many_alone, &number));
	check_all();
}
