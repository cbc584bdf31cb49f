//! How many requests are under way, what becomes of a failure or a wish to stop in the midst of them, and how
//! much is asked at all: over a store that counts and fails by script.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use super::*;
use crate::base::cancel::Cancel;
use crate::base::clock::SystemClock;
use crate::base::progress::Progress;
use crate::repository::{Guard, Workers};
use crate::store::faulty::{Failure, Fault, Operation, Rule};
use crate::store::{FaultyStore, MemoryStore, StoreError};
use crate::tree::{Excludes, WalkOptions};

const MIB: usize = 1 << 20;
/// Requests at once. With 16 MiB of memory a request is for 2 MiB: two frames.
const CONNECTIONS: usize = 4;
const REQUESTS: u64 = 8;

struct Lab {
    directory: tempfile::TempDir,
    clock: Arc<dyn Clock>,
    store: Arc<FaultyStore>,
    repository: Packed,
    cancel: Cancel,
}

impl Lab {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new(clock.clone())), clock.clone()));
        let options = PackedOptions { codec: Codec::None, level: None };
        let repository = Packed::new(store.clone(), options, clock.clone());
        repository.create("app").unwrap();
        let lab = Self { directory, clock, store, repository, cancel: Cancel::new() };
        fs::create_dir(lab.path("data")).unwrap();
        lab
    }

    /// With a file of 16 frames in packs of four, and a few small ones.
    fn with_data() -> Self {
        let lab = Self::new();
        let mut content = vec![0u8; 16 * MIB];
        // Otherwise all frames would be one.
        for (number, frame) in content.chunks_mut(MIB).enumerate() {
            frame[number] = 1;
        }
        fs::write(lab.path("data/large.db"), content).unwrap();
        for number in 0..10 {
            fs::create_dir(lab.path(&format!("data/{number}"))).unwrap();
            fs::write(lab.path(&format!("data/{number}/empty")), "").unwrap();
        }
        lab
    }

    fn stored() -> (Self, SnapshotId) {
        let lab = Self::with_data();
        let id = lab.backup(16, CONNECTIONS).unwrap().snapshot.unwrap().id;
        lab.store.reset_counts();
        (lab, id)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn backup(&self, memory: usize, connections: usize) -> Result<BackupReport, RepositoryError> {
        self.guarded(memory, connections, &|_, _| Ok(()))
    }

    fn guarded(
        &self,
        memory: usize,
        connections: usize,
        guard: Guard<'_>,
    ) -> Result<BackupReport, RepositoryError> {
        self.repository.backup(&BackupRequest {
            root: &self.path("data"),
            walk: WalkOptions::default(),
            cache: &self.path("cache"),
            writer: &Writer { volume_id: "v1".into(), identity: "app".into(), host: "h".into() },
            epoch: None,
            take_over: false,
            workers: &workers(memory, connections),
            fixed_chunks: &Excludes::new(&["*.db"]).unwrap(),
            read_retries: 2,
            guard,
            dry_run: false,
            clock: &self.clock,
            progress: &Progress::default(),
            cancel: &self.cancel,
        })
    }

    fn restore(&self, id: &SnapshotId, target: &str) -> Result<RestoreReport, RepositoryError> {
        self.restore_within(id, target, 16)
    }

    fn restore_within(
        &self,
        id: &SnapshotId,
        target: &str,
        memory: usize,
    ) -> Result<RestoreReport, RepositoryError> {
        fs::create_dir_all(self.path(target)).unwrap();
        self.repository.restore(
            id,
            &RestoreRequest {
                target: &self.path(target),
                selector: &Selector::default(),
                cache: None,
                workers: &workers(memory, CONNECTIONS),
                progress: &Progress::default(),
                cancel: &self.cancel,
            },
        )
    }

    fn assert_same(&self, target: &str) {
        let large = |directory: &str| fs::read(self.path(directory).join("large.db")).unwrap();
        assert!(large("data") == large(target));
        assert_eq!(fs::read_dir(self.path(target)).unwrap().count(), 11);
    }

    /// Lets the first `count` requests of a kind pass only when all of them have come: fewer at once would hang.
    fn together(&self, wanted: Operation, below: &'static str, count: usize) {
        let (full, come) = (Barrier::new(count), AtomicUsize::new(0));
        self.store.before_each(move |operation, key| {
            if operation == wanted && key.starts_with(below) && come.fetch_add(1, Ordering::SeqCst) < count {
                full.wait();
            }
        });
    }
}

fn workers(memory: usize, connections: usize) -> Workers {
    Workers { threads: 2, connections, memory: (memory * MIB) as u64 }
}

#[test]
fn a_restore_has_all_connections_busy() {
    let (lab, id) = Lab::stored();
    lab.together(Operation::GetRange, keys::PACKS, CONNECTIONS);
    let report = lab.restore(&id, "restored").unwrap();
    lab.assert_same("restored");
    let counts = lab.store.counts();
    assert_eq!(counts.of(Operation::GetRange), REQUESTS);
    assert_eq!(report.fetched_bytes, 16 * MIB as u64);
    assert_eq!(counts.of(Operation::Get), 2, "snapshot and segment, once: {counts:?}");
}

#[test]
fn a_restore_ends_with_the_failure_wherever_it_happens() {
    for passed in 0..REQUESTS {
        let (lab, id) = Lab::stored();
        let denied = Fault::Fail(Failure::Denied);
        lab.store.inject(Rule::new(Operation::GetRange, "packs/*", denied).after(passed).always());
        let error = lab.restore(&id, "restored").unwrap_err();
        assert!(matches!(error, RepositoryError::Store(StoreError::Denied { .. })), "{passed}: {error:?}");
        lab.store.heal();
        lab.restore(&id, "restored").unwrap();
        lab.assert_same("restored");
    }
}

#[test]
fn a_segment_that_cannot_be_fetched_ends_a_restore() {
    // Without memory to keep directories in, segments are needed again for their metadata.
    for (passed, memory) in [(0, 16), (0, 0), (1, 0)] {
        let (lab, id) = Lab::stored();
        let gone = Fault::Fail(Failure::Unreachable);
        lab.store.inject(Rule::new(Operation::Get, "segments/*", gone).after(passed));
        let error = lab.restore_within(&id, "restored", memory).unwrap_err();
        assert!(matches!(error, RepositoryError::Store(StoreError::Unreachable { .. })), "{error:?}");
    }
}

#[test]
fn a_restore_that_is_cancelled_never_ends_well_with_less() {
    for passed in 0..=REQUESTS as usize {
        let (lab, id) = Lab::stored();
        let (cancel, come) = (lab.cancel.clone(), AtomicUsize::new(0));
        lab.store.before_each(move |operation, _| {
            if operation == Operation::GetRange && come.fetch_add(1, Ordering::SeqCst) == passed {
                cancel.cancel();
            }
        });
        match lab.restore(&id, "restored") {
            Err(RepositoryError::Cancelled) => assert!(passed < REQUESTS as usize),
            Ok(_) => lab.assert_same("restored"),
            Err(error) => panic!("{passed}: {error:?}"),
        }
    }
}

#[test]
fn a_damaged_range_names_its_pack() {
    let (lab, id) = Lab::stored();
    lab.store.inject(Rule::new(Operation::GetRange, "packs/*", Fault::FlippedBit).after(5));
    let error = lab.restore(&id, "restored").unwrap_err();
    assert!(
        matches!(&error, RepositoryError::Damaged { object, .. } if object.starts_with("packs/")),
        "{error:?}"
    );
}

#[test]
fn a_backup_has_several_packs_under_way() {
    let lab = Lab::with_data();
    // 4.5 MiB a pack, one that is filled, and three uploaders.
    lab.together(Operation::Put, keys::PACKS, 3);
    let report = lab.backup(48, 16).unwrap();
    assert_eq!(lab.store.counts().of(Operation::Put), 5, "four packs and a segment");
    lab.restore(&report.snapshot.unwrap().id, "restored").unwrap();
    lab.assert_same("restored");
}

#[test]
fn a_backup_ends_with_the_failure_of_any_upload() {
    for pattern in ["packs/*", "segments/*"] {
        for passed in 0..if pattern == "packs/*" { 4 } else { 1 } {
            let lab = Lab::with_data();
            let denied = Fault::Fail(Failure::Denied);
            lab.store.inject(Rule::new(Operation::Put, pattern, denied).after(passed));
            let error = lab.backup(32, 16).unwrap_err();
            assert!(matches!(error, RepositoryError::Store(StoreError::Denied { .. })), "{error:?}");
            assert_eq!(lab.repository.newest().unwrap(), None);
            let id = lab.backup(32, 16).unwrap().snapshot.unwrap().id;
            lab.restore(&id, "restored").unwrap();
            lab.assert_same("restored");
        }
    }
}

#[test]
fn packs_of_an_interrupted_backup_are_found_without_asking_for_each() {
    let lab = Lab::with_data();
    // Everything is uploaded by then. When a segment fails, a pack may be let go before its upload begins.
    lab.store.inject(Rule::new(Operation::PutIfAbsent, "snapshots/*", Fault::Fail(Failure::Denied)));
    lab.backup(32, 16).unwrap_err();
    lab.store.reset_counts();
    let report = lab.backup(32, 16).unwrap();
    assert_eq!(report.added_bytes, 0, "{report:?}");
    let counts = lab.store.counts();
    assert_eq!((counts.of(Operation::Size), counts.of(Operation::Put)), (0, 0), "{counts:?}");
}

#[test]
fn verifying_has_all_connections_busy() {
    let (lab, _) = Lab::stored();
    lab.together(Operation::Size, keys::PACKS, CONNECTIONS);
    let request = CheckRequest {
        verify_percent: 100,
        verify_turn: None,
        cache: None,
        workers: workers(16, CONNECTIONS),
        cancel: Cancel::new(),
        progress: Progress::default(),
    };
    let report = lab.repository.check(&request).unwrap();
    assert!(report.findings.is_empty());
    assert_eq!((report.packs, report.verified_bytes), (4, 16 * MIB as u64));
}

#[test]
fn a_backup_that_was_told_to_stop_commits_nothing() {
    let lab = Lab::with_data();
    // Everything was read and stored by then.
    let stopped = lab.guarded(32, 2, &|_, _| {
        lab.cancel.cancel();
        Ok(())
    });
    assert!(matches!(stopped, Err(RepositoryError::Cancelled)), "{stopped:?}");
    assert!(lab.repository.names().unwrap().is_empty());
}
