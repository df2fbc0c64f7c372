// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// What the kernel refuses.

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../real.h"
#include "judge.h"
#include "scenario.h"

static void stay(struct history *history)
{
	(void)history;
	pause();
}

static void check_same(const char *what, long argument, long got, long wanted)
{
	const long result = got == -1 ? -errno : got;

	if (result != wanted)
		fail("%s: %s of %lx: %ld, wanted %ld\n", scenario_name, what, argument, result, wanted);
}

// By pointers of which the compiler does not know that they take no null pointers.
static int (*volatile plain_clock_gettime)(clockid_t, struct timespec *) = clock_gettime;
static clock_t (*volatile plain_times)(struct tms *) = times;
static __typeof__(getrusage) *volatile plain_getrusage = getrusage;

static void check_id(clockid_t id)
{
	struct timespec time;
	const long wanted = real(SYS_clock_gettime, id, &time);
	const long got = clock_gettime(id, &time);

	check_same("clock_gettime", id, got, wanted);
	const long through = syscall(SYS_clock_gettime, id, &time);

	check_same("SYS_clock_gettime", id, through, wanted);
}

static void *check_own_ids(void *unused)
{
	const unsigned int numbers[] = {0, (unsigned int)real(SYS_getpid)};
	clockid_t id;

	check_same("pthread_getcpuclockid", 0, pthread_getcpuclockid(pthread_self(), &id), 0);
	check_same("pthread_getcpuclockid's id", 0, id, (clockid_t)(~(unsigned int)real(SYS_gettid) << 3 | 6));
	check_id(id);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		check_same("clock_getcpuclockid", numbers[i], clock_getcpuclockid((pid_t)numbers[i], &id), 0);
		check_same("clock_getcpuclockid's id", numbers[i], id, (clockid_t)(~numbers[i] << 3 | 2));
		check_id(id);
	}
	return unused;
}

// The kernel looks at the low half of what syscall() passes on.
static void check_who(long who)
{
	struct rusage usage;
	const long wanted = real(SYS_getrusage, who, &usage);
	const long without = real(SYS_getrusage, who, NULL);
	const long got = plain_getrusage((int)who, &usage);

	check_same("getrusage", who, got, wanted);
	const long through = syscall(SYS_getrusage, who, &usage);

	check_same("SYS_getrusage", who, through, wanted);
	const long got_without = plain_getrusage((int)who, NULL);

	check_same("getrusage, without a place,", who, got_without, without);
}

static void check_place(void *place)
{
	for (enum clock clock = 0; clock < CLOCK_FUNCTION; clock++) {
		const clockid_t id = id_of(clock);
		const long got = plain_clock_gettime(id, place);

		check_same(clock_names[clock], (long)place, got, -EFAULT);
	}
	for (enum who who = 0; who < WHOS; who++) {
		const long got = plain_getrusage(usage_ids[who], place);

		check_same("getrusage", (long)place, got, -EFAULT);
		const long through = syscall(SYS_getrusage, usage_ids[who], place);

		check_same("SYS_getrusage", (long)place, through, -EFAULT);
	}
	if (place) {
		const long got = plain_times(place);

		check_same("times", (long)place, got, -EFAULT);
		const long through = syscall(SYS_times, place);

		check_same("SYS_times", (long)place, through, -EFAULT);
	}
}

// What the kernel refuses is refused, and what it knows of others is its own to tell.
void scenario_errors(void)
{
	static const clockid_t ids[] = {-1, -2,	 -3,  -4, -5, -7,	-8,	   -9,
					-6, -10, -13, -14, 12, 99, 1 << 20, INT32_MIN, INT32_MAX};
	static const long whos[] = {0, 1, -1, -2, 2, 99, -3, 1l << 32, (1l << 32) + 1, 1l << 33 | 2, INT32_MIN, INT32_MAX};
	char *const pages = mmap(NULL, 5 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const int child = child_of(stay);

	mprotect(pages + 4096, 4096, PROT_READ);
	mprotect(pages + 3 * 4096, 4096, PROT_READ | PROT_WRITE);
	// The last two: no pointers; the one before: part of the answer fits.
	char *const places[] = {NULL,		      (char *)1,	    pages,	    pages + 4096,
				pages + 2 * 4096 - 8, pages + 4 * 4096 - 8, (char *)-4096l, (char *)(1l << 62)};

	while (goes_on()) {
		pthread_t thread;

		check_own_ids(NULL);
		if (!pthread_create(&thread, NULL, check_own_ids, NULL))
			pthread_join(thread, NULL);
		for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
			check_id(ids[i]);
		for (int kind = 0; kind < 8; kind++)
			check_id((clockid_t)(~(unsigned int)child << 3) | kind);
		for (size_t i = 0; i < sizeof(whos) / sizeof(whos[0]); i++)
			check_who(whos[i]);
		for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
			check_place(places[i]);
		const long before = real(SYS_times, NULL);
		const long got = plain_times(NULL);

		if (got < before || got > real(SYS_times, NULL))
			fail("%s: times(NULL): %ld, before %ld\n", scenario_name, got, before);
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}
