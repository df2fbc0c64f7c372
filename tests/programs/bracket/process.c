// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note

#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../real.h"
#include "check.h"

_Noreturn void leave(int status)
{
	for (;;)
		real(SYS_exit_group, status);
}

static pid_t started(long child, void (*body)(void *), void *argument)
{
	if (child == 0) {
		body(argument);
		leave(0);
	}
	if (child < 0)
		fail("fork", child);
	return (pid_t)child;
}

pid_t start(void (*body)(void *), void *argument)
{
	return started(fork(), body, argument);
}

pid_t start_raw(void (*body)(void *), void *argument)
{
	return started(real(SYS_fork), body, argument);
}

pid_t start_by_syscall(void (*body)(void *), void *argument)
{
	const long parent = real(SYS_getpid);
	const long result = wrappers.syscall(SYS_fork);

	// The result is under test, so it does not decide who is the child.
	if (real(SYS_getpid) != parent)
		check_equal("syscall(SYS_fork) in the child", result, 0);
	return started(real(SYS_getpid) == parent ? result : 0, body, argument);
}

static long wait_for(pid_t child)
{
	int status = 0;
	long ended;

	do
		ended = real(SYS_wait4, child, &status, __WALL, 0);
	while (ended == -EINTR);
	if (ended > 0 && WIFSIGNALED(status))
		fail("a child was ended by signal", WTERMSIG(status));
	else if (ended > 0 && status)
		fail("a child's exit status", WEXITSTATUS(status));
	return ended;
}

void reap(pid_t child)
{
	if (child > 0 && wait_for(child) != child)
		fail("a child cannot be waited for", child);
}

void reap_all(void)
{
	while (wait_for(-1) > 0)
		;
}

void exec_self(const char *scenario, long number)
{
	char text[DECIMAL_SIZE];
	const char *const arguments[] = {"bracket", scenario, decimal(text, number), NULL};

	// The link and not the path that it shows, which the user that we became may not reach.
	real(SYS_execve, "/proc/self/exe", arguments, environ);
}

void crowd_start(struct crowd *crowd, int count, void *(*body)(void *), void *argument)
{
	for (crowd->count = 0; crowd->count < count; crowd->count++) {
		const int error = pthread_create(&crowd->ids[crowd->count], NULL, body, argument);

		if (error) {
			fail("pthread_create", error);
			return;
		}
	}
}

void crowd_join(struct crowd *crowd)
{
	while (crowd->count > 0)
		pthread_join(crowd->ids[--crowd->count], NULL);
}

void run_threads(int count, void *(*body)(void *), void *argument)
{
	struct crowd crowd;

	crowd_start(&crowd, count, body, argument);
	crowd_join(&crowd);
}

void await(_Atomic uint32_t *word, uint32_t value)
{
	uint32_t seen;

	while ((seen = atomic_load(word)) < value)
		real(SYS_futex, word, FUTEX_WAIT, seen, NULL);
}

void announce(_Atomic uint32_t *word, uint32_t value)
{
	atomic_store(word, value);
	real(SYS_futex, word, FUTEX_WAKE, INT32_MAX);
}

void arrive(_Atomic uint32_t *word)
{
	atomic_fetch_add(word, 1);
	real(SYS_futex, word, FUTEX_WAKE, INT32_MAX);
}

int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * NANOSECONDS + time.tv_nsec;
}

int64_t in_seconds(long seconds)
{
	return now() + seconds * NANOSECONDS;
}

// A function of its own, for two reasons: a child on a new stack has no frame to return to, and one
// on its parent's stack (vfork) must not write into any frame that the parent still uses.
__asm__(".pushsection .text\n"
	".globl raw_spawn\n"
	".type raw_spawn, @function\n"
	"raw_spawn:\n"
	"	push %rbx\n"
	"	mov %rdi, %rax\n"
	"	mov %rsi, %rdi\n"
	"	mov %rdx, %rsi\n"
	"	mov %rcx, %rdx\n"
	"	mov %r8, %r10\n"
	"	mov %r9, %r8\n"
	"	mov 16(%rsp), %r9\n"
	"	mov 24(%rsp), %rbx\n"
	"	syscall\n"
	"	test %rax, %rax\n"
	"	jz 1f\n"
	"	pop %rbx\n"
	"	ret\n"
	"1:	xor %ebp, %ebp\n"
	"	and $-16, %rsp\n"
	"	mov %rbx, %rdi\n"
	"	call *%r9\n"
	"	mov %eax, %edi\n"
	"	mov $60, %eax\n"
	"	syscall\n"
	"	ud2\n"
	".size raw_spawn, . - raw_spawn\n"
	".popsection\n");
