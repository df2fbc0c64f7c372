// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// The bracket: each answer of a wrapper stands between two real calls and must equal one of them.
// A value that cannot change gives the same real answer twice, so there the rule is equality.

#ifndef CHECK_H
#define CHECK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// What is asked: libc's symbols, as this program was linked; `dlopen-late` puts others here.
struct wrappers {
	pid_t (*getpid)(void);
	pid_t (*gettid)(void);
	uid_t (*getuid)(void);
	uid_t (*geteuid)(void);
	gid_t (*getgid)(void);
	gid_t (*getegid)(void);
	int (*getresuid)(uid_t *, uid_t *, uid_t *);
	int (*getresgid)(gid_t *, gid_t *, gid_t *);
	pid_t (*getppid)(void);
	pid_t (*getpgrp)(void);
	pid_t (*getpgid)(pid_t);
	pid_t (*getsid)(pid_t);
	long (*syscall)(long, ...);
};
extern struct wrappers wrappers;

// Changes that another thread or process has begun and ended. A bracket that more than one of those
// overlaps that concern its call proves nothing about an answer that equals neither end.
struct changes {
	atomic_long begun;
	atomic_long ended;
};

// Shared by all processes of one run, those that exec'ed too.
struct score {
	atomic_long answers;
	atomic_long mismatches;
	// Answers about which a bracket proved nothing.
	atomic_long undecided;
	atomic_long failures;
	atomic_int described;

	// Of users and groups; of parents, process groups and sessions. Nobody changes another's pid and tid.
	struct changes ids;
	struct changes relations;

	// BRACKET_IDLE: after each round of questions a task sleeps this many times as long as the round took, so that a
	// crowd leaves some of the CPUs to what it is a crowd for.
	long idle;

	// For the scenarios' own use; zero at the start of each.
	_Atomic uint32_t gate;
	_Atomic uint32_t arrived;
	atomic_long told;
};
extern struct score *score;

// The name that messages carry.
extern const char *scenario_name;

// While another process may write the id map of this one's user namespace: the kernel maps the three
// ids of getresuid() one after the other (kernel/sys.c), so its own answer may be of both times. A
// count, as processes that share memory may be in several such namespaces.
extern atomic_int maps_that_may_appear;

// Whether anything is wrong: an answer, a failure, or more answers undecided than one of fifty: while
// others change what is asked for, some are.
bool is_wrong(void);

// Maps the score of the run: a new one, or that of the process that exec'ed this one. True for the latter.
int score_open(void);

// Maps memory that all processes of one run share: new zeroes, or those of the process that exec'ed this
// one. The environment variable tells of them, so each piece of memory has a variable of its own.
void *open_shared(const char *variable, size_t size);

// Asks for all of them once (check_all) or more often. Neither uses libc beyond the wrappers, nor
// errno unless a real call fails, so they may run where libc may not: signal handlers, children
// that share memory, threads without a TCB of their own.
void check_all(void);
void check_times(long times);

// The two halves of check_all, for whoever cannot ask the kernel while asking the wrappers: what the
// kernel says now, and what the wrappers say later, in the same task and with the same ids.
void remember_all(void);
void check_remembered(void);

// One comparison that a scenario made itself.
void check_equal(const char *what, long got, long wanted);

// Something other than a wrapper went wrong: the run fails.
void fail(const char *what, long value);

// Decimal text of `value` at the end of `buffer`; returns where it begins.
#define DECIMAL_SIZE 24
char *decimal(char buffer[DECIMAL_SIZE], long value);

#endif
