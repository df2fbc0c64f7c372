// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Programs written before glibc had gettid() define it by syscall(); others
// define a function of the table for a purpose of their own. The library must
// call neither back: it would answer wrongly, or never return.
//
// Exit status: 0 right, 1 wrong.

#define _GNU_SOURCE
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "real.h"

pid_t gettid(void)
{
	return syscall(SYS_gettid);
}

uid_t geteuid(void)
{
	return 4711;
}

int main(void)
{
	const long tid = gettid(), euid = syscall(SYS_geteuid);

	printf("tid %ld, euid %ld\n", tid, euid);
	return tid != real(SYS_gettid) || euid != real(SYS_geteuid);
}
