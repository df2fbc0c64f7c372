// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Page faults of all kinds, by the thousand.

#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../real.h"
#include "judge.h"
#include "scenario.h"

#define PAGE 4096
#define PAGES 64
#define HUGE (2ul << 20)

static char *map(size_t size)
{
	char *const area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (area == MAP_FAILED) {
		perror("clocks: mmap");
		exit(2);
	}
	return area;
}

// A write only: to read first would be another fault.
static void touch(char *place)
{
	*(volatile char *)place = 1;
}

static void bracket_faults(struct history *history)
{
	bracket_usage(history, SELF, false);
	bracket_usage(history, THREAD, true);
}

// One fault after the other, and an answer after each. Where the kernel has counted one for each page, so
// must the answers have. `step`: bytes to the next page.
static void count_faults(struct history *history, char *area, size_t step)
{
	static __thread long told[PAGES];

	for (size_t i = 0; i < PAGES; i++)
		told[i] = 0;
	for (enum who who = SELF; who <= THREAD; who++) {
		const long before = usage_by_kernel(who).of[MINFLT];

		for (size_t i = 0; i < PAGES; i++) {
			touch(area + (who * PAGES + i) * step);
			told[i] = usage_by_wrapper(who, false).of[MINFLT];
		}
		const long after = usage_by_kernel(who).of[MINFLT];

		for (long i = 0; !found->tick && after - before == PAGES && i < PAGES; i++)
			if (told[i] != before + i + 1)
				fail("%s: %ld faults after %ld: told %ld\n", scenario_name, i + 1, before, told[i]);
	}
	look(history);
	bracket_faults(history);
}

void scenario_faults(void)
{
	struct history history = {0};

	while (goes_on()) {
		char *const area = map(2 * PAGES * PAGE);

		count_faults(&history, area, PAGE);
		madvise(area, 2 * PAGES * PAGE, MADV_DONTNEED);
		count_faults(&history, area, PAGE);
		munmap(area, 2 * PAGES * PAGE);
		bracket_faults(&history);
		round_of_usage(&history);
	}
}

static char *shared_area;

static void write_all(struct history *history)
{
	count_faults(history, shared_area, PAGE);
	round_of_usage(history);
}

// Parent and child write to the same pages after a fork, and whoever comes first copies.
void scenario_copy_on_write(void)
{
	struct history history = {0};

	shared_area = map(2 * PAGES * PAGE);
	while (goes_on()) {
		for (size_t i = 0; i < 2 * PAGES; i++)
			touch(shared_area + i * PAGE);
		const int child = child_of(write_all);
		int status;

		look(&history);
		write_all(&history);
		waitpid(child, &status, 0);
		judge_end(status);
		bracket_usage(&history, CHILDREN, false);
	}
}

static void write_huge(struct history *history)
{
	for (size_t i = 0; i < HUGE; i += 64 * PAGE)
		touch(shared_area + i);
	bracket_faults(history);
}

// Pages of 2 MiB where the kernel has some, which are copied as a whole, and split.
void scenario_huge_pages(void)
{
	struct history history = {0};

	while (goes_on()) {
		char *const area = map(2 * HUGE);
		int status;

		shared_area = (char *)(((uintptr_t)area + HUGE - 1) & ~(HUGE - 1));
		madvise(shared_area, HUGE, MADV_HUGEPAGE);
		count_faults(&history, shared_area, PAGE);
		write_huge(&history);
		const int child = child_of(write_huge);

		write_huge(&history);
		waitpid(child, &status, 0);
		judge_end(status);
		madvise(shared_area + PAGE, PAGE, MADV_DONTNEED);
		touch(shared_area + PAGE);
		bracket_faults(&history);
		munmap(area, 2 * HUGE);
		round_of_usage(&history);
	}
}
