//! Packs that are mostly dead are emptied by the next backup from the volume: what it reads for that, what it believes,
//! and what goes afterwards. That none of it loses anything whoever comes in between is in `tests/pruning.rs`, and how
//! much space it saves in the long run in `tests/years.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]

mod fencing_support;
mod pruning_support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fencing_support::{IDENTITY, Pod, workers};
use pruning_support::{Random, World, write_later};
use volkeep::repository::{BackupReport, RestoreRequest};
use volkeep::snapshot::selector::Selector;
use volkeep::store::faulty::{Failure, Fault, Operation, Rule};
use volkeep::store::{MemoryStore, ObjectStore};

const GRACE: Duration = Duration::from_secs(86_400);
/// All that follows fits into one pack.
const LARGE: usize = 1_600_000;
const SPARSE: usize = 200_000;
const PASSING: usize = 550_000;

struct Lab {
    world: World,
    pod: Pod,
}

impl Lab {
    /// One pack with small files, hard links, a file with a hole and one of several chunks; and much that is about to be
    /// dead.
    fn new() -> Self {
        let world = World::new();
        let server: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new(world.clock.clone()));
        let pod = world.pod("volume", &server);
        pod.repository.create(IDENTITY).unwrap();
        let lab = Self { world, pod };
        for number in 0..20 {
            lab.write(&format!("small-{number}"), 2_000, number);
        }
        lab.write("linked", 3_000, 30);
        fs::hard_link(lab.path("linked"), lab.path("linked-too")).unwrap();
        lab.write("large", LARGE, 31);
        fs::hard_link(lab.path("large"), lab.path("large-too")).unwrap();
        let sparse = fs::File::create(lab.path("sparse")).unwrap();
        sparse.write_all_at(&noise(SPARSE, 32), 1 << 20).unwrap();
        sparse.set_len(4 << 20).unwrap();
        for number in 0..4 {
            lab.write(&format!("passing-{number}"), PASSING, 40 + number);
        }
        lab
    }

    /// The pack is mostly dead, and a prune has found out.
    fn with_a_pack_to_empty() -> Self {
        let lab = Self::new();
        lab.backup();
        for number in 0..4 {
            lab.write(&format!("passing-{number}"), PASSING, 50 + number);
        }
        lab.write("small-0", 2_000, 60);
        assert_eq!(lab.backup().moved_bytes, 0, "nobody has found out yet");
        lab.world.pass(GRACE);
        let waste = lab.world.prune(&lab.pod, 1, GRACE).unwrap().waste;
        assert!(waste.waiting_packs > 0 && waste.waiting_bytes > 3 * PASSING as u64, "{waste:?}");
        lab
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.pod.data().join(name)
    }

    fn write(&self, name: &str, length: usize, seed: u64) {
        write_later(&self.path(name), &noise(length, seed));
    }

    fn backup(&self) -> BackupReport {
        let report = self.pod.backup(None).unwrap();
        self.world.pass(Duration::from_secs(3_600));
        report
    }

    /// The newest snapshot, and that everything in the repository is whole.
    fn restored(&self) -> BTreeMap<String, Vec<u8>> {
        assert_eq!(self.pod.check(), Vec::<String>::new());
        let target = tempfile::tempdir_in(self.pod.dir.path()).unwrap();
        let request = RestoreRequest {
            target: target.path(),
            selector: &Selector::everything(),
            cache: None,
            workers: &workers(),
            progress: &Default::default(),
            cancel: &volkeep::base::cancel::Cancel::new(),
        };
        let newest = self.pod.repository.names().unwrap().pop().unwrap();
        let report = self.pod.repository.restore(&newest, &request).unwrap();
        assert_eq!(report.problem_count, 0);
        contents(target.path())
    }
}

#[test]
fn what_is_needed_of_a_mostly_dead_pack_is_stored_anew_and_the_pack_goes() {
    let lab = Lab::with_a_pack_to_empty();
    let packs = lab.world.count(&lab.pod, "packs");
    let report = lab.backup();
    // 19 small files, the link once, the large and the sparse one. What has changed since is not among them.
    assert_eq!((report.files_read, report.problems.len()), (19 + 3, 0), "{report:?}");
    let needed = (19 * 2_000 + 3_000 + LARGE + SPARSE) as u64;
    assert!(report.bytes_read >= needed && report.bytes_read < needed + 10_000, "{report:?}");
    assert!(report.moved_bytes >= needed && report.moved_bytes < needed + 10_000, "{report:?}");
    assert_eq!(report.added_bytes, 0, "nothing of that is new");
    assert_eq!(lab.restored(), contents(&lab.pod.data()));
    let again = lab.backup();
    assert_eq!((again.files_read, again.moved_bytes), (0, 0), "once is enough");

    for _ in 0..3 {
        lab.world.pass(GRACE);
        let report = lab.world.prune(&lab.pod, 1, GRACE).unwrap();
        assert_eq!(report.waste.waiting_packs, 0, "{report:?}");
    }
    assert!(lab.world.count(&lab.pod, "packs") <= packs, "the old packs are gone");
    let last = lab.world.prune(&lab.pod, 1, GRACE).unwrap();
    assert!(last.waste.bytes < 10_000, "{last:?}");
    assert_eq!(lab.restored(), contents(&lab.pod.data()));
}

#[test]
fn a_backup_that_dies_on_the_way_has_moved_nothing_and_the_next_uses_what_it_stored() {
    let lab = Lab::with_a_pack_to_empty();
    lab.pod.store.inject(Rule::new(Operation::PutIfAbsent, "snapshots/*", Fault::Fail(Failure::Io)));
    lab.pod.backup(None).unwrap_err();
    lab.pod.store.heal();
    assert_eq!(lab.restored(), contents(&lab.pod.data()));
    let report = lab.backup();
    assert_eq!((report.files_read, report.moved_bytes), (22, 0), "all of it is stored already");
    assert_eq!(lab.restored(), contents(&lab.pod.data()));
}

#[test]
fn a_file_that_changed_in_place_is_stored_as_it_is_now() {
    let lab = Lab::with_a_pack_to_empty();
    lab.write("small-1", 2_000, 70);
    lab.write("large", LARGE, 71);
    fs::remove_file(lab.path("small-2")).unwrap();
    let report = lab.backup();
    assert_eq!(report.problems, Vec::<String>::new());
    assert!(report.moved_bytes > 0 && report.added_bytes > LARGE as u64, "{report:?}");
    assert_eq!(lab.restored(), contents(&lab.pod.data()));
}

#[test]
fn damage_by_the_disk_does_not_become_the_truth() {
    let lab = Lab::new();
    // Mapped and written to before it is stored: what is written to these pages later moves no time.
    let names = ["small-5", "linked", "large", "sparse"];
    let mut disk = Disk::holding(names.map(|name| lab.path(name)).to_vec());
    lab.backup();
    for number in 0..4 {
        lab.write(&format!("passing-{number}"), PASSING, 50 + number);
    }
    lab.backup();
    let good = contents(&lab.pod.data());
    let times = lab.times();
    disk.rots();
    assert_eq!(lab.times(), times, "what this rests on");
    assert_ne!(contents(&lab.pod.data()), good);
    assert_eq!(lab.backup().files_read, 0, "nobody looks");

    lab.world.pass(GRACE);
    lab.world.prune(&lab.pod, 1, GRACE).unwrap();
    let report = lab.backup();
    assert_eq!(report.problem_count, 4, "{:?}", report.problems);
    for name in names {
        let told = report.problems.iter().find(|problem| problem.starts_with(&format!("{name}: ")));
        assert!(
            told.is_some_and(|told| told.contains("is not what it was")),
            "{name}: {:?}",
            report.problems
        );
    }
    assert!(report.moved_bytes > 100_000, "the rest moves all the same: {report:?}");
    assert_eq!(lab.restored(), good, "the good content is kept");
    // Whoever says that it is right as it is touches it.
    drop(disk);
    for name in names {
        let now = fs::read(lab.path(name)).unwrap();
        write_later(&lab.path(name), &now);
    }
    assert_eq!(lab.backup().problem_count, 0);
    assert_eq!(lab.restored(), contents(&lab.pod.data()));
}

impl Lab {
    fn times(&self) -> Vec<(i64, i64)> {
        use std::os::unix::fs::MetadataExt;
        let entries = fs::read_dir(self.pod.data()).unwrap();
        let mut times: Vec<_> = entries
            .map(|entry| entry.unwrap().metadata().unwrap())
            .map(|meta| (meta.ctime(), meta.ctime_nsec()))
            .collect();
        times.sort_unstable();
        times
    }
}

/// Changes the first byte behind 1 MiB, or of a shorter file, twice: at once, and when it is told to.
struct Disk(Child, BufReader<std::process::ChildStdout>);

const DISK: &str = "
import mmap, sys
maps = []
for path in sys.argv[1:]:
    with open(path, 'r+b') as file:
        maps.append(mmap.mmap(file.fileno(), 0))
def flip():
    for map in maps:
        at = 1 << 20 if len(map) > 1 << 20 else 0
        map[at] ^= 1
    print('done', flush=True)
flip()
for line in sys.stdin:
    flip()
";

impl Disk {
    fn holding(files: Vec<std::path::PathBuf>) -> Self {
        let mut command = Command::new("python3");
        command.arg("-c").arg(DISK).args(files).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut disk = Self(child, said);
        disk.is_done();
        disk
    }

    fn rots(&mut self) {
        self.0.stdin.as_mut().unwrap().write_all(b"now\n").unwrap();
        self.is_done();
    }

    fn is_done(&mut self) {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn contents(directory: &std::path::Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let mut bytes = Vec::new();
        fs::File::open(entry.path()).unwrap().read_to_end(&mut bytes).unwrap();
        all.insert(entry.file_name().into_string().unwrap(), bytes);
    }
    all
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9) + 1);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(random.below(u64::MAX).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
