// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Process groups and sessions: changed by the process itself, by one of its threads, by its parent
// while it asks; and asked for by all sorts of arguments.

#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../real.h"
#include "check.h"
#include "process.h"
#include "scenario.h"
#include "spin.h"

#define CHECKS 3
#define UNTOUCHED 12345

// A change that other threads of the process see, or that another process sees, at some moment.
#define VISIBLY(change)                                                                             \
	({                                                                                          \
		atomic_fetch_add(&score->relations.begun, 1);                                       \
		const long result_ = (change);                                                      \
		atomic_fetch_add(&score->relations.ended, 1);                                       \
		result_;                                                                            \
	})

// ---- by oneself

enum way { BY_LIBC, BY_SYSCALL, BY_INSTRUCTION, WAYS };

struct member {
	enum way way;
	bool in_thread;
	long rounds;
	// Groups of the session that live as long as we do.
	long first, second;
};

static long as_kernel(long result)
{
	return result == -1 ? -errno : result;
}

static long set_group(enum way way, long pid, long group)
{
	if (way == BY_LIBC)
		return VISIBLY(as_kernel(setpgid((pid_t)pid, (pid_t)group)));
	if (way == BY_SYSCALL)
		return VISIBLY(as_kernel(wrappers.syscall(SYS_setpgid, pid, group)));
	return VISIBLY(real(SYS_setpgid, pid, group));
}

static long set_session(enum way way)
{
	if (way == BY_LIBC)
		return VISIBLY(as_kernel(setsid()));
	if (way == BY_SYSCALL)
		return VISIBLY(as_kernel(wrappers.syscall(SYS_setsid)));
	return VISIBLY(real(SYS_setsid));
}

struct relations {
	long group, session;
};

static void check_relations(void *argument)
{
	const struct relations *wanted = argument;
	const pid_t self = (pid_t)real(SYS_getpid);

	check_equal("getpgrp", getpgrp(), wanted->group);
	check_equal("getpgid(0)", getpgid(0), wanted->group);
	check_equal("getpgid(own pid)", getpgid(self), wanted->group);
	check_equal("syscall(SYS_getpgrp)", wrappers.syscall(SYS_getpgrp), wanted->group);
	check_equal("syscall(SYS_getpgid, own pid)", wrappers.syscall(SYS_getpgid, self),
		    wanted->group);
	check_equal("getsid(0)", getsid(0), wanted->session);
	check_equal("getsid(own pid)", getsid(self), wanted->session);
	check_equal("syscall(SYS_getsid, 0)", wrappers.syscall(SYS_getsid, 0), wanted->session);
	check_times(CHECKS);
}

static int check_relations_vforked(void *argument)
{
	check_relations(argument);
	return 0;
}

static void move(const struct member *m, long pid, long group, long wanted_group)
{
	struct relations wanted = {wanted_group, real(SYS_getsid, 0)};

	check_equal("setpgid", set_group(m->way, pid, group), 0);
	check_relations(&wanted);
	// Children inherit what is so now.
	reap(start_raw(check_relations, &wanted));
	reap((pid_t)raw_spawn(SYS_vfork, 0, 0, 0, 0, 0, check_relations_vforked, &wanted));
}

static void *change_groups(void *argument)
{
	const struct member *m = argument;
	const long self = real(SYS_getpid);
	struct relations wanted = {self, real(SYS_getsid, 0)};

	for (long i = 0; i < m->rounds; i++) {
		move(m, 0, 0, self);
		move(m, 0, m->first, m->first);
		move(m, self, self, self);
		move(m, self, m->second, m->second);
	}
	move(m, 0, 0, self);
	check_equal("setpgid to no group", set_group(m->way, 0, INT_MAX), -EPERM);
	check_equal("setsid of a leader of a group", set_session(m->way), -EPERM);
	check_relations(&wanted);
	move(m, 0, m->second, m->second);
	check_equal("setsid", set_session(m->way), self);
	wanted.session = self;
	check_relations(&wanted);
	check_equal("setpgid of a leader of a session", set_group(m->way, 0, m->first), -EPERM);
	check_relations(&wanted);
	reap(start(check_relations, &wanted));
	return NULL;
}

static void change_among_spinners(void *argument)
{
	const struct member *m = argument;
	struct spin spin;

	spin_start(&spin);
	if (m->in_thread)
		run_threads(1, change_groups, argument);
	else
		change_groups(argument);
	spin_settle(&spin);
	spin_end(&spin);
	exec_self("exec-child", real(SYS_getpid));
	fail("exec of this program", 0);
}

static void lead_a_group(void *unused)
{
	(void)unused;
	real(SYS_setpgid, 0, 0);
	arrive(&score->arrived);
	await(&score->gate, 1);
}

static void own_session(void *argument)
{
	struct member *m = argument;

	m->first = real(SYS_setsid);
	m->second = start(lead_a_group, NULL);
	await(&score->arrived, 1);
	for (m->way = BY_LIBC; m->way < WAYS; m->way++) {
		for (int in_thread = 0; in_thread < 2; in_thread++) {
			m->in_thread = in_thread;
			reap(start(change_among_spinners, m));
		}
	}
	announce(&score->gate, 1);
	reap_all();
}

void scenario_groups(long number, const char *text)
{
	struct member m = {.rounds = number};

	(void)text;
	reap(start(own_session, &m));
}

// ---- by the parent

enum { MOVING = 1, MOVED = 2 };

static void check_child(void *unused)
{
	(void)unused;
	check_times(CHECKS);
}

static void be_moved(void *unused)
{
	struct spin spin;

	(void)unused;
	spin_start(&spin);
	arrive(&score->arrived);
	while (atomic_load(&score->gate) < MOVED) {
		check_times(CHECKS);
		reap(start_raw(check_child, NULL));
	}
	spin_settle(&spin);
	spin_end(&spin);
	arrive(&score->arrived);
	// Until exec takes the right away from the parent.
	check_times(CHECKS);
	exec_self("exec-child", real(SYS_getpid));
	fail("exec of this program", 0);
}

static void move_child(void *argument)
{
	const long moves = *(long *)argument;
	const long self = real(SYS_setsid);
	const pid_t other = start(lead_a_group, NULL);

	await(&score->arrived, 1);
	const pid_t child = start(be_moved, NULL);
	const long groups[] = {child, self, other};
	long result = 0;

	await(&score->arrived, 2);
	for (long i = 0; i < moves && !result; i++) {
		result = VISIBLY(real(SYS_setpgid, child, groups[i % 3]));
		// In bursts, and so slowly that each answer can be judged.
		if (i / 100 % 2)
			check_all();
	}
	check_equal("setpgid of a child", result, 0);
	announce(&score->gate, MOVED);
	await(&score->arrived, 3);
	for (long i = 0; !result; i++) {
		result = VISIBLY(real(SYS_setpgid, child, groups[i % 3]));
		check_all();
	}
	check_equal("setpgid of a child after its exec", result, -EACCES);
	reap_all();
}

void scenario_moved_by_parent(long number, const char *text)
{
	(void)text;
	reap(start(move_child, &number));
}

// ---- arguments

// By a type that hands on all 64 bits, as a caller may that leaves them in the register.
typedef pid_t (*ask_of)(long pid);

struct question {
	const char *name;
	long number;
	ask_of ask;
};

static const struct question questions[] = {
	{"getpgid", SYS_getpgid, (ask_of)(void *)getpgid},
	{"getsid", SYS_getsid, (ask_of)(void *)getsid},
};

static void compare_answers(const struct question *q, long argument)
{
	const long wanted = real(q->number, argument);

	for (int through = 0; through < 2; through++) {
		errno = UNTOUCHED;
		const long got = through ? wrappers.syscall(q->number, argument) : q->ask(argument);

		check_equal(q->name, got, wanted < 0 ? -1 : wanted);
		check_equal("errno after it", errno, wanted < 0 ? -wanted : UNTOUCHED);
	}
}

static void compare(long pid)
{
	static const unsigned long garbage[] = {0, 1ul << 32, 0xdeadbeeful << 32, 1ul << 63};

	for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++)
		for (size_t j = 0; j < sizeof(garbage) / sizeof(garbage[0]); j++)
			compare_answers(&questions[i], (long)((unsigned int)pid | garbage[j]));
}

static void *compare_in_thread(void *unused)
{
	const long self = real(SYS_gettid);

	compare(0);
	compare(real(SYS_getpid));
	compare(self);
	compare(-self);
	return unused;
}

struct others {
	long rounds;
	long living, zombie, gone;
	// An argument means another task to each who asks, and a tid is no pid.
	long parent, thread_of_parent;
};

static void compare_all(struct others *o)
{
	static const long odd[] = {0, -1, -2, 1, 2, INT_MAX, INT_MIN, INT_MIN + 1, 1 << 22, 1 << 30};

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		compare(odd[i]);
	compare(o->living);
	compare(o->zombie);
	compare(o->gone);
	compare(o->parent);
	compare(o->thread_of_parent);
	compare(real(SYS_getppid));
	compare_in_thread(NULL);
	run_threads(2, compare_in_thread, NULL);
}

static void compare_child(void *others)
{
	compare_all(others);
}

static void nothing(void *unused)
{
	(void)unused;
}

static void *compare_rounds(void *argument)
{
	struct others *o = argument;

	o->thread_of_parent = real(SYS_gettid);
	for (long i = 0; i < o->rounds; i++) {
		compare_all(o);
		reap(start(compare_child, o));
	}
	return NULL;
}

static void await_zombie(pid_t child)
{
	siginfo_t info;

	real(SYS_waitid, P_PID, child, &info, WEXITED | WNOWAIT, NULL);
}

static void compare_in_groups(void *others)
{
	struct others *o = others;

	compare_rounds(o);
	// The answer for a group of which another is the leader.
	check_equal("setpgid", real(SYS_setpgid, 0, o->living), 0);
	run_threads(1, compare_rounds, o);
}

static void compare_in_session(void *argument)
{
	struct others *o = argument;

	real(SYS_setsid);
	o->parent = real(SYS_getpid);
	o->living = start(lead_a_group, NULL);
	o->gone = start(nothing, NULL);
	reap((pid_t)o->gone);
	o->zombie = start(nothing, NULL);
	await_zombie((pid_t)o->zombie);
	await(&score->arrived, 1);
	// Not by ourselves: a leader of a session stays in its group.
	reap(start(compare_in_groups, o));
	announce(&score->gate, 1);
	reap_all();
}

void scenario_relation_arguments(long number, const char *text)
{
	struct others o = {.rounds = number};

	(void)text;
	reap(start(compare_in_session, &o));
}
