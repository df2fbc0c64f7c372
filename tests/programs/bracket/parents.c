// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Parents: of children made in all ways, and parents that end in all ways while their child asks.

#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../real.h"
#include "check.h"
#include "process.h"
#include "scenario.h"
#include "spin.h"

#define CHECKS 10
#define LOOKS 3

// Who is the parent, one after the other, from the last to the first. What is not shared here, a
// child has from the time at which it was made.
static long parents[4];
static int parent_count;

static void add_parent(long pid)
{
	parents[parent_count++] = pid;
}

static void check_parent(const char *when, long wanted)
{
	check_equal("real getppid", real(SYS_getppid), wanted);
	check_equal(when, getppid(), wanted);
	check_equal(when, wrappers.syscall(SYS_getppid), wanted);
	check_times(CHECKS);
}

// The child: asks without end, and looks closely whenever it is told to.
static void live_through_parents(void *unused)
{
	struct spin spin;
	uint32_t looks = 0;

	(void)unused;
	// Where Yama restricts who may trace.
	real(SYS_prctl, PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
	spin_start(&spin);
	check_parent("getppid at first", parents[parent_count - 1]);
	arrive(&score->arrived);
	for (int i = parent_count - 1; i > 0; i--) {
		for (;;) {
			// Before who the parent is, as the next one may be who tells us to look.
			const bool look = atomic_load(&score->gate) > looks;

			if (real(SYS_getppid) != parents[i])
				break;
			check_all();
			if (!look)
				continue;
			looks++;
			spin_settle(&spin);
			check_parent("getppid while a parent's thread ends", parents[i]);
			arrive(&score->arrived);
		}
		check_parent("getppid after a parent", parents[i - 1]);
	}
	spin_settle(&spin);
	spin_end(&spin);
	check_parent("getppid after all parents", parents[0]);
}

// Lets the child look while we are still there.
static void be_looked_at(void)
{
	for (int i = 0; i < LOOKS; i++) {
		const uint32_t arrived = atomic_load(&score->arrived);

		announce(&score->gate, atomic_load(&score->gate) + 1);
		await(&score->arrived, arrived + 1);
	}
}

static pid_t start_child(void)
{
	const uint32_t arrived = atomic_load(&score->arrived);
	const pid_t child = start(live_through_parents, NULL);

	await(&score->arrived, arrived + 1);
	return child;
}

static void end_by_signal(void)
{
	for (;;)
		real(SYS_kill, real(SYS_getpid), SIGKILL);
}

static void reap_killed(pid_t child)
{
	int status = 0;

	if (real(SYS_wait4, child, &status, __WALL, NULL) != child || !WIFSIGNALED(status))
		fail("a child that ends by signal", status);
}

// ---- the ways to end

static void by_exit(void)
{
	start_child();
	be_looked_at();
}

static void by_signal(void)
{
	start_child();
	end_by_signal();
}

static void *start_child_in_thread(void *tid)
{
	start_child();
	*(long *)tid = real(SYS_gettid);
	return NULL;
}

static void after_thread(void)
{
	long tid = 0;

	run_threads(1, start_child_in_thread, &tid);
	// The thread is joined before it has given its children away.
	while (real(SYS_tgkill, real(SYS_getpid), tid, 0) == 0)
		check_all();
	be_looked_at();
}

static void *outlive_leader(void *unused)
{
	const long leader = real(SYS_getpid);

	be_looked_at();
	check_times(CHECKS);
	be_looked_at();
	check_equal("getpid after the leader", wrappers.getpid(), leader);
	leave(0);
	return unused;
}

static void leader_first(void)
{
	struct crowd crowd;

	start_child();
	crowd_start(&crowd, 1, outlive_leader, NULL);
	for (;;)
		real(SYS_exit, 0);
}

// The rest of a parent that has become this program again.
void scenario_parent_after_exec(long number, const char *text)
{
	(void)text;
	check_equal("getpid after exec", wrappers.getpid(), number);
	be_looked_at();
}

static void *exec_as_parent(void *unused)
{
	exec_self("parent-after-exec", real(SYS_getpid));
	fail("exec of this program", 0);
	leave(1);
	return unused;
}

static void after_exec(void)
{
	start_child();
	exec_as_parent(NULL);
}

static void after_exec_of_thread(void)
{
	start_child();
	run_threads(1, exec_as_parent, NULL);
}

static void *start_and_exec(void *unused)
{
	start_child();
	return exec_as_parent(unused);
}

static void after_exec_of_its_thread(void)
{
	run_threads(1, start_and_exec, NULL);
}

static void run_as_parent(void *way)
{
	add_parent(real(SYS_getpid));
	(*(void (**)(void))way)();
}

static void become_subreaper(long yes)
{
	real(SYS_prctl, PR_SET_CHILD_SUBREAPER, yes, 0, 0, 0);
}

static void among_subreapers(void)
{
	void (*way)(void) = by_exit;

	become_subreaper(1);
	reap(start(run_as_parent, &way));
	be_looked_at();
}

static void wait_for_signal(void)
{
	start_child();
	arrive(&score->arrived);
	for (;;)
		real(SYS_pause);
}

static void change_role(bool yes)
{
	void (*way)(void) = wait_for_signal;
	const uint32_t arrived = atomic_load(&score->arrived);

	become_subreaper(!yes);
	// Without the role we are nobody's next parent.
	if (!yes)
		parent_count--;
	const pid_t between = start(run_as_parent, &way);

	await(&score->arrived, arrived + 2);
	become_subreaper(yes);
	real(SYS_kill, between, SIGKILL);
	reap_killed(between);
}

static void late_subreaper(void)
{
	change_role(true);
	be_looked_at();
}

static void former_subreaper(void)
{
	change_role(false);
}

static int live_through_parents_alone(void *unused)
{
	(void)unused;
	check_parent("getppid of a vfork child", parents[parent_count - 1]);
	real(SYS_kill, parents[parent_count - 1], SIGKILL);
	while (real(SYS_getppid) == parents[parent_count - 1])
		check_all();
	check_parent("getppid after a vfork child's parent", parents[parent_count - 2]);
	return 0;
}

// The child lives on in the memory of a dead process.
static void below_vfork(void)
{
	raw_spawn(SYS_vfork, 0, 0, 0, 0, 0, live_through_parents_alone, NULL);
}

static int start_as_sibling(void *unused)
{
	live_through_parents(unused);
	return 0;
}

static void start_for_parent(void *unused)
{
	(void)unused;
	raw_spawn(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0, start_as_sibling, NULL);
	await(&score->arrived, 1);
}

// A child that our child has made: clone(CLONE_PARENT).
static void of_a_sibling(void)
{
	reap(start(start_for_parent, NULL));
	be_looked_at();
}

static void lead_and_end(void *unused)
{
	(void)unused;
	real(SYS_setsid);
	add_parent(real(SYS_getpid));
	start_child();
}

static void of_a_daemon(void)
{
	become_subreaper(1);
	const pid_t leader = start(lead_and_end, NULL);

	reap(leader);
	be_looked_at();
}

static bool seize(long tracee)
{
	const long result = real(SYS_ptrace, PTRACE_SEIZE, tracee, 0, 0);

	if (result)
		fail("PTRACE_SEIZE", result);
	return result == 0;
}

static void trace_for_a_while(void *tracee)
{
	const long child = *(long *)tracee;
	int status;

	for (int i = 0; i < LOOKS && seize(child); i++) {
		be_looked_at();
		real(SYS_ptrace, PTRACE_INTERRUPT, child, 0, 0);
		real(SYS_wait4, child, &status, __WALL, NULL);
		// The last time our end lets it go.
		if (i == LOOKS - 1)
			return;
		real(SYS_ptrace, PTRACE_DETACH, child, 0, 0);
		be_looked_at();
	}
}

static void trace_to_the_end(void *tracee)
{
	const long child = *(long *)tracee;
	int status;

	if (seize(child))
		be_looked_at();
	arrive(&score->arrived);
	real(SYS_wait4, child, &status, __WALL, NULL);
}

// A tracer is what the kernel calls the parent inside, but not to the child.
static void while_traced(void)
{
	long child = start_child();

	reap(start(trace_for_a_while, &child));
	be_looked_at();
	const uint32_t arrived = atomic_load(&score->arrived);

	start(trace_to_the_end, &child);
	await(&score->arrived, arrived + LOOKS + 1);
}

struct ending {
	void (*way)(void);
	bool by_signal;
};

static struct ending endings[] = {
	{by_exit, false},
	{by_signal, true},
	{after_thread, false},
	{leader_first, false},
	{after_exec, false},
	{after_exec_of_thread, false},
	{after_exec_of_its_thread, false},
	{among_subreapers, false},
	{late_subreaper, false},
	{former_subreaper, false},
	{below_vfork, true},
	{of_a_sibling, false},
	{of_a_daemon, false},
	{while_traced, false},
};

static void end_parents(void *number)
{
	become_subreaper(1);
	add_parent(real(SYS_getpid));
	for (long round = 0; round < *(long *)number; round++) {
		for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
			atomic_store(&score->arrived, 0);
			atomic_store(&score->gate, 0);
			const pid_t parent = start(run_as_parent, &endings[i].way);

			if (endings[i].by_signal)
				reap_killed(parent);
			else
				reap(parent);
			reap_all();
		}
	}
}

void scenario_parents(long number, const char *text)
{
	(void)text;
	reap(start(end_parents, &number));
}

// ---- children that have a parent in all ways

void scenario_child_of(long number, const char *text)
{
	(void)text;
	check_parent("getppid after exec", number);
}

static int check_vforked(void *parent)
{
	check_parent("getppid in a child that shares memory", *(long *)parent);
	return 0;
}

static int check_vforked_then_exec(void *parent)
{
	check_vforked(parent);
	exec_self("child-of", *(long *)parent);
	fail("exec of this program", 0);
	return 1;
}

static void check_forked(void *parent)
{
	check_parent("getppid in a child", *(long *)parent);
}

static void spawn_one(long self)
{
	char number[DECIMAL_SIZE];
	char *const arguments[] = {"bracket", "child-of", decimal(number, self), NULL};
	pid_t child;
	const int error = posix_spawn(&child, "/proc/self/exe", NULL, NULL, arguments, environ);

	if (error)
		fail("posix_spawn", error);
	else
		reap(child);
}

// From a thread too, as a parent is a process.
static void *make_children(void *count)
{
	long self = real(SYS_getpid);
	long above = real(SYS_getppid);

	for (long i = 0; i < *(long *)count; i++) {
		reap(start(check_forked, &self));
		reap(start_raw(check_forked, &self));
		reap(start_by_syscall(check_forked, &self));
		reap((pid_t)raw_spawn(SYS_vfork, 0, 0, 0, 0, 0, check_vforked, &self));
		reap((pid_t)raw_spawn(SYS_vfork, 0, 0, 0, 0, 0, check_vforked_then_exec, &self));
		// Its parent is ours, who waits for it.
		raw_spawn(SYS_clone, CLONE_PARENT | CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0, 0,
			  check_vforked, &above);
		spawn_one(self);
		check_all();
	}
	return NULL;
}

static void make_children_twice(void *count)
{
	make_children(count);
	run_threads(2, make_children, count);
}

static void be_above(void *count)
{
	start(make_children_twice, count);
	reap_all();
}

void scenario_children(long number, const char *text)
{
	(void)text;
	reap(start(be_above, &number));
}
