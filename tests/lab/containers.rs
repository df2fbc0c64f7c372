// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Namespaces of all kinds and the programs that make containers of them, with
//! and without the service's directories inside.

use std::fs;
use std::process::{Child, Command};

use anyhow::{Context, Result};
use bysyscall_tests::fixture::{spawn, trial, wait_until};
use bysyscall_tests::process::succeed;
use libtest_mimic::Trial;

use crate::support::{
    Answers, ROOT, Scratch, USER, Way, as_user, ensure_checks, not_served, script, served,
};

/// What the kernel says instead of a user that the place has no number for.
const OVERFLOW: u32 = 65534;

/// Where the containers with a root of their own have what is under test.
const INSIDE: &str = "/under-test";

const PLACES: &[Way] = &[
    served("pid", ROOT, "unshare --pid --fork --mount-proc $CHECKS", ROOT),
    served("pid-with-outer-proc", ROOT, "unshare --pid --fork $CHECKS pid-namespace", ROOT),
    served(
        "pid-two-deep",
        ROOT,
        "unshare --pid --fork unshare --pid --fork --mount-proc $CHECKS",
        ROOT,
    ),
    served("user", USER, "unshare --user --map-root-user $CHECKS", ROOT),
    // An id map may still come, and turn unknown users into known ones.
    Way {
        name: "user-unmapped",
        from: USER,
        by: "unshare --user $CHECKS",
        uid: OVERFLOW,
        answers: Answers::BypassedButIds,
    },
    served(
        "user-and-pid-two-deep",
        USER,
        "unshare --user --map-root-user --pid --fork --mount-proc \
         unshare --user --map-user=7 --map-group=8 --pid --fork --mount-proc $CHECKS user-namespace",
        7,
    ),
    served(
        "user-with-ranges",
        USER,
        "unshare --map-users=auto --map-groups=auto --map-root-user --pid --fork --mount-proc $CHECKS 'creds 1'",
        ROOT,
    ),
    served(
        "nsenter-user",
        USER,
        "unshare --user --map-user=7 --map-group=8 sleep infinity & there=$!
         trap \"kill $there\" EXIT
         until grep --quiet sleep /proc/$there/comm; do sleep 0.1; done
         nsenter --user --preserve-credentials --target=$there $CHECKS",
        7,
    ),
    served("nsenter", ROOT, "nsenter --target=$INIT --pid --mount $CHECKS", ROOT),
    // Only the children are in the namespace.
    served("nsenter-then-fork", ROOT, "nsenter --target=$INIT --pid --no-fork $CHECKS", ROOT),
    served(
        "nsenter-then-unshare",
        ROOT,
        "nsenter --target=$INIT --pid --mount unshare --pid --fork --mount-proc $CHECKS setns",
        ROOT,
    ),
    served(
        "bubblewrap",
        USER,
        "bwrap --dev-bind / / --unshare-user --uid 7 --unshare-pid --proc /proc $CHECKS",
        7,
    ),
    served(
        "bubblewrap-as-root",
        ROOT,
        "bwrap --dev-bind / / --unshare-all --proc /proc $CHECKS",
        ROOT,
    ),
    not_served(
        "bubblewrap-without-service",
        USER,
        "bwrap --dev-bind / / --tmpfs /run --ro-bind $UNDER_TEST $UNDER_TEST --unshare-all --proc /proc $CHECKS",
        USER,
    ),
    // Who cannot keep the hooks must not believe the cells.
    not_served(
        "bubblewrap-without-hold",
        USER,
        "bwrap --dev-bind / / --tmpfs /run/bysyscall-hold --unshare-all --proc /proc $CHECKS",
        USER,
    ),
    // These two filter system calls, unless they are told not to.
    not_served(
        "nspawn",
        ROOT,
        "$NSPAWN --bind-ro=/run/bysyscall --bind-ro=/run/bysyscall-hold $BARE_CHECKS",
        ROOT,
    ),
    served(
        "nspawn-unfiltered",
        ROOT,
        "SYSTEMD_SECCOMP=0 $NSPAWN --bind-ro=/run/bysyscall --bind-ro=/run/bysyscall-hold \
         $BARE_CHECKS 'creds 1' 'pid-namespace 20'",
        ROOT,
    ),
    served(
        "nspawn-with-own-users",
        ROOT,
        "SYSTEMD_SECCOMP=0 $NSPAWN --private-users=524288:65536 --private-users-ownership=off \
         --bind-ro=/run/bysyscall --bind-ro=/run/bysyscall-hold $BARE_CHECKS",
        ROOT,
    ),
    not_served("nspawn-without-service", ROOT, "SYSTEMD_SECCOMP=0 $NSPAWN $BARE_CHECKS", ROOT),
    not_served("podman", USER, "$PODMAN $PODMAN_VOLUMES bare $BARE_CHECKS", ROOT),
    served(
        "podman-unfiltered",
        USER,
        "$PODMAN $PODMAN_VOLUMES --security-opt=seccomp=unconfined bare $BARE_CHECKS 'creds 1'",
        ROOT,
    ),
    served(
        "podman-unfiltered-as-user",
        USER,
        "$PODMAN $PODMAN_VOLUMES --security-opt=seccomp=unconfined --user=7:8 bare $BARE_CHECKS",
        7,
    ),
    not_served(
        "podman-without-service",
        USER,
        "$PODMAN --security-opt=seccomp=unconfined bare $BARE_CHECKS",
        ROOT,
    ),
];

pub fn trials() -> Vec<Trial> {
    let places = PLACES.iter().map(|it| trial(format!("containers::{}", it.name), || place(it)));
    places.collect()
}

fn place(way: &Way) -> Result<()> {
    let mut command = script(way.by);
    if way.from == USER {
        command = as_user(command);
    }
    let init = way.by.contains("$INIT").then(Init::new).transpose()?;
    if let Some(init) = &init {
        command.env("INIT", init.pid()?.to_string());
    }
    let bare = way.by.contains("$BARE_CHECKS").then(Bare::new).transpose()?;
    if let Some(bare) = &bare {
        bare.show(&mut command);
        if way.by.contains("$PODMAN") {
            bare.show_podman(&mut command)?;
        }
    }
    ensure_checks(command, way.uid, way.answers).map(drop)
}

/// A root directory with no more in it than `checks.sh` needs.
struct Bare {
    root: Scratch,
    /// For what podman writes.
    home: Scratch,
}

impl Bare {
    fn new() -> Result<Self> {
        let bare =
            Self { root: Scratch::new("bare")?, home: Scratch::new("podman")?.owned_by(USER)? };
        let mut command = script(
            "cd $ROOT
             mkdir dev etc proc run sys tmp usr under-test
             cp --dereference --parents /bin/sh /etc/os-release .
             ldd /bin/sh $UNDER_TEST/bracket | grep --only-matching '/[^ :]*' | sort --unique |
                 xargs cp --dereference --parents --target-directory=.
             cp $UNDER_TEST/checks.sh $UNDER_TEST/bracket $UNDER_TEST/libbysyscall.so under-test",
        );
        succeed(command.env("ROOT", bare.root.join("")).env_remove("LD_PRELOAD"))?;
        Ok(bare)
    }

    /// Tells the script how to run the checks in there.
    fn show(&self, command: &mut Command) {
        let nspawn = format!(
            "systemd-nspawn --quiet --register=no --keep-unit --pipe --directory={} --read-only \
             --timezone=off --resolv-conf=off --link-journal=no \
             --setenv=LD_PRELOAD={INSIDE}/libbysyscall.so --setenv=BYSYSCALL_LOG=info",
            self.root.join("").display()
        );
        command.env("NSPAWN", nspawn).env("BARE_CHECKS", format!("{INSIDE}/checks.sh"));
    }

    /// Makes an image of it that `lab` has.
    fn show_podman(&self, command: &mut Command) -> Result<()> {
        let home = self.home.join("");
        let podman = format!(
            "podman --root={0}/storage --runroot={0}/run --storage-driver=vfs \
             --cgroup-manager=cgroupfs --events-backend=none",
            home.display()
        );
        let mut import = as_user(script("tar --create --directory=$BARE . | $IMPORT - bare"));
        import.env("BARE", self.root.join("")).env("IMPORT", format!("{podman} import"));
        for command in [&mut import, &mut *command] {
            command.env("HOME", &home).env("XDG_RUNTIME_DIR", &home);
        }
        succeed(&mut import)?;
        let run = format!(
            "{podman} run --rm --network=none --cgroups=disabled --log-driver=none \
             --env=LD_PRELOAD={INSIDE}/libbysyscall.so --env=BYSYSCALL_LOG"
        );
        let volumes = "--volume=/run/bysyscall:/run/bysyscall \
                       --volume=/run/bysyscall-hold:/run/bysyscall-hold";
        command.env("PODMAN", run).env("PODMAN_VOLUMES", volumes);
        Ok(())
    }
}

/// The first process of a pid namespace.
struct Init(Child);

impl Init {
    fn new() -> Result<Self> {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sleep", "infinity"]);
        Ok(Self(spawn(command)?))
    }

    /// As we number it.
    fn pid(&self) -> Result<u32> {
        let children = format!("/proc/{0}/task/{0}/children", self.0.id());
        let child = || fs::read_to_string(&children).ok()?.trim().parse::<u32>().ok();
        wait_until("the namespace has its first process", || Ok(child().is_some()))?;
        // It mounts /proc before it becomes `sleep`.
        let pid = child().context("the first process has ended")?;
        wait_until("the first process is ready", || {
            Ok(fs::read_to_string(format!("/proc/{pid}/comm"))?.trim() == "sleep")
        })?;
        Ok(pid)
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        // By --kill-child the namespace ends with it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
