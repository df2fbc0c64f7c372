// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// System calls made by the instruction itself. libc's functions, syscall() included, are what is
// under test, so nothing here may go through them.

#ifndef REAL_H
#define REAL_H

#include <sys/syscall.h>

#ifndef __x86_64__
#error "real.h knows x86_64 only"
#endif

static inline long real6(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

// real(number, up to six arguments): the kernel's own result, -errno on error.
#define real(...) REAL_PAD(__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define REAL_PAD(number, a, b, c, d, e, f, ...)                                                     \
	real6((long)(number), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static inline int real_failed(long result)
{
	return result < 0 && result >= -4095;
}

#endif
