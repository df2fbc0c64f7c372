// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// CPUs that are taken away: by a limit of the cgroup, and altogether. A clock that runs faster and slower.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <unistd.h>

#include "judge.h"
#include "scenario.h"

static bool write_to(const char *path, const char *text)
{
	const int file = open(path, O_WRONLY | O_CLOEXEC);
	const bool is_written = file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text);

	close(file);
	return is_written;
}

// The number after a word of a file; -1: there is none.
static long number_in(const char *path, const char *word)
{
	FILE *const file = fopen(path, "re");
	char line[256];
	long number = -1;

	while (file && number < 0 && fgets(line, sizeof(line), file))
		if (!strncmp(line, word, strlen(word)))
			number = strtol(line + strlen(word), NULL, 10);
	if (file)
		fclose(file);
	return number;
}

static void *busy_thread(void *unused)
{
	busy(&(struct history){0});
	return unused;
}

static void busy_with_thread(struct history *history)
{
	pthread_t thread;

	pthread_create(&thread, NULL, busy_thread, NULL);
	busy(history);
	pthread_join(thread, NULL);
}

static void await_all(const int *children, int count)
{
	int status;

	for (int i = 0; i < count; i++) {
		waitpid(children[i], &status, 0);
		judge_end(status);
	}
}

static char cgroup[512];

static const char *in_cgroup(const char *name)
{
	static char path[600];

	snprintf(path, sizeof(path), "%s/%s", cgroup, name);
	return path;
}

static void busy_in_cgroup(struct history *history)
{
	if (!write_to(in_cgroup("cgroup.procs"), "0"))
		fail("%s: cannot enter the cgroup: errno %d\n", scenario_name, errno);
	busy_with_thread(history);
}

// Makes a cgroup with a limit below the first mount of cgroup2 that can limit CPU time.
static bool make_cgroup(void)
{
	FILE *const mounts = fopen("/proc/self/mounts", "re");
	char line[1024], mount[256], type[32], control[300];
	bool is_made = false;

	while (mounts && !is_made && fgets(line, sizeof(line), mounts)) {
		if (sscanf(line, "%*s %255s %31s", mount, type) != 2 || strcmp(type, "cgroup2"))
			continue;
		snprintf(control, sizeof(control), "%s/cgroup.subtree_control", mount);
		snprintf(cgroup, sizeof(cgroup), "%s/bysyscall-clocks-%d", mount, (int)getpid());
		if (!write_to(control, "+cpu") || mkdir(cgroup, 0755))
			continue;
		is_made = write_to(in_cgroup("cpu.max"), "5000 20000");
		if (!is_made)
			rmdir(cgroup);
	}
	if (mounts)
		fclose(mounts);
	return is_made;
}

void scenario_throttled(void)
{
	int status;

	if (!make_cgroup())
		skip("needs the cpu controller of cgroup2, Linux 4.15");
	waitpid(child_of(busy_in_cgroup), &status, 0);
	judge_end(status);
	if (number_in(in_cgroup("cpu.stat"), "nr_throttled ") <= 0)
		fail("%s: nothing was throttled\n", scenario_name);
	// The child is gone, but the cgroup may not have noticed yet.
	for (int i = 0; rmdir(cgroup) && errno == EBUSY && i < 100; i++)
		usleep(10000);
}

#define CPU_ONLINE "/sys/devices/system/cpu/cpu1/online"

static void take_cpu_away(struct history *history)
{
	int turns = 0;

	(void)history;
	while (goes_on()) {
		if (!write_to(CPU_ONLINE, "0"))
			fail("%s: cannot take a CPU away: errno %d\n", scenario_name, errno);
		usleep(30000);
		if (!write_to(CPU_ONLINE, "1"))
			fail("%s: cannot give a CPU back: errno %d\n", scenario_name, errno);
		usleep(30000);
		turns++;
	}
	if (!turns)
		fail("%s: no CPU was taken away\n", scenario_name);
}

void scenario_hotplug(void)
{
	int children[3];

	// Whatever else runs on the machine would feel it.
	if (!getenv("BYSYSCALL_LAB"))
		skip("needs a guest of the kernel lab, whose CPUs may be taken away");
	if (access(CPU_ONLINE, W_OK))
		skip("needs a second CPU that can be taken away, Linux 2.6");
	children[0] = child_of(take_cpu_away);
	children[1] = child_of(busy_with_thread);
	children[2] = child_of(busy);
	scenario_migrate();
	await_all(children, 3);
}

// As fast as NTP may have it, and as slow: parts of 2^-16 of a millionth.
#define FASTEST (500l << 16)

static void set_frequency(long frequency)
{
	struct timex timex = {.modes = ADJ_FREQUENCY, .freq = frequency};

	if (adjtimex(&timex) < 0)
		fail("%s: cannot slew the clock: errno %d\n", scenario_name, errno);
}

static void slew(struct history *history)
{
	long turn = 0;

	(void)history;
	for (; goes_on(); turn++) {
		set_frequency(turn % 2 ? FASTEST : -FASTEST);
		usleep(100000);
	}
	set_frequency(0);
	if (turn < 2)
		fail("%s: the clock was slewed %ld times\n", scenario_name, turn);
}

void scenario_slewed(void)
{
	int children[2];

	// It is the whole machine's clock.
	if (!getenv("BYSYSCALL_LAB"))
		skip("needs a guest of the kernel lab, whose clock may be slewed");
	children[0] = child_of(slew);
	children[1] = child_of(busy);
	scenario_extrapolated();
	await_all(children, 2);
}
