// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// early_thread TIMES: makes a thread before anything else, which sleeps, then asks so often what the process has used,
// and how long it has run.

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static void *sleeper(void *unused)
{
	(void)unused;
	pause();
	return NULL;
}

int main(int count, char **arguments)
{
	struct rusage usage;
	pthread_t thread;

	if (count != 2 || pthread_create(&thread, NULL, sleeper, NULL))
		return 1;
	for (long times = atol(arguments[1]); times > 0; times--) {
		getrusage(RUSAGE_SELF, &usage);
		clock();
	}
	return 0;
}
