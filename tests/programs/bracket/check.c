// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note

#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../real.h"
#include "process.h"

#define DESCRIBED_AT_MOST 10
#define SCORE_VARIABLE "BRACKET_SCORE"
#define IDLE_VARIABLE "BRACKET_IDLE"

struct wrappers wrappers = {
	getpid,	   gettid,    getuid,  geteuid, getgid,	 getegid, getresuid,
	getresgid, getppid, getpgrp, getpgid, getsid, syscall,
};
struct score *score;
const char *scenario_name = "bracket";

enum form { DIRECT, THROUGH_SYSCALL };

struct call {
	const char *name;
	long number;
	// What is passed: nothing, three places for ids, or whose id is asked for.
	enum { NOTHING, THREE_IDS, OWN, OWN_PID, OWN_TID } arguments;
};

static const struct call calls[] = {
	{"getpid", SYS_getpid, NOTHING},
	{"gettid", SYS_gettid, NOTHING},
	{"getuid", SYS_getuid, NOTHING},
	{"geteuid", SYS_geteuid, NOTHING},
	{"getgid", SYS_getgid, NOTHING},
	{"getegid", SYS_getegid, NOTHING},
	{"getresuid", SYS_getresuid, THREE_IDS},
	{"getresgid", SYS_getresgid, THREE_IDS},
	{"getppid", SYS_getppid, NOTHING},
	{"getpgrp", SYS_getpgrp, NOTHING},
	{"getpgid of 0", SYS_getpgid, OWN},
	{"getpgid of one's pid", SYS_getpgid, OWN_PID},
	{"getpgid of one's tid", SYS_getpgid, OWN_TID},
	{"getsid of 0", SYS_getsid, OWN},
	{"getsid of one's pid", SYS_getsid, OWN_PID},
	{"getsid of one's tid", SYS_getsid, OWN_TID},
};
#define CALLS (sizeof(calls) / sizeof(calls[0]))

atomic_int maps_that_may_appear;

struct answer {
	long value;
	uint32_t ids[3];
	int error;
};

void *open_shared(const char *variable, size_t size)
{
	const char *inherited = getenv(variable);
	int fd;

	if (inherited) {
		fd = atoi(inherited);
	} else {
		char text[DECIMAL_SIZE];

		// A file in memory and not an anonymous mapping: exec must not lose it.
		fd = memfd_create(variable, 0);
		if (fd < 0 || ftruncate(fd, (off_t)size) < 0) {
			fprintf(stderr, "%s: memfd: %s\n", variable, strerror(errno));
			exit(2);
		}
		setenv(variable, decimal(text, fd), 1);
	}
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (memory == MAP_FAILED) {
		fprintf(stderr, "%s: mapping it: %s\n", variable, strerror(errno));
		exit(2);
	}
	return memory;
}

bool is_wrong(void)
{
	return atomic_load(&score->mismatches) || atomic_load(&score->failures) ||
	       atomic_load(&score->undecided) > atomic_load(&score->answers) / 50;
}

int score_open(void)
{
	const bool inherited = getenv(SCORE_VARIABLE) != NULL;
	const char *idle = getenv(IDLE_VARIABLE);

	score = open_shared(SCORE_VARIABLE, sizeof(*score));
	if (idle)
		score->idle = atol(idle);
	return inherited;
}

char *decimal(char buffer[DECIMAL_SIZE], long value)
{
	unsigned long rest = value < 0 ? -(unsigned long)value : (unsigned long)value;
	char *at = buffer + DECIMAL_SIZE - 1;

	*at = 0;
	do {
		*--at = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest);
	if (value < 0)
		*--at = '-';
	return at;
}

// stdio takes locks and uses thread-locals; this line may be written where neither is there.
struct line {
	char text[400];
	size_t used;
};

static void put(struct line *line, const char *text)
{
	while (*text && line->used < sizeof(line->text))
		line->text[line->used++] = *text++;
}

static void put_number(struct line *line, long value)
{
	char buffer[DECIMAL_SIZE];

	put(line, decimal(buffer, value));
}

static void put_answer(struct line *line, const struct call *call, const struct answer *answer)
{
	put_number(line, answer->value);
	if (answer->value == -1 && answer->error) {
		put(line, " errno ");
		put_number(line, answer->error);
	}
	for (int i = 0; call->arguments == THREE_IDS && i < 3; i++) {
		put(line, i ? "," : " ids ");
		put_number(line, answer->ids[i]);
	}
}

static void put_end(struct line *line)
{
	put(line, " (process ");
	put_number(line, real(SYS_getpid));
	put(line, ", thread ");
	put_number(line, real(SYS_gettid));
	put(line, ")\n");
	real(SYS_write, 2, line->text, line->used);
}

static bool describe(struct line *line)
{
	if (atomic_fetch_add(&score->described, 1) >= DESCRIBED_AT_MOST)
		return false;
	line->used = 0;
	put(line, scenario_name);
	put(line, ": ");
	return true;
}

void fail(const char *what, long value)
{
	struct line line;

	atomic_fetch_add(&score->failures, 1);
	if (!describe(&line))
		return;
	put(&line, what);
	put(&line, ": ");
	put_number(&line, value);
	put_end(&line);
}

void check_equal(const char *what, long got, long wanted)
{
	struct line line;

	atomic_fetch_add(&score->answers, 1);
	if (got == wanted)
		return;
	atomic_fetch_add(&score->mismatches, 1);
	if (!describe(&line))
		return;
	put(&line, what);
	put(&line, ": got ");
	put_number(&line, got);
	put(&line, ", wanted ");
	put_number(&line, wanted);
	put_end(&line);
}

static long argument_of(const struct call *call)
{
	if (call->arguments == OWN_PID)
		return real(SYS_getpid);
	return call->arguments == OWN_TID ? real(SYS_gettid) : 0;
}

static struct answer ask_kernel(const struct call *call, long argument)
{
	struct answer answer = {.ids = {~0u, ~0u, ~0u}};

	if (call->arguments == THREE_IDS)
		answer.value = real(call->number, &answer.ids[0], &answer.ids[1], &answer.ids[2]);
	else
		answer.value = real(call->number, argument);
	return answer;
}

static long ask_direct(long number, long argument, uint32_t ids[3])
{
	switch (number) {
	case SYS_getpid:
		return wrappers.getpid();
	case SYS_gettid:
		return wrappers.gettid();
	case SYS_getuid:
		return wrappers.getuid();
	case SYS_geteuid:
		return wrappers.geteuid();
	case SYS_getgid:
		return wrappers.getgid();
	case SYS_getegid:
		return wrappers.getegid();
	case SYS_getppid:
		return wrappers.getppid();
	case SYS_getpgrp:
		return wrappers.getpgrp();
	case SYS_getpgid:
		return wrappers.getpgid((pid_t)argument);
	case SYS_getsid:
		return wrappers.getsid((pid_t)argument);
	case SYS_getresuid:
		return wrappers.getresuid(&ids[0], &ids[1], &ids[2]);
	default:
		return wrappers.getresgid(&ids[0], &ids[1], &ids[2]);
	}
}

static struct answer ask_wrapper(const struct call *call, long argument, enum form form)
{
	struct answer answer = {.ids = {~0u, ~0u, ~0u}};
	uint32_t *ids = answer.ids;

	if (form == DIRECT)
		answer.value = ask_direct(call->number, argument, ids);
	else if (call->arguments == THREE_IDS)
		answer.value = wrappers.syscall(call->number, &ids[0], &ids[1], &ids[2]);
	else
		// The kernel looks at the lower half of a pid only.
		answer.value = wrappers.syscall(call->number, argument | 1L << 40);
	// Only after an error, which only an emulated call can have: a thread that lacks its own TLS
	// must not read errno.
	if (answer.value == -1)
		answer.error = errno;
	return answer;
}

static bool same(const struct call *call, enum form form, const struct answer *kernel,
		 const struct answer *got)
{
	if (memcmp(kernel->ids, got->ids, sizeof(got->ids)))
		return false;
	// libc declares these unable to fail and hands on what came.
	const bool can_fail = form == THROUGH_SYSCALL || call->arguments != NOTHING;

	if (can_fail && real_failed(kernel->value))
		return got->value == -1 && got->error == -kernel->value;
	// The libc functions return an int.
	return form == DIRECT ? (int)kernel->value == (int)got->value : kernel->value == got->value;
}

static bool each_id_is_of_one_time(const struct call *call, const struct answer *before,
				   const struct answer *got, const struct answer *after)
{
	bool each = call->arguments == THREE_IDS && got->value == 0;

	for (int i = 0; i < 3; i++)
		each = each && (got->ids[i] == before->ids[i] || got->ids[i] == after->ids[i]);
	return each;
}

// The kernel looks up the parent and then the parent's number (kernel/sys.c), so its own answer is 0 if
// the old parent has been reaped in between.
static bool parent_is_reaped(const struct call *call, const struct answer *before,
			     const struct answer *got, const struct answer *after)
{
	return call->number == SYS_getppid && got->value == 0 && before->value != after->value;
}

static void judge(const struct call *call, enum form form, const struct answer *before,
		  const struct answer *got, const struct answer *after, long overlapping)
{
	struct line line;

	if (!same(call, form, before, got) && !same(call, form, after, got)) {
		if (overlapping > 1) {
			atomic_fetch_add(&score->undecided, 1);
			return;
		}
		if (parent_is_reaped(call, before, got, after))
			return;
		if (atomic_load(&maps_that_may_appear) && each_id_is_of_one_time(call, before, got, after))
			return;
		atomic_fetch_add(&score->mismatches, 1);
		if (describe(&line)) {
			put(&line, form == DIRECT ? "" : "syscall(SYS_");
			put(&line, call->name);
			put(&line, form == DIRECT ? "(): got " : "): got ");
			put_answer(&line, call, got);
			put(&line, ", wanted ");
			put_answer(&line, call, before);
			put(&line, " or ");
			put_answer(&line, call, after);
			put_end(&line);
		}
	}
	atomic_fetch_add(&score->answers, 1);
}

// now() goes through libc, which check_all() may not.
static int64_t real_now(void)
{
	struct timespec time;

	real(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
	return time.tv_sec * NANOSECONDS + time.tv_nsec;
}

static void idle_since(int64_t begin)
{
	// Who was not let run for a while would sleep for minutes, and everybody wait for its end.
	const int64_t most = 10 * (int64_t)NANOSECONDS;
	const int64_t wanted = (real_now() - begin) * score->idle;
	const int64_t pause = wanted < most ? wanted : most;
	const struct timespec time = {pause / NANOSECONDS, pause % NANOSECONDS};

	real(SYS_nanosleep, &time, NULL);
}

static struct changes *changes_that_concern(const struct call *call)
{
	switch (call->number) {
	case SYS_getpid:
	case SYS_gettid:
		return NULL;
	case SYS_getppid:
	case SYS_getpgrp:
	case SYS_getpgid:
	case SYS_getsid:
		return &score->relations;
	default:
		return &score->ids;
	}
}

void check_all(void)
{
	const int64_t begin = score->idle ? real_now() : 0;

	for (size_t i = 0; i < CALLS; i++) {
		const struct call *call = &calls[i];
		struct changes *changes = changes_that_concern(call);
		const long ended = changes ? atomic_load(&changes->ended) : 0;
		const long argument = argument_of(call);
		const struct answer first = ask_kernel(call, argument);
		const struct answer direct = ask_wrapper(call, argument, DIRECT);
		const struct answer middle = ask_kernel(call, argument);
		const struct answer through = ask_wrapper(call, argument, THROUGH_SYSCALL);
		const struct answer last = ask_kernel(call, argument);
		const long overlapping = changes ? atomic_load(&changes->begun) - ended : 0;

		judge(call, DIRECT, &first, &direct, &middle, overlapping);
		judge(call, THROUGH_SYSCALL, &middle, &through, &last, overlapping);
	}
	if (score->idle)
		idle_since(begin);
}

void check_times(long times)
{
	while (times-- > 0)
		check_all();
}

static struct {
	long argument;
	struct answer answer;
} remembered[CALLS];

void remember_all(void)
{
	for (size_t i = 0; i < CALLS; i++) {
		remembered[i].argument = argument_of(&calls[i]);
		remembered[i].answer = ask_kernel(&calls[i], remembered[i].argument);
	}
}

void check_remembered(void)
{
	for (size_t i = 0; i < CALLS; i++) {
		const struct answer *wanted = &remembered[i].answer;

		for (enum form form = DIRECT; form <= THROUGH_SYSCALL; form++) {
			const struct answer got = ask_wrapper(&calls[i], remembered[i].argument, form);

			judge(&calls[i], form, wanted, &got, wanted, 0);
		}
	}
}
