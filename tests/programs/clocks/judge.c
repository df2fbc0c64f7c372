// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// The judge: see judge.h.

#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../real.h"
#include "judge.h"

// ns that pass between two looks at most, if nothing comes between.
#define GAP 5000
// ns before a gap that may be counted as stolen too: see judge.h. Up to 1.8 us have been seen.
#define STOLEN_EARLY 5000
// Of what has passed, the part by which CLOCK_MONOTONIC may have run too fast.
#define SLEW 2048
// How often the kernel is made to look again where a gap follows at once. Emulated CPUs may take so long each time.
#define LOOKS 3

static int plain_getrusage(int who, struct rusage *usage)
{
	return getrusage(who, usage);
}

struct found *found;
struct wrappers wrappers = {clock_gettime, clock, times, plain_getrusage, syscall};
const char *scenario_name;

const char *const clock_names[CLOCKS] = {
	"CLOCK_THREAD_CPUTIME_ID",
	"the clock id of one's tid",
	"CLOCK_PROCESS_CPUTIME_ID",
	"the clock id of one's pid",
	"clock()",
};

static uint64_t nanoseconds(const struct timespec *time)
{
	return (uint64_t)time->tv_sec * SECOND + (uint64_t)time->tv_nsec;
}

uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return nanoseconds(&time);
}

uint64_t look(struct history *history)
{
	const uint64_t time = now();
	const uint64_t passed = history->looked ? time - history->looked : 0;
	const uint64_t gap = passed > GAP ? passed : 0;

	history->lived += gap ? GAP : passed;
	history->ahead += gap;
	history->gaps += gap > 0;
	if (history->longest_gap < gap)
		history->longest_gap = gap;
	history->looked = time;
	return gap;
}

// Its own thread and process have two numbers, and take turns: that of their own, and 0.
clockid_t id_of(enum clock clock)
{
	static atomic_uint turns;

	switch (clock) {
	case THREAD_CLOCK:
		return CLOCK_THREAD_CPUTIME_ID;
	case OWN_THREAD_ID:
		return (clockid_t)(~(unsigned int)(turns++ % 2 ? real(SYS_gettid) : 0) << 3 | 6);
	case OWN_PROCESS_ID:
		return (clockid_t)(~(unsigned int)(turns++ % 2 ? real(SYS_getpid) : 0) << 3 | 2);
	default:
		return CLOCK_PROCESS_CPUTIME_ID;
	}
}

static uint64_t ask_kernel(enum clock clock, clockid_t id)
{
	struct timespec time = {0};

	real(SYS_clock_gettime, id, &time);
	const uint64_t answer = nanoseconds(&time);

	return clock == CLOCK_FUNCTION ? answer - answer % 1000 : answer;
}

static uint64_t ask_wrapper(enum clock kind, clockid_t id, bool by_syscall)
{
	struct timespec time = {0};

	if (kind == CLOCK_FUNCTION)
		return (uint64_t)wrappers.clock() * 1000;
	if (by_syscall ? wrappers.syscall(SYS_clock_gettime, id, &time) : wrappers.clock_gettime(id, &time))
		fail("%s: errno %d\n", clock_names[kind], errno);
	return nanoseconds(&time);
}

uint64_t clock_by_kernel(enum clock clock)
{
	return ask_kernel(clock, id_of(clock));
}

uint64_t clock_by_wrapper(enum clock clock)
{
	return ask_wrapper(clock, id_of(clock), false);
}

// Lets the kernel look: what was stolen before, it knows as soon as its account goes on, and so do answers.
// What is stolen at once after that, it may not know by its next look either: that one can find nothing but stolen time.
void let_kernel_look(struct history *history)
{
	unsigned long gaps;
	int looks = 0;

	do {
		const uint64_t before = ask_kernel(THREAD_CLOCK, CLOCK_THREAD_CPUTIME_ID);

		do {
			look(history);
			gaps = history->gaps;
		} while (ask_kernel(THREAD_CLOCK, CLOCK_THREAD_CPUTIME_ID) == before);
		look(history);
	} while (history->gaps != gaps && ++looks < LOOKS);
	history->ahead = 0;
}

// Both ids of a clock give one sequence.
static enum clock sequence_of(enum clock clock)
{
	return clock == OWN_THREAD_ID ? THREAD_CLOCK : clock == OWN_PROCESS_ID ? PROCESS_CLOCK : clock;
}

// `ahead`: by how much the answer may be.
static void note(struct history *history, enum clock clock, uint64_t answer, uint64_t ahead)
{
	uint64_t *told = &history->told[sequence_of(clock)];
	uint64_t *told_ahead = &history->told_ahead[sequence_of(clock)];
	unsigned long *told_gaps = &history->told_gaps[sequence_of(clock)];

	if (answer < *told) {
		atomic_fetch_add(&found->clocks[clock].back, 1);
		if (*told - answer > *told_ahead + (*told_gaps != history->gaps ? STOLEN_EARLY : 0)) {
			atomic_fetch_add(&found->clocks[clock].wrongly_back, 1);
			describe("%s: %s went back by %lu ns (ahead %lu)\n", scenario_name, clock_names[clock],
				 *told - answer, *told_ahead);
		}
	}
	*told = answer;
	*told_ahead = ahead;
	*told_gaps = history->gaps;
}

static void judge(struct history *history, enum clock clock, uint64_t before, uint64_t got, uint64_t after)
{
	const long below = got < before ? (long)(before - got) : 0;
	const long above = got > after ? (long)(got - after) : 0;
	const long off = below + above;

	atomic_fetch_add(&found->clocks[clock].answers, 1);
	atomic_fetch_add(&found->clocks[clock].by[off < TOLERANCE ? off : TOLERANCE], 1);
	if (!off)
		return;
	atomic_fetch_add(&found->clocks[clock].outside, 1);
	if (off > atomic_load(&found->clocks[clock].most))
		atomic_store(&found->clocks[clock].most, off);
	if (off > TOLERANCE)
		atomic_fetch_add(&found->clocks[clock].far, 1);
	if (below > TOLERANCE || above > TOLERANCE + (long)history->ahead) {
		atomic_fetch_add(&found->clocks[clock].wrong, 1);
		describe("%s: %s: got %lu, %ld ns %s (ahead %lu)\n", scenario_name, clock_names[clock], got, off,
			 below ? "below" : "above", history->ahead);
	}
}

void bracket_clock(struct history *history, enum clock clock, bool by_syscall)
{
	const clockid_t id = id_of(clock);
	const uint64_t first = ask_kernel(clock, id);

	look(history);
	note(history, clock, first, 0);
	let_kernel_look(history);
	const uint64_t before = ask_kernel(clock, id);

	look(history);
	note(history, clock, before, 0);
	const uint64_t got = ask_wrapper(clock, id, by_syscall);

	look(history);
	note(history, clock, got, history->ahead);
	const uint64_t after = ask_kernel(clock, id);

	look(history);
	note(history, clock, after, 0);
	judge(history, clock, before, got, after);
}

// What has run meanwhile is known from the other side: since the question no more than time has passed.
void bracket_clock_after(struct history *history, enum clock clock, uint64_t pause)
{
	const clockid_t id = id_of(clock);

	let_kernel_look(history);
	const uint64_t before = ask_kernel(clock, id);
	const uint64_t begin = now();
	uint64_t longest_gap = 0;

	do {
		const uint64_t gap = look(history);

		if (longest_gap < gap)
			longest_gap = gap;
	} while (history->looked - begin < pause);
	const uint64_t asked = history->looked;
	const uint64_t got = ask_wrapper(clock, id, false);
	const uint64_t after = ask_kernel(clock, id);

	look(history);
	note(history, clock, got, history->ahead);
	note(history, clock, after, 0);
	// As the clock may run faster than the kernel's, an answer takes off what it may have gained. It lacks what
	// passed between the kernel's reading of its clock and the hook's of this one (docs/design.md): where the CPU
	// was taken away there, that is a gap.
	const uint64_t slack = history->looked - asked + pause / SLEW + longest_gap;

	judge(history, clock, after > before + slack ? after - slack : before, got, after);
}

// Without a real call between them.
void sequence_clock(struct history *history, enum clock clock, int times)
{
	const clockid_t id = id_of(clock);

	while (times-- > 0) {
		const uint64_t got = ask_wrapper(clock, id, false);

		look(history);
		note(history, clock, got, history->ahead);
	}
}

static bool is_within(const struct tms *before, const struct tms *got, const struct tms *after)
{
	return before->tms_utime <= got->tms_utime && got->tms_utime <= after->tms_utime &&
	       before->tms_stime <= got->tms_stime && got->tms_stime <= after->tms_stime &&
	       before->tms_cutime <= got->tms_cutime && got->tms_cutime <= after->tms_cutime &&
	       before->tms_cstime <= got->tms_cstime && got->tms_cstime <= after->tms_cstime;
}

static bool is_near(const struct tms *one, const struct tms *other)
{
	return labs(one->tms_utime - other->tms_utime) <= 1 && labs(one->tms_stime - other->tms_stime) <= 1 &&
	       one->tms_cutime == other->tms_cutime && one->tms_cstime == other->tms_cstime;
}

static void describe_times(const char *what, long ticks, const struct tms *times)
{
	describe("%s: times() %s: %ld, %ld user, %ld system, children %ld and %ld\n", scenario_name, what, ticks,
		 times->tms_utime, times->tms_stime, times->tms_cutime, times->tms_cstime);
}

static void note_times(struct history *history, clock_t ticks, const struct tms *times)
{
	if (!is_within(&history->times, times, times) || ticks < history->ticks) {
		const bool may_be_ahead = history->ahead || history->gaps != history->times_gaps;

		// By the gap of a hypervisor, at most a unit too early.
		if (!may_be_ahead || !is_near(&history->times, times) || ticks < history->ticks) {
			atomic_fetch_add(&found->times_back, 1);
			describe_times("were", history->ticks, &history->times);
			describe_times("went back", ticks, times);
		}
	}
	history->times = *times;
	history->ticks = ticks;
	history->times_gaps = history->gaps;
}

void bracket_times(struct history *history, bool by_syscall)
{
	struct tms before, got, after;

	let_kernel_look(history);
	const long first = real(SYS_times, &before);

	look(history);
	note_times(history, first, &before);
	const long ticks = by_syscall ? wrappers.syscall(SYS_times, &got) : wrappers.times(&got);

	look(history);
	note_times(history, ticks, &got);
	const long last = real(SYS_times, &after);

	look(history);
	note_times(history, last, &after);
	atomic_fetch_add(&found->times, 1);
	if (ticks < first || ticks > last || (!is_within(&before, &got, &after) &&
					      (!history->ahead || !is_near(&after, &got)))) {
		atomic_fetch_add(&found->times_wrong, 1);
		describe_times("before", first, &before);
		describe_times("got", ticks, &got);
		describe_times("after", last, &after);
	}
}

void round_of_all(struct history *history)
{
	for (enum clock clock = 0; clock < CLOCKS; clock++) {
		bracket_clock(history, clock, false);
		bracket_clock(history, clock, true);
		sequence_clock(history, clock, 20);
	}
	bracket_times(history, false);
	bracket_times(history, true);
	for (int i = 0; i < 20; i++) {
		struct tms got;
		const clock_t ticks = wrappers.times(&got);

		look(history);
		note_times(history, ticks, &got);
	}
	round_of_usage(history);
}

void some_rounds(struct history *history)
{
	for (int i = 0; i < 10; i++)
		round_of_all(history);
}

// ns by which so many of a thousand answers are outside at most; TOLERANCE: by that or more.
static int outside_at_most(enum clock clock, long thousandths)
{
	const long wanted = atomic_load(&found->clocks[clock].answers) * thousandths;
	long counted = 0;
	int ns = 0;

	while (ns < TOLERANCE && (counted += atomic_load(&found->clocks[clock].by[ns]) * 1000l) < wanted)
		ns++;
	return ns;
}

// An emulated CPU may be away for longer.
static bool is_off_by_ticks(enum clock clock)
{
	struct timespec tick;

	clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
	return !getenv("BYSYSCALL_TEST_TIME_SCALE") && atomic_load(&found->clocks[clock].most) > tick.tv_nsec;
}

int report(void)
{
	long wrong = atomic_load(&found->times_wrong) + atomic_load(&found->times_back) + atomic_load(&found->failures);

	for (enum clock clock = 0; clock < CLOCKS; clock++) {
		printf("%s: %s: %ld answers, %ld outside, %ld by more than %d ns, median %d, p99.9 %d, the most %ld ns; %ld went back\n",
		       scenario_name, clock_names[clock], atomic_load(&found->clocks[clock].answers),
		       atomic_load(&found->clocks[clock].outside), atomic_load(&found->clocks[clock].far), TOLERANCE,
		       outside_at_most(clock, 500), outside_at_most(clock, 999),
		       atomic_load(&found->clocks[clock].most), atomic_load(&found->clocks[clock].back));
		wrong += atomic_load(&found->clocks[clock].wrong) + atomic_load(&found->clocks[clock].wrongly_back) +
			 is_off_by_ticks(clock);
	}
	wrong += report_usage();
	printf("%s: times(): %ld answers\n", scenario_name, atomic_load(&found->times));
	printf("%s: %ld wrong\n", scenario_name, wrong);
	return wrong != 0;
}
