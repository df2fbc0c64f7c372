// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Filters that kill: a process under one must end normally, with the library or without.

#define _GNU_SOURCE
#include <linux/seccomp.h>

#include "../real.h"
#include "check.h"
#include "filter.h"
#include "process.h"
#include "scenario.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

// What ld.so and libc's start make themselves, in the releases that we test on, and what `bracket
// single` makes after that. Not here: bpf, perf_event_open, prctl, statx, ioctl of anything.
static const long needed_to_start[] = {
	SYS_execve,	 SYS_brk,	       SYS_arch_prctl,	SYS_access,    SYS_mmap,
	SYS_openat,	 SYS_newfstatat,       SYS_fstat,	SYS_read,      SYS_pread64,
	SYS_close,	 SYS_mprotect,	       SYS_munmap,	SYS_set_tid_address,
	SYS_set_robust_list, SYS_rseq,	       SYS_prlimit64,	SYS_getrandom, SYS_write,
	SYS_exit_group,	 SYS_getpid,	       SYS_gettid,	SYS_getuid,    SYS_geteuid,
	SYS_getgid,	 SYS_getegid,	       SYS_getresuid,	SYS_getresgid, SYS_getppid,
	SYS_getpgrp,	 SYS_getpgid,	       SYS_getsid,
};

static const long needed_later[] = {
	SYS_write,  SYS_exit_group, SYS_getpid,	 SYS_gettid,	SYS_getuid,
	SYS_geteuid, SYS_getgid,    SYS_getegid, SYS_getresuid, SYS_getresgid,
	SYS_getppid, SYS_getpgrp,   SYS_getpgid, SYS_getsid,
};

static void exec_under_filter(void *rounds)
{
	struct filter filter;

	filter_build(&filter, needed_to_start, COUNT_OF(needed_to_start), SECCOMP_RET_ALLOW,
		     SECCOMP_RET_KILL_PROCESS);
	if (!filter_install(&filter, RAW_SECCOMP))
		return;
	exec_self("single", *(long *)rounds);
	leave(1);
}

void scenario_seccomp_inherited(long number, const char *text)
{
	(void)text;
	reap(start(exec_under_filter, &number));
}

struct later {
	enum filter_way way;
	long rounds;
};

static void check_under_filter(void *argument)
{
	const struct later *later = argument;
	struct filter filter;

	check_all();
	filter_build(&filter, needed_later, COUNT_OF(needed_later), SECCOMP_RET_ALLOW,
		     SECCOMP_RET_KILL_PROCESS);
	if (filter_install(&filter, later->way))
		check_times(later->rounds);
}

void scenario_seccomp_after(long number, const char *text)
{
	(void)text;
	for (enum filter_way way = 0; way < FILTER_WAYS; way++) {
		struct later later = {way, number / FILTER_WAYS + 1};

		reap(start(check_under_filter, &later));
	}
	check_all();
}
