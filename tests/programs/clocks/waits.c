// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Waiting for children in every way. What a child was told by its last real calls is in what its parent is
// told of its children afterwards, unless the parent ignores the ends of its children.

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../real.h"
#include "judge.h"
#include "scenario.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#ifndef __WALL
#define __WALL 0x40000000
#endif

// Shared with the children.
static struct {
	struct usage usage;
} *last;

static void use_and_tell(struct history *history)
{
	const uint64_t until = now() + (uint64_t)(rand() % 500) * 1000;
	char *const memory = malloc(1 << 20);

	for (int i = 0; memory && i < rand() % 200; i++)
		((volatile char *)memory)[i * 4096] = 1;
	while (now() < until)
		round_of_usage(history);
	last->usage = usage_by_kernel(SELF);
}

// A child that has waited for one of its own.
static void use_by_another(struct history *history)
{
	waitpid(child_of(use_and_tell), NULL, 0);
	look(history);
	struct usage both = usage_by_kernel(SELF);
	const struct usage of_children = usage_by_kernel(CHILDREN);

	for (int field = 0; field < USAGE_FIELDS; field++)
		if (field != MAXRSS)
			both.of[field] += of_children.of[field];
	last->usage = both;
}

static void use_and_be_killed(struct history *history)
{
	use_and_tell(history);
	raise(SIGKILL);
}

static void by_waitpid(int child)
{
	waitpid(child, NULL, 0);
}

static void by_wait4(int child)
{
	struct rusage usage;

	wait4(child, NULL, 0, &usage);
}

static void by_instruction(int child)
{
	real(SYS_wait4, child, NULL, 0, NULL);
}

static void by_waitid(int child)
{
	siginfo_t info;

	waitid(P_PID, (id_t)child, &info, WEXITED);
}

static void by_waitid_of_all(int child)
{
	siginfo_t info;

	(void)child;
	waitid(P_ALL, 0, &info, WEXITED);
}

// To look at its end is not to wait for it.
static void by_a_look_first(int child)
{
	struct history history = {0};
	siginfo_t info;

	waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT);
	bracket_usage(&history, CHILDREN, false);
	bracket_times(&history, false);
	waitpid(child, NULL, 0);
}

static void by_asking_again(int child)
{
	struct history history = {0};

	while (waitpid(child, NULL, WNOHANG) == 0)
		bracket_usage(&history, CHILDREN, false);
}

static void by_descriptor(int child)
{
	const long descriptor = real(SYS_pidfd_open, child, 0);
	siginfo_t info;

	waitid(P_PIDFD, (id_t)descriptor, &info, WEXITED);
	real(SYS_close, descriptor);
}

static atomic_bool has_waited;

static void *wait_in_thread(void *child)
{
	waitpid(*(int *)child, NULL, 0);
	atomic_store(&has_waited, true);
	while (atomic_load(&has_waited))
		;
	return NULL;
}

static void on_child(int signal)
{
	const int error = errno;

	(void)signal;
	if (waitpid(-1, NULL, WNOHANG) > 0)
		atomic_store(&has_waited, true);
	errno = error;
}


static void judge_last(const struct usage *before)
{
	const struct usage got = usage_by_wrapper(CHILDREN, false);

	for (int field = 0; field < USAGE_FIELDS; field++) {
		const long most = before->of[field] > last->usage.of[field] ? before->of[field] : last->usage.of[field];

		judge_least("lacks what a child was told", CHILDREN, &got, field,
			    field == MAXRSS ? most : before->of[field] + last->usage.of[field]);
	}
}

static void judge_after(struct history *history)
{
	bracket_usage(history, CHILDREN, true);
	bracket_times(history, false);
	round_of_usage(history);
}

static void wait_for(struct history *history, void (*work)(struct history *), void (*wait_by)(int))
{
	const struct usage before = usage_by_kernel(CHILDREN);

	wait_by(child_of(work));
	look(history);
	judge_last(&before);
	judge_after(history);
}

// By a thread; the one that asks only looks at a flag.
static void wait_by_thread(struct history *history)
{
	const struct usage before = usage_by_kernel(CHILDREN);
	int child = child_of(use_and_tell);
	pthread_t thread;

	pthread_create(&thread, NULL, wait_in_thread, &child);
	while (!atomic_load(&has_waited))
		look(history);
	judge_last(&before);
	atomic_store(&has_waited, false);
	pthread_join(thread, NULL);
	judge_after(history);
}

// By a handler of the signal that tells of the end; it may come in the middle of an answer.
static void wait_by_handler(struct history *history)
{
	const struct usage before = usage_by_kernel(CHILDREN);

	signal(SIGCHLD, on_child);
	child_of(use_and_tell);
	while (!atomic_load(&has_waited))
		sequence_usage(history, CHILDREN, 1);
	signal(SIGCHLD, SIG_DFL);
	judge_last(&before);
	atomic_store(&has_waited, false);
	judge_after(history);
}

// Nobody takes over the times of these.
static void ignore(struct history *history)
{
	signal(SIGCHLD, SIG_IGN);
	if (waitpid(child_of(use_and_tell), NULL, 0) != -1 || errno != ECHILD)
		fail("%s: waited for a child that was to be ignored\n", scenario_name);
	signal(SIGCHLD, SIG_DFL);
	judge_after(history);
}

// A child that ends without a signal is only waited for by those who say so.
static void wait_for_clone(struct history *history)
{
	const struct usage before = usage_by_kernel(CHILDREN);
	const long child = real(SYS_clone, 0, 0, 0, 0, 0);

	if (child == 0) {
		use_and_tell(&(struct history){0});
		real(SYS_exit_group, 0);
	}
	waitpid((int)child, NULL, __WALL);
	look(history);
	judge_last(&before);
	judge_after(history);
}

void scenario_waits(void)
{
	void (*const ways[])(int) = {by_waitpid,      by_wait4,	       by_instruction, by_waitid, by_waitid_of_all,
				     by_a_look_first, by_asking_again, by_descriptor};
	struct history history = {0};

	last = mmap(NULL, sizeof(*last), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	while (goes_on()) {
		// While there is one thread, and, from the second turn on, when there have been more.
		for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
			wait_for(&history, use_and_tell, ways[i]);
		wait_for(&history, use_by_another, by_waitpid);
		wait_for(&history, use_and_be_killed, by_waitpid);
		wait_by_handler(&history);
		ignore(&history);
		wait_for_clone(&history);
		wait_by_thread(&history);
	}
}
