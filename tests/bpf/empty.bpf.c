// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
/* What the kernel's statistics report for a program that does nothing, and what one costs where the kernel accounts. */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

SEC("tp_btf/sched_switch")
int empty_switch(void *ctx)
{
	return 0;
}

SEC("tp_btf/sched_stat_runtime")
int empty_tick(void *ctx)
{
	return 0;
}
