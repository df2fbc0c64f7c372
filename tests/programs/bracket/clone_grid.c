// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Raw clone and clone3 over every valid combination of the flags that decide what a child shares.

#define _GNU_SOURCE
#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "../real.h"
#include "check.h"
#include "process.h"
#include "scenario.h"

#define BLOCK_SIZE 65536

// glibc's thread block reaches from the thread-locals of the program and its libraries, errno among
// them, below the thread pointer to the end of struct pthread above. This program has none of its
// own, which would push the others down.
#define TCB_BELOW 1024
#define TCB_ABOVE 2304

static const unsigned long choices[] = {
	CLONE_VM, CLONE_VFORK, CLONE_SETTLS, CLONE_THREAD, CLONE_FILES, CLONE_PARENT, CLONE_SIGHAND,
};
#define CHOICES (sizeof(choices) / sizeof(choices[0]))

static bool valid(unsigned long flags)
{
	if (flags & CLONE_THREAD && !(flags & CLONE_SIGHAND))
		return false;
	return !(flags & CLONE_SIGHAND) || flags & CLONE_VM;
}

static int child(void *rounds)
{
	check_times(*(long *)rounds);
	arrive(&score->arrived);
	return 0;
}

// A block for one child alone and never reused: a thread outlives its announcement a little.
static char *new_block(void)
{
	void *block = mmap(NULL, BLOCK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (block == MAP_FAILED) {
		fail("mmap of a stack", 0);
		leave(1);
	}
	return block;
}

static void *copy_tcb(char *block)
{
	char *self, *copy = block + TCB_BELOW;

	__asm__("mov %%fs:0, %0" : "=r"(self));
	memcpy(copy - TCB_BELOW, self - TCB_BELOW, TCB_BELOW + TCB_ABOVE);
	// The words by which x86-64 code finds its thread block.
	((void **)copy)[0] = copy;
	((void **)copy)[2] = copy;
	return copy;
}

// For a child that our parent waits for: no announcement, which a child that crashes never makes.
static void await_end(long pid)
{
	struct pollfd end = {.fd = (int)real(SYS_pidfd_open, pid, 0), .events = POLLIN};

	// A child that our parent has waited for already is no longer there.
	if (end.fd < 0)
		return;
	while (real(SYS_poll, &end, 1, -1) == -EINTR)
		;
	real(SYS_close, end.fd);
}

static void run_child(long number, unsigned long flags, bool own_stack, long *rounds)
{
	char *block = new_block();
	void *tls = flags & CLONE_SETTLS ? copy_tcb(block) : NULL;
	const uint32_t arrived = atomic_load(&score->arrived);
	const unsigned long signal = flags & (CLONE_THREAD | CLONE_PARENT) ? 0 : SIGCHLD;
	long pid;

	if (number == SYS_clone3) {
		struct clone_args arguments = {
			.flags = flags,
			.exit_signal = signal,
			.stack = own_stack ? (unsigned long)block : 0,
			.stack_size = own_stack ? BLOCK_SIZE : 0,
			.tls = (unsigned long)tls,
		};
		pid = raw_spawn(SYS_clone3, (long)&arguments, sizeof(arguments), 0, 0, 0, child, rounds);
	} else {
		pid = raw_spawn(SYS_clone, (long)(flags | signal),
				own_stack ? (long)(block + BLOCK_SIZE) : 0, 0, 0, (long)tls, child,
				rounds);
	}
	check_all();
	if (pid < 0) {
		fprintf(stderr, "%s with flags %#lx: error %ld\n",
			number == SYS_clone3 ? "clone3" : "clone", flags, -pid);
		fail("clone", pid);
		return;
	}
	if (flags & CLONE_THREAD)
		await(&score->arrived, arrived + 1);
	else if (flags & CLONE_PARENT)
		await_end(pid);
	else
		reap((pid_t)pid);
	check_all();
}

static void run_grid(void *rounds)
{
	const long numbers[] = {SYS_clone, SYS_clone3};
	int sets = 0, children = 0;

	for (int n = 0; n < 2; n++) {
		for (unsigned long mask = 0; mask < 1ul << CHOICES; mask++) {
			unsigned long flags = 0;

			for (size_t i = 0; i < CHOICES; i++)
				flags |= mask >> i & 1 ? choices[i] : 0;
			if (!valid(flags))
				continue;
			sets++;
			run_child(numbers[n], flags, true, rounds);
			children++;
			// Without a stack of its own only where the parent's is copied or rests.
			if (!(flags & CLONE_VM) || flags & CLONE_VFORK) {
				run_child(numbers[n], flags, false, rounds);
				children++;
			}
		}
	}
	printf("clone-grid: %d flag sets, %d children\n", sets, children);
	fflush(stdout);
}

void scenario_clone_grid(long number, const char *text)
{
	(void)text;
	reap(start(run_grid, &number));
}
