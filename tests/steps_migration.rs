//! A database that is migrated before the app starts, once, by a real script and a real SQLite: killed at every instant,
//! by two pods at once, forth and back. Its statements are such that a version that is left out, or done twice, or in
//! another order, shows in the data.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod steps_support;
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use steps_support::pod::Pod;
use steps_support::{steps, with_steps};
use support::crash::{AtLeast, DIRECTORIES, REMOVALS, RENAMES, SYNCS, kill_at_each, killed_at, report};
use support::life::start;
use support::sidecar::is_alive;
use support::{Lab, Layout, Outcome, run, shell};

const BEGINNING: &str = "
    CREATE TABLE account (name TEXT PRIMARY KEY, balance INTEGER NOT NULL);
    CREATE TABLE applied (version INTEGER);
    INSERT INTO account VALUES ('ada', 7), ('bob', 11);";
/// Whole units become hundredths.
const FIRST: &str = "BEGIN IMMEDIATE;
    ALTER TABLE account ADD COLUMN currency TEXT NOT NULL DEFAULT 'EUR';
    UPDATE account SET balance = balance * 100;
    INSERT INTO applied VALUES (1);
    PRAGMA user_version = 1;
    COMMIT;";
/// Needs what the first has made.
const SECOND: &str = "BEGIN IMMEDIATE;
    CREATE TABLE entry (account TEXT, amount INTEGER, currency TEXT);
    INSERT INTO entry SELECT name, balance, currency FROM account ORDER BY name;
    UPDATE account SET balance = balance + 1;
    INSERT INTO applied VALUES (2);
    PRAGMA user_version = 2;
    COMMIT;";

/// A volume with the database as it was in the beginning, and a snapshot of that.
fn old() -> Lab {
    let lab = Lab::filled(Layout::Subdirectory, |volume| sqlite(&volume.join("app.db"), BEGINNING));
    for (name, text) in [("1.sql", FIRST), ("2.sql", SECOND)] {
        fs::write(lab.path(name), text).unwrap();
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/steps_support/migrate");
    fs::copy(script, lab.path("migrate")).unwrap();
    lab
}

fn to_version(version: u32) -> String {
    format!(
        "[{{name: schema, once: true, version: {version}, when: upgraded, run: [$LAB/migrate, app.db, '{version}']}}]"
    )
}

fn sqlite(database: &Path, statements: &str) {
    shell("sqlite3 -bail \"$1\" \"$2\"", &[database.as_os_str(), statements.as_ref()]);
}

/// Schema and data, once SQLite has looked after what was cut short.
fn dump(database: &Path) -> String {
    let script = "sqlite3 -bail \"$1\" 'PRAGMA integrity_check; PRAGMA user_version' .dump";
    shell(script, &[database.as_os_str()])
}

/// What an undisturbed migration makes, without anybody else having a part in it.
fn expected(lab: &Lab, statements: &[&str]) -> String {
    let database = lab.path("expected.db");
    let _ = fs::remove_file(&database);
    for one in [BEGINNING].iter().chain(statements) {
        sqlite(&database, one);
    }
    dump(&database)
}

fn database(lab: &Lab) -> std::path::PathBuf {
    lab.volume().join("app.db")
}

/// The disk is lost, so init brings the old database back, and nobody has migrated anything.
fn lose(lab: &Lab) {
    lab.wipe();
    let _ = fs::remove_file(lab.path("ran"));
}

fn init(lab: &Lab, environment: &[(&str, &str)]) -> Outcome {
    run(lab.command(&["init"]).envs(environment.iter().copied()))
}

/// After a run that was disturbed, maybe: the next one brings everything to its end, and no further one does anything.
/// Without a death in between the script has run once, else once more at the most.
fn ends_well(lab: &Lab, expected: &str, disturbed: bool, context: &str) {
    // Recorded is only what was done: by now, not only in the end.
    let foreseen = lab.ok(&["init", "--dry-run"]);
    if foreseen.stdout.contains("version 2 is done") {
        assert_eq!(dump(&database(lab)), expected, "{context}: recorded before it was done");
    }
    let outcome = lab.run(&["init"]);
    assert!(outcome.code == 0, "{context}, then {outcome}");
    assert_eq!(dump(&database(lab)), expected, "{context}");
    let times = lab.words("ran").len();
    assert!((1..=1 + usize::from(disturbed)).contains(&times), "{context}: run {times} times");
    lab.ok(&["init"]).says(&["step schema (run): left out (version 2 is done)"]);
    assert_eq!((dump(&database(lab)), lab.words("ran").len()), (expected.to_owned(), times), "{context}");
}

#[test]
fn a_pod_that_dies_at_an_instant_of_its_migration_goes_on_from_there() {
    let lab = with_steps(old(), &to_version(2));
    let expected = expected(&lab, &[FIRST, SECOND]);
    for instant in ["begun", "looked", "made-1", "made-2", "done"] {
        lose(&lab);
        let outcome = init(&lab, &[("DIES", instant)]);
        assert!(outcome.was_killed(), "{instant}: {outcome}");
        ends_well(&lab, &expected, true, instant);
        assert_eq!(lab.words("ran").len(), 2, "{instant}: what is not recorded is done again");
    }
}

/// The database dies in the middle of its transactions, alone or with the pod.
fn survives_the_death_of_sqlite(pod: &[(&str, &str)], code: i32) {
    let lab = with_steps(old(), &to_version(2));
    let expected = expected(&lab, &[FIRST, SECOND]);
    for call in ["pwrite64", "fdatasync", "unlink"] {
        let deaths = kill_at_each(1, 1, |number| {
            lose(&lab);
            let killed = format!(
                "strace -f -qq -o /dev/null -e trace={call} -e inject={call}:signal=SIGKILL:when={number} sqlite3"
            );
            let environment: Vec<_> = pod.iter().copied().chain([("SQLITE", killed.as_str())]).collect();
            let outcome = init(&lab, &environment);
            let context = format!("killed at {call} {number}");
            let disturbed = outcome.code != 0;
            assert!(!disturbed || outcome.code == code, "{context}: {outcome}");
            if outcome.code == 1 {
                outcome.says(&["step schema: ", "ended with exit code 137"]);
            }
            ends_well(&lab, &expected, disturbed, &context);
            disturbed
        });
        report("the database", call, deaths, &AtLeast(1));
    }
}

#[test]
fn a_database_that_dies_in_the_middle_is_migrated_by_the_next_start() {
    survives_the_death_of_sqlite(&[], 1);
}

#[test]
fn a_database_that_dies_with_its_pod_is_migrated_by_the_next_one() {
    survives_the_death_of_sqlite(&[("POD_DIES", "yes")], 137);
}

/// Of init itself; the same calls of SQLite are met as well.
fn survives_the_death_of_init(calls: &str) {
    let lab = with_steps(old(), &to_version(2));
    let expected = expected(&lab, &[FIRST, SECOND]);
    let deaths = kill_at_each(1, 1, |number| {
        lose(&lab);
        let outcome = killed_at(&lab, &["init"], calls, number);
        let context = format!("killed at {calls} {number}");
        assert!(outcome.was_killed() || [0, 1].contains(&outcome.code), "{context}: {outcome}");
        ends_well(&lab, &expected, outcome.code != 0, &context);
        outcome.code != 0
    });
    report("restored and migrated", calls, deaths, &AtLeast(1));
}

#[test]
fn an_init_that_dies_at_a_rename_migrates_once_in_the_end() {
    survives_the_death_of_init(RENAMES);
}

#[test]
fn an_init_that_dies_at_a_sync_migrates_once_in_the_end() {
    survives_the_death_of_init(SYNCS);
}

#[test]
fn an_init_that_dies_at_a_directory_or_a_removal_migrates_once_in_the_end() {
    survives_the_death_of_init(DIRECTORIES);
    survives_the_death_of_init(REMOVALS);
}

#[test]
fn one_version_follows_the_other_and_none_is_taken_back() {
    let mut lab = old();
    let first = expected(&lab, &[FIRST]);
    let both = expected(&lab, &[FIRST, SECOND]);
    for instant in ["begun", "looked", "made-2", "done"] {
        lose(&lab);
        steps(&mut lab, &to_version(1));
        init(&lab, &[]).expect_code(0);
        assert_eq!((dump(&database(&lab)), lab.words("ran")), (first.clone(), vec!["1".to_owned()]));
        steps(&mut lab, &to_version(2));
        assert!(init(&lab, &[("DIES", instant)]).was_killed(), "{instant}");
        init(&lab, &[]).expect_code(0);
        assert_eq!((dump(&database(&lab)), lab.words("ran").join(" ")), (both.clone(), "1 2 2".to_owned()));
    }
    // The configuration goes back, the data does not.
    steps(&mut lab, &to_version(1));
    init(&lab, &[]).expect_code(0).says(&[
        "a later version was done on this data",
        "step schema (run): left out (the later version 2 is done)",
    ]);
    assert_eq!((dump(&database(&lab)), lab.words("ran").len()), (both.clone(), 3));
    // And forth again: it was done already.
    steps(&mut lab, &to_version(2));
    init(&lab, &[]).expect_code(0).says(&["step schema (run): left out (version 2 is done)"]);
    assert_eq!((dump(&database(&lab)), lab.words("ran").len()), (both, 3));
}

#[test]
fn an_older_snapshot_is_migrated_again_in_the_same_order() {
    let yaml = "[{name: hundredths, once: true, run: [$LAB/migrate, app.db, '1']},
                 {name: entries, once: true, run: [$LAB/migrate, app.db, '2']}]";
    let lab = with_steps(old(), yaml);
    let before = lab.snapshots().remove(0);
    let expected = expected(&lab, &[FIRST, SECOND]);
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    init(&lab, &[]).expect_code(0);
    assert_eq!((dump(&database(&lab)), lab.words("ran")), (expected.clone(), words("1 2")));
    lab.ok(&["backup"]);
    // By hand, the snapshot of the time before.
    lab.ok(&["restore", "--force", &before]);
    init(&lab, &[]).expect_code(0);
    assert_eq!((dump(&database(&lab)), lab.words("ran")), (expected.clone(), words("1 2 1 2")));
    init(&lab, &[]).expect_code(0);
    assert_eq!(lab.words("ran"), words("1 2 1 2"));
    // A new disk, and the snapshot of the time after: what the script finds done it leaves alone.
    lose(&lab);
    init(&lab, &[]).expect_code(0);
    assert_eq!((dump(&database(&lab)), lab.words("ran")), (expected, words("1 2")));
}

const USERS: [u32; 2] = [10_001, 10_002];

/// The volume as it was in the beginning, for pods of different users.
fn begin_for_pods(lab: &Lab) {
    lose_for_pods(lab);
    run(lab.command(&["init"]).env_remove("VOLKEEP_INIT_STEPS")).expect_code(0);
    lab.give_to_pods();
}

fn lose_for_pods(lab: &Lab) {
    lose(lab);
    lab.give_to_pods();
    shell("touch \"$1\"; chmod 666 \"$1\"", &[lab.path("ran").as_os_str()]);
}

#[test]
fn of_two_pods_that_start_at_once_one_migrates() {
    let lab = with_steps(old(), &to_version(2));
    let expected = expected(&lab, &[FIRST, SECOND]);
    for number in 0..6 {
        // Where one of them has to bring the data back first, it is for the user of both.
        let users = match number % 2 {
            0 => USERS,
            _ => [USERS[0]; 2],
        };
        match number % 2 {
            0 => begin_for_pods(&lab),
            _ => lose_for_pods(&lab),
        }
        let pods = users.map(|user| lab.pod(user, &[], &["init", "--json"]));
        let mut results = pods.map(|pod| {
            let report = pod.finish().expect_code(0).json();
            report["steps"][0]["result"].as_str().unwrap().to_owned()
        });
        results.sort();
        assert_eq!(results, ["done", "skipped"], "round {number}");
        assert_eq!((dump(&database(&lab)), lab.words("ran").len()), (expected.clone(), 1), "round {number}");
    }
}

#[test]
fn when_one_of_two_pods_is_killed_in_the_middle_the_other_goes_on() {
    let lab = with_steps(old(), &to_version(2));
    let expected = expected(&lab, &[FIRST, SECOND]);
    let (begun, _go) = (lab.fifo("begun"), lab.fifo("go"));
    shell("chmod 666 \"$1\"/begun \"$1\"/go", &[lab.path("").as_os_str()]);
    for instant in ["begun", "looked", "made-1", "made-2", "done"] {
        begin_for_pods(&lab);
        let first = lab.pod(USERS[0], &[("HOLDS", instant)], &["init"]);
        begun.await_line();
        let mut second = lab.pod(USERS[1], &[], &["init"]);
        await_word(&mut second, "waiting");
        assert_eq!(lab.words("ran").len(), 1, "{instant}: two at once");
        let first = first.kill();
        assert!(!first.stderr.contains("schema"), "{instant}: it was at its step: {first}");
        second.finish().expect_code(0).says(&["step schema (run): done"]);
        assert_eq!((dump(&database(&lab)), lab.words("ran").len()), (expected.clone(), 2), "{instant}");
        lab.ok(&["init"]).says(&["left out (version 2 is done)"]);
    }
}

/// Outside of a container, by hand: nobody takes the command along.
#[test]
fn a_command_whose_init_was_killed_alone_goes_on_and_does_no_harm_here() {
    let lab = with_steps(old(), &to_version(2));
    let expected = expected(&lab, &[FIRST, SECOND]);
    let (begun, go) = (lab.fifo("begun"), lab.fifo("go"));
    for instant in ["begun", "looked", "made-1", "made-2"] {
        lose(&lab);
        let mut first = start(lab.command(&["init"]).env("HOLDS", instant));
        begun.await_line();
        first.kill().unwrap();
        first.wait().unwrap();
        let left = fs::read_to_string(lab.path("pid")).unwrap();
        assert!(is_alive(&left), "{instant}");
        // The next one does not know of it.
        init(&lab, &[]).expect_code(0).says(&["step schema (run): done"]);
        assert_eq!((dump(&database(&lab)), lab.words("ran").len()), (expected.clone(), 2), "{instant}");
        // What is left looks at the database, or SQLite refuses what does not fit it any more.
        go.go();
        shell("timeout 60 tail --pid \"$1\" --sleep-interval 0.02 -f /dev/null", &[left.trim().as_ref()]);
        assert_eq!(dump(&database(&lab)), expected, "{instant}");
    }
}

/// It has said a line with this word. The rest of what it says is read and left.
fn await_word(pod: &mut Pod, word: &str) {
    let mut said = BufReader::new(pod.child().stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it did not say: {word}");
    }
    std::thread::spawn(move || said.read_to_string(&mut String::new()));
}
