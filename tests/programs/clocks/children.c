// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// What a process takes over from its children.

#define _GNU_SOURCE
#include <sys/wait.h>
#include <unistd.h>

#include "../real.h"
#include "judge.h"
#include "scenario.h"

// Children are waited for in every way; their times come at that moment, no sooner and no later.
void scenario_children(void)
{
	struct history history = {0};

	for (int turn = 0; goes_on(); turn++) {
		const int child = child_of(some_rounds);
		int status;
		siginfo_t info;

		if (turn % 4 == 0)
			usleep(20000);
		let_kernel_look(&history);
		round_of_all(&history);
		if (turn % 3 == 0) {
			waitpid(child, &status, 0);
		} else if (turn % 3 == 1) {
			waitid(P_PID, (id_t)child, &info, WEXITED);
			status = info.si_status;
		} else {
			while (waitpid(-1, &status, WNOHANG) == 0)
				round_of_all(&history);
		}
		judge_end(status);
		// Whatever has the cell described anew must not bring back the times of before.
		if (turn % 2)
			real(SYS_setresuid, -1, -1, -1);
		bracket_times(&history, false);
		let_kernel_look(&history);
		some_rounds(&history);
	}
}
