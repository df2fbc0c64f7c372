// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// What is right. CPU time grows while it is asked for, so an answer cannot equal a real one: it lies between
// two, and no sequence of answers goes back, real ones among them. What times() counts must lie there exactly,
// a clock within TOLERANCE.
//
// When a hypervisor takes the CPU away, the kernel's account stops, but not the clock that answers are
// extrapolated by; the kernel itself learns of it when it next looks. That shows as a gap between two looks
// at the time, and until the next tick or real call an answer may then be ahead by the gap. The hypervisor's
// scheduler also counts some of the time before the gap, from when it chose another task until that took the CPU;
// so the kernel's next answer may be less than one of just before the gap, by this.

#ifndef JUDGE_H
#define JUDGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/times.h>
#include <time.h>

#include "usage.h"

#define SECOND 1000000000ull
// ns by which an answer may be outside.
#define TOLERANCE 2000

enum clock { THREAD_CLOCK, OWN_THREAD_ID, PROCESS_CLOCK, OWN_PROCESS_ID, CLOCK_FUNCTION, CLOCKS };

// What a thread has been told. Zero at its beginning.
struct history {
	uint64_t told[CLOCKS];
	// By how much that may have been ahead, and how many gaps had been seen until then.
	uint64_t told_ahead[CLOCKS];
	unsigned long told_gaps[CLOCKS];
	struct tms times;
	clock_t ticks;
	unsigned long times_gaps;
	// CLOCK_MONOTONIC of the last look, and by how much answers may be ahead since the kernel looked last.
	uint64_t looked, ahead;
	unsigned long gaps;
	// ns; the longest one.
	uint64_t longest_gap;
	// ns that have passed, with no more of a gap than would be none.
	uint64_t lived;
	struct usage_history usage[WHOS];
};

// Shared by all processes of a run.
struct found {
	struct {
		// Not between the real ones at all; by more than TOLERANCE; by more than a gap explains.
		atomic_long answers, outside, far, wrong, most;
		// How many were outside by so many ns; the last: by that or more.
		atomic_uint by[TOLERANCE + 1];
		// Less than an earlier one; by more than a gap explains.
		atomic_long back, wrongly_back;
	} clocks[CLOCKS];
	atomic_long times, times_wrong, times_back, failures, described;
	struct found_usage usage[WHOS];
	// Not 0: getrusage() may be as old as a tick, of so many ns.
	uint64_t tick;
	// CPUs that are emulated may be away for longer than a tick, and the kernel counts one for all that time.
	bool is_emulated;
	// By CLOCK_MONOTONIC: when the scenario is to end.
	uint64_t deadline;
	// What a process has been told that becomes another program.
	struct history carried;
	// How many other programs it has become.
	int programs;
};
extern struct found *found;

// The functions that are judged.
struct wrappers {
	int (*clock_gettime)(clockid_t, struct timespec *);
	clock_t (*clock)(void);
	clock_t (*times)(struct tms *);
	int (*getrusage)(int, struct rusage *);
	long (*syscall)(long, ...);
};
extern struct wrappers wrappers;

// The name that messages carry.
extern const char *scenario_name;

#define DESCRIBED_AT_MOST 10

#define describe(...)                                                                               \
	do {                                                                                        \
		if (atomic_fetch_add(&found->described, 1) < DESCRIBED_AT_MOST)                     \
			fprintf(stderr, __VA_ARGS__);                                               \
	} while (0)

// Something is wrong that is no answer between two others.
#define fail(...)                                                                                   \
	do {                                                                                        \
		atomic_fetch_add(&found->failures, 1);                                              \
		describe(__VA_ARGS__);                                                              \
	} while (0)

// CLOCK_MONOTONIC.
uint64_t now(void);

// The clock, as messages name it and as it is asked for.
extern const char *const clock_names[CLOCKS];
clockid_t id_of(enum clock clock);

// One answer.
uint64_t clock_by_kernel(enum clock clock);
uint64_t clock_by_wrapper(enum clock clock);

// Notes a gap since the last look, and returns its ns, or 0. Between two real calls there must be no other work than looks tell.
uint64_t look(struct history *history);

// Lets the kernel look: what was stolen before, it knows as soon as its account goes on, and so do answers.
void let_kernel_look(struct history *history);

// A clock's answer between two real calls.
void bracket_clock(struct history *history, enum clock clock, bool by_syscall);

// The same of one for which the kernel was not asked for so many ns.
void bracket_clock_after(struct history *history, enum clock clock, uint64_t pause);

// So many answers of it, without a real call between them.
void sequence_clock(struct history *history, enum clock clock, int times);

// times(), between two real calls.
void bracket_times(struct history *history, bool by_syscall);

// Everything, in each way.
void round_of_all(struct history *history);
void some_rounds(struct history *history);

// Prints what was found; 1 if something is wrong, else 0.
int report(void);

#endif
