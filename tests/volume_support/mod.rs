//! A volume on disk for tests: trees of before and after, and commits that can be killed.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use volkeep::base::clock::ManualClock;
use volkeep::base::timestamp::Timestamp;
use volkeep::volume::{
    Begun, CommitReport, Marker, Origin, RestoreTarget, State, Volume, VolumeError, VolumeOptions,
};

pub const DAY: Duration = Duration::from_secs(86_400);

/// The three ways to commit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    Exchange,
    TwoRenames,
    Entries,
}

pub const WAYS: [Way; 3] = [Way::Exchange, Way::TwoRenames, Way::Entries];

pub struct Bench {
    _dir: TempDir,
    pub volume: Volume,
    pub clock: ManualClock,
}

impl Bench {
    pub fn new(way: Way) -> Self {
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

    pub fn data(&self) -> &Path {
        self.volume.path()
    }

    pub fn state(&self) -> State {
        self.volume.inspect().unwrap().state
    }

    pub fn marker(&self) -> Marker {
        self.volume.read_marker().unwrap().unwrap()
    }

    pub fn marker_path(&self) -> PathBuf {
        self.volume.state_dir().join("marker.json")
    }

    /// A ready marker on an app's data.
    pub fn adopted(way: Way) -> Self {
        let bench = Self::new(way);
        bench.volume.prepare().unwrap();
        old_tree(bench.data());
        bench.volume.adopt(None, &bench.clock).unwrap();
        bench
    }

    /// A volume with data of before, and a snapshot that only waits to be made live.
    pub fn staged(way: Way) -> Self {
        let bench = Self::adopted(way);
        let mut marker = bench.marker();
        assert_eq!(bench.begin(&mut marker, "new"), Begun::Fresh);
        new_tree(&bench.volume.staging().tree);
        bench.volume.mark_staged(&mut marker, &bench.clock).unwrap();
        bench
    }

    pub fn begin(&self, marker: &mut Marker, snapshot: &str) -> Begun {
        self.volume.begin_restore(marker, target(snapshot), &self.clock).unwrap()
    }

    /// Commits with what the marker on disk says, as a new process would, and is killed before step `steps`.
    pub fn commit_killed_at(&self, steps: usize) -> Result<CommitReport, VolumeError> {
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
    pub fn live(&self) -> Vec<String> {
        picture(self.data())
    }

    pub fn quarantined(&self) -> Vec<String> {
        let all = self.volume.quarantined().unwrap();
        assert_eq!(all.len(), 1, "{all:?}");
        let note = all[0].note.as_ref().unwrap();
        assert_eq!((Path::new(note.path.as_os_str()), &note.origin), (self.data(), &Some(Origin::Adopted)));
        picture(&all[0].path.join("data"))
    }
}

pub fn target(snapshot: &str) -> RestoreTarget {
    RestoreTarget { repository: "file:///backups".into(), snapshot: snapshot.into() }
}

pub fn old_tree(at: &Path) {
    fs::create_dir_all(at.join("base/1")).unwrap();
    fs::write(at.join("base/1/table"), "old rows").unwrap();
    fs::write(at.join("only-old"), "old").unwrap();
    fs::write(at.join("both"), "old").unwrap();
    symlink("base", at.join("link")).unwrap();
    read_only(&at.join("base"));
}

pub fn new_tree(at: &Path) {
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
pub fn read_only(at: &Path) {
    fs::set_permissions(at, fs::Permissions::from_mode(0o555)).unwrap();
}

pub fn set_time(at: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, 123_456_789);
    fs::File::open(at).unwrap().set_modified(time).unwrap();
}

/// Every entry with all that must be equal, one a line; our own directory and `lost+found` left out. Times are
/// those of the new root alone: the rest of the trees is made anew for each bench.
pub fn picture(root: &Path) -> Vec<String> {
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

pub fn new_picture() -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    new_tree(dir.path());
    picture(dir.path())
}

/// Without the root's own line: the mode of what holds the old entries is ours.
pub fn old_picture() -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    old_tree(dir.path());
    picture(dir.path()).split_off(1)
}
