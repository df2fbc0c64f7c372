// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Signal handlers that ask while the main code asks, and everything inside everything else.

#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <time.h>

#include "../real.h"
#include "check.h"
#include "process.h"
#include "scenario.h"

#define TIMED_THREADS 4
#define PERIOD_NS 333333
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static void check_in_handler(int signal)
{
	(void)signal;
	check_all();
}

static void handle(int signal, void (*handler)(int), int flags)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

	sigaction(signal, &action, NULL);
}

static void *check_under_timer(void *deadline)
{
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN};
	const struct timespec period = {.tv_nsec = PERIOD_NS};
	const struct itimerspec times = {.it_interval = period, .it_value = period};
	timer_t timer;

	event.sigev_notify_thread_id = (int)real(SYS_gettid);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer)) {
		fail("timer_create", errno);
		return NULL;
	}
	timer_settime(timer, 0, &times, NULL);
	while (now() < *(int64_t *)deadline)
		check_all();
	timer_delete(timer);
	return NULL;
}

void scenario_signals(long number, const char *text)
{
	int64_t deadline = in_seconds(number);

	(void)text;
	handle(SIGRTMIN, check_in_handler, SA_RESTART);
	run_threads(TIMED_THREADS, check_under_timer, &deadline);
}

static long rounds_nested;

static void check_some(void *unused)
{
	(void)unused;
	check_times(2);
}

static int check_vforked(void *unused)
{
	check_some(unused);
	return 0;
}

// fork and vfork of a handler on an alternate stack, which interrupted a handler of another signal.
static void fork_in_handler(int signal)
{
	(void)signal;
	check_all();
	reap(start_raw(check_some, NULL));
	check_all();
	reap((pid_t)raw_spawn(SYS_vfork, 0, 0, 0, 0, 0, check_vforked, NULL));
	check_all();
}

static void raise_another(int signal)
{
	(void)signal;
	check_all();
	real(SYS_tgkill, real(SYS_getpid), real(SYS_gettid), SIGUSR2);
	check_all();
}

static void *raise_signals(void *unused)
{
	char memory[65536];
	const stack_t stack = {.ss_sp = memory, .ss_size = sizeof(memory)};
	const stack_t none = {.ss_flags = SS_DISABLE};

	sigaltstack(&stack, NULL);
	for (long i = 0; i < rounds_nested; i++) {
		check_all();
		real(SYS_tgkill, real(SYS_getpid), real(SYS_gettid), SIGUSR1);
	}
	sigaltstack(&none, NULL);
	return unused;
}

static void thread_in_child(void *unused)
{
	run_threads(2, raise_signals, unused);
}

void scenario_nesting(long number, const char *text)
{
	(void)text;
	rounds_nested = number / 4 + 1;
	handle(SIGUSR1, raise_another, 0);
	handle(SIGUSR2, fork_in_handler, SA_ONSTACK);
	run_threads(2, raise_signals, NULL);
	reap(start(thread_in_child, NULL));
}
