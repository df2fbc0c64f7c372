// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// What is right of getrusage(): each field lies between two real calls, counts exactly so, and no field of
// a sequence of answers goes back, real ones among them.
//
// Of RUSAGE_SELF and RUSAGE_THREAD a service may be told to answer as of the last tick (`tick`). Then an
// answer has at least what a real call told more than a tick before, and at most what one tells
// afterwards, give or take a tick of CPU time; and its own answers do not go back.

#ifndef USAGE_H
#define USAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

// The fields of struct rusage in their order; both times in µs.
enum {
	UTIME,
	STIME,
	MAXRSS,
	IXRSS,
	IDRSS,
	ISRSS,
	MINFLT,
	MAJFLT,
	NSWAP,
	INBLOCK,
	OUBLOCK,
	MSGSND,
	MSGRCV,
	NSIGNALS,
	NVCSW,
	NIVCSW,
	USAGE_FIELDS,
};

struct usage {
	long of[USAGE_FIELDS];
};

enum who { SELF, THREAD, CHILDREN, WHOS };

// As getrusage() wants it.
extern const int usage_ids[WHOS];

// Shared by all processes of a run.
struct found_usage {
	atomic_long answers, wrong[USAGE_FIELDS];
};

// What a thread has been told.
struct usage_history {
	// The last answer, by how many µs its times may have been ahead, and in `tick` only of our own.
	struct usage told;
	long told_ahead;
	// For `tick`: the last real answer that is known to be more than a tick old, and one that will be.
	struct usage settled, settling;
	bool is_settling;
	uint64_t settling_since;
};

struct history;

struct usage usage_by_kernel(enum who who);
struct usage usage_by_wrapper(enum who who, bool by_syscall);

// An answer between two real calls.
void bracket_usage(struct history *history, enum who who, bool by_syscall);

// So many answers, without a real call between them.
void sequence_usage(struct history *history, enum who who, int times);

// Judges one field of an answer by what it must at least be.
void judge_least(const char *what, enum who who, const struct usage *got, int field, long least);

// Answers of all kinds, in all ways.
void round_of_usage(struct history *history);

// Prints what was found; how much is wrong.
long report_usage(void);

#endif
