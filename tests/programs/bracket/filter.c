// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note

#define _GNU_SOURCE
#include "filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include "../real.h"
#include "check.h"

static void emit(struct filter *filter, struct sock_filter instruction)
{
	filter->code[filter->program.len++] = instruction;
}

static void emit_return(struct filter *filter, uint32_t action)
{
	emit(filter, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

static void emit_load(struct filter *filter, size_t offset)
{
	emit(filter, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset));
}

void filter_build(struct filter *filter, const long *numbers, size_t count, uint32_t matched,
		  uint32_t other)
{
	filter->program = (struct sock_fprog){.len = 0, .filter = filter->code};
	emit_load(filter, offsetof(struct seccomp_data, arch));
	emit(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0));
	emit_return(filter, SECCOMP_RET_KILL_PROCESS);
	emit_load(filter, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < count; i++) {
		emit(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
							   (uint32_t)numbers[i], 0, 1));
		emit_return(filter, matched);
	}
	emit_return(filter, other);
}

static long as_kernel(long result)
{
	return result == -1 ? -errno : result;
}

static long install(struct sock_fprog *program, enum filter_way way)
{
	switch (way) {
	case LIBC_PRCTL:
		return as_kernel(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program));
	case LIBC_SYSCALL:
		return as_kernel(wrappers.syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0L, program));
	case LIBC_SYSCALL_TSYNC:
		return as_kernel(wrappers.syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
						  (long)SECCOMP_FILTER_FLAG_TSYNC, program));
	case RAW_PRCTL:
		return real(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program);
	case RAW_SECCOMP:
		return real(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, program);
	default:
		return real(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, program);
	}
}

bool filter_install(struct filter *filter, enum filter_way way)
{
	real(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1);
	const long result = install(&filter->program, way);

	if (result)
		fail("installing a seccomp filter", result);
	return result == 0;
}
