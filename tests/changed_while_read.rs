//! Files that change under the backup's hands: grown, replaced or removed between the moment in which the walk sees
//! them and the one in which they are read. The clock the backup asks is what makes them change.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

use std::fmt;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use volkeep::base::cancel::Cancel;
use volkeep::base::clock::{Clock, SystemClock};
use volkeep::base::progress::Progress;
use volkeep::base::timestamp::Timestamp;
use volkeep::repository::packed::{Packed, PackedOptions};
use volkeep::repository::{
    BackupReport, BackupRequest, CheckRequest, Repository, RestoreRequest, Workers, Writer,
};
use volkeep::snapshot::selector::Selector;
use volkeep::store::MemoryStore;
use volkeep::tree::{Excludes, WalkOptions};

const OLD: u8 = b'o';
const NEW: u8 = b'n';
/// One that is bundled with others, and one that is cut into chunks.
const SIZES: [usize; 2] = [5_000, 300_000];

#[test]
fn files_that_grow_after_they_were_found_leave_a_readable_snapshot() {
    // Before the first of them is read, and when some were.
    for moment in [0, 20, 120] {
        let lab = Lab::new();
        let logs: Vec<PathBuf> = (0..200).map(|at| lab.data().join(format!("{at:03}.log"))).collect();
        logs.iter().for_each(|log| fs::write(log, b"begin\n").unwrap());
        let growing = logs.clone();
        let clock = Meddler::new(Moment::ByWorker(moment), move || {
            for (at, log) in growing.iter().enumerate() {
                let mut file = fs::OpenOptions::new().append(true).open(log).unwrap();
                file.write_all(&noise(100_000, at as u64)).unwrap();
            }
        });
        let report = lab.backup(&clock);
        assert!(clock.has_meddled(), "nothing grew");
        assert_eq!(report.totals.files, 200, "{:?}", report.problems);
        let restored = lab.restored();
        for log in &logs {
            let (stored, live) = (read(&restored.join(log.file_name().unwrap())), read(log));
            assert!(stored == live || stored == b"begin\n", "{}: {} bytes", log.display(), stored.len());
        }
        assert_eq!(lab.findings(), Vec::<String>::new());
        lab.assert_next_backup_is_whole();
    }
}

#[test]
fn the_other_names_of_a_replaced_file_keep_its_content() {
    for size in SIZES {
        at_every_moment(|moment| {
            let lab = Lab::linked(size);
            fs::write(lab.dir.path().join("new"), vec![NEW; size]).unwrap();
            let (from, to) = (lab.dir.path().join("new"), lab.data().join("x"));
            let clock = Meddler::new(moment, move || fs::rename(&from, &to).unwrap());
            let report = lab.backup(&clock);
            let restored = lab.restored();
            let context = format!("{size} bytes, {moment:?}, {:?}", report.problems);
            let x = read_if_present(&restored.join("x"));
            match &x {
                Some(content) => {
                    assert!([vec![OLD; size], vec![NEW; size]].contains(content), "{context}");
                }
                None => {
                    assert!(report.problems.iter().any(|problem| problem.starts_with("x: ")), "{context}");
                }
            }
            assert_others_are_whole(&restored, size, &context);
            assert_eq!(lab.findings(), Vec::<String>::new(), "{context}");
            lab.assert_next_backup_is_whole();
            clock.has_meddled()
        });
    }
}

#[test]
fn the_other_names_of_a_removed_file_keep_its_content() {
    for size in SIZES {
        at_every_moment(|moment| {
            let lab = Lab::linked(size);
            let gone = lab.data().join("x");
            let clock = Meddler::new(moment, move || fs::remove_file(&gone).unwrap());
            let report = lab.backup(&clock);
            let restored = lab.restored();
            let context = format!("{size} bytes, {moment:?}, {:?}", report.problems);
            if let Some(content) = read_if_present(&restored.join("x")) {
                assert_eq!(content, vec![OLD; size], "{context}");
            }
            assert_others_are_whole(&restored, size, &context);
            assert_eq!(lab.findings(), Vec::<String>::new(), "{context}");
            lab.assert_next_backup_is_whole();
            clock.has_meddled()
        });
    }
}

fn assert_others_are_whole(restored: &Path, size: usize, context: &str) {
    for name in ["x.bak", "y"] {
        assert_eq!(read_if_present(&restored.join(name)), Some(vec![OLD; size]), "{name}: {context}");
    }
    let inode = |name: &str| fs::metadata(restored.join(name)).unwrap().ino();
    assert_eq!(inode("x.bak"), inode("y"), "no link any more: {context}");
}

/// Goes on with ever later moments until one comes too late.
fn at_every_moment(attempt: impl Fn(Moment) -> bool) {
    let moments = (0..).take_while(|at| attempt(Moment::Any(*at))).count();
    assert!((5..1000).contains(&moments), "{moments} moments");
}

/// At which question for the time the files change.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Any(u64),
    /// Those who walk do not count.
    ByWorker(u64),
}

struct Meddler {
    clock: SystemClock,
    moment: Moment,
    walker: ThreadId,
    asked: AtomicU64,
    change: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Meddler {
    fn new(moment: Moment, change: impl FnOnce() + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            clock: SystemClock::default(),
            moment,
            walker: thread::current().id(),
            asked: AtomicU64::new(0),
            change: Mutex::new(Some(Box::new(change))),
        })
    }

    fn has_meddled(&self) -> bool {
        self.change.lock().unwrap().is_none()
    }
}

impl fmt::Debug for Meddler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meddler").field("moment", &self.moment).finish_non_exhaustive()
    }
}

impl Clock for Meddler {
    fn now(&self) -> Timestamp {
        let at = match self.moment {
            Moment::ByWorker(_) if thread::current().id() == self.walker => return self.clock.now(),
            Moment::Any(at) | Moment::ByWorker(at) => at,
        };
        if self.asked.fetch_add(1, Ordering::Relaxed) == at {
            let change = self.change.lock().unwrap().take();
            change.expect("a moment comes once")();
        }
        self.clock.now()
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration);
    }
}

struct Lab {
    dir: tempfile::TempDir,
    repository: Packed,
    writer: Writer,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let repository = Packed::new(store, PackedOptions::default(), clock);
        repository.create("app").unwrap();
        let writer = Writer { volume_id: "v".into(), identity: "app".into(), host: "h".into() };
        Self { dir, repository, writer }
    }

    /// One file by three names.
    fn linked(size: usize) -> Self {
        let lab = Self::new();
        let data = lab.data();
        fs::write(data.join("x"), vec![OLD; size]).unwrap();
        fs::hard_link(data.join("x"), data.join("x.bak")).unwrap();
        fs::hard_link(data.join("x"), data.join("y")).unwrap();
        lab
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn backup<C: Clock + 'static>(&self, clock: &Arc<C>) -> BackupReport {
        let clock: Arc<dyn Clock> = clock.clone();
        let request = BackupRequest {
            root: &self.data(),
            walk: WalkOptions { one_file_system: true, ..WalkOptions::default() },
            cache: &self.dir.path().join("cache"),
            writer: &self.writer,
            epoch: None,
            take_over: false,
            workers: &workers(),
            fixed_chunks: &Excludes::none(),
            read_retries: 2,
            guard: &|_, _| Ok(()),
            dry_run: false,
            clock: &clock,
            progress: &Progress::default(),
            cancel: &Cancel::new(),
        };
        self.repository.backup(&request).unwrap()
    }

    /// The newest snapshot, in a directory that was empty before.
    fn restored(&self) -> PathBuf {
        let target = self.dir.path().join("target");
        let _ = fs::remove_dir_all(&target);
        fs::create_dir(&target).unwrap();
        let request = RestoreRequest {
            target: &target,
            selector: &Selector::everything(),
            cache: None,
            workers: &workers(),
            progress: &Progress::default(),
            cancel: &Cancel::new(),
        };
        let newest = self.repository.newest().unwrap().unwrap();
        let report = self.repository.restore(&newest, &request).unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        target
    }

    fn findings(&self) -> Vec<String> {
        let request = CheckRequest {
            verify_percent: 100,
            verify_turn: None,
            cache: None,
            workers: workers(),
            cancel: Cancel::new(),
            progress: Progress::default(),
        };
        let report = self.repository.check(&request).unwrap();
        report.findings.into_iter().map(|finding| format!("{}: {}", finding.object, finding.reason)).collect()
    }

    /// Whatever happened, once the files are left alone they are stored as they are.
    fn assert_next_backup_is_whole(&self) {
        let report = self.backup(&Arc::new(SystemClock::default()));
        assert_eq!(report.problems, Vec::<String>::new());
        assert_eq!(picture(&self.restored()), picture(&self.data()));
    }
}

/// Name, links, time and content of each file.
fn picture(root: &Path) -> Vec<(PathBuf, u64, i64, i64, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(root)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let meta = fs::metadata(&path).unwrap();
            let name = path.file_name().unwrap().into();
            (name, meta.nlink(), meta.mtime(), meta.mtime_nsec(), read(&path))
        })
        .collect();
    all.sort();
    all
}

fn read(path: &Path) -> Vec<u8> {
    read_if_present(path).unwrap_or_else(|| panic!("{} is missing", path.display()))
}

fn read_if_present(path: &Path) -> Option<Vec<u8>> {
    fs::read(path).ok()
}

fn workers() -> Workers {
    Workers { threads: 2, connections: 4, memory: 16 << 20 }
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
        .collect()
}
