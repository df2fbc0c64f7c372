// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Filters that emulate: from the moment the installing call returns, a wrapper must give the
// emulated answer, as the instruction does.

#define _GNU_SOURCE
#include <linux/seccomp.h>
#include <signal.h>

#include "../real.h"
#include "check.h"
#include "emulate.h"
#include "filter.h"
#include "process.h"
#include "scenario.h"

#define SPINNERS 2
#define CODE_OF_ERROR 77

enum action { ZERO, ERROR, TRAP, ACTIONS };

struct emulation {
	enum action action;
	enum filter_way way;
	long rounds;
	atomic_bool stop;
};

static void on_sigsys(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)info;
	emulate(context);
}

static void build(struct filter *filter, enum action action)
{
	// As fakeroot-like sandboxes do it: nobody learns who he is.
	static const long hidden[] = {SYS_getpid, SYS_getuid};

	if (action == ZERO)
		filter_build(filter, hidden, 2, SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW);
	else if (action == ERROR)
		filter_build(filter, emulated_numbers, emulated_count,
			     SECCOMP_RET_ERRNO | CODE_OF_ERROR, SECCOMP_RET_ALLOW);
	else
		filter_build(filter, emulated_numbers, emulated_count, SECCOMP_RET_TRAP,
			     SECCOMP_RET_ALLOW);
}

static long emulated_pid(enum action action)
{
	if (action == ZERO)
		return 0;
	return action == ERROR ? -CODE_OF_ERROR : EMULATED_VALUE(SYS_getpid);
}

static void *spin(void *argument)
{
	struct emulation *emulation = argument;

	arrive(&score->arrived);
	while (!atomic_load(&emulation->stop))
		check_all();
	return NULL;
}

static void *check_in_thread(void *argument)
{
	check_times(((struct emulation *)argument)->rounds);
	return NULL;
}

static void check_child(void *argument)
{
	check_times(((struct emulation *)argument)->rounds);
}

static int check_vforked(void *argument)
{
	check_times(((struct emulation *)argument)->rounds);
	return 0;
}

static void exec_child(void *argument)
{
	exec_self("single", ((struct emulation *)argument)->rounds);
	fail("exec of this program", 0);
}

static void emulated(void *argument)
{
	struct emulation *emulation = argument;
	const struct sigaction action = {
		.sa_sigaction = on_sigsys,
		.sa_flags = SA_SIGINFO | SA_NODEFER,
	};
	struct filter filter;
	struct crowd crowd;
	const uint32_t arrived = atomic_load(&score->arrived);

	sigaction(SIGSYS, &action, NULL);
	build(&filter, emulation->action);
	crowd_start(&crowd, SPINNERS, spin, emulation);
	await(&score->arrived, arrived + SPINNERS);
	check_times(emulation->rounds);
	if (!filter_install(&filter, emulation->way))
		return;
	check_times(emulation->rounds);
	check_equal("the instruction's getpid under the filter", real(SYS_getpid),
		    emulated_pid(emulation->action));
	run_threads(1, check_in_thread, emulation);
	reap(start(check_child, emulation));
	reap(start_raw(check_child, emulation));
	reap((pid_t)raw_spawn(SYS_vfork, 0, 0, 0, 0, 0, check_vforked, emulation));
	// exec drops the handler that a trap needs.
	if (emulation->action != TRAP)
		reap(start(exec_child, emulation));
	atomic_store(&emulation->stop, true);
	crowd_join(&crowd);
}

void scenario_seccomp_emulated(long number, const char *text)
{
	(void)text;
	for (enum action action = 0; action < ACTIONS; action++) {
		for (enum filter_way way = 0; way < FILTER_WAYS; way++) {
			struct emulation emulation = {.action = action, .way = way, .rounds = number};

			reap(start(emulated, &emulation));
		}
	}
	check_all();
}
