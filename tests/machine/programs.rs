// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What people do on a machine, with the library in each program.

use anyhow::Result;
use bysyscall_tests::fixture::trial;
use libtest_mimic::Trial;

use crate::support::{ensure_bypasses, scripted};

/// A login that needs no password.
const SSH: &str =
    "as_lab ssh -i /home/lab/.ssh/id -o BatchMode=yes -o StrictHostKeyChecking=no lab@localhost";

pub fn trials() -> Vec<Trial> {
    vec![
        // It is due at the next minute; what comes of it is looked at last.
        scripted(
            "programs::cron_takes_a_job",
            "echo \"* * * * * BYSYSCALL_LOG=info $LAB/target/programs/getpid 100000 2>/home/lab/cron.log\" |
                 as_lab crontab -",
        ),
        trial("programs::ssh_by_key", ssh_by_key),
        scripted(
            "programs::ssh_by_password",
            "printf '#!/bin/sh\\necho lab\\n' >/var/tmp/askpass
             chmod 755 /var/tmp/askpass
             user=$(as_lab SSH_ASKPASS=/var/tmp/askpass SSH_ASKPASS_REQUIRE=force setsid --wait \
                 ssh -o PreferredAuthentications=password -o StrictHostKeyChecking=no lab@localhost id -un)
             [ \"$user\" = lab ]",
        ),
        scripted(
            "programs::su",
            "[ \"$(echo root | as_lab su --command='id -u')\" = 0 ]
             [ \"$(su --login lab --command='id -un')\" = lab ]",
        ),
        trial("programs::sudo", || {
            ensure_bypasses(
                "echo lab | as_lab sudo --reset-timestamp --stdin --prompt= \
                 env BYSYSCALL_LOG=info $LAB/target/programs/getpid 100000",
            )
        }),
        scripted(
            "programs::apt",
            "packages=$(grep -v '^#' $LAB/tests/vm/repository-packages)
             apt-get install --yes $packages
             [ \"$(hello)\" = 'Hello, world!' ]
             [ \"$(echo '6 * 7' | bc)\" = 42 ]
             apt-get remove --yes $packages
             if command -v hello; then exit 1; fi
             apt-get check",
        ),
        scripted(
            "programs::gcc",
            "as_lab sh -ec 'mkdir -p ~/build; cd ~/build
                 printf \"#include <stdio.h>\\nint main(void) { puts(\\\"built\\\"); }\\n\" >it.c
                 make CFLAGS=-O2 it 2>&1
                 [ \"$(./it)\" = built ]'",
        ),
        scripted(
            "programs::postgresql",
            "cd /var/tmp
             runuser -u postgres -- createdb bench
             runuser -u postgres -- pgbench --initialize --quiet bench
             runuser -u postgres -- pgbench --client=2 --jobs=2 --transactions=50 bench | tee /var/tmp/pgbench
             grep -q 'number of transactions actually processed: 100/100' /var/tmp/pgbench
             runuser -u postgres -- dropdb bench",
        ),
        scripted(
            "programs::nginx",
            "python3 -c 'import urllib.request as web
assert b\"nginx\" in web.urlopen(\"http://127.0.0.1/\").read()'",
        ),
        scripted(
            "programs::redis",
            "[ \"$(redis-cli ping)\" = PONG ]
             redis-benchmark -q -n 1000 -t set,get",
        ),
        scripted(
            "programs::python_venv",
            "as_lab python3 -m venv /home/lab/venv
             as_lab /home/lab/venv/bin/python -c 'import sys; assert sys.prefix == \"/home/lab/venv\"'
             as_lab /home/lab/venv/bin/pip --version",
        ),
        trial("programs::bubblewrap", || {
            ensure_bypasses(
                "as_lab BYSYSCALL_LOG=info bwrap --dev-bind / / --unshare-all --proc /proc \
                 $LAB/target/programs/getpid 100000",
            )
        }),
        // From a login, as it needs the user's own service manager.
        trial("programs::podman", || {
            let podman = format!(
                "{SSH} 'set -e; mkdir -p image/bin; cp /bin/busybox image/bin/sh
                 tar --create --directory=image . | podman import --quiet - tiny
                 podman run --rm --network=none tiny /bin/sh -c \"echo inside\"' >/var/tmp/podman
                 grep -qx inside /var/tmp/podman"
            );
            crate::support::sh(&podman).map(drop)
        }),
        trial("programs::cron_has_run_the_job", || {
            crate::support::sh("for i in $(seq 150); do [ -s /home/lab/cron.log ] && exit; sleep 1; done; exit 1")?;
            ensure_bypasses("sleep 3; cat /home/lab/cron.log >&2; as_lab crontab -r")
        }),
    ]
}

fn ssh_by_key() -> Result<()> {
    crate::support::sh(
        "as_lab sh -ec 'rm -rf ~/.ssh; mkdir -m 700 ~/.ssh
             ssh-keygen -q -t ed25519 -N \"\" -f ~/.ssh/id; cp ~/.ssh/id.pub ~/.ssh/authorized_keys'",
    )?;
    ensure_bypasses(&format!("{SSH} BYSYSCALL_LOG=info $LAB/target/programs/getpid 100000"))
}
