// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// One identity call many times, against one real system call.
//
//	CALL COUNT [fork|pthread]
//
// Compile with -DCALL=getpid, gettid, getuid or getgid. Links plainly, and with
// -lbysyscall -Wl,--wrap=CALL.
//
// Exit status: 0 all answers match, 1 one does not, 2 wrong usage.

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "real.h"

#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)
#define NUMBER_OF(name) SYS_##name
#define NUMBER(name) NUMBER_OF(name)

static const char call[] = TEXT(CALL);
static const char *const noun = call + sizeof("get") - 1;

static int compare(unsigned long count)
{
	// The only real call of this kind: whoever traces the program can count on it.
	const unsigned int wanted = real(NUMBER(CALL));
	unsigned int got = wanted;

	for (unsigned long done = 0; done < count; done++) {
		got = CALL();
		if (got != wanted) {
			fprintf(stderr, "call %lu: %s from %s() (%u) does not match %s from syscall (%u)\n",
				done + 1, noun, call, got, noun, wanted);
			return 1;
		}
	}
	printf("%lu %s from %s() (%u) matches %s from syscall (%u)\n", count, noun, call, got, noun,
	       wanted);
	return 0;
}

static int compare_in_child(unsigned long count)
{
	int status;
	const pid_t child = fork();

	if (child < 0) {
		perror("fork");
		return 1;
	}
	if (child == 0)
		exit(compare(count));
	if (waitpid(child, &status, 0) != child) {
		perror("waitpid");
		return 1;
	}
	if (!WIFEXITED(status)) {
		fprintf(stderr, "the child was ended by signal %d\n", WTERMSIG(status));
		return 1;
	}
	return WEXITSTATUS(status);
}

static void *thread(void *count)
{
	return (void *)(long)compare(*(unsigned long *)count);
}

static int compare_in_thread(unsigned long count)
{
	pthread_t id;
	void *result;
	const int error = pthread_create(&id, NULL, thread, &count);

	if (error) {
		fprintf(stderr, "pthread_create: %s\n", strerror(error));
		return 1;
	}
	pthread_join(id, &result);
	return (int)(long)result;
}

static int usage(void)
{
	fprintf(stderr, "usage: %s COUNT [fork|pthread]\n", call);
	return 2;
}

int main(int argc, char **argv)
{
	char *end;

	if (argc < 2 || argc > 3 || argv[1][0] < '0' || argv[1][0] > '9')
		return usage();
	errno = 0;
	const unsigned long count = strtoul(argv[1], &end, 10);
	if (errno || *end || count == 0)
		return usage();
	if (argc == 2)
		return compare(count);
	if (!strcmp(argv[2], "fork"))
		return compare_in_child(count);
	if (!strcmp(argv[2], "pthread"))
		return compare_in_thread(count);
	return usage();
}
