// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note

#define _GNU_SOURCE
#include "emulate.h"

#include <stdint.h>

#include "../real.h"

const long emulated_numbers[] = {
	SYS_getpid,    SYS_gettid,    SYS_getuid,  SYS_geteuid, SYS_getgid,  SYS_getegid,
	SYS_getresuid, SYS_getresgid, SYS_getppid, SYS_getpgrp, SYS_getpgid, SYS_getsid,
};
const size_t emulated_count = sizeof(emulated_numbers) / sizeof(emulated_numbers[0]);

bool emulate(ucontext_t *context)
{
	greg_t *registers = context->uc_mcontext.gregs;
	const long number = registers[REG_RAX];
	const int pointers[] = {REG_RDI, REG_RSI, REG_RDX};

	for (size_t i = 0; i < emulated_count; i++) {
		if (number != emulated_numbers[i])
			continue;
		registers[REG_RAX] = EMULATED_VALUE(number);
		if (number == SYS_getresuid || number == SYS_getresgid) {
			for (int p = 0; p < 3; p++)
				*(uint32_t *)registers[pointers[p]] = EMULATED_VALUE(number) + p;
			registers[REG_RAX] = 0;
		}
		return true;
	}
	return false;
}
