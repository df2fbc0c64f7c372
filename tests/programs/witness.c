// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Is busy for some seconds of its own CPU time, while `perf stat` looks on.
//
//	witness CONTROL ACKNOWLEDGE SECONDS
//
// The first two are the FIFOs of perf's --control, by which it counts nothing else. Prints "N ns, N ms
// stolen": by how much CLOCK_PROCESS_CPUTIME_ID has grown, as libc's function tells it, and what a
// hypervisor has taken from the CPU meanwhile, which perf counts and the scheduler does not.

#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int control, acknowledge;

static void tell_perf(const char *command)
{
	char answer[8];

	if (write(control, command, strlen(command)) < 0 || read(acknowledge, answer, sizeof(answer)) < 4) {
		perror("witness: perf");
		exit(2);
	}
}

static uint64_t own_time(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

// Ticks of USER_HZ: the eighth number of the line of a CPU.
static long stolen_from(int cpu)
{
	FILE *const file = fopen("/proc/stat", "re");
	char line[256], name[16];
	long stolen = 0;

	snprintf(name, sizeof(name), "cpu%d ", cpu);
	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, strlen(name)))
			sscanf(line, "%*s %*s %*s %*s %*s %*s %*s %*s %ld", &stolen);
	if (file)
		fclose(file);
	return stolen;
}

int main(int argc, char **argv)
{
	const long seconds = argc == 4 ? strtol(argv[3], NULL, 10) : 0;
	const int cpu = sched_getcpu();
	cpu_set_t here;

	if (seconds < 1) {
		fprintf(stderr, "usage: witness CONTROL ACKNOWLEDGE SECONDS\n");
		return 2;
	}
	CPU_ZERO(&here);
	CPU_SET(cpu, &here);
	sched_setaffinity(0, sizeof(here), &here);
	// perf counts part of each switch, and the scheduler does not: let there be few.
	if (sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1}))
		perror("witness: SCHED_FIFO");
	control = open(argv[1], O_WRONLY | O_CLOEXEC);
	acknowledge = open(argv[2], O_RDONLY | O_CLOEXEC);
	const long stolen_before = stolen_from(cpu);

	tell_perf("enable\n");
	const uint64_t begin = own_time();

	while (own_time() < begin + (uint64_t)seconds * 1000000000)
		;
	const uint64_t end = own_time();

	tell_perf("disable\n");
	const long stolen = stolen_from(cpu) - stolen_before;

	printf("%lu ns, %ld ms stolen\n", end - begin, stolen * 1000 / sysconf(_SC_CLK_TCK));
	return 0;
}
