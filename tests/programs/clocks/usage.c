// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// The judge of getrusage(): see usage.h.

#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../real.h"
#include "judge.h"

const int usage_ids[WHOS] = {RUSAGE_SELF, RUSAGE_THREAD, RUSAGE_CHILDREN};

static const char *const who_names[WHOS] = {"RUSAGE_SELF", "RUSAGE_THREAD", "RUSAGE_CHILDREN"};
static const char *const field_names[USAGE_FIELDS] = {
	"ru_utime", "ru_stime",   "ru_maxrss",  "ru_ixrss",  "ru_idrss",  "ru_isrss",	 "ru_minflt", "ru_majflt",
	"ru_nswap", "ru_inblock", "ru_oublock", "ru_msgsnd", "ru_msgrcv", "ru_nsignals", "ru_nvcsw",  "ru_nivcsw",
};

static long microseconds(const struct timeval *time)
{
	if (time->tv_usec < 0 || time->tv_usec > 999999)
		fail("%s: getrusage: %ld microseconds\n", scenario_name, (long)time->tv_usec);
	return time->tv_sec * 1000000 + time->tv_usec;
}

static struct usage usage_of(const struct rusage *told)
{
	return (struct usage){{
		[UTIME] = microseconds(&told->ru_utime),
		[STIME] = microseconds(&told->ru_stime),
		[MAXRSS] = told->ru_maxrss,
		[IXRSS] = told->ru_ixrss,
		[IDRSS] = told->ru_idrss,
		[ISRSS] = told->ru_isrss,
		[MINFLT] = told->ru_minflt,
		[MAJFLT] = told->ru_majflt,
		[NSWAP] = told->ru_nswap,
		[INBLOCK] = told->ru_inblock,
		[OUBLOCK] = told->ru_oublock,
		[MSGSND] = told->ru_msgsnd,
		[MSGRCV] = told->ru_msgrcv,
		[NSIGNALS] = told->ru_nsignals,
		[NVCSW] = told->ru_nvcsw,
		[NIVCSW] = told->ru_nivcsw,
	}};
}

struct usage usage_by_kernel(enum who who)
{
	struct rusage usage;

	real(SYS_getrusage, usage_ids[who], &usage);
	return usage_of(&usage);
}

struct usage usage_by_wrapper(enum who who, bool by_syscall)
{
	struct rusage usage;

	// What is not stored is seen.
	memset(&usage, 0x55, sizeof(usage));
	if (by_syscall ? wrappers.syscall(SYS_getrusage, usage_ids[who], &usage)
		       : wrappers.getrusage(usage_ids[who], &usage))
		fail("%s: getrusage(%s): errno %d\n", scenario_name, who_names[who], errno);
	return usage_of(&usage);
}

static bool is_time(int field)
{
	return field == UTIME || field == STIME;
}

// Of the children the answers are exact, whatever the service was told.
static bool is_as_of_tick(enum who who)
{
	return found->tick && who != CHILDREN;
}

static long tick_microseconds(void)
{
	return (long)(found->tick / 1000);
}

// User and system time are split by samples, ours as of each tick, the kernel's as of its last answers. So
// one part may differ by some samples, but not both together.
#define SAMPLES 4

// Ticks after which what a real call has told is told by ours too. Other threads' CPUs have theirs late
// where they are emulated and the machine lets them wait; nobody here notices.
#define SETTLES (found->is_emulated ? 25 : 1)

static long samples_microseconds(const struct history *history)
{
	const bool is_late = found->is_emulated && history->longest_gap > found->tick;

	return SAMPLES * (long)((is_late ? history->longest_gap : found->tick) / 1000);
}

static long together(const struct usage *usage)
{
	return usage->of[UTIME] + usage->of[STIME];
}

static void wrong(enum who who, int field, const char *what, long got, long least, long most)
{
	atomic_fetch_add(&found->usage[who].wrong[field], 1);
	describe("%s: getrusage(%s): %s %s: %ld, wanted %ld to %ld\n", scenario_name, who_names[who],
		 field_names[field], what, got, least, most);
}

void judge_least(const char *what, enum who who, const struct usage *got, int field, long least)
{
	if (got->of[field] < least)
		wrong(who, field, what, got->of[field], least, LONG_MAX);
}

static void note(struct history *history, enum who who, const struct usage *usage, long ahead)
{
	struct usage_history *own = &history->usage[who];

	for (int field = 0; field < USAGE_FIELDS; field++) {
		const long back = own->told.of[field] - usage->of[field];

		if (back > (is_time(field) ? own->told_ahead : 0))
			wrong(who, field, "went back", usage->of[field], own->told.of[field], LONG_MAX);
	}
	own->told = *usage;
	own->told_ahead = ahead;
}

// Real answers are of the same sequence only where answers are exact.
static void note_real(struct history *history, enum who who, const struct usage *usage)
{
	struct usage_history *own = &history->usage[who];

	if (!is_as_of_tick(who))
		note(history, who, usage, 0);
	else if (!own->is_settling) {
		own->is_settling = true;
		own->settling = *usage;
		own->settling_since = history->lived;
	}
}

static void note_own(struct history *history, enum who who, const struct usage *usage)
{
	struct usage_history *own = &history->usage[who];

	// Where the wrapper makes the real call after all, the kernel tells what it would have without us.
	note(history, who, usage,
	     is_as_of_tick(who) ? samples_microseconds(history) : (long)((history->ahead + 999) / 1000));
	if (!is_as_of_tick(who))
		return;
	for (int field = 0; field < USAGE_FIELDS; field++)
		judge_least("is too old", who, usage, field,
			    own->settled.of[field] - (is_time(field) ? samples_microseconds(history) : 0));
	if (together(usage) < together(&own->settled) - tick_microseconds())
		wrong(who, UTIME, "and ru_stime are too old", together(usage), together(&own->settled), LONG_MAX);
	if (own->is_settling && history->lived - own->settling_since > SETTLES * found->tick) {
		own->settled = own->settling;
		own->is_settling = false;
	}
}

static void judge_between(struct history *history, enum who who, const struct usage *before, const struct usage *got,
			  const struct usage *after)
{
	const long gap = TOLERANCE / 1000 + (long)(history->ahead / 1000);
	const long ahead = is_as_of_tick(who) ? samples_microseconds(history) : gap;

	atomic_fetch_add(&found->usage[who].answers, 1);
	for (int field = 0; field < USAGE_FIELDS; field++) {
		const long most = after->of[field] + (is_time(field) ? ahead : 0);
		const long least = is_as_of_tick(who) ? 0 : before->of[field] - (is_time(field) ? TOLERANCE / 1000 : 0);

		if (got->of[field] < least || got->of[field] > most)
			wrong(who, field, "is not between", got->of[field], least, most);
	}
	if (is_as_of_tick(who) && together(got) > together(after) + gap)
		wrong(who, UTIME, "and ru_stime are ahead", together(got), together(before), together(after));
}

void bracket_usage(struct history *history, enum who who, bool by_syscall)
{
	let_kernel_look(history);
	const struct usage before = usage_by_kernel(who);

	look(history);
	const struct usage got = usage_by_wrapper(who, by_syscall);

	look(history);
	const struct usage after = usage_by_kernel(who);

	look(history);
	note_real(history, who, &before);
	note_own(history, who, &got);
	note_real(history, who, &after);
	judge_between(history, who, &before, &got, &after);
}

void sequence_usage(struct history *history, enum who who, int times)
{
	while (times-- > 0) {
		const struct usage got = usage_by_wrapper(who, false);

		look(history);
		note_own(history, who, &got);
	}
}

void round_of_usage(struct history *history)
{
	for (enum who who = 0; who < WHOS; who++) {
		bracket_usage(history, who, false);
		bracket_usage(history, who, true);
		sequence_usage(history, who, 10);
	}
}

long report_usage(void)
{
	long all_wrong = 0;

	for (enum who who = 0; who < WHOS; who++) {
		printf("%s: getrusage(%s): %ld answers", scenario_name, who_names[who],
		       atomic_load(&found->usage[who].answers));
		for (int field = 0; field < USAGE_FIELDS; field++) {
			const long wrong = atomic_load(&found->usage[who].wrong[field]);

			if (wrong)
				printf(", %s wrong %ld times", field_names[field], wrong);
			all_wrong += wrong;
		}
		printf("\n");
	}
	return all_wrong;
}
