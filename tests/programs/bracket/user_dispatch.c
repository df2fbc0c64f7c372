// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Syscall User Dispatch (as Wine uses it): SIGSYS for every call made outside one range of code,
// switched by a byte in memory, so that answers change without any call.

#define _GNU_SOURCE
#include <errno.h>
#include <linux/prctl.h>
#include <signal.h>
#include <sys/prctl.h>

#include "../real.h"
#include "check.h"
#include "emulate.h"
#include "process.h"
#include "scenario.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_ON 1
#endif
#define SELECT_ALLOW 0
#define SELECT_BLOCK 1
#define SA_RESTORER_FLAG 0x04000000

// The range that may make calls: the handler's own, and its return.
extern char dispatch_begin[], dispatch_end[];
long dispatch_call(const greg_t *arguments, long number);
void dispatch_return(void);

__asm__(".pushsection .text\n"
	".globl dispatch_begin, dispatch_end, dispatch_call, dispatch_return\n"
	"dispatch_begin:\n"
	"dispatch_call:\n"
	"	mov %rsi, %rax\n"
	"	mov %rdi, %r11\n"
	"	mov 0(%r11), %rdi\n"
	"	mov 8(%r11), %rsi\n"
	"	mov 16(%r11), %rdx\n"
	"	mov 24(%r11), %r10\n"
	"	mov 32(%r11), %r8\n"
	"	mov 40(%r11), %r9\n"
	"	syscall\n"
	"	ret\n"
	"dispatch_return:\n"
	"	mov $15, %eax\n"
	"	syscall\n"
	"	ud2\n"
	"dispatch_end:\n"
	".popsection\n");

static volatile char selector;

// The kernel's own shape of a sigaction: libc would put in a restorer outside our range.
struct kernel_sigaction {
	void (*handler)(int, siginfo_t *, void *);
	unsigned long flags;
	void (*restorer)(void);
	unsigned long mask;
};

static void on_sigsys(int signal, siginfo_t *info, void *argument)
{
	ucontext_t *context = argument;
	greg_t *registers = context->uc_mcontext.gregs;

	(void)signal;
	(void)info;
	if (emulate(context))
		return;
	const greg_t arguments[] = {registers[REG_RDI], registers[REG_RSI], registers[REG_RDX],
				    registers[REG_R10], registers[REG_R8],  registers[REG_R9]};

	registers[REG_RAX] = dispatch_call(arguments, registers[REG_RAX]);
}

enum way { LIBC_PRCTL_CALL, LIBC_SYSCALL_CALL, RAW_CALL };

static long turn_on(enum way way)
{
	const unsigned long length = dispatch_end - dispatch_begin;

	switch (way) {
	case LIBC_PRCTL_CALL:
		return prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, dispatch_begin, length,
			     &selector);
	case LIBC_SYSCALL_CALL:
		return wrappers.syscall(SYS_prctl, (long)PR_SET_SYSCALL_USER_DISPATCH,
					(long)PR_SYS_DISPATCH_ON, dispatch_begin, length, &selector);
	default:
		return real(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, dispatch_begin,
			    length, &selector);
	}
}

struct dispatch {
	enum way way;
	long rounds;
};

static void check_child(void *argument)
{
	check_times(((struct dispatch *)argument)->rounds);
}

static void *check_in_thread(void *argument)
{
	check_child(argument);
	return NULL;
}

static void dispatched(void *argument)
{
	const struct dispatch *dispatch = argument;
	const struct kernel_sigaction action = {
		.handler = on_sigsys,
		.flags = SA_SIGINFO | SA_NODEFER | SA_RESTORER_FLAG,
		.restorer = dispatch_return,
	};

	real(SYS_rt_sigaction, SIGSYS, &action, NULL, sizeof(action.mask));
	check_times(dispatch->rounds);
	selector = SELECT_BLOCK;
	const long result = turn_on(dispatch->way);

	if (result) {
		fail("turning syscall user dispatch on", result == -1 ? -errno : result);
		return;
	}
	check_times(dispatch->rounds);
	check_equal("the instruction's getpid under dispatch", real(SYS_getpid),
		    EMULATED_VALUE(SYS_getpid));
	for (int i = 0; i < 10; i++) {
		selector = SELECT_ALLOW;
		check_all();
		selector = SELECT_BLOCK;
		check_all();
	}
	selector = SELECT_ALLOW;
	// Neither a thread nor a child inherits it.
	run_threads(1, check_in_thread, argument);
	reap(start(check_child, argument));
	selector = SELECT_BLOCK;
	check_times(dispatch->rounds);
}

static bool kernel_has_dispatch(void)
{
	// Turning off what is not on succeeds from Linux 5.11 on.
	return real(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0) == 0;
}

static void dispatch_ways(enum way first, enum way last, long rounds)
{
	if (!kernel_has_dispatch())
		skip("this kernel has no syscall user dispatch");
	for (enum way way = first; way <= last; way++) {
		struct dispatch dispatch = {way, rounds};

		reap(start(dispatched, &dispatch));
	}
	check_all();
}

void scenario_user_dispatch(long number, const char *text)
{
	(void)text;
	dispatch_ways(LIBC_PRCTL_CALL, LIBC_SYSCALL_CALL, number);
}

// Apart from the others, as only the kernel can notice it.
void scenario_user_dispatch_raw(long number, const char *text)
{
	(void)text;
	dispatch_ways(RAW_CALL, RAW_CALL, number);
}
