// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Processes and threads for the scenarios: started, waited for, and judged by how they end.

#ifndef PROCESS_H
#define PROCESS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

// Forks; the child runs body(argument) and ends with status 0.
pid_t start(void (*body)(void *), void *argument);

// The same by the raw fork call, which libc's fork handlers do not see, and by libc's syscall().
pid_t start_raw(void (*body)(void *), void *argument);
pid_t start_by_syscall(void (*body)(void *), void *argument);

// Waits; any end but exit status 0 is a failure. reap_all: until no child is left.
void reap(pid_t child);
void reap_all(void);

// Ends the process without libc's exit handlers.
_Noreturn void leave(int status);

// Becomes `bracket SCENARIO NUMBER`, counting in the same score. Returns only when exec fails.
void exec_self(const char *scenario, long number);

// Runs body(argument) in `count` threads (at most THREADS_MOST) and joins them.
#define THREADS_MOST 64
void run_threads(int count, void *(*body)(void *), void *argument);

// The two halves of run_threads.
struct crowd {
	int count;
	pthread_t ids[THREADS_MOST];
};
void crowd_start(struct crowd *crowd, int count, void *(*body)(void *), void *argument);
void crowd_join(struct crowd *crowd);

// Between processes: wait until *word is at least `value`; set or add and wake all waiters.
void await(_Atomic uint32_t *word, uint32_t value);
void announce(_Atomic uint32_t *word, uint32_t value);
void arrive(_Atomic uint32_t *word);

#define NANOSECONDS INT64_C(1000000000)

// CLOCK_MONOTONIC in nanoseconds.
int64_t now(void);
int64_t in_seconds(long seconds);

// Calls clone, clone3, fork or vfork by the instruction. The child calls body(argument), on the
// stack that the call gave it, and ends its thread with the result.
long raw_spawn(long number, long a, long b, long c, long d, long e, int (*body)(void *),
	       void *argument);

#endif
