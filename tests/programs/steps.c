// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// Calls getpid() and gettid() COUNT times for each line of standard input, and answers each
// line with one. So a test can have something happen between, while the process runs on.
//
// Exit status: 0 all answers match, 1 one does not, 2 wrong usage.

#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "real.h"

int main(int argc, char **argv)
{
	const long count = argc == 2 ? atol(argv[1]) : 0;
	const pid_t pid = (pid_t)real(SYS_getpid), tid = (pid_t)real(SYS_gettid);
	char line[16];

	if (count <= 0) {
		fprintf(stderr, "usage: steps COUNT\n");
		return 2;
	}
	setvbuf(stdin, NULL, _IONBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		for (long done = 0; done < count; done++) {
			if (getpid() != pid || gettid() != tid) {
				fprintf(stderr, "call %ld: another pid or tid\n", done + 1);
				return 1;
			}
		}
		puts("done");
		fflush(stdout);
	}
	return 0;
}
