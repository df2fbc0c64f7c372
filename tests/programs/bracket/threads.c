// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// One thread, many threads, short threads, threads that hop over the CPUs, and a library that is
// loaded when the threads are there already.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>

#include "../real.h"
#include "check.h"
#include "process.h"
#include "scenario.h"

#define MANY 16
#define BATCH 50
#define HOPPERS 8
#define EARLY 8

static void *check_rounds(void *rounds)
{
	check_times(*(long *)rounds);
	return NULL;
}

static void *check_once(void *unused)
{
	check_all();
	return unused;
}

void scenario_single(long number, const char *text)
{
	(void)text;
	check_times(number);
}

void scenario_threads(long number, const char *text)
{
	(void)text;
	run_threads(MANY, check_rounds, &number);
}

void scenario_churn(long number, const char *text)
{
	(void)text;
	for (; number > 0; number -= BATCH)
		run_threads(number < BATCH ? (int)number : BATCH, check_once, NULL);
}

static void *hop(void *deadline)
{
	cpu_set_t allowed, one;
	int cpu = (int)(real(SYS_gettid) % CPU_SETSIZE);

	CPU_ZERO(&allowed);
	real(SYS_sched_getaffinity, 0, sizeof(allowed), &allowed);
	while (now() < *(int64_t *)deadline) {
		do
			cpu = (cpu + 1) % CPU_SETSIZE;
		while (!CPU_ISSET(cpu, &allowed));
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		if (real(SYS_sched_setaffinity, 0, sizeof(one), &one))
			fail("sched_setaffinity to cpu", cpu);
		check_all();
	}
	return NULL;
}

void scenario_migrate(long number, const char *text)
{
	int64_t deadline = in_seconds(number);

	(void)text;
	run_threads(HOPPERS, hop, &deadline);
}

static void *check_when_loaded(void *rounds)
{
	check_all();
	arrive(&score->arrived);
	await(&score->gate, 1);
	check_times(*(long *)rounds);
	return NULL;
}

static void *symbol(void *library, const char *name)
{
	void *address = dlsym(library, name);

	if (!address) {
		fprintf(stderr, "%s\n", dlerror());
		fail("a symbol is missing in the library", 0);
	}
	return address;
}

static void take_wrappers(void *library)
{
	struct wrappers late;

	*(void **)&late.getpid = symbol(library, "getpid");
	*(void **)&late.gettid = symbol(library, "gettid");
	*(void **)&late.getuid = symbol(library, "getuid");
	*(void **)&late.geteuid = symbol(library, "geteuid");
	*(void **)&late.getgid = symbol(library, "getgid");
	*(void **)&late.getegid = symbol(library, "getegid");
	*(void **)&late.getresuid = symbol(library, "getresuid");
	*(void **)&late.getresgid = symbol(library, "getresgid");
	*(void **)&late.getppid = symbol(library, "getppid");
	*(void **)&late.getpgrp = symbol(library, "getpgrp");
	*(void **)&late.getpgid = symbol(library, "getpgid");
	*(void **)&late.getsid = symbol(library, "getsid");
	*(void **)&late.syscall = symbol(library, "syscall");
	if (!atomic_load(&score->failures))
		wrappers = late;
}

static void check_child(void *unused)
{
	(void)unused;
	check_times(100);
}

void scenario_dlopen_late(long number, const char *text)
{
	struct crowd crowd;
	void *library;

	crowd_start(&crowd, EARLY, check_when_loaded, &number);
	await(&score->arrived, EARLY);
	// None of the threads calls through the table until the gate opens.
	library = dlopen(text, RTLD_NOW | RTLD_LOCAL);
	if (library) {
		take_wrappers(library);
	} else {
		fprintf(stderr, "%s\n", dlerror());
		fail("dlopen", 0);
	}
	announce(&score->gate, 1);
	check_times(number);
	reap(start(check_child, NULL));
	crowd_join(&crowd);
}
