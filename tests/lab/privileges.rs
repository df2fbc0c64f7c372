// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Programs that change who they are: by bits and capabilities of a file, and
//! by the programs that a system has for it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bysyscall_tests::fixture::{ensure_success, library, path, start, trial};
use bysyscall_tests::log::most_bypassed;
use bysyscall_tests::process::{output, succeed, text};
use libtest_mimic::Trial;

use crate::support::{
    ASKED_AT_LEAST, ROOT, Scratch, USER, Way, ensure_checks, not_served, script, served, set_mode,
};

/// A group that `lab` may change to.
const OTHER_GROUP: u32 = 4242;

/// Where the environment is kept the preload survives and answers are bypassed;
/// set-uid programs and those that make a new environment lose it.
const CHANGES: &[Way] = &[
    served("setpriv", ROOT, "setpriv --reuid=lab --regid=lab --init-groups $CHECKS", USER),
    served(
        "setpriv-without-any-privilege",
        ROOT,
        "setpriv --reuid=lab --regid=lab --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all $CHECKS",
        USER,
    ),
    // Then the real and the effective user differ when the program starts, as in a set-uid one.
    not_served("setpriv-real-user-only", ROOT, "setpriv --ruid=lab $CHECKS", USER),
    served("runuser", ROOT, "runuser -u lab -- $CHECKS", USER),
    not_served("runuser-login", ROOT, "runuser --login lab -c $CHECKS", USER),
    served("su", ROOT, "su lab -c $CHECKS", USER),
    not_served("su-login", ROOT, "su --login lab -c $CHECKS", USER),
    served("su-login-with-env", ROOT, "su --login lab -c \"env $AGAIN $CHECKS\"", USER),
    not_served("su-to-root", USER, "su -c $CHECKS", ROOT),
    served("su-to-root-with-env", USER, "su -c \"env $AGAIN $CHECKS 'creds 1'\"", ROOT),
    not_served("sudo", ROOT, "sudo -u lab $CHECKS", USER),
    served("sudo-with-env", ROOT, "sudo -u lab env $AGAIN $CHECKS", USER),
    not_served("sudo-to-root", USER, "sudo $CHECKS", ROOT),
    served("sudo-to-root-with-env", USER, "sudo env $AGAIN $CHECKS 'creds 1'", ROOT),
    served("sudo-there-and-back", ROOT, "sudo -u lab env $AGAIN sudo env $AGAIN $CHECKS", ROOT),
    not_served("newgrp", USER, "echo $CHECKS | newgrp other", USER),
    served("newgrp-with-env", USER, "echo env $AGAIN $CHECKS | newgrp other", USER),
    served("sg-with-env", USER, "sg other -c \"env $AGAIN $CHECKS\"", USER),
    served("chroot", ROOT, "chroot --userspec=lab:lab / $CHECKS", USER),
    served(
        "systemd-run",
        ROOT,
        "systemd-run --quiet --wait --pipe --uid=lab $SETENV $CHECKS",
        USER,
    ),
    // This unit gets a filter, for which all calls are made for real.
    not_served(
        "systemd-run-filtered",
        ROOT,
        "systemd-run --quiet --wait --pipe --uid=lab --property=SystemCallFilter=~kexec_load \
         $SETENV $CHECKS",
        USER,
    ),
    served(
        "systemd-run-private-users",
        ROOT,
        "systemd-run --quiet --wait --pipe --property=PrivateUsers=yes $SETENV $CHECKS",
        ROOT,
    ),
];

pub fn trials() -> Vec<Trial> {
    let changes = CHANGES.iter().map(|it| trial(format!("privileges::{}", it.name), || change(it)));
    let mut trials: Vec<Trial> = changes.collect();
    trials.push(trial("privileges::newuidmap", newuidmap));
    for (name, bits) in [
        ("set_uid", "chmod u+s"),
        ("set_gid", "chmod g+s"),
        ("file_capabilities", "setcap cap_setuid,cap_setgid=ep"),
    ] {
        trials.push(trial(format!("privileges::{name}"), move || is_inert_with(bits)));
    }
    trials
}

/// Maps of few extents, of so many that the kernel keeps them sorted, and of more than it takes.
fn newuidmap() -> Result<()> {
    start()?;
    let etc = Etc::new()?;
    for name in ["subuid", "subgid"] {
        etc.change(name, 0o644, |content| format!("{content}lab:7900:1200\n"))?;
    }
    let run = |extents: u32| {
        let by = format!("exec $UNDER_TEST/bracket newuidmap {extents}");
        output(&mut etc.seen_by(USER, &by))
    };
    for extents in [2, 6, 340] {
        let output = run(extents)?;
        ensure_success(&format!("{extents} extents"), &output)?;
        ensure!(text(&output.stdout).contains(" 0 mismatches"), "{}", text(&output.stdout));
    }
    let refused = text(&run(341)?.stderr);
    ensure!(refused.contains("uid_map failed: Invalid argument"), "341 extents: {refused}");
    Ok(())
}

fn change(way: &Way) -> Result<()> {
    let etc = Etc::new()?;
    let output = ensure_checks(etc.seen_by(way.from, way.by), way.uid, way.answers)?;
    if way.by.contains(" other") {
        let said = text(&output.stdout);
        ensure!(said.contains(&format!("Gid:{OTHER_GROUP}\n")), "not in the group: {said}");
    }
    Ok(())
}

/// With these bits set on it, a program that has the library preloaded for all
/// makes real calls, and right ones.
fn is_inert_with(bits: &str) -> Result<()> {
    start()?;
    let etc = Etc::new()?;
    etc.preload_for_all()?;
    let program = Scratch::new("set-id")?;
    fs::copy(path("bracket"), program.join("bracket"))?;
    let run = |by: &str| -> Result<u64> {
        let mut command = etc.seen_by(USER, by);
        let output = output(command.env("PROGRAM", program.join("bracket")))?;
        ensure_success(bits, &output)?;
        ensure!(text(&output.stdout).contains(" 0 mismatches"), "{}", text(&output.stdout));
        Ok(most_bypassed(&text(&output.stderr), "getpid"))
    };
    let runs = ["env --unset=LD_PRELOAD $PROGRAM single 300", "$PROGRAM single 300"];
    for by in runs {
        ensure!(run(by)? >= ASKED_AT_LEAST, "{by}: the library is not preloaded for all");
    }
    let set = format!("{bits} {}", program.join("bracket").display());
    succeed(Command::new("sh").args(["-c", &set]))?;
    for by in runs {
        let most = run(by)?;
        ensure!(most < ASKED_AT_LEAST, "{by}: bypassed {most} times in secure execution");
    }
    if bits == "chmod u+s" {
        // Says that it needs root unless the bit has its effect.
        run("$PROGRAM creds 1")?;
    }
    Ok(())
}

/// A layer over `/etc` that only the programs of one test see: in it `lab`
/// may change to a group, and to root without a password.
struct Etc(Scratch);

impl Etc {
    fn new() -> Result<Self> {
        let etc = Self(Scratch::new("etc")?);
        let append = |line: &'static str| move |content: &str| format!("{content}{line}");
        etc.change("group", 0o644, append("other:x:4242:lab\n"))?;
        etc.change("gshadow", 0o600, append("other:!::lab\n"))?;
        etc.change("shadow", 0o600, without_password_of_root)?;
        Ok(etc)
    }

    fn change(&self, name: &str, mode: u32, edit: impl Fn(&str) -> String) -> Result<()> {
        let path = Path::new("/etc").join(name);
        let content =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        fs::write(self.0.join(name), edit(&content))?;
        set_mode(&self.0.join(name), mode)
    }

    /// As administrators preload a library for all programs, set-uid ones too.
    fn preload_for_all(&self) -> Result<()> {
        fs::write(self.0.join("ld.so.preload"), format!("{}\n", library().display()))?;
        Ok(())
    }

    /// A script that is run by this user where the layer is mounted.
    fn seen_by(&self, user: u32, text: &str) -> Command {
        let mut command = script(
            "exec unshare --mount sh -euc '
                mount -t overlay -o lowerdir=$ETC:/etc overlay /etc
                exec setpriv --reuid=$FROM --regid=$FROM --init-groups sh -euc \"$BY\"'",
        );
        command.env("ETC", self.0.join("")).env("FROM", user.to_string()).env("BY", text);
        command
    }
}

fn without_password_of_root(shadow: &str) -> String {
    let line = |line: &str| {
        let mut fields: Vec<&str> = line.split(':').collect();
        if let ["root", password, ..] = fields.as_mut_slice() {
            *password = "";
        }
        fields.join(":") + "\n"
    };
    shadow.lines().map(line).collect()
}
