// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// A tracer that rewrites the answers, as proot does: attached from the start, or while the process
// runs, and detached again.

#define _GNU_SOURCE
#include <errno.h>
#include <linux/ptrace.h>
#include <signal.h>
#include <stdint.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "../real.h"
#include "check.h"
#include "emulate.h"
#include "process.h"
#include "scenario.h"

#define OPTIONS (PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL | PTRACE_O_TRACEEXEC)
#define SYSCALL_STOP (SIGTRAP | 0x80)

static bool is_emulated(long number)
{
	for (size_t i = 0; i < emulated_count; i++)
		if (emulated_numbers[i] == number)
			return number != SYS_getresuid && number != SYS_getresgid;
	return false;
}

static void rewrite_answer(pid_t tracee)
{
	struct ptrace_syscall_info info;
	struct user_regs_struct registers;

	if (real(SYS_ptrace, PTRACE_GET_SYSCALL_INFO, tracee, sizeof(info), &info) <= 0 ||
	    info.op != PTRACE_SYSCALL_INFO_EXIT)
		return;
	real(SYS_ptrace, PTRACE_GETREGS, tracee, 0, &registers);
	if (!is_emulated((long)registers.orig_rax))
		return;
	registers.rax = EMULATED_VALUE(registers.orig_rax);
	real(SYS_ptrace, PTRACE_SETREGS, tracee, 0, &registers);
}

// Runs the tracee from stop to stop: to its end, or until `enough` answers are counted. True at the latter.
static bool trace(pid_t tracee, long enough)
{
	long signal = 0;

	for (;;) {
		int status;

		if (real(SYS_ptrace, PTRACE_SYSCALL, tracee, 0, signal) ||
		    real(SYS_wait4, tracee, &status, __WALL, 0) != tracee) {
			fail("tracing", tracee);
			return false;
		}
		signal = 0;
		if (!WIFSTOPPED(status)) {
			if (status)
				fail("the tracee's status", status);
			return false;
		}
		if (WSTOPSIG(status) == SYSCALL_STOP)
			rewrite_answer(tracee);
		else if (!(status >> 16) && WSTOPSIG(status) != SIGTRAP)
			signal = WSTOPSIG(status);
		if (enough && atomic_load(&score->answers) >= enough)
			return true;
	}
}

static void traced_from_the_start(void *rounds)
{
	real(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0);
	real(SYS_kill, real(SYS_getpid), SIGSTOP);
	check_times(*(long *)rounds);
	exec_self("single", *(long *)rounds);
}

static void trace_from_the_start(long rounds)
{
	const pid_t tracee = start(traced_from_the_start, &rounds);
	int status;

	if (real(SYS_wait4, tracee, &status, __WALL, 0) != tracee || !WIFSTOPPED(status)) {
		fail("the tracee has not stopped", status);
		return;
	}
	real(SYS_ptrace, PTRACE_SETOPTIONS, tracee, 0, OPTIONS);
	trace(tracee, 0);
}

static void check_until_told(void *unused)
{
	(void)unused;
	arrive(&score->arrived);
	while (!atomic_load(&score->gate))
		check_all();
}

static void attach_and_detach(long rounds)
{
	const pid_t tracee = start(check_until_told, NULL);
	int status;

	await(&score->arrived, 1);
	for (int i = 0; i < 5; i++) {
		const long seized = real(SYS_ptrace, PTRACE_SEIZE, tracee, 0, OPTIONS);

		if (seized) {
			fail("PTRACE_SEIZE", seized);
			break;
		}
		real(SYS_ptrace, PTRACE_INTERRUPT, tracee, 0, 0);
		real(SYS_wait4, tracee, &status, __WALL, 0);
		if (!trace(tracee, atomic_load(&score->answers) + 16 * rounds))
			break;
		real(SYS_ptrace, PTRACE_DETACH, tracee, 0, 0);
		// Untraced again, it checks at full speed.
		const long enough = atomic_load(&score->answers) + 16 * rounds;

		while (atomic_load(&score->answers) < enough)
			check_all();
	}
	announce(&score->gate, 1);
	reap(tracee);
}

void scenario_ptrace_emulated(long number, const char *text)
{
	(void)text;
	trace_from_the_start(number);
	attach_and_detach(number);
}
