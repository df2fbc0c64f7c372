// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Seccomp filters, and the ways in which a program can install one.

#ifndef FILTER_H
#define FILTER_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct filter {
	struct sock_filter code[160];
	struct sock_fprog program;
};

// A filter that answers `matched` to the calls listed and `other` to all others.
void filter_build(struct filter *filter, const long *numbers, size_t count, uint32_t matched,
		  uint32_t other);

enum filter_way {
	LIBC_PRCTL,
	LIBC_SYSCALL,
	LIBC_SYSCALL_TSYNC,
	RAW_PRCTL,
	RAW_SECCOMP,
	RAW_TSYNC,
	FILTER_WAYS,
};

// Sets no_new_privs and installs; a refusal is a failure of the run.
bool filter_install(struct filter *filter, enum filter_way way);

#endif
