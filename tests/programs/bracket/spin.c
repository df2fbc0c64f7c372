// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note

#define _GNU_SOURCE
#include "spin.h"

#include <sched.h>

#include "../real.h"
#include "check.h"

#define ROUNDS_ON_A_CPU 16

static int hop(int cpu, const cpu_set_t *allowed)
{
	cpu_set_t one;

	do
		cpu = (cpu + 1) % CPU_SETSIZE;
	while (!CPU_ISSET(cpu, allowed));
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	real(SYS_sched_setaffinity, 0, sizeof(one), &one);
	return cpu;
}

static void *spin_body(void *argument)
{
	struct spin *spin = argument;
	const int self = atomic_fetch_add(&spin->next, 1);
	cpu_set_t allowed;
	int cpu = self;

	CPU_ZERO(&allowed);
	real(SYS_sched_getaffinity, 0, sizeof(allowed), &allowed);
	while (!atomic_load(&spin->stop)) {
		check_all();
		if (atomic_fetch_add(&spin->rounds[self], 1) % ROUNDS_ON_A_CPU == 0)
			cpu = hop(cpu, &allowed);
	}
	return NULL;
}

void spin_start(struct spin *spin)
{
	*spin = (struct spin){0};
	crowd_start(&spin->crowd, SPINNERS, spin_body, spin);
}

void spin_settle(struct spin *spin)
{
	for (int i = 0; i < spin->crowd.count; i++) {
		const long seen = atomic_load(&spin->rounds[i]);

		while (atomic_load(&spin->rounds[i]) < seen + 2)
			check_all();
	}
}

void spin_end(struct spin *spin)
{
	atomic_store(&spin->stop, true);
	crowd_join(&spin->crowd);
}
