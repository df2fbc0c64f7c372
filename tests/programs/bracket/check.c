// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note

#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../real.h"

#define DESCRIBED_AT_MOST 10
#define SCORE_VARIABLE "BRACKET_SCORE"

struct wrappers wrappers = {
	getpid, gettid, getuid, geteuid, getgid, getegid, getresuid, getresgid, syscall,
};
struct score *score;
const char *scenario_name = "bracket";

enum form { DIRECT, THROUGH_SYSCALL };

struct call {
	const char *name;
	long number;
	bool triple;
};

static const struct call calls[] = {
	{"getpid", SYS_getpid, false},	     {"gettid", SYS_gettid, false},
	{"getuid", SYS_getuid, false},	     {"geteuid", SYS_geteuid, false},
	{"getgid", SYS_getgid, false},	     {"getegid", SYS_getegid, false},
	{"getresuid", SYS_getresuid, true}, {"getresgid", SYS_getresgid, true},
};

atomic_bool map_may_appear;

struct answer {
	long value;
	uint32_t ids[3];
	int error;
};

int score_open(void)
{
	const char *inherited = getenv(SCORE_VARIABLE);
	int fd;

	if (inherited) {
		fd = atoi(inherited);
	} else {
		char text[DECIMAL_SIZE];

		// A file in memory and not an anonymous mapping: exec must not lose it.
		fd = memfd_create("bracket-score", 0);
		if (fd < 0 || ftruncate(fd, sizeof(*score)) < 0) {
			perror("bracket: memfd");
			exit(2);
		}
		setenv(SCORE_VARIABLE, decimal(text, fd), 1);
	}
	score = mmap(NULL, sizeof(*score), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (score == MAP_FAILED) {
		perror("bracket: mapping the score");
		exit(2);
	}
	return inherited != NULL;
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
	for (int i = 0; call->triple && i < 3; i++) {
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

static struct answer ask_kernel(const struct call *call)
{
	struct answer answer = {.ids = {~0u, ~0u, ~0u}};

	if (call->triple)
		answer.value = real(call->number, &answer.ids[0], &answer.ids[1], &answer.ids[2]);
	else
		answer.value = real(call->number);
	return answer;
}

static long ask_direct(long number, uint32_t ids[3])
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
	case SYS_getresuid:
		return wrappers.getresuid(&ids[0], &ids[1], &ids[2]);
	default:
		return wrappers.getresgid(&ids[0], &ids[1], &ids[2]);
	}
}

static struct answer ask_wrapper(const struct call *call, enum form form)
{
	struct answer answer = {.ids = {~0u, ~0u, ~0u}};
	uint32_t *ids = answer.ids;

	if (form == DIRECT)
		answer.value = ask_direct(call->number, ids);
	else if (call->triple)
		answer.value = wrappers.syscall(call->number, &ids[0], &ids[1], &ids[2]);
	else
		answer.value = wrappers.syscall(call->number);
	// Only after an error, which only an emulated call can have: a thread that lacks its own TLS
	// must not read errno.
	if (answer.value == -1)
		answer.error = errno;
	return answer;
}

static bool same(const struct call *call, enum form form, const struct answer *kernel,
		 const struct answer *got)
{
	// libc declares these calls unable to fail and hands on what came, cut to the type's width.
	if (form == DIRECT && !call->triple)
		return (int)kernel->value == (int)got->value;
	if (memcmp(kernel->ids, got->ids, sizeof(got->ids)))
		return false;
	if (real_failed(kernel->value))
		return got->value == -1 && got->error == -kernel->value;
	return got->value == kernel->value;
}

static bool each_id_is_of_one_time(const struct call *call, const struct answer *before,
				   const struct answer *got, const struct answer *after)
{
	bool each = call->triple && got->value == 0;

	for (int i = 0; i < 3; i++)
		each = each && (got->ids[i] == before->ids[i] || got->ids[i] == after->ids[i]);
	return each;
}

static void judge(const struct call *call, enum form form, const struct answer *before,
		  const struct answer *got, const struct answer *after, long overlapping)
{
	struct line line;

	if (!same(call, form, before, got) && !same(call, form, after, got)) {
		if (overlapping > 1)
			return;
		if (atomic_load(&map_may_appear) && each_id_is_of_one_time(call, before, got, after))
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

void check_all(void)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		const struct call *call = &calls[i];
		const long ended = atomic_load(&score->ended);
		const struct answer first = ask_kernel(call);
		const struct answer direct = ask_wrapper(call, DIRECT);
		const struct answer middle = ask_kernel(call);
		const struct answer through = ask_wrapper(call, THROUGH_SYSCALL);
		const struct answer last = ask_kernel(call);
		const long overlapping = atomic_load(&score->begun) - ended;

		judge(call, DIRECT, &first, &direct, &middle, overlapping);
		judge(call, THROUGH_SYSCALL, &middle, &through, &last, overlapping);
	}
}

void check_times(long times)
{
	while (times-- > 0)
		check_all();
}
