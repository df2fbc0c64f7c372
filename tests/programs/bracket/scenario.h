// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//
// The scenarios. Each is given its number (a count or seconds) and its text argument, if it has one.

#ifndef SCENARIO_H
#define SCENARIO_H

#define SCENARIO(name) void name(long number, const char *text)

SCENARIO(scenario_single);
SCENARIO(scenario_threads);
SCENARIO(scenario_churn);
SCENARIO(scenario_migrate);
SCENARIO(scenario_dlopen_late);

SCENARIO(scenario_fork);
SCENARIO(scenario_fork_thread);
SCENARIO(scenario_double_fork);
SCENARIO(scenario_fork_tree);
SCENARIO(scenario_fork_storm);
SCENARIO(scenario_sessions);

SCENARIO(scenario_vfork);
SCENARIO(scenario_spawn);
SCENARIO(scenario_clone_grid);
SCENARIO(scenario_refused_clones);

SCENARIO(scenario_exec_child);
SCENARIO(scenario_exec_leader);
SCENARIO(scenario_exec_thread);

SCENARIO(scenario_groups);
SCENARIO(scenario_moved_by_parent);
SCENARIO(scenario_relation_arguments);
SCENARIO(scenario_parents);
SCENARIO(scenario_parent_after_exec);
SCENARIO(scenario_children);
SCENARIO(scenario_child_of);

SCENARIO(scenario_signals);
SCENARIO(scenario_nesting);

SCENARIO(scenario_getresuid_pointers);
SCENARIO(scenario_errno);
SCENARIO(scenario_passthrough);

SCENARIO(scenario_creds);
SCENARIO(scenario_creds_broadcast);
SCENARIO(scenario_creds_exec);
SCENARIO(scenario_creds_image);
SCENARIO(scenario_creds_overlay);
SCENARIO(scenario_preempted);
SCENARIO(scenario_pid_namespace);
SCENARIO(scenario_within_pid_namespaces);
SCENARIO(scenario_pid_namespace_relations);
SCENARIO(scenario_user_namespace);
SCENARIO(scenario_setns);
SCENARIO(scenario_id_maps);
SCENARIO(scenario_newuidmap);
SCENARIO(scenario_id_maps_nested);
SCENARIO(scenario_own_id_map);

SCENARIO(scenario_seccomp_inherited);
SCENARIO(scenario_seccomp_after);
SCENARIO(scenario_seccomp_emulated);
SCENARIO(scenario_user_dispatch);
SCENARIO(scenario_user_dispatch_raw);
SCENARIO(scenario_user_dispatch_libc);
SCENARIO(scenario_ptrace_emulated);

SCENARIO(scenario_load);
SCENARIO(scenario_exec_chain);

// Ends the run: this machine or user cannot show it.
_Noreturn void skip(const char *why);

#endif
