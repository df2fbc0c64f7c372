// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// A library to preload that answers wrongly now and then: it shows that `bracket` can fail.
//
// Every LIE_EVERY-th answer (default 1000) is a lie: ids are one too high, an error becomes
// success, and a call that must leave errno alone changes it.

#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "real.h"

static atomic_ulong asked;
static unsigned long every = 1000;

__attribute__((constructor)) static void configure(void)
{
	const char *text = getenv("LIE_EVERY");
	const unsigned long value = text ? strtoul(text, NULL, 10) : 0;

	if (value)
		every = value;
}

static int lies(void)
{
	// Each process in another phase: of many children that ask little, some must hear a lie.
	const unsigned long phase = (unsigned long)real(SYS_getpid) * 31;

	return (atomic_fetch_add(&asked, 1) + phase) % every == 0;
}

static long spoil(long result)
{
	if (!lies())
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

#define IDENTITY(type, name)                                                                        \
	type name(void)                                                                             \
	{                                                                                           \
		return (type)spoil(real(SYS_##name));                                               \
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
		return (pid_t)as_libc(spoil(real(SYS_##name, pid)));                                \
	}

OF_PROCESS(getpgid)
OF_PROCESS(getsid)

#define TRIPLE(type, name)                                                                          \
	int name(type *first, type *second, type *third)                                            \
	{                                                                                           \
		return (int)as_libc(spoil(real(SYS_##name, first, second, third)));                 \
	}

TRIPLE(uid_t, getresuid)
TRIPLE(gid_t, getresgid)

long syscall(long number, ...)
{
	long a[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	return as_libc(spoil(real(number, a[0], a[1], a[2], a[3], a[4], a[5])));
}
