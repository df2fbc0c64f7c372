// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! A PostgreSQL cluster from its creation to its end, all with the library,
//! beside one without it that does the same work.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bysyscall_tests::fixture::{start, trial};
use bysyscall_tests::log::bypassed;
use bysyscall_tests::process::succeed;
use libtest_mimic::Trial;

use crate::support::{Scratch, USER, as_user, script};

const CLIENTS: u32 = 4;
const TRANSACTIONS: u32 = 50;

pub fn trials() -> Vec<Trial> {
    vec![trial("foreign::postgresql", postgresql)]
}

/// The server's programs; Debian keeps each version's in a directory of its own.
fn programs() -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").context("no PostgreSQL")?;
    let version = versions.flatten().next().context("no PostgreSQL")?;
    Ok(version.path().join("bin"))
}

/// What all tables hold after the work, but for the times of day.
const CONTENTS: &str = "
    select md5(string_agg(concat_ws(' ', aid, bid, abalance), ',' order by aid)) from pgbench_accounts;
    select string_agg(concat_ws(' ', bid, bbalance), ',' order by bid) from pgbench_branches;
    select string_agg(concat_ws(' ', tid, bid, tbalance), ',' order by tid) from pgbench_tellers;
    select md5(string_agg(concat_ws(' ', tid, bid, aid, delta), ',' order by tid, bid, aid, delta))
        from pgbench_history";

/// A running server; it ends with this.
struct Server {
    dir: Scratch,
    path: String,
    is_preloaded: bool,
}

impl Server {
    fn new(is_preloaded: bool) -> Result<Self> {
        let name = if is_preloaded { "postgresql" } else { "postgresql-without" };
        let dir = Scratch::new(name)?.owned_by(USER)?;
        let path = format!("{}:/usr/bin:/bin", programs()?.display());
        let server = Self { dir, path, is_preloaded };
        // Nothing is synced: no power fails here, and it takes long.
        server.run(
            "initdb --pgdata=$DIR/data --auth=trust --username=lab --no-sync --no-locale >$DIR/initdb.log 2>&1
             pg_ctl start --pgdata=$DIR/data --log=$DIR/server.log --wait --timeout=300 \
                 --options=\"-k $DIR -c listen_addresses= -c fsync=off -c max_parallel_workers_per_gather=2\" \
                 >$DIR/pg_ctl.log 2>&1",
        )?;
        Ok(server)
    }

    fn script(&self, text: &str) -> Command {
        let mut command = as_user(script(text));
        command.env("DIR", self.dir.join("")).env("PATH", &self.path);
        command.env("PGHOST", self.dir.join("")).env("PGDATABASE", "postgres");
        if !self.is_preloaded {
            command.env_remove("LD_PRELOAD");
        }
        command
    }

    fn run(&self, text: &str) -> Result<String> {
        succeed(&mut self.script(text))
    }

    /// The one value that queries answer.
    fn ask(&self, queries: &str) -> Result<String> {
        let mut command =
            self.script("echo \"$QUERIES\" | psql --no-psqlrc --quiet --tuples-only --no-align");
        Ok(succeed(command.env("QUERIES", queries))?.trim().to_owned())
    }

    fn stop(&self) -> Result<String> {
        self.run("pg_ctl stop --pgdata=$DIR/data --mode=fast --wait --timeout=300")?;
        Ok(fs::read_to_string(self.dir.join("server.log"))?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Has been stopped already if all went well.
        let _ = self.run("pg_ctl stop --pgdata=$DIR/data --mode=immediate");
    }
}

/// Has every client do its transactions, the same in each cluster, and tells
/// what is in the tables then.
fn work(server: &Server) -> Result<String> {
    server.run("pgbench --initialize --scale=1 --quiet 2>&1")?;
    let said = server.run(&format!(
        "pgbench --random-seed=1 --client={CLIENTS} --jobs=2 --transactions={TRANSACTIONS} 2>&1"
    ))?;
    let all = CLIENTS * TRANSACTIONS;
    ensure!(
        said.contains(&format!("transactions actually processed: {all}/{all}")),
        "pgbench: {said}"
    );
    let history = server.ask("select count(*) from pgbench_history")?;
    ensure!(history == all.to_string(), "{history} transactions in the history, not {all}");
    server.ask(CONTENTS)
}

fn postgresql() -> Result<()> {
    start()?;
    let server = Server::new(true)?;
    let pids = "select count(*) from pg_stat_activity where pid = pg_backend_pid()";
    ensure!(server.ask(pids)? == "1", "a backend does not find itself by its pid");
    let postmaster = fs::read_to_string(server.dir.join("data/postmaster.pid"))?;
    let postmaster = postmaster.lines().next().unwrap_or_default();
    let name = fs::read_to_string(format!("/proc/{postmaster}/comm"))?;
    ensure!(name.trim() == "postgres", "the postmaster calls itself {postmaster}, which is {name}");

    let contents = work(&server)?;
    let checks = "create index on pgbench_history (tid); vacuum analyze;
        create table copy as select * from pgbench_accounts;
        select count(*) from copy full join pgbench_accounts using (aid) where copy.aid is null
            or pgbench_accounts.aid is null or copy.abalance <> pgbench_accounts.abalance";
    ensure!(server.ask(checks)? == "0", "a copy of a table differs");

    let log = server.stop()?;
    ensure!(!log.contains("PANIC") && !log.contains("was terminated by signal"), "{log}");
    let count: u64 = bypassed(&log, "getpid").sum();
    ensure!(count > u64::from(CLIENTS), "the server has bypassed getpid {count} times: {log}");

    let without = Server::new(false)?;
    let expected = work(&without)?;
    let log = without.stop()?;
    ensure!(bypassed(&log, "getpid").next().is_none(), "not without the library: {log}");
    ensure!(contents == expected, "with the library: {contents}\nwithout: {expected}");
    Ok(())
}
