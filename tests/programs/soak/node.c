// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note

#define _GNU_SOURCE
#include "node.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../bracket/check.h"
#include "../bracket/process.h"
#include "../real.h"

#define CENSUS_VARIABLE "SOAK_CENSUS"
#define FEWEST_ACTIONS 4
#define MORE_ACTIONS 9

struct census *census;

void census_open(void)
{
	census = open_shared(CENSUS_VARIABLE, sizeof(*census));
}

// ---- random numbers

// Weyl steps, each mixed by two multiplications: every seed gives a full period.
static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

uint32_t draw(struct node *node, uint32_t below)
{
	return (uint32_t)((next(&node->random) >> 32) * below >> 32);
}

bool chance(struct node *node, uint32_t in)
{
	return draw(node, in) == 0;
}

bool have_child(struct node *node, struct node *child, enum place place)
{
	*child = *node;
	child->random = next(&node->random);
	child->place = place;
	if (node->budget == 0)
		return false;
	child->budget = draw(node, (node->budget + 1) / 2);
	node->budget -= child->budget + 1;
	return true;
}

// ---- waiting

static long collected(long which, int options)
{
	int status = 0;
	long ended;

	do
		ended = real(SYS_wait4, which, &status, __WALL | options, NULL);
	while (ended == -EINTR);
	if (ended > 0 && WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
		fail("a child was ended by signal", WTERMSIG(status));
	if (ended > 0 && WIFEXITED(status) && WEXITSTATUS(status))
		fail("a child's exit status", WEXITSTATUS(status));
	return ended;
}

static bool is_child(long pid)
{
	return real(SYS_waitid, P_PID, pid, NULL, WEXITED | WNOHANG | WNOWAIT | __WALL, NULL) == 0;
}

// Takes whoever ends first: a pid namespace cannot end before its last zombie is taken, and if that
// is an orphan that has come to us, who would wait for the namespace waits for ever.
void collect(long child)
{
	while (child > 0 && is_child(child))
		collected(-1, 0);
	check_all();
}

void collect_until(bool (*over)(const void *), const void *argument)
{
	while (!over(argument)) {
		collected(-1, WNOHANG);
		check_all();
		real(SYS_sched_yield);
	}
}

void collect_all(void)
{
	while (collected(-1, 0) > 0)
		check_all();
}

// ---- a node's life

void node_live(struct node *node)
{
	const uint32_t actions = FEWEST_ACTIONS + draw(node, MORE_ACTIONS);

	atomic_fetch_add(&census->nodes, 1);
	check_all();
	for (uint32_t i = 0; i < actions; i++) {
		act(node);
		check_all();
	}
}

void node_be_process(void *argument)
{
	struct node node = *(struct node *)argument;

	node_live(&node);
	// Some leave their children to the nearest subreaper.
	if (!chance(&node, 4))
		collect_all();
	check_all();
	leave(0);
}

// ---- exec

void node_exec(const struct node *node)
{
	char texts[4][DECIMAL_SIZE];
	const char *const arguments[] = {
		"soak",
		"--node",
		decimal(texts[0], (long)node->random),
		decimal(texts[1], node->tree),
		decimal(texts[2], node->budget),
		NULL,
	};

	real(SYS_execve, "/proc/self/exe", arguments, environ);
	atomic_fetch_add(&census->refused, 1);
}

bool node_from_arguments(int argc, char **argv, struct node *node)
{
	if (argc != 5 || strcmp(argv[1], "--node"))
		return false;
	*node = (struct node){
		.random = (uint64_t)strtol(argv[2], NULL, 10),
		.tree = strtol(argv[3], NULL, 10),
		.budget = (uint32_t)strtoul(argv[4], NULL, 10),
		.place = PROCESS,
	};
	return true;
}
