//! `volkeep prune` as it is run: what goes, what stays, what is refused, and what is left when it is killed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]
#![allow(clippy::print_stdout, reason = "how much was covered is worth knowing")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use support::crash::{AtLeast, REMOVALS, RENAMES, kill_at_each, killed_at, report};
use support::{Home, Lab, Layout, copy, few_entries, random_bytes, remove_all, run, same, same_content};

/// A lab with `count` snapshots; what each holds lies beside it.
struct History {
    lab: Lab,
    states: Vec<(String, PathBuf)>,
}

impl History {
    fn of(home: Home, count: u64) -> Self {
        let lab = Lab::filled_in(home, Layout::Subdirectory, few_entries);
        let mut history = Self { lab, states: Vec::new() };
        history.note();
        for round in 1..count {
            history.back_up(round);
        }
        history
    }

    fn back_up(&mut self, round: u64) {
        fs::write(self.lab.volume().join("changing"), random_bytes(round, 50_000)).unwrap();
        let large = fs::read_dir(self.lab.volume()).unwrap().map(|entry| entry.unwrap());
        for former in large.filter(|entry| entry.file_name().to_string_lossy().starts_with("new-")) {
            fs::remove_file(former.path()).unwrap();
        }
        fs::write(self.lab.volume().join(format!("new-{round}")), random_bytes(round + 100, 300_000))
            .unwrap();
        self.lab.ok(&["backup"]);
        self.note();
    }

    fn note(&mut self) {
        let id = self.lab.snapshots().pop().unwrap();
        let state = self.lab.path(&format!("state-{}", self.states.len()));
        copy(&self.lab.volume(), &state);
        self.states.push((id, state));
    }

    fn id(&self, number: usize) -> &str {
        &self.states[number].0
    }

    /// Those that are there are whole, and hold what they held.
    fn assert_whole(&self, context: &str) {
        let outcome = self.lab.run(&["check", "--verify"]);
        assert!(outcome.code == 0, "{context}: {outcome}");
        let there = self.lab.snapshots();
        for (id, state) in self.states.iter().filter(|(id, _)| there.contains(id)) {
            let target = self.lab.path("target");
            remove_all(&target);
            self.lab.ok(&["restore", id, "--target", target.to_str().unwrap()]);
            same(state, &target);
        }
    }

    fn prune(&self) -> Value {
        self.lab.ok(&["prune", "--json"]).json()
    }
}

/// Without a grace time, so that two runs one after another do all there is to do.
fn keeping(history: &mut History, retention: &str) {
    history.lab.set("VOLKEEP_RETENTION", retention);
    history.lab.set("VOLKEEP_PRUNE_GRACE", "0s");
}

#[test]
fn what_the_policy_does_not_keep_goes_and_its_space_comes_back() {
    goes_and_comes_back(Home::Directory);
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn what_the_policy_does_not_keep_goes_from_a_bucket_as_well() {
    goes_and_comes_back(Home::Bucket);
}

fn goes_and_comes_back(home: Home) {
    let mut history = History::of(home, 5);
    keeping(&mut history, "last=2");
    let before = history.lab.objects("packs").len();
    let report = history.prune();
    assert_eq!(history.lab.snapshots(), [history.id(3), history.id(4)]);
    assert_eq!(report["forgotten"].as_array().unwrap().len(), 3);
    assert!(report["condemned"]["packs"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(history.lab.objects("packs").len(), before, "condemned, and still there");
    assert_eq!(history.lab.objects("tombstones").len(), 1);
    history.assert_whole("condemned");

    let report = history.prune();
    let deleted = report["deleted"]["packs"].as_u64().unwrap() as usize;
    assert!(deleted > 0, "{report}");
    assert_eq!(history.lab.objects("packs").len(), before - deleted);
    assert_eq!(history.lab.objects("tombstones").len(), 0);
    history.assert_whole("deleted");
    // The volume goes on as before.
    history.back_up(9);
    history.lab.ok(&["prune"]).says(&["1 snapshot forgotten, 2 stay"]);
    history.assert_whole("later");
}

#[test]
fn a_plan_names_every_snapshot_with_a_reason_and_changes_nothing() {
    let mut history = History::of(Home::Directory, 3);
    keeping(&mut history, "last=1,12m");
    history.lab.set("VOLKEEP_RETENTION_PINNED", format!("{},20010101", history.id(1)));
    let before = (history.lab.objects(""), history.lab.state_listing());
    let told = history.lab.ok(&["prune", "--dry-run"]);
    told.says(&[
        "0 snapshots would be forgotten, 3 would stay",
        "the oldest",
        "pinned",
        "last, monthly",
        "20010101",
    ]);
    history.lab.set("VOLKEEP_RETENTION_MONTHLY", "1");
    history.lab.unset("VOLKEEP_RETENTION_PINNED");
    let plan = history.lab.ok(&["prune", "--dry-run", "--json"]).json();
    assert_eq!(plan["forgotten"], serde_json::json!([history.id(0), history.id(1)]));
    assert_eq!(plan["snapshots"][2]["keep"], true);
    assert_eq!(plan["snapshots"][2]["reasons"][0], "last");
    assert_eq!((history.lab.objects(""), history.lab.state_listing()), before);
    // The run does what the plan said.
    assert_eq!(history.prune()["forgotten"], plan["forgotten"]);
}

#[test]
fn without_a_policy_nothing_is_forgotten() {
    let history = History::of(Home::Directory, 3);
    history.lab.ok(&["prune"]).says(&["0 snapshots forgotten, 3 stay"]);
    assert_eq!(history.lab.snapshots().len(), 3);
}

#[test]
fn of_several_repositories_one_that_fails_hides_no_other() {
    let mut history = History::of(Home::Directory, 3);
    let volume = history.lab.volume();
    let (good, bad) = (history.lab.url(), history.lab.path("absent"));
    history.lab = history.lab.with_config(&format!(
        "volume: {{ path: {}, identity: laboratory }}\nrepositories:\n  - url: file://{}\n  - url: {good}\nretention: \"last=1\"\n",
        volume.display(),
        bad.display()
    ));
    history.lab.exits(10, &["prune"]).says(&[
        "1 of 2 repositories failed",
        "absent",
        "2 snapshots forgotten",
    ]);
    history.lab.unset("VOLKEEP_CONFIG");
}

#[test]
fn a_volume_that_does_not_write_there_prunes_nothing() {
    let mut history = History::of(Home::Directory, 3);
    keeping(&mut history, "last=1");
    let other = Lab::new(Layout::Subdirectory).with("VOLKEEP_REPOSITORY", history.lab.url());
    let other = other.with("VOLKEEP_RETENTION", "last=1");
    other.exits(16, &["prune"]).says(&["no record of any backup"]);
    other.ok(&["prune", "--dry-run"]).says(&["2 snapshots would be forgotten"]);
    assert_eq!(history.lab.snapshots().len(), 3);
    // Another pod brings the data up elsewhere: from now on this one has nothing to say.
    other.ok(&["init"]);
    history.lab.exits(11, &["prune"]).says(&["holds the lease"]);
    assert_eq!(history.lab.snapshots().len(), 3);
    // What the former pod made a moment ago might still be withdrawn by it.
    other.ok(&["prune"]).says(&["0 snapshots forgotten"]);
}

#[test]
fn damage_stops_the_deleting_and_is_named() {
    let mut history = History::of(Home::Directory, 3);
    keeping(&mut history, "last=2");
    history.prune();
    let file = history.lab.repository().join(format!("snapshots/{}.json", history.id(1)));
    let whole = fs::read(&file).unwrap();
    fs::write(&file, "nonsense").unwrap();
    let before = history.lab.objects("packs");
    history.lab.exits(12, &["prune"]).says(&["nothing was condemned or deleted", history.id(1)]);
    assert_eq!(history.lab.objects("packs"), before);
    fs::write(&file, whole).unwrap();
    history.prune();
    history.assert_whole("mended");
}

#[test]
fn a_mistyped_retention_is_refused() {
    let mut history = History::of(Home::Directory, 1);
    for (variable, value, told) in [
        ("VOLKEEP_RETENTION", "last=5,7x", "`7x`"),
        ("VOLKEEP_RETENTION_DAILY", "many", "many"),
        ("VOLKEEP_RETENTION_TIME_ZONE", "Mars/Olympus", "Mars/Olympus"),
        ("VOLKEEP_RETENTION_PINNED", "2026", "2026"),
    ] {
        history.lab.set(variable, value);
        history.lab.exits(78, &["prune"]).says(&[variable, told]);
        history.lab.unset(variable);
    }
}

#[test]
fn the_script_reads_what_a_prune_left() {
    let mut history = History::of(Home::Directory, 4);
    keeping(&mut history, "last=1");
    history.prune();
    history.prune();
    let target = history.lab.path("recovered");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recover.sh");
    let mut command = std::process::Command::new("bash");
    command.arg(script).arg(history.lab.repository()).arg(&target);
    run(&mut command).expect_code(0);
    same_content(&history.states[3].1, &target);
}

#[test]
fn killed_at_any_call_the_next_run_ends_the_same() {
    for calls in [RENAMES, REMOVALS] {
        let mut history = History::of(Home::Directory, 3);
        keeping(&mut history, "last=2");
        let mut round = 10;
        let deaths = kill_at_each(1, 1, |step| {
            // Something to forget, to condemn and to delete.
            round += 2;
            history.back_up(round);
            history.prune();
            history.back_up(round + 1);
            let outcome = killed_at(&history.lab, &["prune"], calls, step);
            assert!(outcome.was_killed() || outcome.code == 0, "{outcome}");
            let context = format!("prune killed at step {step} of {calls}: {outcome}");
            history.assert_whole(&context);
            history.prune();
            history.prune();
            assert_eq!(history.lab.snapshots().len(), 2, "{context}");
            assert_eq!(history.lab.objects("tombstones").len(), 0, "{context}");
            history.assert_whole(&context);
            outcome.was_killed()
        });
        report("prune", calls, deaths, &AtLeast(2));
    }
}

#[test]
fn a_backup_that_empties_packs_is_killed_at_any_call() {
    for calls in [RENAMES, REMOVALS] {
        let mut history = History::of(Home::Directory, 2);
        keeping(&mut history, "last=1");
        let mut round = 10;
        let deaths = kill_at_each(1, 1, |step| {
            // What lasts shares a pack with much that goes with the next backup.
            round += 2;
            let lasting = history.lab.volume().join(format!("lasting-{round}"));
            fs::write(lasting, random_bytes(round, 20_000)).unwrap();
            let passing = history.lab.volume().join("passing");
            fs::write(&passing, random_bytes(round, 1_500_000)).unwrap();
            history.back_up(round);
            fs::remove_file(passing).unwrap();
            history.back_up(round + 1);
            history.lab.ok(&["prune", "--dry-run"]).says(&["waits for compaction", "would store the other"]);
            let waste = &history.prune()["waste"];
            assert!(waste["waiting_packs"].as_u64().unwrap() > 0, "{waste}");
            let outcome = killed_at(&history.lab, &["backup", "--json"], calls, step);
            let context = format!("backup killed at step {step} of {calls}: {outcome}");
            history.assert_whole(&context);
            if !outcome.was_killed() {
                let report = outcome.json();
                assert!(report["moved_bytes"].as_u64().unwrap() >= 20_000, "{report}");
            }
            history.lab.ok(&["backup"]);
            history.note();
            history.assert_whole(&context);
            history.prune();
            history.prune();
            history.assert_whole(&context);
            outcome.was_killed()
        });
        report("backup that empties packs", calls, deaths, &AtLeast(2));
    }
}
