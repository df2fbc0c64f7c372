// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Checks the answers about CPU time, each between two real calls.
//
//	clocks SCENARIO [SECONDS [exact|tick]]
//	clocks list
//
// `tick`: the service was started with `--getrusage tick`. CLOCKS_LIBRARY is what dlopen-late loads.
//
// Exit status: 0 all is right, 1 something is not (told on stderr), 2 wrong usage, 77 skipped.

#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "judge.h"
#include "scenario.h"

#define EXIT_SKIPPED 77

// The environment variable that tells another program of the file with what was found.
#define FOUND "CLOCKS_FOUND"

bool goes_on(void)
{
	return now() < found->deadline;
}

void busy(struct history *history)
{
	while (goes_on())
		round_of_all(history);
}

int child_of(void (*work)(struct history *))
{
	const int child = fork();

	if (child < 0) {
		perror("clocks: fork");
		exit(2);
	}
	if (child)
		return child;
	// A child begins at zero.
	work(&(struct history){0});
	_exit(0);
}

void judge_end(int status)
{
	if (status)
		fail("%s: a child ended with %x\n", scenario_name, (unsigned int)status);
}

void skip(const char *why)
{
	printf("%s: skipped: %s\n", scenario_name, why);
	exit(EXIT_SKIPPED);
}

static const struct scenario {
	const char *name;
	void (*run)(void);
	enum { ANYONE, ROOT, PART_OF_ANOTHER } who;
} scenarios[] = {
	{"busy", scenario_busy, ANYONE},
	{"system", scenario_system, ANYONE},
	{"sleep", scenario_sleep, ANYONE},
	{"extrapolated", scenario_extrapolated, ANYONE},
	{"migrate", scenario_migrate, ANYONE},
	{"threads", scenario_threads, ANYONE},
	{"churn", scenario_churn, ANYONE},
	{"short-threads", scenario_short_threads, ANYONE},
	{"siblings", scenario_siblings, ANYONE},
	{"joins", scenario_joins, ANYONE},
	{"sleepers", scenario_sleepers, ANYONE},
	{"dlopen-late", scenario_dlopen_late, ANYONE},
	{"children", scenario_children, ANYONE},
	{"waits", scenario_waits, ANYONE},
	{"exec", scenario_exec, ANYONE},
	{"faults", scenario_faults, ANYONE},
	{"copy-on-write", scenario_copy_on_write, ANYONE},
	{"huge-pages", scenario_huge_pages, ANYONE},
	{"files", scenario_files, ANYONE},
	{"policies", scenario_policies, ROOT},
	{"timers", scenario_timers, ANYONE},
	{"time-namespace", scenario_time_namespace, ROOT},
	{"throttled", scenario_throttled, ROOT},
	{"hotplug", scenario_hotplug, ROOT},
	{"slewed", scenario_slewed, ROOT},
	{"errors", scenario_errors, ANYONE},
	{"exec-image", scenario_exec_image, PART_OF_ANOTHER},
};
#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

static void list(FILE *out)
{
	for (size_t i = 0; i < SCENARIOS; i++)
		if (scenarios[i].who != PART_OF_ANOTHER)
			fprintf(out, "%s%s\n", scenarios[i].name, scenarios[i].who == ROOT ? ", root" : "");
}

static int usage(void)
{
	fprintf(stderr, "usage: clocks SCENARIO [SECONDS [exact|tick]]; the scenarios:\n");
	list(stderr);
	return 2;
}

// Maps what was found: new, or that of the process that has become this one. True for the latter.
static bool open_found(void)
{
	const char *const text = getenv(FOUND);
	const int file = text ? atoi(text) : memfd_create("clocks", 0);
	char number[16];

	if (file < 0 || (!text && ftruncate(file, sizeof(*found)))) {
		perror("clocks: memfd_create");
		exit(2);
	}
	found = mmap(NULL, sizeof(*found), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (found == MAP_FAILED) {
		perror("clocks: mmap");
		exit(2);
	}
	snprintf(number, sizeof(number), "%d", file);
	setenv(FOUND, number, 1);
	return text;
}

int main(int argc, char **argv)
{
	const struct scenario *scenario = NULL;
	char *end = NULL;

	if (argc == 2 && !strcmp(argv[1], "list")) {
		list(stdout);
		return 0;
	}
	for (size_t i = 0; argc > 1 && i < SCENARIOS; i++)
		if (!strcmp(scenarios[i].name, argv[1]))
			scenario = &scenarios[i];
	const long seconds = argc > 2 ? strtol(argv[2], &end, 10) : 2;

	const bool is_as_of_tick = argc > 3 && !strcmp(argv[3], "tick");

	if (!scenario || argc > 4 || (end && *end) || seconds < 1)
		return usage();
	if (argc > 3 && !is_as_of_tick && strcmp(argv[3], "exact"))
		return usage();
	scenario_name = scenario->name;
	if (open_found()) {
		scenario->run();
		return 0;
	}
	if (scenario->who == PART_OF_ANOTHER)
		return usage();
	if (is_as_of_tick) {
		struct timespec tick;

		clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
		found->tick = (uint64_t)tick.tv_nsec;
		found->is_emulated = getenv("BYSYSCALL_TEST_TIME_SCALE") != NULL;
	}
	found->deadline = now() + (uint64_t)seconds * SECOND;
	scenario->run();
	return report();
}
