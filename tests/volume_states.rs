//! Volumes in every state, made of real trees on disk, and commits that are cut off before each step and taken
//! up again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use volkeep::base::clock::{Clock, ManualClock};
use volkeep::base::timestamp::Timestamp;
use volkeep::volume::{
    Begun, CommitReport, Holder, LastBackup, Layout, LockKind, Marker, Origin, Phase, Progress,
    RestoreTarget, State, Volume, VolumeError, VolumeOptions,
};

const DAY: Duration = Duration::from_secs(86_400);

/// The three ways to commit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Exchange,
    TwoRenames,
    Entries,
}

const WAYS: [Way; 3] = [Way::Exchange, Way::TwoRenames, Way::Entries];

struct Bench {
    _dir: TempDir,
    volume: Volume,
    clock: ManualClock,
}

impl Bench {
    fn new(way: Way) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("volume");
        let data = if way == Way::Entries { root.clone() } else { root.join("data") };
        fs::create_dir_all(&data).unwrap();
        let mut options = VolumeOptions::new(&data, root.join(".volkeep"), "wiki");
        options.exchange = way != Way::TwoRenames;
        options.lock_wait = Duration::from_secs(1);
        let volume = Volume::new(options).unwrap();
        let clock = ManualClock::at(Timestamp::from(SystemTime::now()));
        Self { _dir: dir, volume, clock }
    }

    fn data(&self) -> &Path {
        self.volume.path()
    }

    fn state(&self) -> State {
        self.volume.inspect().unwrap().state
    }

    fn marker(&self) -> Marker {
        self.volume.read_marker().unwrap().unwrap()
    }

    fn marker_path(&self) -> PathBuf {
        self.volume.state_dir().join("marker.json")
    }

    /// A ready marker on an app's data.
    fn adopted(way: Way) -> Self {
        let bench = Self::new(way);
        bench.volume.prepare().unwrap();
        old_tree(bench.data());
        bench.volume.adopt(None, &bench.clock).unwrap();
        bench
    }

    /// A volume with data of before, and a snapshot that only waits to be made live.
    fn staged(way: Way) -> Self {
        let bench = Self::adopted(way);
        let mut marker = bench.marker();
        assert_eq!(bench.begin(&mut marker, "new"), Begun::Fresh);
        new_tree(&bench.volume.staging().tree);
        bench.volume.mark_staged(&mut marker, &bench.clock).unwrap();
        bench
    }

    fn begin(&self, marker: &mut Marker, snapshot: &str) -> Begun {
        self.volume.begin_restore(marker, target(snapshot), &self.clock).unwrap()
    }

    /// Commits with what the marker on disk says, as a new process would, and is killed before step `steps`.
    fn commit_killed_at(&self, steps: usize) -> Result<CommitReport, VolumeError> {
        let left = Cell::new(steps);
        let mut before_step = |_: &str| match left.get() {
            0 => Err(io::Error::other("killed")),
            more => {
                left.set(more - 1);
                Ok(())
            }
        };
        self.volume.commit_observed(&mut self.marker(), &self.clock, &mut before_step)
    }

    /// What the app sees.
    fn live(&self) -> Vec<String> {
        picture(self.data())
    }

    fn quarantined(&self) -> Vec<String> {
        let all = self.volume.quarantined().unwrap();
        assert_eq!(all.len(), 1, "{all:?}");
        let note = all[0].note.as_ref().unwrap();
        assert_eq!((Path::new(note.path.as_os_str()), &note.origin), (self.data(), &Some(Origin::Adopted)));
        picture(&all[0].path.join("data"))
    }
}

fn target(snapshot: &str) -> RestoreTarget {
    RestoreTarget { repository: "file:///backups".into(), snapshot: snapshot.into() }
}

fn old_tree(at: &Path) {
    fs::create_dir_all(at.join("base/1")).unwrap();
    fs::write(at.join("base/1/table"), "old rows").unwrap();
    fs::write(at.join("only-old"), "old").unwrap();
    fs::write(at.join("both"), "old").unwrap();
    symlink("base", at.join("link")).unwrap();
    read_only(&at.join("base"));
}

fn new_tree(at: &Path) {
    fs::create_dir_all(at.join("base/2/empty")).unwrap();
    fs::write(at.join("base/2/table"), "new rows").unwrap();
    read_only(&at.join("base"));
    fs::write(at.join("both"), "new").unwrap();
    fs::write(at.join("only-new"), "new").unwrap();
    symlink("/dangling", at.join("link")).unwrap();
    fs::set_permissions(at.join("only-new"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(at, fs::Permissions::from_mode(0o2751)).unwrap();
    set_time(at, 1_000_000_000);
}

/// Which stops everybody but root from moving it just so.
fn read_only(at: &Path) {
    fs::set_permissions(at, fs::Permissions::from_mode(0o555)).unwrap();
}

fn set_time(at: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, 123_456_789);
    fs::File::open(at).unwrap().set_modified(time).unwrap();
}

/// Every entry with all that must be equal, one a line; our own directory and `lost+found` left out. Times are
/// those of the new root alone: the rest of the trees is made anew for each bench.
fn picture(root: &Path) -> Vec<String> {
    fn walk(at: &Path, shown: &Path, lines: &mut Vec<String>) {
        let metadata = fs::symlink_metadata(at).unwrap();
        let content = match metadata.file_type() {
            kind if kind.is_symlink() => format!("{:?}", fs::read_link(at).unwrap()),
            kind if kind.is_file() => fs::read_to_string(at).unwrap(),
            _ => String::new(),
        };
        lines.push(format!("{} {:o} {content}", shown.display(), metadata.mode()));
        if metadata.is_dir() {
            let mut names: Vec<_> = fs::read_dir(at).unwrap().map(|one| one.unwrap().file_name()).collect();
            names.retain(|name| name != ".volkeep" && name != "lost+found");
            names.sort();
            names.iter().for_each(|name| walk(&at.join(name), &shown.join(name), lines));
        }
    }
    let mut lines = Vec::new();
    walk(root, Path::new(""), &mut lines);
    lines
}

fn new_picture() -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    new_tree(dir.path());
    picture(dir.path())
}

/// Without the root's own line: the mode of what holds the old entries is ours.
fn old_picture() -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    old_tree(dir.path());
    picture(dir.path()).split_off(1)
}

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
        assert_eq!(bench.begin(&mut marker, "two"), Begun::Fresh);
        assert!(!tree.join("part").exists());
        assert_eq!(bench.marker().phase, Phase::Restoring { target: target("two") });
        assert!(bench.volume.commit(&mut marker, &bench.clock).is_err(), "not staged yet");
        assert_eq!(picture(bench.data()).split_off(1), old_picture());
    }
}

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
    assert_eq!(bench.state(), State::Healthy);
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
    assert_eq!(bench.state(), State::Healthy);
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
    assert_eq!((bench.live(), bench.state()), (new_picture(), State::Healthy));
    assert_eq!(bench.volume.layout(), Layout::MountPoint);
}

/// Mounting needs root and a mount namespace of our own: the test runs itself again inside one.
#[test]
fn mount_points_are_refused_before_anything_moves() {
    const INSIDE: &str = "VOLKEEP_TEST_IN_OWN_MOUNTS";
    if std::env::var_os(INSIDE).is_some() {
        return mounts_are_refused();
    }
    let may_mount = Command::new("unshare").args(["-m", "true"]).stderr(Stdio::null()).status();
    if !may_mount.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no mount namespace to be had");
        return;
    }
    let ended = Command::new("unshare")
        .args(["-m", "--propagation", "private"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "mount_points_are_refused_before_anything_moves", "--nocapture"])
        .env(INSIDE, "1")
        .status();
    assert!(ended.unwrap().success());
}

fn mounts_are_refused() {
    // Something mounted at the top of a mount point.
    let bench = Bench::staged(Way::Entries);
    let inside = bench.data().join("mounted");
    let place = MountedOver::new(&inside, &["-t", "tmpfs", "tmpfs"]);
    let before = bench.live();
    let error = bench.volume.commit(&mut bench.marker(), &bench.clock).unwrap_err();
    assert!(matches!(&error, VolumeError::MountInside { path } if *path == inside), "{error}");
    assert_eq!((bench.live(), bench.marker().phase.name()), (before, "staged"));
    drop(place);
    bench.volume.commit(&mut bench.marker(), &bench.clock).unwrap();

    // A data directory that is a mount of its own, though of the same file system.
    let bench = Bench::staged(Way::Exchange);
    let data = bench.data().to_str().unwrap().to_owned();
    let place = MountedOver::new(bench.data(), &["--bind", &data]);
    for error in [bench.volume.prepare(), bench.volume.commit(&mut bench.marker(), &bench.clock).map(drop)] {
        assert!(matches!(error.unwrap_err(), VolumeError::OwnMount { .. }));
    }
    assert_eq!(bench.marker().phase.name(), "staged");
    drop(place);

    // A state directory in another mount of the same file system.
    let state_dir = bench.volume.state_dir().to_str().unwrap().to_owned();
    let place = MountedOver::new(bench.volume.state_dir(), &["--bind", &state_dir]);
    assert!(matches!(bench.volume.prepare().unwrap_err(), VolumeError::OtherFileSystem { .. }));
    drop(place);

    // A mount deep in a quarantined tree: its data is not ours to delete.
    bench.volume.commit(&mut bench.marker(), &bench.clock).unwrap();
    let deep = bench.volume.quarantined().unwrap()[0].path.join("data/base/1/mounted");
    let place = MountedOver::new(&deep, &["-t", "tmpfs", "tmpfs"]);
    fs::write(deep.join("somebody's"), "").unwrap();
    bench.clock.advance(100 * DAY);
    assert!(bench.volume.sweep(&bench.clock).is_err());
    assert!(bench.volume.sweep(&bench.clock).is_err());
    let found = Command::new("find").arg(bench.volume.state_dir()).args(["-name", "somebody's"]).output();
    let found = String::from_utf8(found.unwrap().stdout).unwrap();
    // By the name it has now, so that the scratch directory can go.
    drop(MountedOver(Path::new(found.trim_end()).parent().unwrap().to_owned()));
    drop(place);
    assert_eq!((bench.live(), bench.state()), (new_picture(), State::Healthy));

    // A file system that can only be read.
    let bench = Bench::new(Way::Entries);
    let _place = MountedOver::new(bench.data(), &["-t", "tmpfs", "-o", "ro", "tmpfs"]);
    assert_eq!(bench.state(), State::Empty);
    assert!(matches!(bench.volume.prepare().unwrap_err(), VolumeError::ReadOnly { .. }));
}

/// Unmounted on drop.
struct MountedOver(PathBuf);

impl MountedOver {
    fn new(at: &Path, what: &[&str]) -> Self {
        fs::create_dir_all(at).unwrap();
        assert!(Command::new("mount").args(what).arg(at).status().unwrap().success());
        Self(at.to_owned())
    }
}

impl Drop for MountedOver {
    fn drop(&mut self) {
        // Lazily and by whatever name it has now; the namespace ends with us anyway.
        let _ = Command::new("umount").arg("-l").arg(&self.0).stderr(Stdio::null()).status();
    }
}
