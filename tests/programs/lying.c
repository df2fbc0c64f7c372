// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// A library to preload that answers wrongly now and then: it shows that `bracket` can fail.
//
// Every LIE_EVERY-th answer (default 1000) is a lie: ids are one too high, an error becomes
// success, and a call that must leave errno alone changes it. LIE_ABOUT: only answers of this function.
// LIE_OLD: no lies, but getrusage() tells a thread what it told it so many ms ago, at most, and the function
// that LIE_ABOUT names tells a process and its children what it told in it, as a cell does that nobody writes any more.

#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/times.h>
#include <time.h>
#include <unistd.h>

#include "real.h"

static atomic_ulong asked;
static unsigned long every = 1000;
static const char *about;
static uint64_t old_ns;

__attribute__((constructor)) static void configure(void)
{
	const char *text = getenv("LIE_EVERY");
	const unsigned long value = text ? strtoul(text, NULL, 10) : 0;

	if (value)
		every = value;
	about = getenv("LIE_ABOUT");
	const char *const old = getenv("LIE_OLD");

	old_ns = old ? strtoul(old, NULL, 10) * 1000000 : 0;
}

static int lies(const char *function)
{
	if (old_ns || (about && strcmp(about, function)))
		return 0;
	// Each process in another phase: of many children that ask little, some must hear a lie.
	const unsigned long phase = (unsigned long)real(SYS_getpid) * 31;

	return (atomic_fetch_add(&asked, 1) + phase) % every == 0;
}

struct identity {
	long result;
	uint32_t ids[3];
};

static uint64_t monotonic_ns(void)
{
	struct timespec time;

	real(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

// What it told for the last time, unless that is too long ago even for this.
static struct identity old_identity(long number, long pid)
{
	static struct {
		uint64_t time;
		struct identity answer;
	} told;
	const uint64_t now = monotonic_ns();
	uint32_t *ids = told.answer.ids;

	if (now - told.time > old_ns) {
		told.time = now;
		if (number == SYS_getresuid || number == SYS_getresgid)
			told.answer.result = real(number, &ids[0], &ids[1], &ids[2]);
		else
			told.answer.result = real(number, pid);
	}
	return told.answer;
}

static int is_old(const char *function)
{
	return old_ns && about && !strcmp(about, function);
}

static long spoil(const char *function, long result)
{
	if (!lies(function))
		return result;
	if (real_failed(result))
		return 0;
	errno = EUCLEAN;
	return result + 1;
}

static long as_libc(long result)
{
	if (!real_failed(result))
		return result;
	errno = (int)-result;
	return -1;
}

// A call of one argument, or none.
static long tell(const char *function, long number, long pid)
{
	return is_old(function) ? old_identity(number, pid).result : spoil(function, real(number, pid));
}

#define IDENTITY(type, name)                                                                        \
	type name(void)                                                                             \
	{                                                                                           \
		return (type)tell(#name, SYS_##name, 0);                                                   \
	}

IDENTITY(pid_t, getpid)
IDENTITY(pid_t, gettid)
IDENTITY(uid_t, getuid)
IDENTITY(uid_t, geteuid)
IDENTITY(gid_t, getgid)
IDENTITY(gid_t, getegid)
IDENTITY(pid_t, getppid)
IDENTITY(pid_t, getpgrp)

#define OF_PROCESS(name)                                                                            \
	pid_t name(pid_t pid)                                                                       \
	{                                                                                           \
		return (pid_t)as_libc(tell(#name, SYS_##name, pid));                                       \
	}

OF_PROCESS(getpgid)
OF_PROCESS(getsid)

#define TRIPLE(type, name)                                                                          \
	int name(type *first, type *second, type *third)                                            \
	{                                                                                           \
		if (!is_old(#name))                                                                         \
			return (int)as_libc(spoil(#name, real(SYS_##name, first, second, third)));          \
		const struct identity old = old_identity(SYS_##name, 0);                                    \
                                                                                                            \
		*first = old.ids[0];                                                                        \
		*second = old.ids[1];                                                                       \
		*third = old.ids[2];                                                                        \
		return (int)as_libc(old.result);                                                            \
	}

TRIPLE(uid_t, getresuid)
TRIPLE(gid_t, getresgid)

int clock_gettime(clockid_t clock, struct timespec *time)
{
	const long result = real(SYS_clock_gettime, clock, time);

	// Enough to be seen, not so much that a program never ends.
	if (!result && clock != CLOCK_MONOTONIC && lies("clock_gettime"))
		time->tv_nsec ^= 1 << 20;
	return (int)as_libc(result);
}

clock_t times(struct tms *times)
{
	const long result = real(SYS_times, times);

	if (!real_failed(result) && lies("times"))
		// One could be the doing of a hypervisor.
		times->tms_stime += 2;
	return as_libc(result);
}

clock_t clock(void)
{
	struct timespec time;

	real(SYS_clock_gettime, CLOCK_PROCESS_CPUTIME_ID, &time);
	return time.tv_sec * 1000000 + time.tv_nsec / 1000 + (lies("clock") ? 1000 : 0);
}

// What was told for the last time, unless that is too long ago even for this.
static int remembers(int who, struct rusage *usage)
{
	static __thread struct {
		uint64_t time;
		struct rusage usage;
	} told[3];

	if (who < RUSAGE_CHILDREN || who > RUSAGE_THREAD)
		return 0;
	const uint64_t now = monotonic_ns();

	if (now - told[who + 1].time > old_ns) {
		told[who + 1].time = now;
		real(SYS_getrusage, who, &told[who + 1].usage);
	}
	*usage = told[who + 1].usage;
	return 1;
}

// A lie is each time about the next field.
int getrusage(__rusage_who_t who, struct rusage *usage)
{
	static atomic_ulong lies_told;

	if (old_ns && remembers(who, usage))
		return 0;
	const long result = real(SYS_getrusage, who, usage);

	if (!result && lies("getrusage"))
		((long *)usage)[atomic_fetch_add(&lies_told, 1) % (sizeof(*usage) / sizeof(long))] += 1000;
	return (int)as_libc(result);
}

long syscall(long number, ...)
{
	long a[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if (old_ns && number == SYS_getrusage && remembers((int)a[0], (struct rusage *)a[1]))
		return 0;
	return as_libc(spoil("syscall", real(number, a[0], a[1], a[2], a[3], a[4], a[5])));
}
