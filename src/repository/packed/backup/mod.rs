//! A backup: lease, merge, pipeline, guard, commit, in this order. The snapshot file is written last, when all it
//! refers to is durable.

mod chunk;
mod elsewhere;
mod job;
mod links;
mod merge;
pub(super) mod movable;
mod pipeline;
pub(super) mod refresh;
pub(super) mod stored;
mod stream;
pub(super) mod upload;

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::base::timestamp::Timestamp;
use crate::repository::packed::Packed;
use crate::repository::packed::backup::job::{Shared, work};
use crate::repository::packed::backup::merge::merge;
use crate::repository::packed::backup::pipeline::Pipeline;
use crate::repository::packed::backup::refresh::Refresher;
use crate::repository::packed::backup::stored::StoredObjects;
use crate::repository::packed::backup::stream::Rhythm;
use crate::repository::packed::backup::upload::{Packers, Shares, Upload, Written, upload};
use crate::repository::packed::cache::Cache;
use crate::repository::packed::document::{self, Document};
use crate::repository::packed::known::Known;
use crate::repository::packed::lease::{self, Held};
use crate::repository::packed::manifest::{ManifestWriter, StoreSegment};
use crate::repository::packed::objects::Objects;
use crate::repository::packed::parent::ParentReader;
use crate::repository::packed::segment::SegmentRef;
use crate::repository::packed::tombstone::Condemned;
use crate::repository::scan::Problems;
use crate::repository::{BackupReport, BackupRequest, RepositoryError, Totals};
use crate::snapshot::SnapshotId;
use crate::tree::Root;

pub(super) use chunk::description as chunker;
/// What the walk and the pipeline made, before the commit.
struct Made {
    totals: Totals,
    segments: Vec<SegmentRef>,
    files_read: u64,
    bytes_read: u64,
    added_bytes: u64,
    stored_bytes: u64,
    moved_bytes: u64,
}

pub(super) fn run(packed: &Packed, request: &BackupRequest<'_>) -> Result<BackupReport, RepositoryError> {
    let (descriptor, objects) = packed.open()?;
    if descriptor.identity != request.writer.identity {
        return Err(RepositoryError::Identity {
            location: objects.location(),
            found: descriptor.identity,
            expected: request.writer.identity.clone(),
        });
    }
    let mut held = match request.dry_run {
        true => None,
        false => {
            let now = request.clock.now();
            Some(lease::join_or_take(&objects, request.writer, request.epoch, request.take_over, now)?)
        }
    };
    let cache = Cache::open(Some(request.cache), &descriptor.id);
    let names = document::names(&objects)?;
    let parent = newest_readable(&objects, &descriptor.id, &names)?;
    let parent_summary = parent.as_ref().map(|(id, document)| document.summary(id));
    let parent_id = parent_summary.as_ref().map(|summary| summary.id.clone());
    if let (Some(present), Some((_, document))) = (&mut held, &parent)
        && document.epoch > present.epoch
    {
        // Somebody took over and committed since: no need to read the volume for nothing.
        lease::recheck(&objects, present)?;
        // Nobody did: leases were removed by hand. Numbers must go on rising, or what is stored now would pass for
        // the work of a writer that was cut off.
        *present = lease::take(&objects, request.writer, document.epoch, request.clock.now())?;
    }
    let parent_segments =
        parent.as_ref().map(|(_, document)| document.segments.as_slice()).unwrap_or_default();
    // First the tombstones, then the objects: one whose tombstone is gone already is gone as well.
    let condemned = Condemned::list(&objects)?;
    let stored = StoredObjects::list(&objects, request.workers.connections)?.without(&condemned);

    // What a prune noted is advice: who follows it stores more than it must, and rests on nothing else than it would.
    let volume_bytes = parent.as_ref().map_or(0, |(_, document)| document.data_bytes);
    let (emptied, emptied_later) = movable::share_of(cache.mostly_dead(), volume_bytes);

    let mut problems = Problems::default();
    let known = Known::new(&objects, &cache, parent_segments, &stored.packs, &emptied);
    for pack in cache.uploaded() {
        // A pack that was swept meanwhile must not be referred to.
        if stored.packs.size(pack.pack) == Some(pack.size) && !emptied.contains(&pack.pack) {
            known.add_uploaded(&pack);
        }
    }
    let grandparent = parent.as_ref().and_then(|(_, document)| document.parent.as_ref());
    let root = Root::open(request.root)?;
    let shared = Shared {
        root: &root,
        objects: &objects,
        known: &known,
        emptied: &emptied,
        rhythm: Rhythm { grandparent: grandparent.and_then(SnapshotId::time) },
        clock: request.clock,
        read_retries: request.read_retries,
        cancel: request.cancel,
        files_read: AtomicU64::new(0),
        bytes_read: AtomicU64::new(0),
    };
    let refresher = held.as_ref().map(|held| Refresher::new(&objects, held, request.clock));
    let made = walk_and_store(
        request,
        &shared,
        &cache,
        parent_segments,
        &stored,
        refresher.as_ref(),
        &mut problems,
    )?;
    let mut report = BackupReport {
        snapshot: None,
        epoch: held.as_ref().map_or(0, |held| held.epoch),
        totals: made.totals,
        files_read: made.files_read,
        bytes_read: made.bytes_read,
        added_bytes: made.added_bytes,
        stored_bytes: made.stored_bytes,
        moved_bytes: made.moved_bytes,
        problems: problems.named,
        problem_count: problems.count,
    };
    (request.guard)(&made.totals, parent_summary.as_ref()).map_err(RepositoryError::Refused)?;
    let Some(held) = held else { return Ok(report) };
    // Told to stop when everything was read: what was read last may be of a time when the app was held no longer.
    if request.cancel.is_cancelled() {
        return Err(RepositoryError::Cancelled);
    }
    // Everything the snapshot refers to is durable by now. A writer that was cut off stops here.
    lease::recheck(&objects, &held)?;
    // Listed once more: whatever came meanwhile, by whomever, the new one is to be the newest.
    let names = document::names(&objects)?;
    let document = Document {
        format: document::THIS_FORMAT,
        repository: descriptor.id,
        epoch: held.epoch,
        time: later_than(names.last(), request.clock.now()),
        volume_id: request.writer.volume_id.clone(),
        identity: request.writer.identity.clone(),
        host: request.writer.host.clone(),
        parent: parent_id,
        copied_from: None,
        entries: made.totals.entries,
        files: made.totals.files,
        bytes: made.totals.bytes,
        data_bytes: made.totals.data_bytes,
        added_bytes: report.added_bytes,
        stored_bytes: report.stored_bytes,
        problems: report.problems.clone(),
        problem_count: report.problem_count,
        segments: made.segments,
    };
    let (id, bytes) = commit(&objects, &held, &document)?;
    report.stored_bytes += bytes;
    report.snapshot = Some(document.summary(&id));
    cache.keep_only(&document.segments);
    cache.forget_uploaded();
    if !emptied.is_empty() {
        cache.note_mostly_dead(emptied_later);
    }
    if let Err(error) = objects.store.tidy(request.clock.now()) {
        tracing::warn!(%error, "left-over temporary files stay in the repository");
    }
    Ok(report)
}

/// Writes the snapshot and looks once more: a successor that took over since the last look may have chosen what to
/// restore without seeing it. Nobody has been told of it yet, so it can be taken back. `lease` has the reasoning.
fn commit(objects: &Objects, held: &Held, document: &Document) -> Result<(SnapshotId, u64), RepositoryError> {
    let (id, bytes) = document::commit(objects, document)?;
    let Err(error) = lease::recheck(objects, held) else { return Ok((id, bytes)) };
    let RepositoryError::Fenced { location, epoch, .. } = &error else {
        // It is stored, and whether it will count is not known: neither "done" nor "not done" would be true.
        tracing::error!(%error, snapshot = %id, "stored, but whether somebody took over meanwhile cannot be told");
        return Err(error);
    };
    match document::withdraw(objects, &id) {
        Ok(()) => Err(error),
        Err(source) => {
            let (location, epoch) = (location.clone(), *epoch);
            Err(RepositoryError::NotWithdrawn { location, id, epoch, source: Box::new(source) })
        }
    }
}

/// The newest snapshot that can be read. A damaged one must not stop all backups after it.
fn newest_readable(
    objects: &Objects,
    repository: &str,
    names: &[SnapshotId],
) -> Result<Option<(SnapshotId, Document)>, RepositoryError> {
    for id in names.iter().rev() {
        match document::read(objects, repository, id) {
            Ok(document) => return Ok(Some((id.clone(), document))),
            Err(error) if error.is_damage() => tracing::warn!(%error, "backing up without this snapshot"),
            Err(RepositoryError::NoSnapshot { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// A clock that was set back must not make the new snapshot look older than the newest one, whole or not.
fn later_than(newest: Option<&SnapshotId>, now: Timestamp) -> Timestamp {
    // Names and files hold whole milliseconds.
    let now = Timestamp::new(now.seconds, now.nanoseconds / 1_000_000 * 1_000_000);
    match newest.and_then(SnapshotId::time) {
        Some(newest) => now.max(newest.plus(Duration::from_millis(1))),
        None => now,
    }
}

fn walk_and_store(
    request: &BackupRequest<'_>,
    shared: &Shared<'_>,
    cache: &Cache,
    parent: &[SegmentRef],
    stored: &StoredObjects,
    refresher: Option<&Refresher<'_>>,
    problems: &mut Problems,
) -> Result<Made, RepositoryError> {
    let threads = request.workers.threads.max(1);
    let store = refresher.is_some();
    let failure = Mutex::new(None);
    let (job_sender, jobs) = bounded(threads);
    let shares = Shares::of(request.workers.memory, request.workers.connections);
    // Without room: what waits is held by whoever made it, so that memory never holds one pack more.
    let (uploads, queue) = bounded(0);
    let outcome: Result<Made, RepositoryError> = thread::scope(|scope| {
        for _ in 0..threads {
            let jobs = jobs.clone();
            scope.spawn(move || work(shared, &jobs));
        }
        for _ in 0..shares.uploaders {
            let queue = queue.clone();
            let failure = &failure;
            scope.spawn(move || upload(shared.objects, cache, refresher, &queue, failure));
        }
        // From here on the ends of the queues are the workers' alone: when they are gone, sending fails.
        drop((jobs, queue));
        let packers = Packers::new(shared.objects, shares.pack, &uploads);
        let store_segment: StoreSegment<'_> = Box::new(move |id, stored| {
            uploads
                .send(Upload::Segment { id, stored })
                .map_err(|_| RepositoryError::Worker("uploading has ended".to_owned()))
        });
        let manifest = ManifestWriter::new(
            shared.objects,
            cache,
            parent,
            &stored.segments,
            store.then_some(store_segment),
            refresher.map_or(0, Refresher::epoch),
        );
        // Plain and compressed bytes of what is under way take twice this; the packs take three eighths.
        let limit = request.workers.memory / 8;
        let mut pipeline = Pipeline::new(shared, manifest, packers, problems, job_sender, limit);
        let former = ParentReader::new(shared.objects, cache, parent, &stored.packs, shared.emptied);
        merge(request, shared, former, &mut pipeline)?;
        pipeline.finish()?;
        let Pipeline { manifest, packers, totals, .. } = pipeline;
        let Written { added_bytes, stored_bytes, moved_bytes } = packers.written();
        // Packers and manifest hold the queue to the uploaders: they end with all, and the scope waits for them.
        drop(packers);
        let (segments, manifest_bytes) = manifest.finish()?;
        Ok(Made {
            totals,
            segments,
            files_read: 0,
            bytes_read: 0,
            added_bytes,
            stored_bytes: stored_bytes + manifest_bytes,
            moved_bytes,
        })
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut made = outcome?;
    made.files_read = shared.files_read.load(Ordering::Relaxed);
    made.bytes_read = shared.bytes_read.load(Ordering::Relaxed);
    Ok(made)
}
