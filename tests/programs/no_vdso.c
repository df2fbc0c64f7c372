// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Tells all that ask libc that the kernel has mapped no vDSO (boot parameter vdso=0), so that there is no clock
// without a system call. Asks a thousand times for CPU times, each in between two of the kernel's, and for pids.
//
// Exit status: 0 right, 1 wrong.

#define _GNU_SOURCE
#include <elf.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/times.h>
#include <time.h>
#include <unistd.h>

#include "real.h"

#define ROUNDS 1000

unsigned long getauxval(unsigned long type)
{
	const char *const *variable = (const char *const *)environ;

	while (*variable)
		variable++;
	for (const Elf64_auxv_t *entry = (const void *)(variable + 1); entry->a_type; entry++)
		if (entry->a_type == type && type != AT_SYSINFO_EHDR)
			return entry->a_un.a_val;
	return 0;
}

static int64_t kernels(clockid_t clock)
{
	struct timespec time = {0};

	real(SYS_clock_gettime, clock, &time);
	return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

int main(void)
{
	const clockid_t ids[] = {CLOCK_THREAD_CPUTIME_ID, CLOCK_PROCESS_CPUTIME_ID, CLOCK_MONOTONIC};
	int wrong = 0;

	for (int round = 0; round < ROUNDS; round++) {
		struct tms tms;

		for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
			struct timespec time = {0};
			const int64_t before = kernels(ids[i]);
			const int result = clock_gettime(ids[i], &time);
			const int64_t told = time.tv_sec * INT64_C(1000000000) + time.tv_nsec;

			wrong += result || told < before || told > kernels(ids[i]);
		}
		wrong += clock() < 0 || times(&tms) == -1 || getpid() != real(SYS_getpid);
	}
	printf("%d wrong\n", wrong);
	return wrong != 0;
}
