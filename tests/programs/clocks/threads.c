// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Processes of several threads.

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../real.h"
#include "judge.h"
#include "scenario.h"

static void *thread_busy(void *unused)
{
	(void)unused;
	scenario_busy();
	return NULL;
}

static void *thread_short(void *unused)
{
	struct history history = {0};

	(void)unused;
	for (int i = 0; i < 3; i++)
		round_of_all(&history);
	return NULL;
}

void scenario_threads(void)
{
	pthread_t threads[6];

	for (size_t i = 0; i < sizeof(threads) / sizeof(threads[0]); i++)
		pthread_create(&threads[i], NULL, thread_busy, NULL);
	for (size_t i = 0; i < sizeof(threads) / sizeof(threads[0]); i++)
		pthread_join(threads[i], NULL);
}

// Alone, with a short thread, alone again: what has ended counts.
void scenario_churn(void)
{
	struct history history = {0};

	while (goes_on()) {
		pthread_t thread;

		pthread_create(&thread, NULL, thread_short, NULL);
		let_kernel_look(&history);
		if (rand() % 2)
			round_of_all(&history);
		pthread_join(thread, NULL);
		let_kernel_look(&history);
		round_of_all(&history);
	}
}

// Thousands that hardly live, many at once.
static void *thread_of_a_moment(void *unused)
{
	struct history history = {0};

	bracket_clock(&history, THREAD_CLOCK, false);
	bracket_usage(&history, THREAD, false);
	return unused;
}

void scenario_short_threads(void)
{
	struct history history = {0};
	pthread_t threads[40];
	const int count = sizeof(threads) / sizeof(threads[0]);

	while (goes_on()) {
		for (int i = 0; i < count; i++)
			pthread_create(&threads[i], NULL, thread_of_a_moment, NULL);
		let_kernel_look(&history);
		bracket_clock(&history, PROCESS_CLOCK, false);
		bracket_usage(&history, SELF, false);
		for (int i = 0; i < count; i++)
			pthread_join(threads[i], NULL);
		bracket_clock(&history, PROCESS_CLOCK, false);
		bracket_usage(&history, SELF, false);
	}
}

static void *spin_in_user_mode(void *unused)
{
	for (uint64_t i = 0; i % 100000 || goes_on(); i++)
		__asm__ volatile("" ::: "memory");
	return unused;
}

static void *spin_in_the_kernel(void *unused)
{
	while (goes_on())
		real(SYS_getppid);
	return unused;
}

static void *sleep_and_wake(void *unused)
{
	while (goes_on())
		usleep(50);
	return unused;
}

static void *yield(void *unused)
{
	while (goes_on())
		sched_yield();
	return unused;
}

// Beside threads that never ask.
void scenario_siblings(void)
{
	void *(*const kinds[])(void *) = {spin_in_user_mode, spin_in_the_kernel, sleep_and_wake, yield};
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, kinds[i], NULL);
	scenario_busy();
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

// What a thread was told by its last real calls.
struct end {
	struct usage usage;
	uint64_t clock;
	atomic_bool has_come;
};

static void *thread_to_its_end(void *argument)
{
	struct end *const end = argument;
	const uint64_t until = now() + (uint64_t)(rand() % 300) * 1000;
	char *const memory = malloc(1 << 20);

	for (int i = 0; memory && i < rand() % 200; i++)
		((volatile char *)memory)[i * 4096] = 1;
	while (now() < until)
		real(SYS_getppid);
	free(memory);
	end->clock = clock_by_kernel(THREAD_CLOCK);
	end->usage = usage_by_kernel(THREAD);
	atomic_store(&end->has_come, true);
	return NULL;
}

// What threads were told before they ended is in what the process is told afterwards: after a join, and
// after no system call but a look at a flag. The first to be asked is the wrapper.
static void judge_ends(const struct usage *before, uint64_t clock_before, const struct end *ends, int count)
{
	const uint64_t clock = clock_by_wrapper(PROCESS_CLOCK);
	const struct usage usage = usage_by_wrapper(SELF, false);
	uint64_t least = clock_before;

	for (int i = 0; i < count; i++)
		least += ends[i].clock;
	if (clock < least)
		fail("%s: %s: told %lu, the threads %lu\n", scenario_name, clock_names[PROCESS_CLOCK], clock, least);
	// As of the last tick nothing is sure to be in it.
	if (found->tick)
		return;
	for (int field = MINFLT; field < USAGE_FIELDS; field++) {
		long sum = before->of[field];

		for (int i = 0; i < count; i++)
			sum += ends[i].usage.of[field];
		judge_least("lacks what threads were told", SELF, &usage, field, sum);
	}
	// Each process's time is split anew, so only the sum says something, but for two roundings.
	if (usage.of[UTIME] + usage.of[STIME] + 2 < (long)(least / 1000))
		fail("%s: getrusage: %ld and %ld µs, the threads %lu ns\n", scenario_name, usage.of[UTIME],
		     usage.of[STIME], least);
}

void scenario_joins(void)
{
	struct history history = {0};
	pthread_t threads[3];

	for (int turn = 0; goes_on(); turn++) {
		struct end ends[3] = {0};
		const int count = 1 + turn % 3;
		const uint64_t clock = clock_by_kernel(PROCESS_CLOCK);
		const struct usage usage = usage_by_kernel(SELF);

		for (int i = 0; i < count; i++)
			pthread_create(&threads[i], NULL, thread_to_its_end, &ends[i]);
		for (int i = 0; i < count && turn % 2; i++)
			while (!atomic_load(&ends[i].has_come))
				look(&history);
		for (int i = 0; i < count && turn % 2 == 0; i++)
			pthread_join(threads[i], NULL);
		judge_ends(&usage, clock, ends, count);
		for (int i = 0; i < count && turn % 2; i++)
			pthread_join(threads[i], NULL);
		let_kernel_look(&history);
		round_of_all(&history);
	}
}

// Wakes now and then, runs for less than a tick, sometimes asks.
static void *thread_sleeper(void *number)
{
	unsigned int random = (unsigned int)(uintptr_t)number;
	struct history history = {0};

	while (goes_on()) {
		random = random * 1103515245 + 12345;
		usleep(1000 + (random >> 16 & 0x7fff));
		const uint64_t end = now() + (random >> 8 & 0xfffff);

		while (now() < end)
			;
		let_kernel_look(&history);
		if (random >> 28 == 0)
			round_of_all(&history);
	}
	return NULL;
}

// One that asks, among many that sleep most of the time: what these have run is in the process's record.
void scenario_sleepers(void)
{
	struct history history = {0};
	pthread_t threads[20];
	const size_t count = sizeof(threads) / sizeof(threads[0]);

	for (size_t i = 0; i < count; i++)
		pthread_create(&threads[i], NULL, thread_sleeper, (void *)(uintptr_t)(i + 1));
	busy(&history);
	for (size_t i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

static pthread_barrier_t loaded;

static void *thread_of_before(void *unused)
{
	pthread_barrier_wait(&loaded);
	return thread_busy(unused);
}

static void *symbol(void *library, const char *name)
{
	void *const address = library ? dlsym(library, name) : NULL;

	if (!address)
		fail("%s: %s: %s\n", scenario_name, name, dlerror());
	return address;
}

// The library comes when there are threads. One of them ends, others begin, and it is alone at last.
void scenario_dlopen_late(void)
{
	static const char *const names[] = {"clock_gettime", "clock", "times", "getrusage", "syscall"};
	const uint64_t half = now() + (found->deadline - now()) / 2, end = found->deadline;
	struct history history = {0};
	pthread_t early[2], late;
	void *functions[5];
	bool is_there = true;

	pthread_barrier_init(&loaded, NULL, 3);
	for (int i = 0; i < 2; i++)
		pthread_create(&early[i], NULL, thread_of_before, NULL);
	void *const library = dlopen(getenv("CLOCKS_LIBRARY"), RTLD_NOW | RTLD_LOCAL);

	for (int i = 0; i < 5; i++) {
		functions[i] = symbol(library, names[i]);
		is_there = is_there && functions[i];
	}
	if (is_there)
		memcpy(&wrappers, functions, sizeof(wrappers));
	found->deadline = half;
	pthread_barrier_wait(&loaded);
	pthread_create(&late, NULL, thread_busy, NULL);
	busy(&history);
	for (int i = 0; i < 2; i++)
		pthread_join(early[i], NULL);
	pthread_join(late, NULL);
	found->deadline = end;
	busy(&history);
}
