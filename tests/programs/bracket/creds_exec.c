// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// A line of executables, each of which becomes the next: set-uid and set-gid ones, one with a
// capability, and plain ones in between. libc drops LD_PRELOAD where ids or capabilities were
// gained; we set it again for whoever comes after.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "../real.h"
#include "check.h"
#include "process.h"
#include "scenario.h"
#include "spin.h"

#define USER 1002
#define GROUP 2002
#define OWNER 1001
#define OWNING_GROUP 2001
#define CHECKS 5
#define PRELOAD_VARIABLE "BRACKET_PRELOAD"

static void stay(void)
{
}

static void give_up(void)
{
	if (real(SYS_setresgid, GROUP, GROUP, GROUP) || real(SYS_setresuid, USER, USER, USER))
		fail("giving up what was gained", 0);
}

static void become_root(void)
{
	if (real(SYS_setresuid, 0, 0, 0))
		fail("becoming root", 0);
}

static void be_another_for_now(void)
{
	if (real(SYS_setresuid, -1, OWNER + 10, -1))
		fail("being another user for now", 0);
}

static void give_up_root(void)
{
	become_root();
	give_up();
}

static void gain_nothing_more(void)
{
	real(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

struct image {
	const char *file;
	uint32_t users[3];
	uint32_t groups[3];
	bool secure;
	void (*before_next)(void);
};

#define USERS {USER, USER, USER}
#define GROUPS {GROUP, GROUP, GROUP}

static const struct image images[] = {
	{"plain", USERS, GROUPS, false, stay},
	{"set-uid", {USER, OWNER, OWNER}, GROUPS, true, stay},
	{"plain", {USER, OWNER, OWNER}, GROUPS, true, give_up},
	{"plain", USERS, GROUPS, false, stay},
	{"set-gid", USERS, {GROUP, OWNING_GROUP, OWNING_GROUP}, true, give_up},
	{"plain", USERS, GROUPS, false, stay},
	{"set-both", {USER, OWNER, OWNER}, {GROUP, OWNING_GROUP, OWNING_GROUP}, true, give_up},
	{"set-root", {USER, 0, 0}, GROUPS, true, become_root},
	{"plain", {0, 0, 0}, GROUPS, false, be_another_for_now},
	{"set-uid", {0, OWNER, OWNER}, GROUPS, true, give_up_root},
	{"with-capability", USERS, GROUPS, true, stay},
	{"plain", USERS, GROUPS, false, gain_nothing_more},
	{"set-uid", USERS, GROUPS, false, stay},
	{"plain", USERS, GROUPS, false, stay},
};
#define IMAGES (long)(sizeof(images) / sizeof(images[0]))

static void check_ids(const struct image *image)
{
	uint32_t got[3];

	check_equal("getuid", wrappers.getuid(), image->users[0]);
	check_equal("geteuid", wrappers.geteuid(), image->users[1]);
	check_equal("getgid", wrappers.getgid(), image->groups[0]);
	check_equal("getegid", wrappers.getegid(), image->groups[1]);
	wrappers.getresuid(&got[0], &got[1], &got[2]);
	for (int i = 0; i < 3; i++)
		check_equal("getresuid", got[i], image->users[i]);
	wrappers.getresgid(&got[0], &got[1], &got[2]);
	for (int i = 0; i < 3; i++)
		check_equal("getresgid", got[i], image->groups[i]);
	check_times(CHECKS);
}

static void check_child(void *image)
{
	check_ids(image);
}

static void *check_in_thread(void *image)
{
	check_ids(image);
	return NULL;
}

static void *exec_image(void *argument)
{
	const long next = *(long *)argument;
	const char *preload = getenv(PRELOAD_VARIABLE);
	char number[DECIMAL_SIZE];
	char *const arguments[] = {"bracket", "creds-image", decimal(number, next), NULL};

	if (preload)
		setenv("LD_PRELOAD", preload, 1);
	execv(images[next].file, arguments);
	fail("exec", errno);
	leave(1);
	return NULL;
}

// An image of the line.
void scenario_creds_image(long number, const char *text)
{
	const struct image *image = &images[number];
	long next = number + 1;
	struct spin spin;

	(void)text;
	check_ids(image);
	check_equal("AT_SECURE", getauxval(AT_SECURE) != 0, image->secure);
	run_threads(1, check_in_thread, (void *)image);
	reap(start(check_child, (void *)image));
	if (next == IMAGES)
		return;
	spin_start(&spin);
	spin_settle(&spin);
	// The executing thread's ids alone decide; the others keep theirs until they end.
	image->before_next();
	check_times(CHECKS);
	if (number % 2)
		run_threads(1, exec_image, &next);
	else
		exec_image(&next);
}

static void copy_self(const char *name, uid_t owner, gid_t group, mode_t mode)
{
	const int from = open("/proc/self/exe", O_RDONLY);
	const int to = open(name, O_WRONLY | O_CREAT | O_EXCL, 0755);
	struct stat status;

	if (from < 0 || to < 0 || fstat(from, &status) ||
	    sendfile(to, from, NULL, (size_t)status.st_size) != status.st_size ||
	    fchown(to, owner, group) || fchmod(to, mode))
		fail(name, errno);
	close(from);
	close(to);
}

static void give_capability(const char *name)
{
	const struct vfs_cap_data data = {
		.magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE,
		.data[0].permitted = 1u << CAP_SYS_NICE,
	};

	copy_self(name, 0, 0, 0755);
	if (setxattr(name, "security.capability", &data, sizeof(data), 0))
		fail("giving a file a capability", errno);
}

static void run_line(void *unused)
{
	const char *preload = getenv("LD_PRELOAD");
	long first = 0;

	(void)unused;
	// On a file system of our own, where set-uid counts, over what nobody here looks at.
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", "/sys", "tmpfs", 0, "mode=0755") || chdir("/sys")) {
		fail("mounting on /sys", errno);
		return;
	}
	copy_self("plain", 0, 0, 0755);
	copy_self("set-uid", OWNER, 0, 04755);
	copy_self("set-gid", 0, OWNING_GROUP, 02755);
	copy_self("set-both", OWNER, OWNING_GROUP, 06755);
	copy_self("set-root", 0, 0, 04755);
	give_capability("with-capability");
	if (preload)
		setenv(PRELOAD_VARIABLE, preload, 1);
	real(SYS_setgroups, 0, NULL);
	give_up();
	exec_image(&first);
}

void scenario_creds_exec(long number, const char *text)
{
	(void)text;
	while (number-- > 0)
		reap(start(run_line, NULL));
}
