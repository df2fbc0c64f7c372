// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Blocks read and written, and faults that have to wait for them.

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "judge.h"
#include "scenario.h"

#define SIZE (256 << 10)

static int file;

// By the page cache, to which blocks are counted when they become dirty, and from where they must be read again.
static void write_and_read(struct history *history)
{
	static char buffer[SIZE];

	buffer[0]++;
	if (pwrite(file, buffer, SIZE, 0) != SIZE)
		fail("%s: cannot write\n", scenario_name);
	round_of_usage(history);
	fdatasync(file);
	round_of_usage(history);
	posix_fadvise(file, 0, SIZE, POSIX_FADV_DONTNEED);
	if (pread(file, buffer, SIZE / 2, 0) != SIZE / 2)
		fail("%s: cannot read\n", scenario_name);
	round_of_usage(history);
	char *const area = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, file, 0);

	for (size_t i = SIZE / 2; area != MAP_FAILED && i < SIZE; i += 16 << 10) {
		(void)((volatile char *)area)[i];
		bracket_usage(history, SELF, false);
		bracket_usage(history, THREAD, true);
	}
	munmap(area, SIZE);
}

// Past the page cache, where the file system can.
static void write_directly(struct history *history)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	const int direct = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	void *const buffer = aligned_alloc(4096, SIZE);

	if (direct >= 0 && buffer && pread(direct, buffer, SIZE, 0) == SIZE) {
		round_of_usage(history);
		if (pwrite(direct, buffer, SIZE, 0) != SIZE)
			fail("%s: cannot write directly\n", scenario_name);
	}
	round_of_usage(history);
	free(buffer);
	close(direct);
}

static void all_of_it(struct history *history)
{
	write_and_read(history);
	write_directly(history);
}

void scenario_files(void)
{
	struct history history = {0};

	file = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (file < 0)
		skip("needs O_TMPFILE in /var/tmp, Linux 3.11");
	while (goes_on()) {
		int status;

		all_of_it(&history);
		waitpid(child_of(all_of_it), &status, 0);
		judge_end(status);
		bracket_usage(&history, CHILDREN, false);
	}
	const struct usage used = usage_by_kernel(SELF);

	// Else nothing has been shown.
	if (!used.of[OUBLOCK] || !used.of[INBLOCK])
		skip("needs a file system in /var/tmp that counts blocks, Linux 2.6");
}
