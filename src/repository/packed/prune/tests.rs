//! One volume and its repository in memory: what each run does, and what it leaves to the next.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, ManualClock};
use crate::base::hash::Hash;
use crate::base::progress::Progress;
use crate::repository::packed::codec::Codec;
use crate::repository::packed::frame::PackId;
use crate::repository::packed::{PackedOptions, keys};
use crate::repository::{BackupRequest, CheckRequest, Repository, Workers, Writer};
use crate::snapshot::SnapshotId;
use crate::snapshot::retention::{Policy, Reason, Rules};
use crate::store::faulty::{Failure, Fault, Operation, Rule};
use crate::store::{FaultyStore, Key, MemoryStore, ObjectStore};
use crate::tree::{Excludes, WalkOptions};

const DAY: Duration = Duration::from_secs(86_400);

struct Lab {
    directory: tempfile::TempDir,
    clock: Arc<ManualClock>,
    store: Arc<FaultyStore>,
    repository: Packed,
    writer: Writer,
    last: u32,
}

impl Lab {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::new(1_790_000_000, 0)));
        let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new(clock.clone())), clock.clone()));
        let options = PackedOptions { codec: Codec::None, level: None };
        let repository = Packed::new(store.clone(), options, clock.clone());
        repository.create("app").unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("data")).unwrap();
        let writer = Writer { volume_id: "v1".into(), identity: "app".into(), host: "h".into() };
        Self { directory, clock, store, repository, writer, last: 1 }
    }

    /// With so many snapshots, each of other content, an hour apart.
    fn with_snapshots(count: usize) -> (Self, Vec<SnapshotId>) {
        let lab = Self::new();
        let ids = (0..count).map(|number| lab.backup(&format!("content {number}"))).collect();
        (lab, ids)
    }

    fn backup(&self, content: &str) -> SnapshotId {
        self.try_backup(content).unwrap()
    }

    fn try_backup(&self, content: &str) -> Result<SnapshotId, RepositoryError> {
        self.backup_by(self.clock.clone(), content)
    }

    /// By the clock of the volume, which may be wrong.
    fn backup_by(&self, clock: Arc<dyn Clock>, content: &str) -> Result<SnapshotId, RepositoryError> {
        let data = self.directory.path().join("data");
        fs::write(data.join("file"), content).unwrap();
        let report = self.repository.backup(&BackupRequest {
            root: &data,
            walk: WalkOptions::default(),
            cache: &self.directory.path().join("cache"),
            writer: &self.writer,
            epoch: None,
            take_over: false,
            workers: &workers(),
            fixed_chunks: &Excludes::none(),
            read_retries: 1,
            guard: &|_, _| Ok(()),
            dry_run: false,
            clock: &clock,
            progress: &Progress::default(),
            cancel: &Cancel::new(),
        })?;
        self.clock.advance(Duration::from_secs(3600));
        Ok(report.snapshot.unwrap().id)
    }

    fn try_prune(&self, dry_run: bool) -> Result<PruneReport, RepositoryError> {
        let rules = Rules { last: self.last, ..Rules::default() };
        self.repository.prune(&PruneRequest {
            policy: &Policy { rules, ..Policy::default() },
            grace: DAY,
            writer: &self.writer,
            cache: &self.directory.path().join("cache"),
            dry_run,
            workers: &workers(),
            progress: &Progress::default(),
            cancel: &Cancel::new(),
        })
    }

    fn prune(&self) -> PruneReport {
        self.try_prune(false).unwrap()
    }

    fn names(&self) -> Vec<SnapshotId> {
        self.repository.names().unwrap()
    }

    fn keys(&self, prefix: &str) -> Vec<Key> {
        let mut found = Vec::new();
        let each = &mut |object: crate::store::ObjectInfo| {
            found.push(object.key);
            Ok(())
        };
        self.store.list(prefix, each).unwrap();
        found
    }

    fn counts(&self) -> [usize; 3] {
        [keys::PACKS, keys::SEGMENTS, keys::TOMBSTONES].map(|prefix| self.keys(prefix).len())
    }

    fn assert_whole(&self) {
        let request = CheckRequest {
            verify_percent: 100,
            verify_turn: None,
            cache: None,
            workers: workers(),
            cancel: Cancel::new(),
            progress: Progress::default(),
        };
        assert_eq!(self.repository.check(&request).unwrap().findings, []);
    }
}

fn workers() -> Workers {
    Workers { threads: 1, connections: 2, memory: 8 << 20 }
}

#[test]
fn what_was_forgotten_is_condemned_and_deleted_a_day_later() {
    let (lab, ids) = Lab::with_snapshots(4);
    lab.clock.advance(DAY);
    let report = lab.prune();
    assert_eq!(report.forgotten, ids[..3]);
    assert_eq!(lab.names(), ids[3..]);
    assert_eq!((report.condemned.packs, report.condemned.segments, report.deleted.packs), (3, 3, 0));
    assert_eq!(lab.counts(), [4, 4, 1], "nothing is deleted yet");

    lab.clock.advance(DAY - Duration::from_secs(1));
    let report = lab.prune();
    assert_eq!((report.waiting.packs, report.deleted.packs, report.condemned.packs), (3, 0, 0));
    lab.clock.advance(Duration::from_secs(1));
    let report = lab.prune();
    assert_eq!((report.deleted.packs, report.deleted.segments, report.live.packs), (3, 3, 1));
    assert!(report.deleted.bytes > 0);
    assert_eq!(lab.counts(), [1, 1, 0]);
    lab.assert_whole();
    assert_eq!(lab.prune().deleted, Default::default(), "and once more changes nothing");
}

#[test]
fn a_dry_run_says_the_same_and_changes_nothing() {
    let (lab, ids) = Lab::with_snapshots(3);
    lab.clock.advance(DAY);
    let before = lab.keys("");
    let plan = lab.try_prune(true).unwrap();
    assert_eq!(lab.keys(""), before);
    let report = lab.prune();
    assert_eq!(plan.forgotten, report.forgotten);
    assert_eq!(plan.forgotten, ids[..2]);
    assert_eq!((plan.condemned, plan.live, plan.epoch), (report.condemned, report.live, 0));
    assert_eq!(plan.snapshots, report.snapshots);
    assert_eq!(report.snapshots[2].reasons, [Reason::Last, Reason::Newest, Reason::NewestGood]);
}

#[test]
fn without_a_policy_only_left_overs_go() {
    let (mut lab, ids) = Lab::with_snapshots(3);
    lab.last = 0;
    lab.store.inject(Rule::new(Operation::PutIfAbsent, "snapshots/*", Fault::Fail(Failure::Io)));
    lab.try_backup("left over").unwrap_err();
    lab.clock.advance(DAY / 2);
    let report = lab.prune();
    assert_eq!((report.young.packs, report.condemned.packs), (1, 0), "a backup may find it again");
    lab.clock.advance(DAY / 2);
    assert_eq!(lab.prune().condemned.packs, 1);
    assert_eq!(lab.names(), ids);
}

#[test]
fn what_a_killed_backup_left_is_stored_anew_once_it_is_condemned() {
    let (lab, _) = Lab::with_snapshots(1);
    let dead = Rule::new(Operation::PutIfAbsent, "snapshots/*", Fault::Fail(Failure::Io));
    for (days, packs) in [(0, 2), (1, 4)] {
        lab.store.inject(dead.clone());
        lab.try_backup(&format!("left over {days}")).unwrap_err();
        lab.clock.advance(DAY * days);
        lab.prune();
        lab.backup(&format!("left over {days}"));
        assert_eq!(lab.keys(keys::PACKS).len(), packs, "{days}");
        lab.assert_whole();
    }
    lab.clock.advance(DAY * 2);
    lab.prune();
    lab.clock.advance(DAY * 2);
    lab.prune();
    lab.assert_whole();
    assert_eq!(lab.counts(), [1, 1, 0]);
}

#[test]
fn nothing_is_forgotten_unless_a_newer_one_is_whole() {
    let (lab, ids) = Lab::with_snapshots(4);
    // The packs came one after another, but their names are random: find that of the newest.
    let needed = |id: &SnapshotId| {
        let objects = lab.repository.open().unwrap().1;
        let descriptor = lab.repository.open().unwrap().0;
        let document = document::read(&objects, &descriptor.id, id).unwrap();
        let lines = objects
            .segment_lines(&document.segments[0], &objects.stored_segment(&document.segments[0]).unwrap())
            .unwrap();
        let frames = crate::repository::packed::segment::Segment::frames_of(&lines).unwrap();
        (keys::pack(frames[0].pack).unwrap(), keys::segment(&document.segments[0].id).unwrap())
    };
    let (pack, _) = needed(&ids[3]);
    lab.store.delete(&pack).unwrap();
    let report = lab.prune();
    // The newest but one is whole, and stays as well.
    assert_eq!(report.forgotten, ids[..2]);
    assert_eq!(report.snapshots[2].reasons, [Reason::NewestGood]);

    let (_, segment) = needed(&ids[2]);
    lab.store.delete(&segment).unwrap();
    let report = lab.prune();
    assert_eq!(report.forgotten, []);
    assert!(report.blind, "what it refers to cannot be told");
    assert_eq!(report.damaged[0].snapshots, [ids[2].clone()]);
    assert_eq!((report.condemned, report.deleted), Default::default());

    // With a good one on top everything goes its way again, the damaged ones included.
    lab.backup("good again");
    assert_eq!(lab.prune().forgotten, ids[2..]);
}

#[test]
fn a_snapshot_that_cannot_be_read_stays_and_nothing_is_deleted() {
    let (lab, ids) = Lab::with_snapshots(3);
    lab.clock.advance(DAY);
    lab.prune();
    lab.backup("one more");
    let before = lab.counts();
    let key = keys::snapshot(&ids[2]).unwrap();
    lab.store.put(&key, &"nonsense".into()).unwrap();
    lab.clock.advance(DAY * 2);
    let report = lab.prune();
    assert!(report.blind && report.forgotten.is_empty(), "{report:?}");
    assert_eq!(report.snapshots[0].reasons, [Reason::Damaged]);
    assert_eq!(lab.counts(), before);
    // A person gives it up.
    lab.store.delete(&key).unwrap();
    assert!(lab.prune().deleted.packs > 0);
    lab.assert_whole();
}

#[test]
fn another_volume_that_writes_is_not_cut_off() {
    let (mut lab, _) = Lab::with_snapshots(3);
    lab.writer.volume_id = "v2".into();
    let error = lab.try_prune(false).unwrap_err();
    assert!(matches!(&error, RepositoryError::LeaseElsewhere { epoch: 1, .. }), "{error:?}");
    assert_eq!(lab.names().len(), 3);
    assert_eq!(lab.keys(keys::LEASES).len(), 1);

    // Once it has taken over it may. What the other made lately might still be withdrawn.
    lab.repository.take_over(&lab.writer).unwrap();
    assert_eq!(lab.prune().forgotten, []);
    let own = lab.backup("of the second");
    assert_eq!(lab.prune().forgotten, [], "unsettled ones are left alone");
    lab.clock.advance(DAY * 2);
    assert_eq!(lab.prune().forgotten.len(), 3);
    assert_eq!(lab.names(), [own]);
}

#[test]
fn a_damaged_tombstone_deletes_nothing_and_a_forged_one_neither() {
    let (lab, _) = Lab::with_snapshots(2);
    lab.clock.advance(DAY);
    lab.prune();
    let key = lab.keys(keys::TOMBSTONES).remove(0);
    let whole = lab.store.get(&key).unwrap();
    let mut damaged = whole.clone();
    damaged[40] ^= 1;
    lab.store.put(&key, &damaged.into()).unwrap();
    lab.clock.advance(DAY);
    let report = lab.prune();
    assert_eq!((report.deleted.packs, report.damaged.len()), (0, 1));
    // Whatever is in it, only packs and segments ever go.
    let mut forged: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    forged.as_object_mut().unwrap().retain(|name, _| name != "checksum" && name != "format");
    forged["objects"] = serde_json::json!(["repository.json"]);
    let sealed = crate::base::sealed::seal(&forged, 1).unwrap();
    lab.store.put(&key, &sealed.into()).unwrap();
    assert_eq!(lab.prune().damaged.len(), 1);
    assert_eq!(lab.keys("repository.json").len(), 0, "it is no directory");
    assert!(lab.store.size(&keys::descriptor().unwrap()).is_ok());
}

#[test]
fn killed_before_any_request_the_next_run_ends_the_same() {
    let expected = |lab: &Lab| (lab.names().len(), lab.counts());
    for step in 0.. {
        let (lab, _) = Lab::with_snapshots(3);
        lab.clock.advance(DAY);
        // First while it forgets and condemns, then while it deletes.
        let dead = Rule::any("*", Fault::Fail(Failure::Io)).always();
        lab.store.inject(dead.clone().after(step));
        let first = lab.try_prune(false).is_err();
        lab.store.heal();
        lab.prune();
        lab.assert_whole();
        lab.clock.advance(DAY);
        lab.store.inject(dead.after(step));
        let second = lab.try_prune(false).is_err();
        lab.store.heal();
        lab.prune();
        lab.assert_whole();
        assert_eq!(expected(&lab), (1, [1, 1, 0]), "killed before request {step}");
        if !first && !second {
            assert!(step > 20, "{step}");
            return;
        }
    }
}

#[test]
fn segments_of_another_epoch_have_other_names() {
    let (lab, _) = Lab::with_snapshots(1);
    let before = lab.keys(keys::SEGMENTS);
    assert!(before.iter().all(|key| Hash::from_hex(key.name()).is_some()));
    // The same content, made anew: the file is read again because the note of it is gone.
    fs::remove_dir_all(lab.directory.path().join("cache")).unwrap();
    lab.store.delete(&before[0]).unwrap();
    lab.prune();
    lab.backup("content 0");
    let after = lab.keys(keys::SEGMENTS);
    assert!(after.len() == 1 && after != before, "{after:?}");
}

#[test]
fn a_clock_that_was_years_ahead_once_costs_no_history() {
    let (lab, ids) = Lab::with_snapshots(3);
    let ahead = Arc::new(ManualClock::at(Timestamp::new(4_000_000_000, 0)));
    let wrong = lab.backup_by(ahead, "by a wrong clock").unwrap();
    let right = lab.backup("by the right one again");
    lab.clock.advance(DAY);
    let rules = Rules { within: Some(30 * DAY), ..Rules::default() };
    let request = PruneRequest {
        policy: &Policy { rules, ..Policy::default() },
        grace: DAY,
        writer: &lab.writer,
        cache: &lab.directory.path().join("cache"),
        dry_run: false,
        workers: &workers(),
        progress: &Progress::default(),
        cancel: &Cancel::new(),
    };
    let report = lab.repository.prune(&request).unwrap();
    assert_eq!(report.forgotten, []);
    assert_eq!(lab.names(), [ids, vec![wrong, right]].concat());
}

#[test]
fn a_tombstone_of_something_in_use_does_not_wait_for_its_being_forgotten() {
    let (mut lab, ids) = Lab::with_snapshots(2);
    lab.last = 2;
    // As by a prune that did not see the writers of these yet, and of one that nobody refers to.
    let used: Vec<_> = lab.keys(keys::PACKS).iter().filter_map(|key| PackId::parse(key.name())).collect();
    let unused = PackId::random().unwrap();
    let (_, objects) = lab.repository.open().unwrap();
    objects.store.put(&keys::pack(unused).unwrap(), &bytes::Bytes::from_static(b"left")).unwrap();
    let named: Vec<_> = used.iter().copied().chain([unused]).collect();
    tombstone::write(&objects, 1, lab.clock.now(), &named, &[]).unwrap();
    lab.clock.advance(DAY / 2);
    assert_eq!(lab.prune().pardoned.packs, 2);
    let (left, _) = tombstone::read_all(&objects).unwrap();
    assert_eq!(left.iter().flat_map(|one| one.packs.clone()).collect::<Vec<_>>(), [unused]);

    lab.last = 1;
    assert_eq!(lab.prune().forgotten, ids[..1]);
    // A restore of it began just before.
    lab.clock.advance(DAY / 2);
    assert_eq!(lab.prune().deleted.packs, 0);
    lab.clock.advance(DAY);
    lab.prune();
    lab.clock.advance(DAY);
    lab.prune();
    assert_eq!(lab.counts()[0], 1);
    lab.assert_whole();
}
