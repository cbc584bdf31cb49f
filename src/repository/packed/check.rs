//! Check and verify: every snapshot, its segments, the packs they refer to. Names what is damaged and what
//! that takes down. Changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crossbeam_channel::bounded;

use crate::base::budget::Budget;
use crate::base::hash::Hash;
use crate::base::threads;
use crate::repository::packed::cache::Cache;
use crate::repository::packed::document::Document;
use crate::repository::packed::frame::{Frame, PackId};
use crate::repository::packed::objects::Objects;
use crate::repository::packed::segment::SegmentRef;
use crate::repository::packed::{Packed, document, keys, lease, parent};
use crate::repository::{CheckReport, CheckRequest, Finding, RepositoryError};
use crate::snapshot::SnapshotId;

/// Paths named for each damaged object.
const NAMED_PATHS: usize = 10;

pub(super) fn run(packed: &Packed, request: &CheckRequest) -> Result<CheckReport, RepositoryError> {
    let (descriptor, objects) = packed.open()?;
    let mut check = Check {
        objects: &objects,
        report: CheckReport::default(),
        segments: BTreeMap::new(),
        packs: BTreeMap::new(),
    };
    if let Err(error) = lease::newest(&objects) {
        check.note(error, &[])?;
    }
    for id in document::names(&objects)? {
        check.report.snapshots += 1;
        match document::read(&objects, &descriptor.id, &id) {
            Ok(document) => check.add_snapshot(&id, &document),
            Err(RepositoryError::NoSnapshot { .. }) => {}
            Err(error) => check.note(error, std::slice::from_ref(&id))?,
        }
    }
    check.read_segments(request)?;
    check.read_packs(request)?;
    check.report.findings.sort_by(|a, b| (&a.object, &a.reason).cmp(&(&b.object, &b.reason)));
    Ok(check.report)
}

struct Check<'a> {
    objects: &'a Objects,
    report: CheckReport,
    segments: BTreeMap<Hash, (SegmentRef, Vec<SnapshotId>)>,
    packs: BTreeMap<PackId, NeededPack>,
}

/// What the manifests expect of a pack.
#[derive(Default)]
struct NeededPack {
    frames: BTreeMap<u64, Frame>,
    /// Segments that refer to it, to name snapshots and paths should it be damaged.
    segments: BTreeSet<Hash>,
}

impl Check<'_> {
    fn add_snapshot(&mut self, id: &SnapshotId, document: &Document) {
        for reference in &document.segments {
            let (_, users) =
                self.segments.entry(reference.id).or_insert_with(|| (reference.clone(), Vec::new()));
            users.push(id.clone());
        }
    }

    fn read_segments(&mut self, request: &CheckRequest) -> Result<(), RepositoryError> {
        for (id, (reference, users)) in &self.segments {
            cancelled(request)?;
            self.report.segments += 1;
            // Not through a cache: the object itself is to be looked at.
            let segment = match parent::load(self.objects, &Cache::default(), reference) {
                Ok(segment) if segment.entries.len() as u64 == reference.entries => segment,
                Ok(_) => {
                    let error = self.objects.damaged(
                        format!("{}/{id}", keys::SEGMENTS),
                        "it has not as many entries as its snapshots say",
                    );
                    note(&mut self.report, error, users, Vec::new())?;
                    continue;
                }
                Err(error) => {
                    note(&mut self.report, error, users, Vec::new())?;
                    continue;
                }
            };
            for frame in &segment.frames {
                let pack = self.packs.entry(frame.pack).or_default();
                pack.frames.insert(frame.offset, *frame);
                pack.segments.insert(*id);
            }
        }
        Ok(())
    }

    fn read_packs(&mut self, request: &CheckRequest) -> Result<(), RepositoryError> {
        let verified = request.verify_percent.min(100);
        let bytes: u64 =
            self.packs.values().flat_map(|pack| pack.frames.values()).map(|f| u64::from(f.stored)).sum();
        request.progress.expect(self.packs.len() as u64, bytes * u64::from(verified) / 100);
        let (jobs, queue) = bounded::<(PackId, &NeededPack, bool)>(0);
        let results = Mutex::new(Vec::new());
        // The other half is for what the manifests said.
        let budget = Budget::new(request.workers.memory / 2);
        // On a store with latency most of them wait for an answer.
        let workers = request.workers.connections.max(request.workers.threads);
        thread::scope(|scope| {
            let (results, budget, objects) = (&results, &budget, self.objects);
            threads::start(scope, workers, move || {
                for (id, pack, whole) in queue {
                    let result = look_at(objects, budget, id, pack, whole);
                    request.progress.add(1, *result.as_ref().ok().unwrap_or(&0));
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((id, whole, result));
                }
            })
            .map_err(|error| RepositoryError::Worker(format!("starting a thread: {error}")))?;
            let turn = request.verify_turn.map(|turn| Turn::new(turn, verified));
            let some_are_due = turn.is_some_and(|turn| self.packs.keys().any(|id| turn.is_due(*id)));
            for (number, (id, pack)) in self.packs.iter().enumerate() {
                cancelled(request)?;
                let whole = match turn {
                    Some(turn) if some_are_due => turn.is_due(*id),
                    _ => is_chosen(number, self.packs.len(), verified),
                };
                jobs.send((*id, pack, whole))
                    .map_err(|_| RepositoryError::Worker("no worker is left".to_owned()))?;
            }
            drop(jobs);
            Ok::<(), RepositoryError>(())
        })?;
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_by_key(|(id, ..)| *id);
        let mut damaged = Vec::new();
        for (id, whole, result) in results {
            self.report.packs += 1;
            match result {
                Ok(bytes) => {
                    self.report.verified_packs += u64::from(whole);
                    self.report.verified_bytes += bytes;
                }
                Err(error) => damaged.push((id, error)),
            }
        }
        for (id, error) in damaged {
            let (users, paths) = self.taken_down(id);
            note(&mut self.report, error, &users, paths)?;
        }
        Ok(())
    }

    /// The snapshots that need a pack, and some of the paths.
    fn taken_down(&self, id: PackId) -> (Vec<SnapshotId>, Vec<String>) {
        let mut users = BTreeSet::new();
        let mut paths = Vec::new();
        for segment in self.packs.get(&id).map(|pack| &pack.segments).into_iter().flatten() {
            let Some((reference, snapshots)) = self.segments.get(segment) else { continue };
            users.extend(snapshots.iter().cloned());
            let Ok(segment) = parent::load(self.objects, &Cache::default(), reference) else { continue };
            let frames: HashMap<u32, &Frame> =
                (0u32..).zip(&segment.frames).filter(|(_, f)| f.pack == id).collect();
            let hit = segment
                .entries
                .iter()
                .filter(|entry| entry.extents().iter().any(|extent| frames.contains_key(&extent.frame)));
            paths.extend(
                hit.take(NAMED_PATHS.saturating_sub(paths.len())).map(|entry| entry.path.to_string()),
            );
        }
        (users.into_iter().collect(), paths)
    }

    fn note(&mut self, error: RepositoryError, users: &[SnapshotId]) -> Result<(), RepositoryError> {
        note(&mut self.report, error, users, Vec::new())
    }
}

/// Damage is a finding; a store that does not answer ends the check.
fn note(
    report: &mut CheckReport,
    error: RepositoryError,
    users: &[SnapshotId],
    paths: Vec<String>,
) -> Result<(), RepositoryError> {
    let (object, reason) = match error {
        RepositoryError::Damaged { object, reason, .. } => (object, reason),
        RepositoryError::Newer { object, found, known, .. } => {
            (object, format!("it is of format {found}; this program reads up to {known}"))
        }
        error => return Err(error),
    };
    report.findings.push(Finding { object, reason, snapshots: users.to_vec(), paths });
    Ok(())
}

/// The table against what the manifests expect and, if `whole`, every frame against its hash. Returns the bytes
/// read in full.
fn look_at(
    objects: &Objects,
    budget: &Budget,
    id: PackId,
    needed: &NeededPack,
    whole: bool,
) -> Result<u64, RepositoryError> {
    let (table, _) = objects.table(id)?;
    let table: HashMap<u64, Frame> = table.into_iter().map(|frame| (frame.offset, frame)).collect();
    for (offset, frame) in &needed.frames {
        if table.get(offset) != Some(frame) {
            let object = format!("{}/{id}", keys::PACKS);
            return Err(
                objects.damaged(object, format!("it has no such frame at {offset} as the manifests need"))
            );
        }
    }
    let mut bytes = 0;
    if whole {
        for frame in needed.frames.values() {
            // As it is stored and decoded.
            let _room = budget.take(u64::from(frame.stored) + u64::from(frame.plain));
            objects.frame_bytes(frame)?;
            bytes += u64::from(frame.stored);
        }
    }
    Ok(bytes)
}

/// One of several parts into which the packs fall by their random ids, whatever comes and goes beside them.
#[derive(Clone, Copy, Debug)]
struct Turn {
    parts: u64,
    part: u64,
}

impl Turn {
    fn new(turn: u64, percent: u8) -> Self {
        let parts = 100u64.div_ceil(u64::from(percent.max(1)));
        Self { parts, part: turn % parts }
    }

    fn is_due(self, pack: PackId) -> bool {
        pack.number() % self.parts == self.part
    }
}

/// Spreads the chosen packs evenly.
fn is_chosen(number: usize, of: usize, percent: u8) -> bool {
    let share = |count: usize| count * usize::from(percent) / 100;
    let wanted = share(of).max(usize::from(percent > 0));
    // The first of a tiny repository is always read when anything is to be.
    share(number + 1) > share(number) || (number == 0 && wanted == 1 && share(of) == 0)
}

fn cancelled(request: &CheckRequest) -> Result<(), RepositoryError> {
    if request.cancel.is_cancelled() { Err(RepositoryError::Cancelled) } else { Ok(()) }
}
