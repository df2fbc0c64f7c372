// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Syscall User Dispatch (as Wine uses it): SIGSYS for every call made outside one range of code,
// switched by a byte in memory, so that answers change without any call.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/prctl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "../real.h"
#include "check.h"
#include "emulate.h"
#include "process.h"
#include "scenario.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_OFF 0
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

static long set_dispatch(enum way way, long mode, const char *begin, const char *end,
			 volatile char *selecting)
{
	const unsigned long length = end - begin;

	switch (way) {
	case LIBC_PRCTL_CALL:
		return prctl(PR_SET_SYSCALL_USER_DISPATCH, mode, begin, length, selecting);
	case LIBC_SYSCALL_CALL:
		return wrappers.syscall(SYS_prctl, (long)PR_SET_SYSCALL_USER_DISPATCH, mode, begin, length,
					selecting);
	default:
		return real(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, mode, begin, length, selecting);
	}
}

// Exempts the code from `begin` to `end`.
static bool turn_on(enum way way, const char *begin, const char *end)
{
	const long result = set_dispatch(way, PR_SYS_DISPATCH_ON, begin, end, &selector);

	if (result)
		fail("turning syscall user dispatch on", result == -1 ? -errno : result);
	return !result;
}

static long turn_off(enum way way)
{
	return set_dispatch(way, PR_SYS_DISPATCH_OFF, NULL, NULL, NULL);
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
	if (!turn_on(dispatch->way, dispatch_begin, dispatch_end))
		return;
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
	return turn_off(RAW_CALL) == 0;
}

static void dispatch_ways(void (*body)(void *), enum way first, enum way last, long rounds)
{
	if (!kernel_has_dispatch())
		skip("this kernel has no syscall user dispatch");
	for (enum way way = first; way <= last; way++) {
		struct dispatch dispatch = {way, rounds};

		reap(start(body, &dispatch));
	}
	check_all();
}

void scenario_user_dispatch(long number, const char *text)
{
	(void)text;
	dispatch_ways(dispatched, LIBC_PRCTL_CALL, LIBC_SYSCALL_CALL, number);
}

// Apart from the others, as only the kernel can notice it.
void scenario_user_dispatch_raw(long number, const char *text)
{
	(void)text;
	dispatch_ways(dispatched, RAW_CALL, RAW_CALL, number);
}

// ---- user-dispatch-libc: the range is libc's own code, so that its calls are the kernel's to answer.

static const char *libc_begin, *libc_end;

static void find_libc_code(void)
{
	// The program's own idea of the address may be that of a stub in itself.
	const unsigned long inside = (unsigned long)dlsym(RTLD_DEFAULT, "printf");
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long begin, end;
	char line[4096];

	while (maps && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx", &begin, &end) == 2 && begin <= inside && inside < end) {
			libc_begin = (const char *)begin;
			libc_end = (const char *)end;
		}
	if (maps)
		fclose(maps);
}

static volatile long raised;

static void on_sigsys_around_libc(int signal, siginfo_t *info, void *argument)
{
	raised++;
	// The handler's calls are made outside of libc; its return is made inside.
	selector = SELECT_ALLOW;
	on_sigsys(signal, info, argument);
	selector = SELECT_BLOCK;
}

static void expect_error(const char *what, long got, int error)
{
	check_equal(what, got, -1);
	check_equal("errno after it", errno, error);
}

static void check_other_calls(void)
{
	const long page = 4096, flags = MAP_PRIVATE | MAP_ANONYMOUS;

	expect_error("getpgid(-1)", wrappers.getpgid(-1), ESRCH);
	expect_error("getresuid(NULL)", wrappers.getresuid(NULL, NULL, NULL), EFAULT);
	expect_error("syscall(SYS_getsid, -1)", wrappers.syscall(SYS_getsid, -1L), ESRCH);
	expect_error("syscall(SYS_close, -1)", wrappers.syscall(SYS_close, -1L), EBADF);
	// An offset that is none: the last argument has arrived.
	expect_error("syscall(SYS_mmap)", wrappers.syscall(SYS_mmap, 0L, page, 0L, flags, -1L, 1L),
		     EINVAL);
}

static void reap_allowed(pid_t child)
{
	check_equal("whether a child was made", child > 0, 1);
	selector = SELECT_ALLOW;
	reap(child);
	selector = SELECT_BLOCK;
}

// Neither is inlined: the frame of a function that made a vfork child is the parent's.
static __attribute__((noinline)) void vfork_by_libc(void)
{
	const pid_t child = vfork();

	if (child == 0) {
		check_all();
		leave(0);
	}
	reap_allowed(child);
}

static __attribute__((noinline)) void vfork_by_syscall(void)
{
	const pid_t child = wrappers.syscall(SYS_vfork);

	// No function: its return address would be in the place of that to which the parent returns.
	while (child == 0)
		real(SYS_exit_group, 0);
	reap_allowed(child);
}

static __attribute__((noinline)) void fork_by_syscall(void)
{
	const pid_t child = wrappers.syscall(SYS_fork);

	if (child == 0) {
		check_all();
		leave(0);
	}
	reap_allowed(child);
}

static void check_children(void *argument)
{
	reap_allowed(start(check_child, argument));
	fork_by_syscall();
	vfork_by_libc();
	vfork_by_syscall();
	// libc's thread functions are in its text only since glibc 2.34.
	selector = SELECT_ALLOW;
	run_threads(1, check_in_thread, argument);
	selector = SELECT_BLOCK;
}

static void exempting_libc(void *argument)
{
	const struct dispatch *dispatch = argument;
	const struct sigaction action = {.sa_sigaction = on_sigsys_around_libc, .sa_flags = SA_SIGINFO};

	sigaction(SIGSYS, &action, NULL);
	remember_all();
	selector = SELECT_BLOCK;
	if (!turn_on(dispatch->way, libc_begin, libc_end))
		return;
	for (long i = 0; i < dispatch->rounds; i++)
		check_remembered();
	check_other_calls();
	check_children(argument);
	check_remembered();
	check_equal("signals for calls by libc", raised, 0);
	check_equal("the instruction's getpid under dispatch", real(SYS_getpid),
		    EMULATED_VALUE(SYS_getpid));
	raised = 0;
	check_equal("turning it off", turn_off(dispatch->way), 0);
	check_equal("signals for turning it off", raised, 0);
	check_times(dispatch->rounds);
}

void scenario_user_dispatch_libc(long number, const char *text)
{
	(void)text;
	find_libc_code();
	if (!libc_begin)
		fail("finding libc's code in /proc/self/maps", 0);
	else
		dispatch_ways(exempting_libc, LIBC_PRCTL_CALL, LIBC_SYSCALL_CALL, number);
}
