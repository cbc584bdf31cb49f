//! Real databases under constant writes, backed up every other second by a sidecar with the recipes of
//! `docs/recipes.md`, as they stand there. Everything is killed at random instants, the volume is lost, `init` brings
//! it back, the database starts, and must be whole: by its own judgement, by the invariants of what was written,
//! and by what must and what cannot be in the newest snapshot. Then the app goes on from there.
//!
//! `APP_SECONDS` says how long each goes on (default 12), `APP_SEED` repeats the chances of an earlier run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]
#![allow(clippy::print_stdout, reason = "how much was covered is worth knowing")]

mod apps_support;
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use apps_support::container::Container;
use apps_support::postgres::{self, Postgres};
use apps_support::session::Session;
use apps_support::sqlite::Sqlite;
use apps_support::{App, Instance};
use chrono::DateTime;
use support::{Lab, Random, is_root, listing, run, shell};

/// Fewer deaths would show nothing.
const FEWEST_ROUNDS: u64 = 2;
/// For a backup that usually takes less than a second.
const PATIENCE: Duration = Duration::from_secs(120);
/// How many transactions lie between two looks at the repository.
const STRIDE: u64 = 20;

#[test]
fn sqlite_comes_back_whole_whenever_everything_dies() {
    live_and_die(&Sqlite);
}

#[test]
#[ignore = "needs PostgreSQL: tests/run"]
fn postgresql_comes_back_whole_whenever_everything_dies() {
    live_and_die(&Postgres);
}

#[test]
fn a_hold_ends_with_its_thaw_or_its_time() {
    let lab = Sqlite.found();
    let (script, database) = (lab.path("bin/sqlite-hold"), lab.volume().join("wiki.db"));
    let hold = |words: [&str; 2], database: &Path| {
        let mut command = Command::new(&script);
        command.args([words[0].as_ref(), database.as_os_str(), words[1].as_ref()]);
        run(command.env("RUNTIME_DIRECTORY", lab.path("run")))
    };
    let write = |patience: &str| {
        let mut command = Command::new("sqlite3");
        command.args(["-cmd", &format!(".timeout {patience}")]).arg(&database);
        run(command.arg("UPDATE head SET n = n")).code == 0
    };
    hold(["thaw", ""], &database).expect_code(0);
    assert!(write("0"), "held without a freeze");
    for _ in 0..2 {
        // Again, as after the death of whoever froze.
        hold(["freeze", "60"], &database).expect_code(0);
        assert!(!write("0"), "not held");
    }
    for _ in 0..2 {
        hold(["thaw", ""], &database).expect_code(0);
    }
    assert!(write("30000"), "still held");
    hold(["freeze", "1"], &database).expect_code(0);
    assert!(write("30000"), "held for ever");

    let missing = lab.volume().join("none.db");
    hold(["freeze", "60"], &missing).expect_code(1).says(&["there is no database"]);
    assert!(!missing.exists());
    fs::write(&missing, "something else, and long enough to be taken for a database of SQLite").unwrap();
    hold(["freeze", "60"], &missing).expect_code(1).says(&["none.db", "not a database"]);
}

#[test]
#[ignore = "needs PostgreSQL: tests/run"]
fn a_copy_that_fails_leaves_the_one_before() {
    let lab = Postgres.found();
    let _instance = Postgres.start(&lab);
    let live = lab.volume().join("main");
    let copy = |at: &Path| {
        let mut command = postgres::as_user(&lab, &lab.path("bin/postgres-copy"));
        run(command.arg(&live).arg(lab.volume().join("copy")).env("PGHOST", at))
    };
    copy(&lab.path("run")).expect_code(0);
    let before = listing(&lab.volume().join("copy"));
    assert!(before.contains_key(Path::new("backup_label")));
    let nobody_there = lab.path("nowhere");
    assert_ne!(copy(&nobody_there).code, 0);
    let elsewhere = lab.path("run/space");
    fs::create_dir(&elsewhere).unwrap();
    shell("chown postgres \"$1\"", &[elsewhere.as_os_str()]);
    postgres::ask(&lab, &format!("CREATE TABLESPACE more LOCATION '{}'", elsewhere.display()));
    assert_ne!(copy(&lab.path("run")).says(&["there are tablespaces"]).code, 0);
    postgres::ask(&lab, "DROP TABLESPACE more");
    // Somebody else is at it.
    let mut beside = postgres::as_user(&lab, Path::new("flock"));
    beside.arg(&live).arg(lab.path("bin/postgres-copy")).arg(&live).arg(lab.volume().join("copy"));
    assert_ne!(run(&mut beside).says(&["another copy"]).code, 0);
    postgres::ask(&lab, "SELECT pg_create_physical_replication_slot('volkeep', true)");
    assert_ne!(copy(&lab.path("run")).says(&["already exists"]).code, 0);
    assert_eq!(listing(&lab.volume().join("copy")), before);
    postgres::ask(&lab, "SELECT pg_drop_replication_slot('volkeep')");
    copy(&lab.path("run")).expect_code(0);
    assert_ne!(listing(&lab.volume().join("copy")), before);
}

#[derive(Debug, Default)]
struct Figures {
    rounds: u64,
    backups: usize,
    /// Deaths of the sidecar alone.
    orphaned: u64,
    rows: u64,
    /// Transactions in a row that were lost with the volume, at most.
    most_lost: u64,
    longest_wait: Duration,
}

fn live_and_die(app: &dyn App) {
    assert!(is_root(), "this test makes PID namespaces and runs servers as other users; run it as root");
    let limit = Duration::from_secs(number("APP_SECONDS").unwrap_or(12));
    let seed = number("APP_SEED").unwrap_or_else(|| now() | 1);
    println!("APP_SEED={seed}");
    let mut random = Random(seed);
    let lab = app.found();
    let started = Instant::now();
    let mut figures = Figures::default();
    let (mut instance, mut last) = (app.start(&lab), 0);
    while figures.rounds < FEWEST_ROUNDS || started.elapsed() < limit {
        figures.rounds += 1;
        let mut session = app.session(&lab, last);
        live(&lab, &mut instance, &mut session, &mut random, &mut figures);
        (instance, last) = die(app, &lab, instance, session, &mut random, &mut figures);
    }
    figures.rows = last;
    figures.backups = snapshots(&lab);
    println!("{}: {figures:?}", app.name());
}

/// The app works and the sidecar backs it up, until a random instant after a backup.
fn live(
    lab: &Lab,
    instance: &mut Instance,
    session: &mut Session,
    random: &mut Random,
    figures: &mut Figures,
) {
    instance.sidecar = Some(sidecar(lab));
    work_until_backup(lab, session);
    if random.next().is_multiple_of(2) {
        // Its death alone must not hold up the app for longer than until the next start.
        work_for(chance(random, 1500), session);
        instance.kill_sidecar();
        session.step();
        instance.sidecar = Some(sidecar(lab));
        work_until_backup(lab, session);
        figures.orphaned += 1;
    }
    work_for(chance(random, 3000), session);
    figures.longest_wait = figures.longest_wait.max(session.longest());
}

/// All are killed while they work, the volume is gone, and comes back. Gives the app as it runs then, and the last
/// transaction that is there.
fn die(
    app: &dyn App,
    lab: &Lab,
    mut instance: Instance,
    mut session: Session,
    random: &mut Random,
    figures: &mut Figures,
) -> (Instance, u64) {
    session.send_many(200);
    for _ in 0..random.next() % 100 {
        session.receive();
    }
    if random.next().is_multiple_of(2) {
        instance.kill_sidecar();
        app.kill(&mut instance, &mut session);
    } else {
        app.kill(&mut instance, &mut session);
        instance.kill_sidecar();
    }
    session.receive_what_is_left();

    let taken = newest(lab);
    lab.wipe();
    lab.ok(&["init"]);
    let complete_since = app.put_in_place(lab).unwrap_or(taken);
    let instance = app.start(lab);
    let found = app.examine(lab);
    // What was answered before the copy began is in it; what was not even asked for before its end is not.
    let (least, most) = (session.answered_before(complete_since), session.sent_before(taken + MILLISECOND));
    let text = log(lab);
    assert!(
        (least..=most).contains(&found),
        "the snapshot of {taken} has {found} transactions, and should have {least} to {most}:\n{text}"
    );
    // Whoever works for a sidecar that is killed may have a moment left to say so.
    let mut troubles = text.lines().filter(|line| line.contains("ERROR") && !line.contains("stopped before"));
    assert!(troubles.next().is_none(), "the sidecar had trouble:\n{text}");
    figures.most_lost = figures.most_lost.max(session.last_answered().saturating_sub(found));
    (instance, found)
}

/// A backup by the sidecar that was just started is in the repository.
fn work_until_backup(lab: &Lab, session: &mut Session) {
    let (before, deadline) = (snapshots(lab), Instant::now() + PATIENCE);
    while snapshots(lab) == before {
        assert!(Instant::now() < deadline, "no backups come:\n{}", log(lab));
        for _ in 0..STRIDE {
            session.step();
        }
    }
}

fn work_for(time: Duration, session: &mut Session) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        session.step();
    }
}

fn sidecar(lab: &Lab) -> Container {
    let mut command = lab.command(&["sidecar"]);
    command.env("VOLKEEP_SIDECAR_LISTEN", "127.0.0.1:0").env("RUNTIME_DIRECTORY", lab.path("run"));
    Container::start(&command, &lab.path("sidecar.log"))
}

fn log(lab: &Lab) -> String {
    fs::read_to_string(lab.path("sidecar.log")).unwrap_or_default()
}

fn snapshots(lab: &Lab) -> usize {
    lab.objects("snapshots").len()
}

const MILLISECOND: u64 = 1_000_000;

/// When the newest snapshot was taken, in nanoseconds since 1970; rounded down to a millisecond.
fn newest(lab: &Lab) -> u64 {
    let outcome = lab.ok(&["snapshots", "--json"]);
    let all = outcome.json();
    let times = all.as_array().unwrap().iter().map(|one| {
        let time = DateTime::parse_from_rfc3339(one["time"].as_str().unwrap()).unwrap();
        u64::try_from(time.timestamp_nanos_opt().unwrap()).unwrap()
    });
    times.max().unwrap()
}

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

fn chance(random: &mut Random, most: u64) -> Duration {
    Duration::from_millis(random.next() % most)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}
