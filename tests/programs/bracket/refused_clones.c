// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Calls to clone() that the kernel refuses after it has copied the task. Kernels before the middle of
// 2026 free what BPF programs keep with the caller, some time after such a call: whatever was known of
// the process is gone while it runs. Its answers must stay right, also when a filter comes just then.

#define _GNU_SOURCE
#include <errno.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/resource.h>

#include "../real.h"
#include "check.h"
#include "emulate.h"
#include "filter.h"
#include "process.h"
#include "scenario.h"
#include "spin.h"

#define ROUNDS 20
#define REFUSED 3
#define NOBODY 65534
#define CODE_OF_ERROR 77
// The kernel frees the copy after a grace period of RCU: a few ticks.
#define DELAYS 40
#define DELAY (NANOSECONDS / 1000)

// As root, nobody is refused for this reason.
static void allow_no_more_tasks(void)
{
	const struct rlimit none = {0, 0};

	if (real(SYS_geteuid) == 0 && real(SYS_setresuid, NOBODY, NOBODY, NOBODY))
		fail("setresuid", NOBODY);
	if (real(SYS_prlimit64, 0, RLIMIT_NPROC, &none, NULL))
		fail("prlimit", RLIMIT_NPROC);
}

static void be_refused(void *argument)
{
	const long number = *(long *)argument;
	struct filter filter;
	struct spin spin;

	filter_build(&filter, emulated_numbers, emulated_count, SECCOMP_RET_ERRNO | CODE_OF_ERROR,
		     SECCOMP_RET_ALLOW);
	spin_start(&spin);
	allow_no_more_tasks();
	check_times(ROUNDS);
	for (int i = 0; i < REFUSED; i++)
		check_equal("clone beyond the limit", real(SYS_clone, SIGCHLD, 0, 0, 0, 0), -EAGAIN);
	for (const int64_t end = now() + number % DELAYS * DELAY; now() < end;)
		check_all();
	if (filter_install(&filter, number % 2 ? RAW_TSYNC : RAW_SECCOMP))
		check_times(ROUNDS);
	spin_end(&spin);
}

void scenario_refused_clones(long number, const char *text)
{
	(void)text;
	for (long i = 0; i < number; i++)
		reap(start(be_refused, &i));
	check_all();
}
