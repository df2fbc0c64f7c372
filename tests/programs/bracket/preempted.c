// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// The kernel leaves a hook out while a task that was preempted inside the same hook is on that CPU. So
// tasks run hooks without end on one CPU, and one of a real-time class comes between at random moments,
// changes what those hooks tell of, and must not be given the old answers.

#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "../real.h"
#include "check.h"
#include "process.h"
#include "scenario.h"

#define DISTURBED 2
#define CHANGES_EACH 3
#define LEAST_PAUSE 20000
#define PAUSES 100000
#define FIRST_ID 1000

static void stay_here(void)
{
	cpu_set_t only;

	CPU_ZERO(&only);
	CPU_SET(sched_getcpu(), &only);
	if (sched_setaffinity(0, sizeof(only), &only))
		fail("sched_setaffinity", errno);
}

// The hook on credentials, as nothing else can be changed so often; only changes reach it.
static void run_hooks(void *unused)
{
	(void)unused;
	for (long id = FIRST_ID;; id++)
		real(SYS_setresuid, id, 0, 0);
}

static void change_and_check(long id)
{
	if (real(SYS_setresuid, id, 0, id) || real(SYS_setresgid, id, id, 0))
		fail("a change of ids", id);
	check_all();
	if (real(SYS_setpgid, 0, id % 2 ? 0 : real(SYS_getppid)))
		fail("setpgid", id);
	check_all();
}

static void come_between(void *seconds)
{
	const struct sched_param first = {.sched_priority = 1};
	const int64_t end = in_seconds(*(long *)seconds);
	struct timespec pause = {0};
	uint32_t random = 1;
	long id = FIRST_ID;

	if (sched_setscheduler(0, SCHED_FIFO, &first))
		fail("sched_setscheduler", errno);
	while (now() < end) {
		random = random * 1664525 + 1013904223;
		pause.tv_nsec = LEAST_PAUSE + random % PAUSES;
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
		for (int i = 0; i < CHANGES_EACH; i++)
			change_and_check(id++);
	}
}

// In a session of its own, whose leader is the parent of all: its group is the other one to be in.
static void disturb(void *seconds)
{
	pid_t disturbed[DISTURBED];

	if (setsid() < 0)
		fail("setsid", errno);
	stay_here();
	for (int i = 0; i < DISTURBED; i++)
		disturbed[i] = start(run_hooks, NULL);
	reap(start(come_between, seconds));
	for (int i = 0; i < DISTURBED; i++)
		real(SYS_kill, disturbed[i], SIGKILL);
	for (int i = 0; i < DISTURBED; i++)
		if (real(SYS_wait4, disturbed[i], 0, 0, 0) != disturbed[i])
			fail("wait", disturbed[i]);
}

void scenario_preempted(long number, const char *text)
{
	(void)text;
	reap(start(disturb, &number));
}
