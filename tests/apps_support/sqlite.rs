//! SQLite in write-ahead mode, by its own shell.

use std::path::PathBuf;
use std::process::Command;

use super::recipe::configured;
use super::session::Session;
use super::{App, INVARIANTS, Instance, TABLES, TRANSACTION, judge};
use crate::support::{Lab, Layout, run};

#[derive(Debug)]
pub struct Sqlite;

impl App for Sqlite {
    fn name(&self) -> &'static str {
        "SQLite"
    }

    fn found(&self) -> Lab {
        let lab = Lab::new(Layout::Subdirectory);
        let places = [("/srv/wiki/data", &*lab.volume()), ("/srv/wiki/.volkeep", &lab.state_dir())];
        let lab = configured(lab, "sqlite-hold", &places, "@every 1s");
        std::fs::create_dir_all(lab.volume()).unwrap();
        assert_eq!(ask(&lab, &format!("PRAGMA journal_mode=WAL; {TABLES}")), "wal\n");
        lab.ok(&["repository", "init"]);
        lab.adopt();
        lab
    }

    fn put_in_place(&self, _: &Lab) -> Option<u64> {
        None
    }

    fn start(&self, _: &Lab) -> Instance {
        Instance::default()
    }

    fn session(&self, lab: &Lab, last: u64) -> Session {
        let mut command = shell(lab);
        // A checkpoint every few transactions, so that many a backup meets one.
        command.args(["-cmd", ".timeout 60000", "-cmd", ".output /dev/null"]);
        command.args(["-cmd", "PRAGMA wal_autocheckpoint=50;", "-cmd", ".output stdout"]).arg(database(lab));
        let padding = "hex(randomblob(20 + n%17*20))";
        let transaction = format!("BEGIN IMMEDIATE; {}", TRANSACTION.replace("$PADDING", padding));
        Session::open(&mut command, transaction, last, lab.path("session.log"))
    }

    fn kill(&self, _: &mut Instance, session: &mut Session) {
        session.kill();
    }

    fn examine(&self, lab: &Lab) -> u64 {
        assert_eq!(ask(lab, "PRAGMA integrity_check; PRAGMA journal_mode;"), "ok\nwal\n");
        judge(&ask(lab, INVARIANTS))
    }
}

fn database(lab: &Lab) -> PathBuf {
    lab.volume().join("wiki.db")
}

fn ask(lab: &Lab, sql: &str) -> String {
    run(shell(lab).arg(database(lab)).arg(sql)).expect_code(0).stdout
}

fn shell(lab: &Lab) -> Command {
    let mut command = Command::new("sqlite3");
    command.args(["-batch", "-bail"]).env("HOME", lab.path("home"));
    command
}
