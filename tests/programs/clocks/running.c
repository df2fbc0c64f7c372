// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// One thread that runs: busy, with pauses, from CPU to CPU, under each policy, with timers.

#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../real.h"
#include "judge.h"
#include "scenario.h"

// linux/sched/types.h, which the libc headers of Debian 12 do not get on with.
struct sched_attr {
	uint32_t size, sched_policy;
	uint64_t sched_flags;
	int32_t sched_nice;
	uint32_t sched_priority;
	uint64_t sched_runtime, sched_deadline, sched_period;
};

#ifndef SCHED_DEADLINE
#define SCHED_DEADLINE 6
#endif
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

void scenario_busy(void)
{
	busy(&(struct history){0});
}

// Little but system time.
void scenario_system(void)
{
	struct history history = {0};

	while (goes_on()) {
		for (int i = 0; i < 200; i++) {
			real(SYS_getppid);
			look(&history);
		}
		round_of_all(&history);
	}
}

// Runs short and long, sleeps between.
void scenario_sleep(void)
{
	struct history history = {0};
	unsigned int random = 1;

	while (goes_on()) {
		random = random * 1103515245 + 12345;
		usleep(random >> 16 & 1023);
		let_kernel_look(&history);
		for (unsigned int i = 0; i < (random >> 8 & 7); i++)
			round_of_all(&history);
	}
}

// Asks when the kernel has not looked for up to two ticks.
void scenario_extrapolated(void)
{
	struct history history = {0};
	unsigned int random = 1;

	while (goes_on()) {
		random = random * 1103515245 + 12345;
		bracket_clock_after(&history, random & 1 << 16 ? THREAD_CLOCK : PROCESS_CLOCK,
				    (random >> 17) * (8000000ull >> 15));
	}
}

// From CPU to CPU.
void scenario_migrate(void)
{
	const long cpus = sysconf(_SC_NPROCESSORS_CONF);
	struct history history = {0};
	cpu_set_t set;

	for (long turn = 0; goes_on(); turn++) {
		CPU_ZERO(&set);
		CPU_SET((size_t)(turn % cpus), &set);
		sched_setaffinity(0, sizeof(set), &set);
		let_kernel_look(&history);
		round_of_all(&history);
	}
}

static void with_policy(unsigned int policy, unsigned int priority)
{
	struct sched_attr attributes = {
		.size = sizeof(attributes),
		.sched_policy = policy,
		.sched_priority = priority,
	};

	if (policy == SCHED_DEADLINE) {
		attributes.sched_runtime = SECOND / 50;
		attributes.sched_deadline = attributes.sched_period = SECOND / 20;
	}
	const long result = real(SYS_sched_setattr, 0, &attributes, 0);

	if (result)
		fail("%s: policy %u: errno %ld\n", scenario_name, policy, -result);
}

void scenario_policies(void)
{
	static const struct {
		unsigned int policy, priority;
	} policies[] = {
		{SCHED_FIFO, 10}, {SCHED_RR, 10}, {SCHED_DEADLINE, 0}, {SCHED_IDLE, 0}, {SCHED_BATCH, 0}, {SCHED_OTHER, 0},
	};
	struct history history = {0};

	while (goes_on()) {
		for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
			const uint64_t end = now() + SECOND / 20;

			with_policy(policies[i].policy, policies[i].priority);
			while (now() < end)
				round_of_all(&history);
		}
	}
}

// While a process has CPU timers, the kernel answers its clock as of the last tick.
void scenario_timers(void)
{
	const struct itimerval set = {.it_value.tv_sec = 100000}, unset = {0};
	const struct itimerspec armed = {.it_value.tv_sec = 100000}, disarmed = {0};
	const struct rlimit limit = {100000, RLIM_INFINITY}, unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	struct history history = {0};
	timer_t timer;

	for (int turn = 0; goes_on(); turn++) {
		setitimer(turn % 2 ? ITIMER_PROF : ITIMER_VIRTUAL, &set, NULL);
		some_rounds(&history);
		setitimer(turn % 2 ? ITIMER_PROF : ITIMER_VIRTUAL, &unset, NULL);
		some_rounds(&history);
		timer_create(CLOCK_PROCESS_CPUTIME_ID, &(struct sigevent){.sigev_notify = SIGEV_NONE}, &timer);
		timer_settime(timer, 0, &armed, NULL);
		let_kernel_look(&history);
		some_rounds(&history);
		timer_settime(timer, 0, &disarmed, NULL);
		timer_delete(timer);
		some_rounds(&history);
		if (setrlimit(RLIMIT_CPU, &limit))
			fail("%s: cannot limit CPU time: errno %d\n", scenario_name, errno);
		let_kernel_look(&history);
		some_rounds(&history);
		setrlimit(RLIMIT_CPU, &unlimited);
		some_rounds(&history);
	}
}

// The vDSO's clocks are not the kernel's there.
void scenario_time_namespace(void)
{
	FILE *offsets;

	if (unshare(CLONE_NEWTIME) || !(offsets = fopen("/proc/self/timens_offsets", "w")))
		skip("needs time namespaces");
	// Less than a tick: a larger one would be taken for an old anchor.
	fprintf(offsets, "monotonic 0 3000000\n");
	fclose(offsets);
	int status;

	waitpid(child_of(busy), &status, 0);
	judge_end(status);
}
