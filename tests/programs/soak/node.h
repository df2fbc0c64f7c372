// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// A tree of processes and threads that is a function of its seed: each node draws what it does from
// a generator of its own, which it has from its parent's. How the kernel answers and who runs when
// changes no draw; only the end of a pid namespace or an exec cuts others off at some moment.

#ifndef NODE_H
#define NODE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

// Where a node runs decides what it may do.
enum place {
	// A process that has one thread, with a working libc.
	PROCESS,
	// A thread that libc knows, one of several.
	THREAD,
	// A task that libc does not know: it may share memory or have been made while other threads
	// held libc's locks. It makes calls by the instruction only.
	BARE,
	PLACES,
};

struct node {
	uint64_t random;
	long tree;
	// How many more nodes it may make, all of its children's included.
	uint32_t budget;
	enum place place;
};

// Shared by all processes of a run, like the score.
struct census {
	atomic_long nodes;
	atomic_long images;
	// Calls that the kernel refused, as it may: for lack of rights, or in this order.
	atomic_long refused;
};
extern struct census *census;
void census_open(void);

// A number below `below`.
uint32_t draw(struct node *node, uint32_t below);

// True once in so many times.
bool chance(struct node *node, uint32_t in);

// A part of the node's budget for a new child. False if there is nothing left.
bool have_child(struct node *node, struct node *child, enum place place);

// Lives a node's life: draws actions, does them, checks all answers after each.
void node_live(struct node *node);

// The same for a process that was made for the node; ends it.
void node_be_process(void *node);

// Becomes this program again, as the same node. Returns only when exec fails.
void node_exec(const struct node *node);

// The node that argv tells of, if this is an image of node_exec.
bool node_from_arguments(int argc, char **argv, struct node *node);

// Waits for a child, or for any until there is none; whoever was ended by SIGKILL or by the end of its
// pid namespace did right.
void collect(long child);
void collect_all(void);

// Waits for something else; takes whoever ends meanwhile.
void collect_until(bool (*over)(const void *), const void *argument);

// actions.c: does one action out of those that may be done in the node's place.
void act(struct node *node);

#endif
