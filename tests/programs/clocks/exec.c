// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// A process that becomes another program: what it is told goes on.

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "judge.h"
#include "scenario.h"

static void *become_another(void *history)
{
	for (int i = 0; i < 3; i++)
		round_of_all(history);
	found->carried = *(struct history *)history;
	execl("/proc/self/exe", "clocks", "exec-image", NULL);
	fail("%s: cannot exec: %d\n", scenario_name, errno);
	_exit(1);
}

static void some_usage(struct history *history)
{
	round_of_usage(history);
}

static void *no_more_than_end(void *unused)
{
	return unused;
}

// With what threads have left behind that are no more, and children.
static void be_one(struct history *history)
{
	pthread_t thread;
	int status;

	waitpid(child_of(some_usage), &status, 0);
	judge_end(status);
	pthread_create(&thread, NULL, no_more_than_end, NULL);
	pthread_join(thread, NULL);
	become_another(history);
}

// From a thread that is not the first: it becomes that.
static void be_one_by_thread(struct history *history)
{
	pthread_t thread;

	round_of_all(history);
	// The thread's own clock begins at zero, the process's does not.
	struct history its = *history;

	its.told[THREAD_CLOCK] = its.told_ahead[THREAD_CLOCK] = 0;
	its.usage[THREAD] = (struct usage_history){0};
	pthread_create(&thread, NULL, become_another, &its);
	pthread_join(thread, NULL);
}

void scenario_exec(void)
{
	while (goes_on()) {
		int status;

		found->programs = 0;
		waitpid(child_of(be_one), &status, 0);
		judge_end(status);
		found->programs = 0;
		waitpid(child_of(be_one_by_thread), &status, 0);
		judge_end(status);
	}
}

// The other program. The answers are compared with what was told before, the first ones without a real
// call between. Then it becomes another again.
void scenario_exec_image(void)
{
	struct history history = found->carried;

	look(&history);
	sequence_clock(&history, PROCESS_CLOCK, 2);
	sequence_clock(&history, THREAD_CLOCK, 2);
	sequence_usage(&history, SELF, 2);
	sequence_usage(&history, THREAD, 2);
	round_of_all(&history);
	if (++found->programs < 3)
		be_one_by_thread(&history);
}
