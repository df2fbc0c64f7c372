// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Invented answers, for the scenarios in which something emulates this process's system calls.

#ifndef EMULATE_H
#define EMULATE_H

#include <stdbool.h>
#include <stddef.h>
#include <ucontext.h>

// The calls that this program checks.
extern const long emulated_numbers[];
extern const size_t emulated_count;

#define EMULATED_VALUE(number) (40000 + (number))

// Answers the call that raised SIGSYS, if it is one of ours.
bool emulate(ucontext_t *context);

#endif
