// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Random trees of processes and threads that change what the wrappers answer, with every answer
// between two real calls.
//
//	soak [--seed N] [--seconds N] [--tree K]
//
// The seed is printed; with --tree one tree is grown alone, once or for as long as --seconds says.
// Needs root: each tree has pid and mount namespaces of its own, so that all of it ends with it.
// Exit status: 0 all is right, 1 a mismatch or a failure (told on stderr), 2 wrong usage.

#define _GNU_SOURCE
#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../bracket/check.h"
#include "../bracket/process.h"
#include "../real.h"
#include "node.h"

#define DEFAULT_SECONDS 60
#define REPORT_SECONDS 10
#define TREE_BUDGET 60
// No tree takes as long, by far, also where CPUs are emulated.
#define TREE_LIMIT_MS 120000

struct options {
	uint64_t seed;
	long seconds;
	long tree;
};

static char name[32];

static void take_name(long tree)
{
	snprintf(name, sizeof(name), "tree %ld", tree);
	scenario_name = name;
}

static void on_signal(int signal)
{
	(void)signal;
	check_all();
}

// A signal that does no harm to a process that has just begun.
static void handle_signals(void)
{
	const struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

	sigaction(SIGURG, &action, NULL);
}

static void be_image(struct node *node)
{
	atomic_fetch_add(&census->images, 1);
	take_name(node->tree);
	handle_signals();
	node_be_process(node);
}

// ---- a tree

static void become_user(void)
{
	if (real(SYS_setgroups, 0, NULL) || real(SYS_setresgid, 65534, 65534, 65534) ||
	    real(SYS_setresuid, 65534, 65534, 65534))
		fail("becoming a user", 0);
	// Else our files in /proc are root's, and we cannot write our maps.
	real(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static void be_root(void *argument)
{
	struct node node = *(struct node *)argument;

	if (chance(&node, 3))
		become_user();
	node_be_process(&node);
}

// The first process of a pid namespace: takes all orphans, and ends all with its own end.
static int grow(struct node *root)
{
	// With the run ends the tree, whatever ends the run.
	real(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("proc", "/proc", "proc", 0, NULL)) {
		fail("mounting the tree's /proc", errno);
		return 1;
	}
	handle_signals();
	start(be_root, root);
	collect_all();
	check_all();
	return 0;
}

static bool wait_for_end(long pid)
{
	struct pollfd end = {.fd = (int)real(SYS_pidfd_open, pid, 0), .events = POLLIN};
	const long ready = poll(&end, 1, TREE_LIMIT_MS);

	if (ready == 0) {
		fail("a tree does not end; milliseconds", TREE_LIMIT_MS);
		real(SYS_kill, pid, SIGKILL);
	}
	close(end.fd);
	return ready > 0;
}

static void run_tree(uint64_t seed, long tree)
{
	struct node node = {.random = seed, .tree = tree, .budget = TREE_BUDGET};
	struct node root;
	struct clone_args arguments = {
		.flags = CLONE_NEWPID | CLONE_NEWNS,
		.exit_signal = SIGCHLD,
	};

	// Trees differ in more than one bit of the seed.
	node.random ^= (uint64_t)tree * 0xd1342543de82ef95;
	have_child(&node, &root, PROCESS);
	root.budget = TREE_BUDGET;
	take_name(tree);
	// A child that was killed in a change has not ended it.
	score->ids = (struct changes){0};
	score->relations = (struct changes){0};
	const long pid = real(SYS_clone3, &arguments, sizeof(arguments));

	if (pid == 0)
		leave(grow(&root));
	if (pid < 0) {
		fail("clone3 of a tree", pid);
		return;
	}
	check_all();
	wait_for_end(pid);
	collect(pid);
}

// ---- the run

static void report(const struct options *options, long trees)
{
	printf("seed %lu: %ld trees, %ld nodes, %ld images, %ld refused calls, %ld answers, "
	       "%ld undecided, %ld mismatches, %ld failures\n",
	       options->seed, trees, atomic_load(&census->nodes), atomic_load(&census->images),
	       atomic_load(&census->refused), atomic_load(&score->answers),
	       atomic_load(&score->undecided), atomic_load(&score->mismatches),
	       atomic_load(&score->failures));
	fflush(stdout);
}

static long wrongs(void)
{
	return atomic_load(&score->mismatches) + atomic_load(&score->failures);
}

static void run(const struct options *options)
{
	const int64_t deadline = in_seconds(options->seconds);
	int64_t next_report = in_seconds(REPORT_SECONDS);
	long trees = 0;

	do {
		const long tree = options->tree >= 0 ? options->tree : trees;
		const long before = wrongs();

		run_tree(options->seed, tree);
		trees++;
		if (wrongs() > before)
			fprintf(stderr, "again: soak --seed %lu --tree %ld\n", options->seed, tree);
		if (now() >= next_report) {
			report(options, trees);
			next_report = in_seconds(REPORT_SECONDS);
		}
	} while (now() < deadline);
	report(options, trees);
}

static int usage(void)
{
	fprintf(stderr, "usage: soak [--seed N] [--seconds N] [--tree K]\n");
	return 2;
}

static bool parse(int argc, char **argv, struct options *options)
{
	bool timed = false;

	*options = (struct options){.seconds = DEFAULT_SECONDS, .tree = -1};
	if (getrandom(&options->seed, sizeof(uint32_t), 0) < 0)
		return false;
	for (int i = 1; i < argc; i += 2) {
		char *end = NULL;
		const unsigned long value = i + 1 < argc ? strtoul(argv[i + 1], &end, 10) : 0;

		if (!end || *end || end == argv[i + 1])
			return false;
		if (!strcmp(argv[i], "--seed"))
			options->seed = value;
		else if (!strcmp(argv[i], "--seconds"))
			options->seconds = (long)value, timed = true;
		else if (!strcmp(argv[i], "--tree"))
			options->tree = (long)value;
		else
			return false;
	}
	if (options->tree >= 0 && !timed)
		options->seconds = 0;
	return true;
}

int main(int argc, char **argv)
{
	struct options options;
	struct node node;

	if (node_from_arguments(argc, argv, &node)) {
		score_open();
		census_open();
		be_image(&node);
	}
	if (!parse(argc, argv, &options))
		return usage();
	score_open();
	census_open();
	report(&options, 0);
	run(&options);
	return is_wrong();
}
