//! A PostgreSQL server of Debian's package, as its own user on a socket in the laboratory.

use std::path::{Path, PathBuf};
use std::process::Command;

use chrono::NaiveDateTime;

use super::container::Container;
use super::recipe::configured;
use super::session::Session;
use super::{App, INVARIANTS, Instance, TABLES, TRANSACTION, judge};
use crate::support::{Lab, Layout, run, shell};

const USER: &str = "postgres";

#[derive(Debug)]
pub struct Postgres;

impl App for Postgres {
    fn name(&self) -> &'static str {
        "PostgreSQL"
    }

    fn found(&self) -> Lab {
        let lab = Lab::new(Layout::Subdirectory);
        let places = [
            ("/srv/db/data", &*lab.volume()),
            ("/srv/db/.volkeep", &lab.state_dir()),
            ("/run/postgresql", &lab.path("run")),
        ];
        let lab = configured(lab, "postgres-copy", &places, "@every 2s");
        std::fs::create_dir_all(lab.volume()).unwrap();
        shell("chown postgres \"$@\"", &[lab.volume().as_os_str(), lab.path("run").as_os_str()]);
        let mut initdb = as_user(&lab, &program("initdb"));
        initdb
            .args(["--auth=trust", "--data-checksums", "--wal-segsize=1", "--no-sync", "-D"])
            .arg(main(&lab));
        run(&mut initdb).expect_code(0);
        let instance = self.start(&lab);
        ask(&lab, &format!("CREATE EXTENSION amcheck; {TABLES}"));
        drop(instance);
        lab.ok(&["repository", "init"]);
        lab.adopt();
        lab
    }

    fn put_in_place(&self, lab: &Lab) -> Option<u64> {
        // As the page has it.
        shell("[ -e \"$1\"/main ] || mv \"$1\"/copy \"$1\"/main", &[lab.volume().as_os_str()]);
        let label = std::fs::read_to_string(main(lab).join("backup_label")).unwrap();
        let begun = label.lines().find_map(|line| line.strip_prefix("START TIME: ")).unwrap();
        let begun = NaiveDateTime::parse_from_str(begun, "%Y-%m-%d %H:%M:%S UTC").unwrap();
        Some(u64::try_from(begun.and_utc().timestamp()).unwrap() * 1_000_000_000)
    }

    fn start(&self, lab: &Lab) -> Instance {
        let settings = "-c listen_addresses= -c log_timezone=UTC -c dynamic_shared_memory_type=sysv";
        // The first process of the container keeps it alive and takes in the server, as pg_ctl leaves. A former
        // server was killed with its container; numbers of processes that it left mean others here.
        let script = "cd \"$3\" && rm -f \"$2\"/postmaster.pid .s.PGSQL.*
            \"$1\" start --silent --wait --timeout 120 -D \"$2\" -l server.log -o \"$4\" || { cat server.log; exit 1; } >&2
            echo started
            exec sleep infinity";
        let mut command = as_user(lab, Path::new("bash"));
        command.args(["-c", script, "start"]).arg(program("pg_ctl")).arg(main(lab)).arg(lab.path("run"));
        command.arg(format!("{settings} -c unix_socket_directories={}", lab.path("run").display()));
        Instance {
            server: Some(Container::start_waiting(&command, &lab.path("container.log"))),
            sidecar: None,
        }
    }

    fn session(&self, lab: &Lab, last: u64) -> Session {
        let mut command = psql(lab);
        let padding = "repeat(md5(n::text), (1 + n%17)::int)";
        let transaction = format!("BEGIN; {}", TRANSACTION.replace("$PADDING", padding));
        Session::open(&mut command, transaction, last, lab.path("session.log"))
    }

    fn kill(&self, instance: &mut Instance, _: &mut Session) {
        drop(instance.server.take());
    }

    fn examine(&self, lab: &Lab) -> u64 {
        let mut amcheck = as_user(lab, &program("pg_amcheck"));
        amcheck.args(["--heapallindexed", "--parent-check", "-d", "postgres"]);
        run(&mut amcheck).expect_code(0);
        judge(&ask(lab, INVARIANTS))
    }
}

fn main(lab: &Lab) -> PathBuf {
    lab.volume().join("main")
}

pub fn ask(lab: &Lab, sql: &str) -> String {
    run(psql(lab).args(["-c", sql])).expect_code(0).stdout
}

fn psql(lab: &Lab) -> Command {
    let mut command = as_user(lab, &program("psql"));
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "postgres"]);
    command
}

pub fn as_user(lab: &Lab, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).arg(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C.UTF-8");
    command.env("PGHOST", lab.path("run")).env("TZ", "UTC").current_dir(lab.path("run"));
    command
}

/// The newest version that is installed.
#[track_caller]
fn program(name: &str) -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL is missing; tests/run installs it")
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| Some((path.file_name()?.to_str()?.parse().ok()?, path.join("bin").join(name))))
        .collect();
    found.sort();
    found.pop().expect("PostgreSQL is missing; tests/run installs it").1
}
