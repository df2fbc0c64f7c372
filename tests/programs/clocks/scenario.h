// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// The scenarios, and what they have in common.

#ifndef SCENARIO_H
#define SCENARIO_H

#include <stdbool.h>

#include "judge.h"

// Until the time of the scenario is over.
bool goes_on(void);

// Rounds of everything for as long.
void busy(struct history *history);

// Forks; the child does the work, with a history of its own, and ends with 0.
int child_of(void (*work)(struct history *));

// The end of a child must be that.
void judge_end(int status);

// Ends the run: this machine cannot show it.
_Noreturn void skip(const char *why);

void scenario_busy(void);
void scenario_system(void);
void scenario_sleep(void);
void scenario_extrapolated(void);
void scenario_migrate(void);
void scenario_policies(void);
void scenario_timers(void);
void scenario_time_namespace(void);
void scenario_threads(void);
void scenario_churn(void);
void scenario_children(void);
void scenario_waits(void);
void scenario_short_threads(void);
void scenario_siblings(void);
void scenario_joins(void);
void scenario_sleepers(void);
void scenario_dlopen_late(void);
void scenario_faults(void);
void scenario_copy_on_write(void);
void scenario_huge_pages(void);
void scenario_files(void);
void scenario_exec(void);
void scenario_exec_image(void);
void scenario_throttled(void);
void scenario_hotplug(void);
void scenario_slewed(void);
void scenario_errors(void);

#endif
