// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Threads that ask without end, on one CPU after the other, while something changes under them.

#ifndef SPIN_H
#define SPIN_H

#include <stdatomic.h>

#include "process.h"

#define SPINNERS 3

struct spin {
	atomic_bool stop;
	atomic_int next;
	atomic_long rounds[SPINNERS];
	struct crowd crowd;
};

void spin_start(struct spin *spin);

// Until each spinner has begun and ended a round after now: each has looked at what is settled.
void spin_settle(struct spin *spin);

void spin_end(struct spin *spin);

#endif
