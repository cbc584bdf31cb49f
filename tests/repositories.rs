//! Several repositories: backups go to all, a restore tries them in order, and one that is broken hides none of the
//! others, in whatever place it stands and in whatever way it is broken.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Lab, Layout, few_entries, remove_all, run};

const PLACES: [&str; 2] = ["first", "second"];

/// How a repository is broken, and with which exit code a backup fails there.
type Break = (&'static str, i32, fn(&Path));

const BREAKS: [Break; 4] = [
    ("gone", 10, |place| remove_all(place)),
    ("a file", 1, |place| {
        remove_all(place);
        fs::write(place, "no directory").unwrap();
    }),
    ("its descriptor damaged", 12, |place| fs::write(place.join("repository.json"), "{").unwrap()),
    ("its descriptor gone", 12, |place| fs::remove_file(place.join("repository.json")).unwrap()),
];

/// A volume with two backups in each of two repositories.
fn lab() -> Lab {
    let lab = Lab::new(Layout::Subdirectory);
    let urls = PLACES.map(|name| format!("  - {{ url: \"file://{}\" }}\n", lab.path(name).display()));
    let lab = lab.with_config(&format!("repositories:\n{}", urls.concat()));
    few_entries(&lab.volume());
    lab.first_backup();
    fs::write(lab.volume().join("more"), "of the second backup").unwrap();
    lab.ok(&["backup"]);
    lab.keep_reference();
    lab
}

fn snapshots_in(lab: &Lab, place: usize) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(lab.path(PLACES[place]).join("snapshots")) else { return Vec::new() };
    let mut found: Vec<PathBuf> = found.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn each_repository_is_remembered_with_its_own_lease_and_snapshot() {
    let lab = lab();
    assert_eq!((snapshots_in(&lab, 0).len(), snapshots_in(&lab, 1).len()), (2, 2));
    let status = lab.ok(&["status", "--json"]).json();
    assert_eq!(status["state"], "healthy");
    let leases = status["leases"].as_array().unwrap();
    assert_eq!(leases.len(), 2, "{status}");
    for (lease, name) in leases.iter().zip(PLACES) {
        assert!(lease["repository"].as_str().unwrap().ends_with(name), "{lease}");
        assert_eq!((lease["ours"].as_bool(), lease["epoch"].as_u64()), (Some(true), Some(1)));
        assert!(lease["until"].as_str().unwrap() > lease["since"].as_str().unwrap(), "{lease}");
    }
    lab.ok(&["status"]).says(&["lease", "this volume", "until", "epoch 1"]);
    let marker = fs::read_to_string(lab.state_dir().join("marker.json")).unwrap();
    for place in [0, 1] {
        let newest = snapshots_in(&lab, place).pop().unwrap();
        assert!(marker.contains(newest.file_stem().unwrap().to_str().unwrap()), "{marker}");
    }
    // Lost and brought back from the first, it goes on with both.
    lab.wipe();
    lab.ok(&["init"]);
    lab.assert_back();
    lab.ok(&["backup"]);
    assert_eq!((snapshots_in(&lab, 0).len(), snapshots_in(&lab, 1).len()), (3, 3));
}

#[test]
fn a_broken_repository_keeps_no_backup_from_the_other() {
    for (how, code, spoil) in BREAKS {
        for broken in [0, 1] {
            let lab = lab();
            spoil(&lab.path(PLACES[broken]));
            let good = 1 - broken;
            lab.exits(code, &["backup"]).says(&["1 of 2 repositories failed", PLACES[broken]]);
            assert_eq!(snapshots_in(&lab, good).len(), 3, "{how}, {broken}");
            assert_eq!(lab.state(), "healthy", "{how}, {broken}");
            // What is there is listed, and what is not is said.
            let listed = lab.exits(code, &["snapshots", "--json"]);
            assert_eq!(listed.json().as_array().map(Vec::len), Some(3), "{how}, {broken}: {listed}");
        }
    }
}

#[test]
fn all_failures_are_named() {
    let lab = lab();
    (BREAKS[2].2)(&lab.path("first"));
    (BREAKS[0].2)(&lab.path("second"));
    let all = ["is damaged", "as to the other repositories", "there is no repository at", "second"];
    lab.exits(12, &["backup"]).says(&all);
    lab.exits(12, &["snapshots"]).says(&["as to the other repositories"]);
}

#[test]
fn a_lost_volume_comes_back_from_whichever_repository_is_whole() {
    for (how, _, spoil) in BREAKS {
        for broken in [0, 1] {
            let lab = lab();
            spoil(&lab.path(PLACES[broken]));
            lab.exits(0, &["restore", "--target", "beside"]);
            support::same(&lab.reference(), &lab.path("beside"));
            lab.wipe();
            let report = lab.ok(&["init", "--json"]).json();
            let from = report["brought"]["repository"].as_str().unwrap();
            assert!(from.ends_with(PLACES[1 - broken]), "{how}, {broken}: {from}");
            lab.assert_back();
        }
    }
}

#[test]
fn a_damaged_newest_snapshot_gives_way_to_one_that_is_as_new_elsewhere() {
    // In its file, and in the data.
    let spoilers: [fn(&Lab); 2] = [
        |lab| fs::write(snapshots_in(lab, 0).pop().unwrap(), "{}").unwrap(),
        |lab| {
            for segment in fs::read_dir(lab.path("first/segments")).unwrap() {
                fs::write(segment.unwrap().path(), "damaged").unwrap();
            }
        },
    ];
    for spoil in spoilers {
        let lab = lab();
        spoil(&lab);
        lab.wipe();
        let report = lab.ok(&["init", "--json"]).json();
        assert!(report["brought"]["repository"].as_str().unwrap().ends_with("second"), "{report}");
        lab.assert_back();
    }
    // The second missed the last backup: which data to lose is for a person to say.
    for spoil in spoilers {
        let lab = lab();
        fs::remove_file(snapshots_in(&lab, 1).pop().unwrap()).unwrap();
        spoil(&lab);
        lab.wipe();
        lab.exits(12, &["init"]);
    }
}

/// Another volume restored and went on, and stored to the second repository alone.
#[test]
fn what_is_newer_in_the_second_repository_makes_the_volume_stale() {
    for first_is_there in [true, false] {
        let lab = lab();
        let elsewhere = lab.path("elsewhere");
        fs::create_dir_all(elsewhere.join("data")).unwrap();
        let second = format!("file://{}", lab.path("second").display());
        for arguments in [["init"], ["backup"]] {
            let mut command = lab.command(&arguments);
            command.env("VOLKEEP_VOLUME", elsewhere.join("data"));
            command.env("VOLKEEP_STATE_DIR", elsewhere.join(".volkeep"));
            command.args(["--repository", &second]);
            run(&mut command).expect_code(0);
        }
        if !first_is_there {
            remove_all(&lab.path("first"));
        }
        assert_eq!(lab.state(), "stale");
        lab.exits(16, &["init"]).says(&["newer snapshot"]);
        lab.exits(16, &["backup"]).says(&["newer snapshot"]);
        assert_eq!(snapshots_in(&lab, 1).len(), 3);
        lab.set_and_restore();
    }
}

impl Lab {
    /// The newer snapshot is taken from where it is.
    #[track_caller]
    fn set_and_restore(&self) {
        let mut command = self.command(&["init", "--json"]);
        let report = run(command.env("VOLKEEP_INIT_ON_STALE", "restore")).expect_code(0).json();
        assert!(report["brought"]["repository"].as_str().unwrap().ends_with("second"), "{report}");
    }
}
