//! Volumes in every state, made of real trees on disk, and who may work on them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]

mod volume_support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use volkeep::base::clock::Clock;
use volkeep::base::timestamp::Timestamp;
use volkeep::volume::{
    Begun, Holder, LastBackup, Layout, LockKind, Marker, Origin, Phase, State, Volume, VolumeError,
    VolumeOptions,
};
use volume_support::{Bench, DAY, WAYS, Way, new_picture, old_picture, picture, target};

#[test]
fn empty_foreign_and_ready_volumes_are_told_apart() {
    for way in WAYS {
        let bench = Bench::new(way);
        assert_eq!(bench.state(), State::Empty);
        assert!(!bench.volume.state_dir().exists(), "inspect makes nothing");
        bench.volume.prepare().unwrap();
        assert_eq!(bench.state(), State::Empty);
        let started = bench.volume.start_empty(None, &bench.clock).unwrap();
        assert_eq!(bench.state(), State::Healthy);
        assert_eq!(bench.marker().volume_id, started.volume_id);
        fs::write(bench.data().join("file"), "").unwrap();
        assert_eq!(bench.state(), State::Healthy);
        let error = bench.volume.start_empty(Some(started.clone()), &bench.clock).unwrap_err();
        assert!(matches!(error, VolumeError::NotEmpty { .. }), "{error}");
        fs::remove_file(bench.marker_path()).unwrap();
        assert_eq!(bench.state(), State::Foreign);
        assert_eq!(
            bench.volume.adopt(Some(started.clone()), &bench.clock).unwrap().origin,
            Some(Origin::Adopted)
        );
        assert_eq!(bench.state(), State::Healthy);
        let unclean = Marker { clean: false, ..bench.marker() };
        bench.volume.write_marker(&unclean, &bench.clock).unwrap();
        assert_eq!(bench.state(), State::Dirty);
    }
}

#[test]
fn lost_and_found_is_no_data_but_a_file_of_that_name_is() {
    let bench = Bench::new(Way::Entries);
    fs::create_dir(bench.data().join("lost+found")).unwrap();
    assert_eq!(bench.state(), State::Empty);
    fs::remove_dir(bench.data().join("lost+found")).unwrap();
    fs::write(bench.data().join("lost+found"), "").unwrap();
    assert_eq!(bench.state(), State::Foreign);
}

#[test]
fn data_that_vanished_is_never_healthy() {
    for way in WAYS {
        let bench = Bench::new(way);
        bench.volume.prepare().unwrap();
        let mut marker = bench.volume.start_empty(None, &bench.clock).unwrap();
        let time = bench.clock.now();
        let backup =
            |files| LastBackup { snapshot: "s".into(), time, repository: "r".into(), files, bytes: files };
        for (last_backup, lost) in [(None, false), (Some(backup(3)), true), (Some(backup(0)), false)] {
            marker.last_backup = last_backup;
            bench.volume.write_marker(&marker, &bench.clock).unwrap();
            let found = bench.volume.inspect().unwrap();
            assert_eq!((found.state == State::Empty, found.lost), (lost, lost), "{way:?} {marker:?}");
        }
        marker.origin = Some(Origin::Adopted);
        marker.last_backup = None;
        bench.volume.write_marker(&marker, &bench.clock).unwrap();
        assert!(bench.volume.inspect().unwrap().lost);
        if way != Way::Entries {
            fs::remove_dir(bench.data()).unwrap();
            let found = bench.volume.inspect().unwrap();
            assert_eq!((found.state, found.lost), (State::Empty, true));
        }
    }
}

#[test]
fn another_identity_comes_before_everything_else() {
    let bench = Bench::staged(Way::Exchange);
    let other = VolumeOptions::new(bench.data(), bench.volume.state_dir(), "shop");
    let found = Volume::new(other).unwrap().inspect().unwrap();
    assert_eq!(found.state, State::Mismatch { found: "wiki".into(), expected: "shop".into() });
}

#[test]
fn a_damaged_marker_is_an_error_and_never_a_state() {
    let bench = Bench::adopted(Way::Entries);
    let whole = fs::read_to_string(bench.marker_path()).unwrap();
    let damaged =
        [String::new(), "{}".into(), whole[..whole.len() / 2].to_owned(), whole.replace("wiki", "shop")];
    for text in damaged {
        fs::write(bench.marker_path(), &text).unwrap();
        let error = bench.volume.inspect().unwrap_err();
        assert!(matches!(error, VolumeError::MarkerDamaged { .. }), "{text}: {error}");
        assert!(error.to_string().contains("marker.json"), "{error}");
    }
    let newer = volkeep::base::sealed::seal(&bench_free_marker(), 2).unwrap();
    fs::write(bench.marker_path(), newer).unwrap();
    let error = bench.volume.inspect().unwrap_err();
    assert!(matches!(error, VolumeError::MarkerNewer { found: 2, known: 1, .. }), "{error}");
    fs::remove_file(bench.marker_path()).unwrap();
    fs::create_dir(bench.marker_path()).unwrap();
    assert!(matches!(bench.volume.inspect().unwrap_err(), VolumeError::Io { .. }));
}

fn bench_free_marker() -> std::collections::BTreeMap<&'static str, &'static str> {
    [("whatever", "comes")].into()
}

#[test]
fn what_is_not_there_or_no_directory_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let volume = |path: &str, state_dir: &str| {
        Volume::new(VolumeOptions::new(dir.path().join(path), dir.path().join(state_dir), "wiki")).unwrap()
    };
    for missing in [volume("gone/data", "gone/.volkeep"), volume("gone", "gone/.volkeep")] {
        for error in [missing.inspect().map(drop), missing.prepare()] {
            assert!(matches!(error.unwrap_err(), VolumeError::Missing { .. }));
        }
    }
    fs::create_dir(dir.path().join("real")).unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    symlink("real", dir.path().join("link")).unwrap();
    for name in ["file", "link"] {
        let error = volume(name, ".volkeep").inspect().unwrap_err();
        assert!(matches!(error, VolumeError::NotADirectory { .. }), "{error}");
    }
    // Behind the link, the state directory is inside the volume.
    let error = volume("real", "link/.volkeep").prepare().unwrap_err();
    assert!(matches!(error, VolumeError::Options(_)), "{error}");
}

#[test]
fn the_state_directory_has_to_be_on_the_same_file_system() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
    let device = |dir: &TempDir| fs::metadata(dir.path()).unwrap().dev();
    if device(&here) == device(&there) {
        return;
    }
    let options = VolumeOptions::new(here.path().join("data"), there.path().join("state"), "wiki");
    let error = Volume::new(options).unwrap().prepare().unwrap_err();
    assert!(matches!(error, VolumeError::OtherFileSystem { .. }), "{error}");
}

#[test]
fn pods_of_another_user_in_the_group_can_go_on() {
    let bench = Bench::new(Way::Entries);
    fs::set_permissions(bench.data(), fs::Permissions::from_mode(0o2775)).unwrap();
    bench.volume.prepare().unwrap();
    let mode = |path: PathBuf| fs::metadata(path).unwrap().mode() & 0o7777;
    let state_dir = bench.volume.state_dir();
    for name in ["", "staging", "quarantine", "cache"] {
        assert_eq!(mode(state_dir.join(name)), 0o2770, "{name}");
    }
    let who = holder("init", &bench);
    let _guard = bench.volume.lock(LockKind::Exclusive, &who, &bench.clock, &mut |_| ()).unwrap();
    assert_eq!(mode(state_dir.join("lock")), 0o660);
    bench.volume.prepare().unwrap();
}

fn holder(mode: &str, bench: &Bench) -> Holder {
    let since = Timestamp { nanoseconds: 0, ..bench.clock.now() };
    Holder { mode: mode.into(), pod: "wiki-0".into(), host: "node".into(), since }
}

#[test]
fn a_sidecar_is_seen_and_a_second_one_refused() {
    let bench = Bench::adopted(Way::Exchange);
    assert_eq!(bench.volume.sidecar_running().unwrap(), None);
    let who = holder("sidecar", &bench);
    let guard = bench.volume.hold_sidecar_lock(&who, &bench.clock).unwrap();
    assert_eq!(bench.volume.sidecar_running().unwrap(), Some(who.clone()));
    let error = bench.volume.hold_sidecar_lock(&who, &bench.clock).unwrap_err();
    assert!(matches!(error, VolumeError::Locked { .. }), "{error}");
    // It is another lock than the volume's.
    let _other = bench.volume.lock(LockKind::Exclusive, &who, &bench.clock, &mut |_| ()).unwrap();
    drop(guard);
    assert_eq!(bench.volume.sidecar_running().unwrap(), None);
}

/// The kernel's own lock, as another process sees it.
#[test]
fn another_process_is_kept_out_and_a_child_does_not_inherit_the_lock() {
    let bench = Bench::adopted(Way::Entries);
    let lock = bench.volume.state_dir().join("lock");
    let free = || Command::new("flock").arg("-n").arg(&lock).arg("true").status().unwrap().success();
    let take = || {
        let who = holder("init", &bench);
        bench.volume.lock(LockKind::Exclusive, &who, &bench.clock, &mut |_| ())
    };
    let guard = take().unwrap();
    assert!(!free());
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    drop(guard);
    assert!(free());
    drop(take().unwrap());
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn room_is_made_from_old_quarantine_but_not_during_a_commit() {
    let bench = Bench::adopted(Way::Entries);
    for snapshot in ["one", "two", "three"] {
        let mut marker = bench.marker();
        bench.begin(&mut marker, snapshot);
        fs::write(bench.volume.staging().tree.join("file"), snapshot).unwrap();
        bench.volume.mark_staged(&mut marker, &bench.clock).unwrap();
        bench.clock.advance(Duration::from_secs(60));
        if snapshot == "three" {
            bench.commit_killed_at(2).unwrap_err();
            assert!(bench.volume.make_room(u64::MAX, &bench.clock).unwrap().is_empty());
        }
        bench.volume.commit(&mut bench.marker(), &bench.clock).unwrap();
    }
    assert_eq!(bench.volume.quarantined().unwrap().len(), 3);
    assert_eq!(bench.volume.make_room(u64::MAX, &bench.clock).unwrap().len(), 2);
    let kept = bench.volume.quarantined().unwrap();
    assert_eq!(fs::read_to_string(kept[0].path.join("data/file")).unwrap(), "two");
}

#[test]
fn a_restore_is_resumed_for_the_same_snapshot_and_begun_anew_for_another() {
    for way in WAYS {
        let bench = Bench::adopted(way);
        let tree = bench.volume.staging().tree;
        let mut marker = bench.marker();
        assert_eq!(bench.begin(&mut marker, "one"), Begun::Fresh);
        assert_eq!(bench.marker(), Marker { written_at: bench.marker().written_at, ..marker.clone() });
        assert_eq!(bench.state(), State::Interrupted { phase: Phase::Restoring { target: target("one") } });
        fs::write(tree.join("part"), "of one").unwrap();
        assert_eq!(bench.begin(&mut marker, "one"), Begun::Resumed);
        assert!(tree.join("part").exists());
        bench.volume.mark_staged(&mut marker, &bench.clock).unwrap();
        assert_eq!(bench.begin(&mut marker, "one"), Begun::Staged);
        fs::remove_dir_all(&tree).unwrap();
        assert!(bench.volume.commit(&mut marker, &bench.clock).is_err());
        assert_eq!(bench.begin(&mut marker, "one"), Begun::Fresh);
        assert_eq!(bench.marker().phase.name(), "restoring");
        fs::write(tree.join("part"), "of one").unwrap();
        bench.volume.mark_staged(&mut marker, &bench.clock).unwrap();
        assert_eq!(bench.begin(&mut marker, "two"), Begun::Fresh);
        assert!(!tree.join("part").exists());
        assert_eq!(bench.marker().phase, Phase::Restoring { target: target("two") });
        assert!(bench.volume.commit(&mut marker, &bench.clock).is_err(), "not staged yet");
        assert_eq!(picture(bench.data()).split_off(1), old_picture());
    }
}

#[test]
fn sweeping_takes_what_is_over_and_nothing_else() {
    let bench = Bench::staged(Way::Entries);
    bench.volume.commit(&mut bench.marker(), &bench.clock).unwrap();
    let state_dir = bench.volume.state_dir().to_owned();
    fs::write(state_dir.join(".tmp-marker.json.0123"), "").unwrap();
    fs::create_dir_all(bench.volume.staging().tree.join("stale")).unwrap();
    fs::write(state_dir.join("cache/kept"), "").unwrap();
    let report = bench.volume.sweep(&bench.clock).unwrap();
    assert!(report.stale_staging && report.quarantines.is_empty() && report.temporary_files == 0);
    bench.clock.advance(8 * DAY);
    let report = bench.volume.sweep(&bench.clock).unwrap();
    assert_eq!((report.quarantines.len(), report.temporary_files), (1, 1));
    assert_eq!(bench.volume.quarantined().unwrap(), []);
    assert!(state_dir.join("cache/kept").exists());
    assert_eq!((bench.live(), bench.state()), (new_picture(), State::Dirty));
    assert_eq!(bench.volume.layout(), Layout::MountPoint);
}
