// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// overlayfs lends the mounter's credentials to a task for the length of a file operation. A task
// switched out in that time must not be seen with them when it is back in user code.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../real.h"
#include "check.h"
#include "process.h"
#include "scenario.h"

#define USERS 4
#define FIRST_USER 1000
#define COPIED_BYTES (256 * 1024)

static int64_t deadline;

static void write_file(const char *path)
{
	static const char block[COPIED_BYTES];
	const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);

	if (fd < 0 || write(fd, block, sizeof(block)) < 0)
		fail("writing a file of the overlay", errno);
	close(fd);
}

static void use_files(void *user)
{
	const long id = *(long *)user;
	char own[64], copied[64];

	if (real(SYS_setresgid, id, id, id) || real(SYS_setresuid, id, id, id)) {
		fail("becoming a user", id);
		return;
	}
	snprintf(own, sizeof(own), "merged/own-%ld", id);
	for (int i = 0; now() < deadline; i++) {
		struct stat status;
		int fd;

		// Opening a lower file for writing copies it up, in pieces between which tasks switch.
		snprintf(copied, sizeof(copied), "merged/%d", i % 64);
		fd = open(copied, O_RDWR);
		check_all();
		close(fd);
		unlink(copied);
		check_all();
		write_file(own);
		check_all();
		if (stat(own, &status) || status.st_uid != id)
			fail("owner of a file in the overlay", status.st_uid);
		check_all();
		rename(own, copied);
		check_all();
	}
}

static void mount_and_use(void *unused)
{
	char path[32];
	pid_t users[USERS];

	(void)unused;
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", "/tmp", "tmpfs", 0, "mode=0777") || chdir("/tmp") || mkdir("lower", 0777) ||
	    mkdir("upper", 0777) || mkdir("work", 0777) || mkdir("merged", 0777)) {
		fail("preparing the overlay's directories in /tmp", errno);
		return;
	}
	umask(0);
	chmod("lower", 0777);
	chmod("upper", 0777);
	for (int i = 0; i < 64; i++) {
		snprintf(path, sizeof(path), "lower/%d", i);
		write_file(path);
	}
	if (mount("overlay", "merged", "overlay", 0, "lowerdir=lower,upperdir=upper,workdir=work")) {
		fail("mount of an overlay", errno);
		return;
	}
	for (long i = 0; i < USERS; i++) {
		long user = FIRST_USER + i;

		users[i] = start(use_files, &user);
	}
	for (int i = 0; i < USERS; i++)
		reap(users[i]);
}

static bool kernel_has_overlay(void)
{
	char line[128];
	bool found = false;
	FILE *file = fopen("/proc/filesystems", "r");

	while (file && fgets(line, sizeof(line), file))
		found |= !strcmp(line, "nodev\toverlay\n");
	if (file)
		fclose(file);
	return found;
}

void scenario_creds_overlay(long number, const char *text)
{
	(void)text;
	if (!kernel_has_overlay())
		skip("this kernel has no overlayfs loaded");
	deadline = in_seconds(number);
	reap(start(mount_and_use, NULL));
}
