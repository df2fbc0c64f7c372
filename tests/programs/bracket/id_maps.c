// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Id maps of user namespaces: few extents, which the kernel keeps in the namespace, and many, which
// it keeps sorted elsewhere; ids in and between them; maps within maps.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/securebits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "../real.h"
#include "check.h"
#include "process.h"
#include "scenario.h"
#include "spin.h"

#define CHECKS 5
#define UNMAPPED 65534
#define MOST_EXTENTS 340
#define MAP_SIZE 4096

// ---- what a process may do with the ids of its namespace

struct ids {
	uint32_t real, effective, saved;
};

static void check_ids(const struct ids *wanted)
{
	uint32_t users[3] = {0}, groups[3] = {0};

	wrappers.getresuid(&users[0], &users[1], &users[2]);
	wrappers.getresgid(&groups[0], &groups[1], &groups[2]);
	check_equal("getuid", wrappers.getuid(), wanted->real);
	check_equal("geteuid", wrappers.geteuid(), wanted->effective);
	check_equal("getgid", wrappers.getgid(), wanted->real);
	check_equal("getegid", wrappers.getegid(), wanted->effective);
	for (int i = 0; i < 3; i++) {
		const uint32_t id = (&wanted->real)[i];

		check_equal("getresuid", users[i], id);
		check_equal("getresgid", groups[i], id);
	}
	check_times(CHECKS);
}

static void check_child(void *ids)
{
	check_ids(ids);
}

static int check_vforked(void *ids)
{
	check_ids(ids);
	return 0;
}

static void *check_in_thread(void *ids)
{
	check_ids(ids);
	return NULL;
}

static void check_everywhere(struct ids *ids)
{
	check_ids(ids);
	run_threads(1, check_in_thread, ids);
	reap(start_raw(check_child, ids));
	reap((pid_t)raw_spawn(SYS_vfork, 0, 0, 0, 0, 0, check_vforked, ids));
}

static void take(struct ids ids)
{
	if (real(SYS_setresgid, ids.real, ids.effective, ids.saved) ||
	    real(SYS_setresuid, ids.real, ids.effective, ids.saved))
		fail("taking mapped ids, the first of which is", ids.real);
	check_everywhere(&ids);
}

static void be_refused(uint32_t unmapped, struct ids *stay)
{
	check_equal("setresuid to an unmapped id", real(SYS_setresuid, -1, unmapped, -1), -EINVAL);
	check_equal("setresgid to an unmapped id", real(SYS_setresgid, unmapped, -1, -1), -EINVAL);
	check_ids(stay);
}

// ---- writing maps

static bool enter_new(void)
{
	if (unshare(CLONE_NEWUSER) == 0)
		return true;
	fail("unshare of a user namespace", errno);
	return false;
}

// One write, as the kernel wants it. 0 or -errno.
static long write_map(long pid, const char *which, const char *map)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%ld/%s", pid, which);
	const int fd = open(path, O_WRONLY);
	const ssize_t written = fd < 0 ? -1 : write(fd, map, strlen(map));
	const long result = written < 0 ? -errno : 0;

	close(fd);
	return result;
}

static void write_maps(long pid, const char *map)
{
	check_equal("writing uid_map", write_map(pid, "uid_map", map), 0);
	check_equal("writing gid_map", write_map(pid, "gid_map", map), 0);
}

// Extents of two ids each with a gap behind it, without 0, and outside in the opposite order. The
// lines come mixed, so that the kernel has to sort them in both directions. None is longer than it
// must be: a page has to hold one extent more than the kernel takes.
static uint32_t inside(int extent)
{
	return 1 + 3 * (uint32_t)extent;
}

static uint32_t outside(int extent)
{
	return 9000 - 3 * (uint32_t)extent;
}

static void make_map(char map[MAP_SIZE], int extents)
{
	// Reaches all of them, as it divides no count but its own.
	const int step = extents % 11 ? 11 : 1;
	size_t used = 0;

	for (int i = 0; i < extents; i++) {
		const int extent = i * step % extents;

		used += (size_t)snprintf(map + used, MAP_SIZE - used, "%u %u 2\n", inside(extent),
					 outside(extent));
	}
}

// ---- waiting for a map that the parent writes

// Starts a child that enters a namespace without a map, says so, and waits at the gate for one.
static pid_t start_unmapped(void (*body)(void *), void *argument)
{
	atomic_store(&score->arrived, 0);
	atomic_store(&score->gate, 0);
	const pid_t child = start(body, argument);

	await(&score->arrived, 1);
	return child;
}

// Asks while the map appears, alone and beside other threads; then these are the names of our ids.
static bool poll_for_map(const struct ids *names)
{
	struct ids unmapped = {UNMAPPED, UNMAPPED, UNMAPPED};
	struct spin spin;

	if (!enter_new()) {
		arrive(&score->arrived);
		return false;
	}
	check_everywhere(&unmapped);
	atomic_fetch_add(&maps_that_may_appear, 1);
	spin_start(&spin);
	arrive(&score->arrived);
	while (!atomic_load(&score->gate))
		check_all();
	spin_settle(&spin);
	atomic_fetch_sub(&maps_that_may_appear, 1);
	spin_settle(&spin);
	check_ids(names);
	spin_end(&spin);
	return true;
}

// ---- maps of so many extents

struct mapped {
	int extents;
	long pid;
};

static void use_map(const struct mapped *m)
{
	const int last = m->extents - 1, middle = m->extents / 2;
	struct ids ids = {inside(0), inside(middle) + 1, inside(last) + 1};

	take((struct ids){inside(0), inside(0), inside(0)});
	take((struct ids){inside(0) + 1, inside(middle), inside(last)});
	take((struct ids){inside(last) + 1, inside(0), inside(middle) + 1});
	take(ids);
	be_refused(0, &ids);
	// Between two extents, behind the last one, and where the ids outside are.
	be_refused(inside(0) + 2, &ids);
	be_refused(inside(middle) + 2, &ids);
	be_refused(inside(last) + 2, &ids);
	be_refused(outside(0), &ids);
	for (int i = 0; i < m->extents; i += m->extents / 16 + 1) {
		ids = (struct ids){inside(i), inside(last - i), inside(i) + 1};
		take(ids);
	}
	reap(start(check_child, &ids));
}

static void live_with_map(void *argument)
{
	const struct mapped *m = argument;
	struct ids ids = {inside(0) + 1, UNMAPPED, inside(m->extents - 1)};

	// One of our ids is and stays without a name in the namespace.
	real(SYS_setresgid, outside(0) + 1, 12345, outside(m->extents - 1));
	real(SYS_setresuid, outside(0) + 1, 12345, outside(m->extents - 1));
	if (!poll_for_map(&ids))
		return;
	check_everywhere(&ids);
	use_map(m);
	exec_self("exec-child", real(SYS_getpid));
	fail("exec of this program", 0);
}

static void map_extents(int extents)
{
	char map[MAP_SIZE];
	struct mapped m = {.extents = extents};

	m.pid = start_unmapped(live_with_map, &m);
	if (extents == MOST_EXTENTS) {
		make_map(map, extents + 1);
		check_equal("writing too many extents", write_map(m.pid, "uid_map", map), -EINVAL);
	}
	make_map(map, extents);
	write_maps(m.pid, map);
	check_equal("writing a map again", write_map(m.pid, "uid_map", map), -EPERM);
	announce(&score->gate, 1);
	reap((pid_t)m.pid);
}

// ---- the same written by newuidmap(1), for a user who has the ids outside as subordinate ones

// Runs `newuidmap PID INSIDE OUTSIDE COUNT...`: the user's own id, then extents as above but for the first.
static void map_by(const char *program, const struct mapped *m, uint32_t own)
{
	static char numbers[3 * (MOST_EXTENTS + 1) + 1][DECIMAL_SIZE];
	static const char *arguments[3 * (MOST_EXTENTS + 1) + 3];
	int used = 0;

	arguments[0] = program;
#define PASS(number) (arguments[used + 1] = decimal(numbers[used], number), used++)
	PASS(m->pid);
	PASS(0);
	PASS(own);
	PASS(1);
	for (int extent = m->extents - 1; extent > 0; extent--) {
		PASS(inside(extent));
		PASS(outside(extent));
		PASS(2);
	}
	arguments[used + 1] = NULL;
	execvp(program, (char *const *)arguments);
	fail("exec of newuidmap", errno);
}

static void map_users(void *m)
{
	map_by("newuidmap", m, (uint32_t)real(SYS_geteuid));
}

static void map_groups(void *m)
{
	map_by("newgidmap", m, (uint32_t)real(SYS_getegid));
}

static void live_with_subordinates(void *argument)
{
	const struct mapped *m = argument;
	const int last = m->extents - 1;
	const struct ids own = {0, 0, 0};

	if (!poll_for_map(&own))
		return;
	take((struct ids){inside(last) + 1, 0, inside(last)});
	be_refused(inside(last) + 2, &(struct ids){inside(last) + 1, 0, inside(last)});
	take((struct ids){0, inside(last), inside(1) + 1});
}

void scenario_newuidmap(long number, const char *text)
{
	struct mapped m = {.extents = (int)number};

	(void)text;
	m.pid = start_unmapped(live_with_subordinates, &m);
	reap(start(map_users, &m));
	reap(start(map_groups, &m));
	announce(&score->gate, 1);
	reap((pid_t)m.pid);
}

// ---- ids of all sizes

static void take_odd_ids(void *unused)
{
	struct ids ids = {0, 65534, 4294967293};

	(void)unused;
	if (!enter_new())
		return;
	arrive(&score->arrived);
	await(&score->gate, 1);
	// Else root's ids would give up what lets us take the next ones.
	real(SYS_prctl, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP);
	// A map may give a name to what else means that there is none.
	take((struct ids){65534, 65535, 65534});
	take((struct ids){2147483647, 2147483648, 2147483649});
	take((struct ids){4294967290, 4294967293, 1000});
	take(ids);
	be_refused(1, &ids);
	be_refused(65536, &ids);
	be_refused(2147483650, &ids);
	be_refused(4294967294, &ids);
}

static void map_odd_ids(void)
{
	const pid_t child = start_unmapped(take_odd_ids, NULL);

	write_maps(child, "0 100000 1\n"
			  "65534 4294967290 2\n"
			  "2147483647 2147483647 3\n"
			  "4294967290 65534 4\n"
			  "1000 0 1\n");
	announce(&score->gate, 1);
	reap(child);
}

void scenario_id_maps(long number, const char *text)
{
	static const int extents[] = {1, 2, 4, 5, 6, 7, 33, 339, MOST_EXTENTS};

	(void)text;
	while (number-- > 0) {
		for (size_t i = 0; i < sizeof(extents) / sizeof(extents[0]); i++)
			map_extents(extents[i]);
		map_odd_ids();
	}
}

// ---- namespaces within namespaces

#define DEPTH 3

struct level {
	int depth;
	// What the first id of this level is on the level above.
	uint32_t shift;
	// How many ids it has: no more than the level above has behind that one.
	uint32_t length;
};

static const struct level levels[DEPTH + 1] = {
	{0, 0, 0},
	{1, 100000, 1000},
	{2, 300, 600},
	{3, 40, 500},
};

struct joined {
	const struct level *level;
	long pid;
};

static void join(void *argument)
{
	const struct joined *joined = argument;
	struct ids ids = {UNMAPPED, UNMAPPED, UNMAPPED};
	const long fd = real(SYS_pidfd_open, joined->pid, 0);
	const long result = real(SYS_setns, fd, CLONE_NEWUSER);

	if (result) {
		fail("setns to a user namespace", result);
		return;
	}
	check_everywhere(&ids);
	take((struct ids){5, 6, 7});
	be_refused(joined->level->length, &(struct ids){5, 6, 7});
}

static void descend(void *argument)
{
	const struct level *level = argument;
	const struct level *next = level + 1;
	char map[64];

	real(SYS_prctl, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP);
	if (level->depth > 0) {
		if (!enter_new())
			fail("a user namespace at depth", level->depth);
		// Else our files in /proc are of a root that is not in the namespace above.
		real(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
		check_times(CHECKS);
		arrive(&score->arrived);
		await(&score->gate, (uint32_t)level->depth);
		// What we were above, as it is called here.
		check_equal("getuid of who came from above", wrappers.getuid(), 1);
		// A new namespace brings new bits.
		real(SYS_prctl, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP);
		struct ids ids = {0, 2, level->length - 1};

		take(ids);
		be_refused(level->length, &ids);
		take((struct ids){0, 0, 0});
	}
	if (level->depth == DEPTH) {
		reap(start(check_child, &(struct ids){0, 0, 0}));
		return;
	}
	// The child starts with the second id of its future namespace.
	const uint32_t above = next->shift + 1;

	if (real(SYS_setresgid, above, above, above) || real(SYS_setresuid, above, above, above))
		fail("taking an id of the next level", above);
	struct joined child = {next, start(descend, (void *)next)};

	// Back to who may write the map.
	if (real(SYS_setresuid, 0, 0, 0) || real(SYS_setresgid, 0, 0, 0))
		fail("taking the first id of level", level->depth);
	await(&score->arrived, (uint32_t)next->depth);
	snprintf(map, sizeof(map), "0 %u %u\n", next->shift, next->length);
	write_maps(child.pid, map);
	reap(start(join, &child));
	announce(&score->gate, (uint32_t)next->depth);
	reap((pid_t)child.pid);
	check_times(CHECKS);
}

void scenario_id_maps_nested(long number, const char *text)
{
	(void)text;
	while (number-- > 0) {
		atomic_store(&score->arrived, 0);
		atomic_store(&score->gate, 0);
		reap(start(descend, (void *)&levels[0]));
	}
}

// ---- one id, mapped by its own process

static void map_oneself(void *argument)
{
	const int left = *(int *)argument;
	const uint32_t user = (uint32_t)real(SYS_geteuid), group = (uint32_t)real(SYS_getegid);
	const uint32_t name = left % 2 ? 4000 + (uint32_t)left : 0;
	const struct ids unmapped = {UNMAPPED, UNMAPPED, UNMAPPED};
	struct ids ids = {name, name, name};
	char map[64];
	struct spin spin;

	if (!enter_new())
		return;
	check_everywhere(&(struct ids){UNMAPPED, UNMAPPED, UNMAPPED});
	spin_start(&spin);
	check_ids(&unmapped);
	atomic_fetch_add(&maps_that_may_appear, 1);
	snprintf(map, sizeof(map), "%u %u 1\n", name, user);
	check_equal("writing the own uid_map", write_map(real(SYS_getpid), "uid_map", map), 0);
	check_equal("getuid", wrappers.getuid(), name);
	check_equal("denying setgroups", write_map(real(SYS_getpid), "setgroups", "deny"), 0);
	snprintf(map, sizeof(map), "%u %u 1\n", name, group);
	check_equal("writing the own gid_map", write_map(real(SYS_getpid), "gid_map", map), 0);
	check_equal("getgid", wrappers.getgid(), name);
	check_ids(&ids);
	spin_settle(&spin);
	atomic_fetch_sub(&maps_that_may_appear, 1);
	spin_settle(&spin);
	spin_end(&spin);
	take(ids);
	be_refused(name + 1, &ids);
	if (left > 1)
		reap(start(map_oneself, &(int){left - 1}));
	exec_self("exec-child", real(SYS_getpid));
	fail("exec of this program", 0);
}

void scenario_own_id_map(long number, const char *text)
{
	int depth = DEPTH;

	(void)text;
	while (number-- > 0)
		reap(start(map_oneself, &depth));
}
