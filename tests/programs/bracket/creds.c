// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Every call that changes ids, made through libc (which changes all threads), through syscall() and
// by the instruction (which change the caller alone), with and without other threads.

#define _GNU_SOURCE
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
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
		atomic_fetch_add(&score->ids.begun, 1);
		change_by_libc(c);
		atomic_fetch_add(&score->ids.ended, 1);
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

// ---- credentials that are replaced without a change of ids

#define KEEPS(call)                                                                                 \
	do {                                                                                        \
		const long result_ = (call);                                                        \
		if (result_ < 0)                                                                    \
			fail(#call, result_);                                                       \
		check_times(CHECKS);                                                                \
	} while (0)

static void hand_keyring_to_parent(void *unused)
{
	(void)unused;
	// Kernels without keyrings have no credentials to replace for them.
	real(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
	check_times(CHECKS);
	// The kernel replaces our parent's credentials when it next returns to user code.
	real(SYS_keyctl, KEYCTL_SESSION_TO_PARENT);
	check_times(CHECKS);
}

static void replace_without_change(void *rounds)
{
	struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2];
	struct spin spin;

	spin_start(&spin);
	for (long i = 0; i < *(long *)rounds; i++) {
		const pid_t child = start(hand_keyring_to_parent, NULL);

		check_times(20 * CHECKS);
		reap(child);
		KEEPS(real(SYS_capget, &header, data));
		KEEPS(real(SYS_capset, &header, data));
		KEEPS(real(SYS_prctl, PR_SET_KEEPCAPS, i % 2, 0, 0, 0));
		KEEPS(real(SYS_prctl, PR_SET_SECUREBITS, SECBIT_KEEP_CAPS));
		KEEPS(real(SYS_prctl, PR_CAPBSET_DROP, CAP_SYS_BOOT, 0, 0, 0));
		KEEPS(real(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
		KEEPS(real(SYS_setfsgid, 4000 + i));
		KEEPS(real(SYS_setfsuid, 4000 + i));
		KEEPS(real(SYS_setgroups, 3, groups));
	}
	spin_settle(&spin);
	spin_end(&spin);
	data[0] = data[1] = (struct __user_cap_data_struct){0};
	KEEPS(real(SYS_capset, &header, data));
}

// ---- privileges given up by a child

static void become_user(void)
{
	uint32_t got[3] = {0};

	KEEPS(real(SYS_setgroups, 0, NULL));
	KEEPS(real(SYS_setresgid, 2001, 2002, 2003));
	KEEPS(real(SYS_setresuid, 1001, 1002, 1003));
	wrappers.getresuid(&got[0], &got[1], &got[2]);
	check_equal("getresuid of a child", got[2], 1003);
}

static void drop_in_child(void *unused)
{
	(void)unused;
	become_user();
}

static int drop_vforked(void *unused)
{
	(void)unused;
	become_user();
	exec_self("exec-child", real(SYS_getpid));
	fail("exec of this program", 0);
	return 1;
}

static void *drop_in_thread(void *unused)
{
	become_user();
	reap(start(check_child, NULL));
	return unused;
}

static void let_children_drop(void *rounds)
{
	struct spin spin;

	spin_start(&spin);
	for (long i = 0; i < *(long *)rounds; i++) {
		reap(start(drop_in_child, NULL));
		reap(start_raw(drop_in_child, NULL));
		check_equal("geteuid of a parent", wrappers.geteuid(), 0);
		reap((pid_t)raw_spawn(SYS_vfork, 0, 0, 0, 0, 0, drop_vforked, NULL));
		check_equal("geteuid after vfork", wrappers.geteuid(), 0);
		run_threads(1, drop_in_thread, NULL);
		check_equal("geteuid besides a thread", wrappers.geteuid(), 0);
		check_times(CHECKS);
	}
	spin_settle(&spin);
	spin_end(&spin);
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
	reap(start(replace_without_change, &number));
	reap(start(let_children_drop, &number));
	reap(start(many_alone, &number));
	check_all();
}
