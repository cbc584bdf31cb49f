//! Commits that are cut off before each step and taken up again, in every way there is to commit.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]

mod volume_support;

use std::fs;
use std::os::unix::fs::MetadataExt;

use volkeep::volume::{CommitReport, Origin, Phase, Progress, State, VolumeError};
use volume_support::{Bench, DAY, WAYS, Way, new_picture, new_tree, old_picture, picture, target};

#[test]
fn a_commit_that_has_begun_is_not_given_up() {
    for way in WAYS {
        let bench = Bench::staged(way);
        bench.commit_killed_at(1).unwrap_err();
        let mut marker = bench.marker();
        assert_eq!(marker.phase.name(), "committing");
        let refused = bench.volume.begin_restore(&mut marker, target("other"), &bench.clock);
        assert!(matches!(refused.unwrap_err(), VolumeError::Phase { .. }));
        assert!(bench.volume.adopt(Some(marker.clone()), &bench.clock).is_err());
        assert!(bench.volume.start_empty(Some(marker), &bench.clock).is_err());
        bench.volume.commit(&mut bench.marker(), &bench.clock).unwrap();
        assert_eq!(bench.live(), new_picture());
    }
}

/// The heart of it: killed before every step, and once more at every step of the second run.
#[test]
fn a_commit_killed_anywhere_ends_as_an_undisturbed_one() {
    for way in WAYS {
        let mut first = 0;
        while killed_twice(way, first) {
            first += 1;
        }
        assert!(first > 5, "{way:?} has {first} steps");
    }
}

/// Returns whether the first commit was killed at all.
fn killed_twice(way: Way, first: usize) -> bool {
    for second in 0.. {
        let bench = Bench::staged(way);
        let volume_id = bench.marker().volume_id;
        if bench.commit_killed_at(first).is_ok() {
            is_as_undisturbed(&bench, &volume_id);
            return false;
        }
        is_never_ready_when_mixed(&bench);
        let resumed = bench.commit_killed_at(second);
        if resumed.is_err() {
            is_never_ready_when_mixed(&bench);
            bench.volume.commit(&mut bench.marker(), &bench.clock).unwrap();
        }
        is_as_undisturbed(&bench, &volume_id);
        if resumed.is_ok() {
            break;
        }
    }
    true
}

fn is_never_ready_when_mixed(bench: &Bench) {
    let State::Interrupted { phase } = bench.state() else {
        panic!("{:?} after a kill", bench.state());
    };
    // While the journal is open, sweeping must take nothing that is still needed.
    bench.clock.advance(100 * DAY);
    bench.volume.sweep(&bench.clock).unwrap();
    if matches!(phase, Phase::Staged { .. }) {
        assert_eq!(bench.live().split_off(1), old_picture());
    }
}

fn is_as_undisturbed(bench: &Bench, volume_id: &str) {
    assert_eq!(bench.live(), new_picture());
    assert_eq!(bench.quarantined().split_off(1), old_picture());
    let root = fs::metadata(bench.data()).unwrap();
    assert_eq!((root.mtime(), root.mtime_nsec()), (1_000_000_000, 123_456_789));
    let marker = bench.marker();
    assert_eq!((marker.volume_id.as_str(), &marker.phase), (volume_id, &Phase::Ready));
    assert!(matches!(&marker.origin, Some(Origin::Snapshot { id, .. }) if id == "new"));
    assert_eq!(bench.state(), State::Dirty);
    assert!(!bench.volume.staging().tree.exists());
    let refused = bench.volume.commit(&mut bench.marker(), &bench.clock).unwrap_err();
    assert!(matches!(refused, VolumeError::Phase { .. }), "{refused}");
}

#[test]
fn an_empty_or_absent_old_tree_needs_no_quarantine() {
    for way in WAYS {
        for absent in [false, true] {
            let bench = Bench::new(way);
            bench.volume.prepare().unwrap();
            if absent && way != Way::Entries {
                fs::remove_dir(bench.data()).unwrap();
            }
            let mut marker = bench.volume.new_marker(&bench.clock).unwrap();
            bench.begin(&mut marker, "new");
            new_tree(&bench.volume.staging().tree);
            bench.volume.mark_staged(&mut marker, &bench.clock).unwrap();
            let report = bench.volume.commit(&mut marker, &bench.clock).unwrap();
            assert_eq!(report, CommitReport::default());
            assert_eq!(bench.live(), new_picture());
            assert_eq!(bench.volume.quarantined().unwrap(), []);
        }
    }
}

#[test]
fn what_appears_during_a_commit_is_put_aside_and_never_overwritten() {
    for way in WAYS {
        for steps in 0.. {
            let bench = Bench::staged(way);
            let killed = bench.commit_killed_at(steps).is_err();
            // An app that should not run does, and so does what makes missing directories.
            let progress = match bench.marker().phase {
                Phase::Committing { progress, .. } => progress,
                Phase::Staged { .. } => continue,
                _ => {
                    assert!(!killed);
                    break;
                }
            };
            let missing = !bench.data().exists();
            fs::create_dir_all(bench.data()).unwrap();
            let names: &[&str] = match (way, &progress) {
                (Way::Entries, Progress::Filling { .. }) => &["late", "only-new", "both"],
                (Way::Entries, _) => &["late", "only-old"],
                // Once the new tree is live, what is written belongs to it.
                _ if missing => &["late"],
                _ => &[],
            };
            let mut written = 0;
            for name in names {
                let new = bench.volume.staging().tree.join(name).exists() || *name == "late";
                if new && !bench.data().join(name).exists() {
                    fs::write(bench.data().join(name), "late").unwrap();
                    written += 1;
                }
            }
            bench.volume.commit(&mut bench.marker(), &bench.clock).unwrap();
            assert_eq!(bench.live(), new_picture(), "{way:?} {steps}");
            let quarantine = &bench.volume.quarantined().unwrap()[0].path;
            let kept = picture(quarantine);
            let late = kept.iter().filter(|line| line.ends_with(" late")).count();
            assert_eq!(late, written, "{way:?} {steps}: {kept:#?}");
            let old =
                kept.iter().filter(|line| line.ends_with(" old") || line.ends_with(" old rows")).count();
            assert_eq!(old, 3, "{way:?} {steps}: {kept:#?}");
        }
    }
}

#[test]
fn our_own_and_ignorable_directories_stay_where_they_are() {
    let bench = Bench::new(Way::Entries);
    bench.volume.prepare().unwrap();
    let found = bench.data().join("lost+found");
    fs::create_dir(&found).unwrap();
    fs::write(found.join("#1"), "").unwrap();
    let mut marker = bench.volume.start_empty(None, &bench.clock).unwrap();
    bench.begin(&mut marker, "new");
    let tree = bench.volume.staging().tree;
    for name in ["lost+found", ".volkeep"] {
        fs::create_dir(tree.join(name)).unwrap();
        fs::write(tree.join(name).join("from-a-backup"), "").unwrap();
    }
    fs::write(tree.join("file"), "").unwrap();
    bench.volume.mark_staged(&mut marker, &bench.clock).unwrap();
    let report = bench.volume.commit(&mut marker, &bench.clock).unwrap();
    assert_eq!(report.skipped, [bench.volume.state_dir().to_owned(), found.clone()]);
    assert!(found.join("#1").exists() && !found.join("from-a-backup").exists());
    assert!(!bench.volume.state_dir().join("from-a-backup").exists());
    assert_eq!(bench.state(), State::Dirty);
}

#[test]
fn an_unclear_journal_stops_and_touches_nothing() {
    let bench = Bench::staged(Way::Exchange);
    bench.commit_killed_at(1).unwrap_err();
    let tree = bench.volume.staging().tree;
    let away = bench.volume.state_dir().join("away");
    fs::rename(&tree, &away).unwrap();
    let error = bench.volume.commit(&mut bench.marker(), &bench.clock).unwrap_err();
    assert!(matches!(error, VolumeError::StagingMissing { .. }), "{error}");
    fs::create_dir(&tree).unwrap();
    let error = bench.volume.commit(&mut bench.marker(), &bench.clock).unwrap_err();
    assert!(matches!(error, VolumeError::JournalUnclear { .. }), "{error}");
    assert_eq!(bench.live().split_off(1), old_picture());
    fs::remove_dir(&tree).unwrap();
    fs::rename(&away, &tree).unwrap();
    bench.volume.commit(&mut bench.marker(), &bench.clock).unwrap();
    assert_eq!(bench.live(), new_picture());
}
