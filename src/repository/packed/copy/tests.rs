//! Copies beside other writers, and through stores that fail: on stores in memory, where a test can step in.

use std::fs;
use std::sync::Arc;

use super::*;
use crate::base::cancel::Cancel;
use crate::base::clock::SystemClock;
use crate::base::progress::Progress;
use crate::repository::packed::PackedOptions;
use crate::repository::packed::codec::Codec;
use crate::repository::{BackupRequest, Chosen, CopyReport, Presence, Workers, Writer};
use crate::store::faulty::{Failure, Fault, Operation, Rule};
use crate::store::{FaultyStore, MemoryStore};
use crate::tree::{Excludes, WalkOptions};

struct Lab {
    clock: Arc<dyn Clock>,
    data: tempfile::TempDir,
    stores: [Arc<FaultyStore>; 2],
}

fn writer(volume: &str) -> Writer {
    Writer { volume_id: volume.into(), identity: "app".into(), host: "h".into() }
}

impl Lab {
    /// Three snapshots in the first store, an empty repository in the second.
    fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let store = || {
            let memory = Arc::new(MemoryStore::new(Arc::clone(&clock)));
            Arc::new(FaultyStore::new(memory, Arc::clone(&clock)))
        };
        let stores = [store(), store()];
        let lab = Self { data: tempfile::tempdir().unwrap(), stores, clock };
        for at in 0..2 {
            lab.packed(at).create("app").unwrap();
        }
        for number in 0..3u8 {
            fs::write(lab.data.path().join(format!("file-{number}")), vec![number; 200_000]).unwrap();
            lab.backup(0, "v1");
        }
        lab
    }

    fn packed(&self, at: usize) -> Packed {
        let options = PackedOptions { codec: Codec::None, level: None };
        Packed::new(self.stores[at].clone(), options, Arc::clone(&self.clock))
    }

    fn backup(&self, at: usize, volume: &str) {
        let request = BackupRequest {
            root: self.data.path(),
            walk: WalkOptions::default(),
            cache: &self.data.path().join("cache"),
            writer: &writer(volume),
            epoch: None,
            take_over: false,
            workers: &workers(),
            fixed_chunks: &Excludes::none(),
            read_retries: 0,
            guard: &|_, _| Ok(()),
            dry_run: false,
            clock: &self.clock,
            progress: &Progress::default(),
            cancel: &Cancel::new(),
        };
        self.packed(at).backup(&request).unwrap();
    }

    fn copy(&self) -> CopyReport {
        let route = PackedRoute::new(self.packed(0), self.packed(1), Arc::clone(&self.clock));
        let request = CopyRequest {
            chosen: &Chosen::All,
            workers: &workers(),
            progress: &Progress::default(),
            cancel: &Cancel::new(),
        };
        route.copy(&request).unwrap()
    }

    /// Takes the lease of the target directly before the first commit of a copy.
    fn take_over_at_the_commit(&self, volume: &'static str) {
        let target = self.packed(1);
        let done = std::sync::atomic::AtomicBool::new(false);
        self.stores[1].before_each(move |operation, key| {
            let at_last = operation == Operation::Put && key.starts_with("segments/");
            if at_last && !done.swap(true, std::sync::atomic::Ordering::SeqCst) {
                target.take_over(&writer(volume)).unwrap();
            }
        });
    }
}

fn workers() -> Workers {
    Workers { threads: 2, connections: 4, memory: 16 << 20 }
}

#[test]
fn a_copy_takes_no_lease_and_cuts_nobody_off() {
    let lab = Lab::new();
    let epoch = lab.packed(1).take_over(&writer("v1")).unwrap();
    let report = lab.copy();
    assert_eq!((report.copied.len(), report.stopped.is_none()), (3, true));
    let (_, objects) = lab.packed(1).open().unwrap();
    let newest = crate::repository::packed::lease::newest(&objects).unwrap().unwrap();
    assert_eq!((newest.epoch, newest.volume_id.as_str()), (epoch, "v1"));
    lab.backup(1, "v1");
    let newest = crate::repository::packed::lease::newest(&objects).unwrap().unwrap();
    assert_eq!(newest.epoch, epoch, "the writer goes on under the lease it had");
}

#[test]
fn whoever_takes_over_meanwhile_stops_the_copy_and_the_next_one_goes_on() {
    for had_lease in [true, false] {
        let lab = Lab::new();
        if had_lease {
            lab.packed(1).take_over(&writer("v1")).unwrap();
        }
        lab.take_over_at_the_commit("v2");
        let report = lab.copy();
        let stopped = report.stopped.unwrap();
        assert!(matches!(stopped, RepositoryError::Fenced { .. }), "{stopped}");
        assert!(report.copied.is_empty());
        assert_eq!(lab.packed(1).probe().unwrap(), Presence::Empty);
        let report = lab.copy();
        assert_eq!((report.copied.len(), report.stopped.is_none()), (3, true));
        assert_eq!(report.copied[0].added_bytes, 0, "what was stored is used");
    }
}

#[test]
fn two_copies_at_once_make_one_copy_of_each() {
    let lab = Arc::new(Lab::new());
    let done = std::sync::atomic::AtomicBool::new(false);
    let other = Arc::downgrade(&lab);
    lab.stores[1].before_each(move |operation, key| {
        let at_last = operation == Operation::Put && key.starts_with("segments/");
        if at_last && !done.swap(true, std::sync::atomic::Ordering::SeqCst) {
            assert_eq!(other.upgrade().unwrap().copy().copied.len(), 3);
        }
    });
    let report = lab.copy();
    assert_eq!((report.copied.len(), report.present), (0, 3));
    assert_eq!(lab.packed(1).snapshots().unwrap().snapshots.len(), 3);
}

#[test]
fn a_target_that_fails_stops_the_copy_and_loses_nothing() {
    for (operation, pattern) in [
        (Operation::Put, "packs/*"),
        (Operation::Put, "segments/*"),
        (Operation::PutIfAbsent, "snapshots/*"),
        (Operation::List, "leases"),
    ] {
        let lab = Lab::new();
        lab.stores[1].inject(Rule::new(operation, pattern, Fault::Fail(Failure::Full)).after(1));
        let report = lab.copy();
        let stopped = report.stopped.unwrap();
        assert!(matches!(stopped, RepositoryError::Store(_)), "{pattern}: {stopped}");
        assert_eq!(lab.packed(1).snapshots().unwrap().snapshots.len(), report.copied.len());
        lab.stores[1].heal();
        assert_eq!(lab.copy().copied.len() + report.copied.len(), 3, "{pattern}");
    }
}

#[test]
fn content_that_a_source_gets_wrong_is_never_stored() {
    let lab = Lab::new();
    lab.stores[0].inject(Rule::new(Operation::GetRange, "packs/*", Fault::FlippedBit));
    let report = lab.copy();
    assert!(report.stopped.is_none());
    assert!(
        !report.failed.is_empty() && report.failed[0].object.starts_with("packs/"),
        "{:?}",
        report.failed
    );
    // It lied once.
    let again = lab.copy();
    assert_eq!(again.copied.len() + report.copied.len(), 3);
    let listing = lab.packed(1).snapshots().unwrap();
    assert!(listing.snapshots.is_sorted_by_key(|summary| summary.time) && listing.damaged.is_empty());
}
