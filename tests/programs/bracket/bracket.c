// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Checks that every answer of bysyscall's wrappers equals the real system call's.
//
//	bracket SCENARIO [NUMBER]
//	bracket dlopen-late LIBRARY [NUMBER]
//	bracket list
//
// NUMBER is a count or seconds, as the list says. Prints "SCENARIO: N answers, M mismatches".
// Exit status: 0 all is right, 1 a mismatch or a failure (told on stderr), 2 wrong usage,
// 77 skipped.

#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "../real.h"
#include "check.h"
#include "process.h"
#include "scenario.h"

#define EXIT_SKIPPED 77

struct scenario {
	const char *name;
	void (*run)(long number, const char *text);
	long number;
	const char *unit;
	enum { ANYONE, ROOT, SUBORDINATE_IDS, PART_OF_OTHERS } who;
	const char *text;
};

static const struct scenario scenarios[] = {
	{"single", scenario_single, 20000, "rounds", ANYONE, NULL},
	{"threads", scenario_threads, 5000, "rounds in each of 16 threads", ANYONE, NULL},
	{"churn", scenario_churn, 10000, "threads", ANYONE, NULL},
	{"migrate", scenario_migrate, 3, "seconds", ANYONE, NULL},
	{"dlopen-late", scenario_dlopen_late, 2000, "rounds in each of 8 threads", ANYONE, "LIBRARY"},
	{"fork", scenario_fork, 500, "forks", ANYONE, NULL},
	{"fork-thread", scenario_fork_thread, 100, "forks by each of 4 threads", ANYONE, NULL},
	{"double-fork", scenario_double_fork, 200, "grandchildren", ANYONE, NULL},
	{"fork-tree", scenario_fork_tree, 7, "generations", ANYONE, NULL},
	{"fork-storm", scenario_fork_storm, 2000, "processes", ANYONE, NULL},
	{"sessions", scenario_sessions, 100, "processes", ANYONE, NULL},
	{"vfork", scenario_vfork, 100, "children of each kind", ANYONE, NULL},
	{"spawn", scenario_spawn, 200, "children", ANYONE, NULL},
	{"clone-grid", scenario_clone_grid, 20, "rounds in each child", ANYONE, NULL},
	{"refused-clones", scenario_refused_clones, 80, "processes", ANYONE, NULL},
	{"exec-leader", scenario_exec_leader, 50, "processes", ANYONE, NULL},
	{"exec-thread", scenario_exec_thread, 50, "processes", ANYONE, NULL},
	{"groups", scenario_groups, 20, "rounds of each kind", ANYONE, NULL},
	{"moved-by-parent", scenario_moved_by_parent, 40000, "moves", ANYONE, NULL},
	{"relation-arguments", scenario_relation_arguments, 50, "rounds", ANYONE, NULL},
	{"parents", scenario_parents, 3, "rounds of each end", ANYONE, NULL},
	{"children", scenario_children, 20, "rounds of each kind", ANYONE, NULL},
	{"signals", scenario_signals, 2, "seconds", ANYONE, NULL},
	{"nesting", scenario_nesting, 200, "rounds", ANYONE, NULL},
	{"getresuid-pointers", scenario_getresuid_pointers, 20, "rounds", ANYONE, NULL},
	{"errno", scenario_errno, 1000, "rounds", ANYONE, NULL},
	{"passthrough", scenario_passthrough, 500, "rounds", ANYONE, NULL},
	{"creds", scenario_creds, 2, "rounds of each kind", ROOT, NULL},
	{"creds-broadcast", scenario_creds_broadcast, 100, "changes", ROOT, NULL},
	{"creds-exec", scenario_creds_exec, 3, "rounds", ROOT, NULL},
	{"creds-overlay", scenario_creds_overlay, 2, "seconds", ROOT, NULL},
	{"preempted", scenario_preempted, 3, "seconds", ROOT, NULL},
	{"pid-namespace", scenario_pid_namespace, 200, "rounds in each process", ROOT, NULL},
	{"within-pid-namespaces", scenario_within_pid_namespaces, 1, "rounds", ROOT, NULL},
	{"pid-namespace-relations", scenario_pid_namespace_relations, 50, "rounds", ROOT, NULL},
	{"user-namespace", scenario_user_namespace, 100, "rounds in each state", ANYONE, NULL},
	{"setns", scenario_setns, 100, "rounds in each namespace", ROOT, NULL},
	{"id-maps", scenario_id_maps, 2, "rounds", ROOT, NULL},
	{"id-maps-nested", scenario_id_maps_nested, 10, "rounds", ROOT, NULL},
	{"own-id-map", scenario_own_id_map, 10, "rounds", ANYONE, NULL},
	{"seccomp-inherited", scenario_seccomp_inherited, 1000, "rounds", ANYONE, NULL},
	{"seccomp-after", scenario_seccomp_after, 100000, "rounds", ANYONE, NULL},
	{"seccomp-emulated", scenario_seccomp_emulated, 50, "rounds in each state", ANYONE, NULL},
	{"user-dispatch", scenario_user_dispatch, 200, "rounds in each state", ANYONE, NULL},
	{"user-dispatch-raw", scenario_user_dispatch_raw, 200, "rounds in each state", ANYONE, NULL},
	{"user-dispatch-libc", scenario_user_dispatch_libc, 200, "rounds in each state", ANYONE, NULL},
	{"ptrace-emulated", scenario_ptrace_emulated, 20, "rounds in each state", ANYONE, NULL},
	{"load", scenario_load, 3, "seconds", ANYONE, NULL},
	{"newuidmap", scenario_newuidmap, 6, "extents", SUBORDINATE_IDS, NULL},
	{"exec-child", scenario_exec_child, 0, "expected pid", PART_OF_OTHERS, NULL},
	{"parent-after-exec", scenario_parent_after_exec, 0, "expected pid", PART_OF_OTHERS, NULL},
	{"child-of", scenario_child_of, 0, "expected parent", PART_OF_OTHERS, NULL},
	{"creds-image", scenario_creds_image, 0, "place in the line", PART_OF_OTHERS, NULL},
	{"exec-chain", scenario_exec_chain, 0, "deadline", PART_OF_OTHERS, NULL},
};
#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

static void list(FILE *out)
{
	for (size_t i = 0; i < SCENARIOS; i++) {
		const struct scenario *s = &scenarios[i];

		if (s->who == ANYONE || s->who == ROOT)
			fprintf(out, "%s %s%s%ld %s%s\n", s->name, s->text ? s->text : "",
				s->text ? " " : "", s->number, s->unit,
				s->who == ROOT ? ", root" : "");
	}
}

static int usage(void)
{
	fprintf(stderr, "usage: bracket SCENARIO [NUMBER]; the scenarios and their numbers:\n");
	list(stderr);
	return 2;
}

static const struct scenario *find(const char *name)
{
	for (size_t i = 0; i < SCENARIOS; i++)
		if (!strcmp(scenarios[i].name, name))
			return &scenarios[i];
	return NULL;
}

void skip(const char *why)
{
	printf("%s: skipped: %s\n", scenario_name, why);
	exit(EXIT_SKIPPED);
}

int main(int argc, char **argv)
{
	const struct scenario *scenario;
	int next = 2;
	char *end = NULL;

	if (argc == 2 && !strcmp(argv[1], "list")) {
		list(stdout);
		return 0;
	}
	if (argc < 2 || !(scenario = find(argv[1])))
		return usage();
	const char *text = scenario->text && argc > next ? argv[next++] : NULL;
	const long number = argc > next ? strtol(argv[next++], &end, 10) : scenario->number;

	if (argc > next || (scenario->text && !text) || (end && *end) || number < 0)
		return usage();
	scenario_name = scenario->name;
	if (score_open()) {
		// A part of another run: what it finds is in the shared score, and only a part that ends
		// by itself says 0.
		scenario->run(number, text);
		return 0;
	}
	if (scenario->who == PART_OF_OTHERS)
		return usage();
	if (scenario->who == ROOT && real(SYS_geteuid) != 0)
		skip("needs root");

	// Orphans become ours, so that all that was started is judged and gone when we end.
	real(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1);
	scenario->run(number, text);
	reap_all();
	printf("%s: %ld answers, %ld mismatches\n", scenario_name, atomic_load(&score->answers),
	       atomic_load(&score->mismatches));
	if (atomic_load(&score->failures))
		fprintf(stderr, "%s: %ld failures\n", scenario_name, atomic_load(&score->failures));
	if (atomic_load(&score->undecided))
		fprintf(stderr, "%s: %ld answers undecided\n", scenario_name, atomic_load(&score->undecided));
	return is_wrong();
}
