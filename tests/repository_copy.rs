//! `volkeep repository copy` on the built program: what arrives, what is not done twice, what is refused, and what
//! is left when it is killed.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;
use support::{
    Home, Lab, Layout, Outcome, Random, few_entries, made_tree, odd_tree, random_bytes, remove_all, run,
    run_until, same, shell,
};

const SECOND: &str = "second";

fn place(lab: &Lab, name: &str) -> String {
    format!("file://{}", lab.path(name).display())
}

/// volkeep with another repository than the lab's own.
fn at(lab: &Lab, name: &str, arguments: &[&str]) -> Outcome {
    run(lab.command(arguments).env("VOLKEEP_REPOSITORY", place(lab, name)))
}

fn copy(lab: &Lab, from: &str, to: &str, more: &[&str]) -> Outcome {
    let (from, to) = (place(lab, from), place(lab, to));
    let mut arguments = vec!["repository", "copy", "--json", from.as_str(), to.as_str()];
    arguments.extend(more);
    lab.run(&arguments)
}

/// The report of a copy that went well.
#[track_caller]
fn copied(lab: &Lab, from: &str, to: &str, more: &[&str]) -> Value {
    copy(lab, from, to, more).expect_code(0).json()
}

#[track_caller]
fn count(report: &Value) -> usize {
    report["copied"].as_array().unwrap().len()
}

fn sum(report: &Value, field: &str) -> u64 {
    report["copied"].as_array().unwrap().iter().map(|one| one[field].as_u64().unwrap()).sum()
}

#[track_caller]
fn snapshots(lab: &Lab, name: &str) -> Vec<Value> {
    at(lab, name, &["snapshots", "--json"]).expect_code(0).json().as_array().unwrap().clone()
}

fn texts<'a>(snapshots: &'a [Value], field: &str) -> Vec<&'a str> {
    snapshots.iter().map(|snapshot| snapshot[field].as_str().unwrap()).collect()
}

#[track_caller]
fn is_whole(lab: &Lab, name: &str) {
    at(lab, name, &["check", "--verify"]).expect_code(0);
}

/// The snapshot restored from that repository is what the tree `expected` is.
#[track_caller]
fn restores_as(lab: &Lab, name: &str, snapshot: &str, expected: &Path) {
    let target = lab.path("restored");
    remove_all(&target);
    at(lab, name, &["restore", "--target", target.to_str().unwrap(), snapshot]).expect_code(0);
    same(expected, &target);
}

/// Every file of a repository with what shows that it was written.
fn listing(directory: &Path) -> String {
    shell("cd \"$1\" && find . -printf '%p %y %s %T@ %i\\n' | sort", &[directory.as_os_str()])
}

fn packs(directory: &Path) -> BTreeSet<PathBuf> {
    shell("find \"$1/packs\" -type f", &[directory.as_os_str()]).lines().map(PathBuf::from).collect()
}

/// As [`copied`], between addresses.
#[track_caller]
fn copied_between(lab: &Lab, from: &str, to: &str, more: &[&str]) -> Value {
    let mut arguments = vec!["repository", "copy", "--json", from, to];
    arguments.extend(more);
    lab.ok(&arguments).json()
}

/// Three backups: the tree, a part of it changed, something removed. Returns how each looked.
fn with_history(fill: impl Fn(&Path)) -> (Lab, Vec<PathBuf>) {
    with_history_in(Home::Directory, fill)
}

fn with_history_in(home: Home, fill: impl Fn(&Path)) -> (Lab, Vec<PathBuf>) {
    let lab = Lab::filled_in(home, Layout::Subdirectory, fill);
    let states: Vec<PathBuf> = (0..3).map(|at| lab.path(&format!("state-{at}"))).collect();
    fs::rename(lab.reference(), &states[0]).unwrap();
    fs::write(lab.volume().join("added"), random_bytes(77, 3_000_000)).unwrap();
    fs::write(lab.volume().join("small"), "a small file").unwrap();
    lab.ok(&["backup"]);
    support::copy(&lab.volume(), &states[1]);
    fs::remove_file(lab.volume().join("added")).unwrap();
    lab.ok(&["backup"]);
    support::copy(&lab.volume(), &states[2]);
    (lab, states)
}

#[test]
fn copies_restore_byte_for_byte_and_keep_what_was_known_of_them() {
    let (lab, states) = with_history(odd_tree);
    let report = copied(&lab, "repository", SECOND, &["--create"]);
    assert_eq!((count(&report), &report["present"]), (3, &Value::from(0)));
    is_whole(&lab, SECOND);
    let (originals, copies) = (snapshots(&lab, "repository"), snapshots(&lab, SECOND));
    for field in ["time", "volume_id", "host", "identity"] {
        assert_eq!(texts(&originals, field), texts(&copies, field));
    }
    for (original, copy) in originals.iter().zip(&copies) {
        for field in ["entries", "files", "bytes", "data_bytes", "problem_count"] {
            assert_eq!(original[field], copy[field], "{field}");
        }
        assert_eq!(copy["copied_from"]["snapshot"], original["id"]);
        assert_eq!(copy["epoch"], 0);
    }
    assert_eq!(copies[2]["parent"], copies[1]["id"]);
    for (id, state) in texts(&copies, "id").into_iter().zip(&states) {
        restores_as(&lab, SECOND, id, state);
    }
}

#[test]
fn what_is_there_already_is_neither_read_nor_written_again() {
    let (lab, states) = with_history(few_entries);
    copied(&lab, "repository", SECOND, &["--create"]);
    let before = listing(&lab.path(SECOND));
    // Nothing new: no pack is needed, and no manifest either.
    for kind in ["packs", "segments"] {
        fs::rename(lab.repository().join(kind), lab.path(kind)).unwrap();
    }
    let report = copied(&lab, "repository", SECOND, &[]);
    assert_eq!((count(&report), &report["present"]), (0, &Value::from(3)));
    assert_eq!(listing(&lab.path(SECOND)), before);
    for kind in ["packs", "segments"] {
        fs::rename(lab.path(kind), lab.repository().join(kind)).unwrap();
    }
    fs::write(lab.volume().join("later"), random_bytes(5, 200_000)).unwrap();
    lab.ok(&["backup"]);
    let report = copied(&lab, "repository", SECOND, &[]);
    assert_eq!(count(&report), 1);
    let read = sum(&report, "read_bytes");
    assert!((200_000..250_000).contains(&read), "only the new file is read: {read}");
    // A backup of the same tree has a manifest of its own, and nothing else that is new.
    lab.ok(&["backup"]);
    let report = copied(&lab, "repository", SECOND, &[]);
    assert_eq!((count(&report), sum(&report, "read_bytes"), sum(&report, "added_bytes")), (1, 0, 0));
    is_whole(&lab, SECOND);
    restores_as(&lab, SECOND, texts(&snapshots(&lab, SECOND), "id")[1], &states[1]);
}

#[test]
fn each_codec_reaches_each_other() {
    let (lab, states) = with_history(few_entries);
    let mut from = "repository".to_owned();
    for (number, codec) in ["gzip", "none", "zstd", "zstd", "none", "gzip"].into_iter().enumerate() {
        let to = format!("{number}-{codec}");
        let init = run(lab
            .command(&["repository", "init"])
            .env("VOLKEEP_REPOSITORY", place(&lab, &to))
            .env("VOLKEEP_REPOSITORY_COMPRESSION", codec));
        init.expect_code(0);
        let report = copied(&lab, &from, &to, &[]);
        assert_eq!(count(&report), 3);
        is_whole(&lab, &to);
        let copies = snapshots(&lab, &to);
        restores_as(&lab, &to, texts(&copies, "id")[2], &states[2]);
        let origin = &copies[0]["copied_from"]["snapshot"];
        assert_eq!(*origin, snapshots(&lab, "repository")[0]["id"], "a copy of a copy names the first");
        from = to;
    }
}

#[test]
fn the_same_codec_keeps_frames_as_they_are() {
    let (lab, _) = with_history(few_entries);
    let report = copied(&lab, "repository", SECOND, &["--create"]);
    let bytes =
        |directory: &Path| packs(directory).iter().map(|p| fs::metadata(p).unwrap().len()).sum::<u64>();
    let (read, stored) = (sum(&report, "read_bytes"), bytes(&lab.path(SECOND)));
    // The tables of contents come on top.
    assert!(read <= stored && stored < read + 10_000, "{read} {stored}");
}

#[test]
fn some_snapshots_can_be_chosen_and_a_plan_changes_nothing() {
    let (lab, states) = with_history(few_entries);
    let plan = copied(&lab, "repository", SECOND, &["--create", "--dry-run"]);
    let planned = plan["snapshots"].as_array().unwrap();
    assert_eq!(planned.len(), 3);
    assert!(planned[1]["read_bytes"].as_u64().unwrap() > 3_000_000, "{plan}");
    assert_eq!(planned[2]["read_bytes"], 0, "{plan}");
    assert!(!lab.path(SECOND).exists());

    let names = lab.snapshots();
    let report = copied(&lab, "repository", SECOND, &["--create", "--last", "1"]);
    assert_eq!(report["copied"][0]["snapshot"], names[2]);
    let report = copied(&lab, "repository", SECOND, &["--snapshot", &names[0]]);
    assert_eq!((count(&report), &report["copied"][0]["snapshot"]), (1, &Value::from(names[0].as_str())));
    let before = listing(&lab.path(SECOND));
    let plan = copied(&lab, "repository", SECOND, &["--dry-run"]);
    assert_eq!((plan["snapshots"].as_array().unwrap().len(), &plan["present"]), (1, &Value::from(2)));
    assert_eq!(listing(&lab.path(SECOND)), before);
    assert_eq!(count(&copied(&lab, "repository", SECOND, &[])), 1);
    // The last one came first, and still they are in the order of time.
    let copies = snapshots(&lab, SECOND);
    assert_eq!(texts(&copies, "time"), texts(&snapshots(&lab, "repository"), "time"));
    for (id, state) in texts(&copies, "id").into_iter().zip(&states) {
        restores_as(&lab, SECOND, id, state);
    }
    copy(&lab, "repository", SECOND, &["--snapshot", "nonsense"]).expect_code(10);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let (lab, _) = with_history(few_entries);
    let outcome = copy(&lab, "repository", SECOND, &[]).expect_code(10);
    outcome.says(&["no repository", SECOND, "--create"]);
    assert!(!lab.path(SECOND).exists());
    copy(&lab, "nowhere", SECOND, &["--create"]).expect_code(10).says(&["nowhere", "to copy from"]);
    assert!(!lab.path(SECOND).exists(), "nothing is made for nothing");

    let before = listing(&lab.repository());
    copy(&lab, "repository", "repository", &[]).expect_code(16).says(&["itself"]);
    std::os::unix::fs::symlink(lab.repository(), lab.path("link")).unwrap();
    copy(&lab, "repository", "link", &[]).expect_code(16).says(&["itself"]);
    shell("cp -a \"$1\" \"$2\"", &[lab.repository().as_os_str(), lab.path("raw").as_os_str()]);
    copy(&lab, "repository", "raw", &[]).expect_code(16).says(&["raw copy"]);
    assert_eq!(listing(&lab.repository()), before);

    let other = run(lab
        .command(&["repository", "init"])
        .env("VOLKEEP_REPOSITORY", place(&lab, "other"))
        .env("VOLKEEP_IDENTITY", "another"));
    other.expect_code(0);
    copy(&lab, "repository", "other", &[]).expect_code(15).says(&["another", "laboratory"]);
    assert!(packs_absent(&lab.path("other")));
    copy(&lab, "repository", SECOND, &["--last", "1", "--snapshot", "latest"]).expect_code(2);
}

fn packs_absent(directory: &Path) -> bool {
    !directory.join("packs").exists() && !directory.join("snapshots").exists()
}

#[test]
fn there_and_back_again_duplicates_nothing() {
    let (lab, states) = with_history(few_entries);
    copied(&lab, "repository", SECOND, &["--create"]);
    copied(&lab, SECOND, "third", &["--create"]);
    for (from, to) in
        [(SECOND, "repository"), ("third", "repository"), ("repository", "third"), ("third", SECOND)]
    {
        let report = copied(&lab, from, to, &[]);
        assert_eq!((count(&report), &report["present"]), (0, &Value::from(3)), "{from} {to}");
    }
    // What is lost at home comes back from the copy of the copy, and is known everywhere.
    let lost = lab.snapshots()[1].clone();
    fs::remove_file(lab.repository().join(format!("snapshots/{lost}.json"))).unwrap();
    let report = copied(&lab, "third", "repository", &[]);
    let read = sum(&report, "read_bytes");
    assert!(count(&report) == 1 && read < 3_100_000, "what its neighbours share had stayed: {report}");
    assert_eq!(lab.snapshots().len(), 3);
    restores_as(&lab, "repository", &lab.snapshots()[1], &states[1]);
    assert_eq!(count(&copied(&lab, "repository", SECOND, &[])), 0);
    assert_eq!(count(&copied(&lab, SECOND, "repository", &[])), 0);
}

#[test]
fn a_damaged_pack_stops_its_snapshot_and_no_other() {
    let (lab, states) = with_history(few_entries);
    let names = lab.snapshots();
    // The second backup alone needs the pack with the file that the third no longer had.
    let largest =
        packs(&lab.repository()).into_iter().max_by_key(|p| fs::metadata(p).unwrap().len()).unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&largest, bytes).unwrap();
    let outcome = copy(&lab, "repository", SECOND, &["--create"]).expect_code(12);
    let pack = largest.file_name().unwrap().to_str().unwrap();
    let report = outcome.json();
    outcome.says(&[pack, &names[1], "hint"]);
    assert_eq!((count(&report), report["failed"][0]["snapshots"][0].as_str()), (2, Some(names[1].as_str())));
    is_whole(&lab, SECOND);
    let copies = snapshots(&lab, SECOND);
    restores_as(&lab, SECOND, texts(&copies, "id")[0], &states[0]);
    restores_as(&lab, SECOND, texts(&copies, "id")[1], &states[2]);

    fs::remove_file(&largest).unwrap();
    let outcome = copy(&lab, "repository", SECOND, &[]).expect_code(12);
    outcome.says(&[pack, "missing"]);
    let segment = lab.stored("segments").remove(0);
    fs::write(&segment, "nonsense").unwrap();
    copy(&lab, "repository", "third", &["--create"]).expect_code(12).says(&[segment
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()]);
    is_whole(&lab, "third");
}

#[test]
fn damage_in_the_target_is_stored_anew() {
    let (lab, states) = with_history(few_entries);
    copied(&lab, "repository", SECOND, &["--create", "--snapshot", &lab.snapshots()[0]]);
    for pack in packs(&lab.path(SECOND)) {
        fs::remove_file(pack).unwrap();
    }
    let report = copied(&lab, "repository", SECOND, &[]);
    assert_eq!(count(&report), 2);
    for (id, state) in texts(&snapshots(&lab, SECOND), "id").into_iter().zip(&states).skip(1) {
        restores_as(&lab, SECOND, id, state);
    }
}

#[test]
fn what_an_interrupted_copy_left_is_used() {
    let (lab, states) = with_history(few_entries);
    copied(&lab, "repository", SECOND, &["--create"]);
    // As if it had been killed directly before the commits.
    for id in texts(&snapshots(&lab, SECOND), "id") {
        fs::remove_file(lab.path(SECOND).join(format!("snapshots/{id}.json"))).unwrap();
    }
    let before = packs(&lab.path(SECOND));
    let report = copied(&lab, "repository", SECOND, &[]);
    assert_eq!((count(&report), sum(&report, "read_bytes"), sum(&report, "added_bytes")), (3, 0, 0));
    assert_eq!(packs(&lab.path(SECOND)), before);
    is_whole(&lab, SECOND);
    restores_as(&lab, SECOND, "latest", &states[2]);
}

#[test]
fn killed_at_any_instant_the_next_run_goes_on() {
    let (lab, states) = with_history(|root| {
        made_tree(root, 2_000, 3);
        fs::write(root.join("large"), random_bytes(4, 24_000_000)).unwrap();
    });
    let start = Instant::now();
    copied(&lab, "repository", "undisturbed", &["--create"]);
    let whole = start.elapsed().as_secs_f64();
    let (from, to) = (place(&lab, "repository"), place(&lab, SECOND));
    let command = lab.command(&["repository", "copy", &from, &to]);
    let mut random = Random(11);
    let mut killed = 0;
    let mut seen = BTreeSet::new();
    // A run that comes to its end leaves nothing to interrupt: then it begins from nothing again.
    for _ in 0..40 {
        if seen.len() == 3 {
            remove_all(&lab.path(SECOND));
            seen.clear();
        }
        if !lab.path(SECOND).exists() {
            copied(&lab, "repository", SECOND, &["--create", "--last", "0"]);
        }
        let seconds = whole * (random.next() % 500) as f64 / 1000.0;
        killed += usize::from(run_until(seconds, &command).was_killed());
        let there: BTreeSet<String> =
            texts(&snapshots(&lab, SECOND), "id").into_iter().map(str::to_owned).collect();
        assert!(there.is_superset(&seen), "what was committed stays");
        at(&lab, SECOND, &["check"]).expect_code(0);
        seen = there;
        if killed == 8 && seen.len() < 3 {
            break;
        }
    }
    assert!(killed >= 8, "{killed} of 40 were killed within {whole} s");
    copied(&lab, "repository", SECOND, &[]);
    is_whole(&lab, SECOND);
    let copies = snapshots(&lab, SECOND);
    assert_eq!(copies.len(), 3);
    for (id, state) in texts(&copies, "id").into_iter().zip(&states) {
        restores_as(&lab, SECOND, id, state);
    }
}

#[test]
fn a_volume_is_not_stale_because_its_history_was_copied() {
    // The history is that of a volume that is gone; the one that took its place has restored it.
    let (lab, _) = with_history(few_entries);
    lab.wipe();
    lab.ok(&["init"]);
    let both = |lab: &Lab, first: &str, second: &str, arguments: &[&str]| {
        let config = lab.path("both.yaml");
        let urls = [place(lab, first), place(lab, second)].map(|url| format!("- url: {url}\n")).concat();
        fs::write(&config, format!("repositories:\n{urls}")).unwrap();
        let mut command = lab.command(arguments);
        run(command.env_remove("VOLKEEP_REPOSITORY").arg("--config").arg(config))
    };
    copied(&lab, "repository", SECOND, &["--create", "--last", "2"]);
    // The copies are the newest there is in the second, and of another volume.
    both(&lab, SECOND, "repository", &["init"]).expect_code(0);
    both(&lab, "repository", SECOND, &["backup"]).expect_code(0);
    both(&lab, SECOND, "repository", &["backup"]).expect_code(0);
    let newest = snapshots(&lab, SECOND).last().unwrap().clone();
    // Old history arrives below what the volume has a lease for.
    let report = copied(&lab, "repository", SECOND, &["--snapshot", &lab.snapshots()[0]]);
    assert_eq!(count(&report), 1, "{report}");
    assert_eq!(snapshots(&lab, SECOND).last(), Some(&newest), "a copy is no newer than its original");
    both(&lab, SECOND, "repository", &["init"]).expect_code(0);
    both(&lab, SECOND, "repository", &["backup"]).expect_code(0);
    // And its own backups, from the first repository.
    assert_eq!(count(&copied(&lab, "repository", SECOND, &[])), 3);
    let copies = snapshots(&lab, SECOND);
    let times = texts(&copies, "time");
    assert!(times.is_sorted(), "{times:?}");
    for (first, second) in [("repository", SECOND), (SECOND, "repository")] {
        both(&lab, first, second, &["init"]).expect_code(0);
        let status = both(&lab, first, second, &["status", "--json"]).json();
        assert_eq!(status["state"], "healthy", "{status}");
        both(&lab, first, second, &["backup"]).expect_code(0);
    }
    lab.keep_reference();
    lab.wipe();
    both(&lab, SECOND, "repository", &["init"]).expect_code(0);
    lab.assert_back();
}

#[test]
fn a_volume_is_stale_when_later_data_of_another_was_copied() {
    let lab = Lab::filled(Layout::Subdirectory, few_entries);
    copied(&lab, "repository", SECOND, &["--create"]);
    at(&lab, SECOND, &["backup"]).expect_code(0);
    // Another volume restores from the first repository and goes on there.
    let other = |arguments: &[&str]| {
        let mut command = lab.command(arguments);
        command
            .env("VOLKEEP_VOLUME", lab.path("other/data"))
            .env("VOLKEEP_STATE_DIR", lab.path("other/.volkeep"));
        run(&mut command)
    };
    fs::create_dir_all(lab.path("other/data")).unwrap();
    other(&["init"]).expect_code(0);
    fs::write(lab.path("other/data/later"), "later").unwrap();
    other(&["backup"]).expect_code(0);
    copied(&lab, "repository", SECOND, &[]);
    at(&lab, SECOND, &["init"]).expect_code(16).says(&["newer snapshot"]);
    at(&lab, SECOND, &["backup"]).expect_code(16);
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn history_moves_from_a_bucket_to_a_directory_and_back() {
    let (lab, states) = with_history_in(Home::Bucket, odd_tree);
    let (bucket, directory) = (lab.url(), place(&lab, SECOND));
    assert_eq!(count(&copied_between(&lab, &bucket, &directory, &["--create"])), 3);
    is_whole(&lab, SECOND);
    let (_, _, prefix) = lab.bucket();
    let back = bucket.replace(prefix, &format!("{prefix}-back"));
    assert_eq!(count(&copied_between(&lab, &directory, &back, &["--create"])), 3);
    for (from, to) in [(&directory, &back), (&bucket, &back), (&back, &bucket), (&bucket, &directory)] {
        let report = copied_between(&lab, from, to, &[]);
        assert_eq!((count(&report), &report["present"]), (0, &Value::from(3)), "{from} {to}");
    }
    lab.ok(&["--repository", &back, "check", "--verify"]);
    let copies = lab.ok(&["--repository", &back, "snapshots", "--json"]).json();
    for (id, state) in texts(copies.as_array().unwrap(), "id").into_iter().zip(&states) {
        let target = lab.path("restored");
        remove_all(&target);
        lab.ok(&["--repository", &back, "restore", "--target", target.to_str().unwrap(), id]);
        same(state, &target);
    }
    let again = bucket.replace("&region", "&path_style=true&region");
    lab.exits(16, &["repository", "copy", &bucket, &again]);
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn a_copy_into_a_bucket_survives_being_killed() {
    let (lab, states) = with_history_in(Home::Bucket, |root| {
        made_tree(root, 1_000, 3);
        fs::write(root.join("large"), random_bytes(4, 24_000_000)).unwrap();
    });
    let bucket = lab.url();
    let (_, _, prefix) = lab.bucket();
    let start = Instant::now();
    copied_between(&lab, &bucket, &bucket.replace(prefix, &format!("{prefix}-whole")), &["--create"]);
    let whole = start.elapsed().as_secs_f64();
    let mut random = Random(5);
    let mut killed = 0;
    let mut other = String::new();
    for round in 0..40 {
        if killed == 4 {
            break;
        }
        if other.is_empty() {
            other = bucket.replace(prefix, &format!("{prefix}-{round}"));
            copied_between(&lab, &bucket, &other, &["--create", "--last", "0"]);
        }
        let command = lab.command(&["repository", "copy", &bucket, &other]);
        let outcome = run_until(whole * (random.next() % 500) as f64 / 1000.0, &command);
        lab.ok(&["--repository", &other, "check"]);
        match outcome.was_killed() {
            true => killed += 1,
            false => other.clear(),
        }
    }
    assert_eq!(killed, 4, "so many of 40 were killed within {whole} s");
    copied_between(&lab, &bucket, &other, &[]);
    lab.ok(&["--repository", &other, "check", "--verify"]);
    let target = lab.path("restored");
    lab.ok(&["--repository", &other, "restore", "--target", target.to_str().unwrap()]);
    same(&states[2], &target);
}
