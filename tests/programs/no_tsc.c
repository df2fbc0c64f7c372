// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Asks for CPU times where the time stamp counter may not be read (PR_TSC_SIGSEGV), and so no clock of
// the vDSO: before that and after it, in a thread and in a child.
//
//	no_tsc prctl|syscall
//
// Exit status: 0 each answer of after it lies between two of the kernel's, 1 one does not, 2 something failed.

#define _GNU_SOURCE
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/times.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "real.h"

#define ROUNDS 2000
#define SECOND 1000000000
#define MICROSECOND 1000

// From here on all answers are the kernel's.
static bool is_forbidden;

static int64_t kernels(clockid_t clock)
{
	struct timespec time = {0};

	real(SYS_clock_gettime, clock, &time);
	return time.tv_sec * SECOND + time.tv_nsec;
}

static int64_t answer(clockid_t clock)
{
	struct timespec time = {0};

	if (clock_gettime(clock, &time))
		exit(2);
	return time.tv_sec * SECOND + time.tv_nsec;
}

static void check(const char *what, int64_t before, int64_t told, int64_t after)
{
	if (!is_forbidden || (told >= before && told <= after))
		return;
	fprintf(stderr, "%s: %ld is not between %ld and %ld\n", what, (long)told, (long)before, (long)after);
	exit(1);
}

static void *ask(void *unused)
{
	for (int round = 0; round < ROUNDS; round++) {
		const clockid_t ids[] = {CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID};
		const int64_t begin = kernels(CLOCK_PROCESS_CPUTIME_ID);
		const int64_t of_clock = clock() * INT64_C(1000000) / CLOCKS_PER_SEC * MICROSECOND;
		struct rusage usage;
		struct tms tms;

		// It is rounded down.
		check("clock", begin - MICROSECOND, of_clock, kernels(CLOCK_PROCESS_CPUTIME_ID));
		for (int i = 0; i < 2; i++) {
			const int64_t before = kernels(ids[i]), told = answer(ids[i]);

			check("clock_gettime", before, told, kernels(ids[i]));
		}
		if (times(&tms) == (clock_t)-1 || getrusage(RUSAGE_SELF, &usage) ||
		    getrusage(RUSAGE_CHILDREN, &usage))
			exit(2);
	}
	return unused;
}

static void ask_in_all_ways(void)
{
	pthread_t thread;
	int status;

	ask(NULL);
	if (pthread_create(&thread, NULL, ask, NULL) || pthread_join(thread, NULL))
		exit(2);
	const pid_t child = fork();

	if (child == 0) {
		ask(NULL);
		_exit(0);
	}
	if (waitpid(child, &status, 0) != child || status)
		exit(1);
}

int main(int argc, char **argv)
{
	const bool by_syscall = argc == 2 && !strcmp(argv[1], "syscall");

	if (argc != 2 || (!by_syscall && strcmp(argv[1], "prctl"))) {
		fprintf(stderr, "usage: no_tsc prctl|syscall\n");
		return 2;
	}
	ask_in_all_ways();
	if (by_syscall ? syscall(SYS_prctl, PR_SET_TSC, PR_TSC_SIGSEGV) : prctl(PR_SET_TSC, PR_TSC_SIGSEGV))
		return 2;
	is_forbidden = true;
	ask_in_all_ways();
	return 0;
}
