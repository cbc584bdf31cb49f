//! A restore: fills a directory with a snapshot or a part of it. Directories first, then contents by many
//! fetchers and writers, then hard links, and the directories' own metadata last. What an interrupted run made
//! whole stays.

mod fetch;
mod flush;
pub(super) mod plan;
mod write;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

use crossbeam_channel::{Sender, bounded};

use crate::base::budget::Budget;
use crate::base::threads;
use crate::repository::packed::Packed;
use crate::repository::packed::cache::Cache;
use crate::repository::packed::document;
use crate::repository::packed::objects::Objects;
use crate::repository::packed::parent::each_segment;
use crate::repository::packed::restore::fetch::{Buffers, Shares, Wanted, fetch};
use crate::repository::packed::restore::flush::{Noting, flush};
use crate::repository::packed::restore::plan::ranges;
use crate::repository::packed::restore::write::{Job, Partial, Prepared, Shared, work};
use crate::repository::packed::segment::{Segment, SegmentRef};
use crate::repository::staging::{LinkTargets, holds_something, link};
use crate::repository::{RepositoryError, RestoreReport, RestoreRequest};
use crate::snapshot::{Entry, Kind, RelativePath, SnapshotId};
use crate::tree::{Cursor, TreeWriter};

/// Files a job without requests handles.
const BATCH: usize = 256;
/// The part of the memory that is for directories kept until their metadata is set: several thousand by default.
/// If there are more, the segments are read again.
const DIRECTORIES_KEPT: u64 = 32;

pub(super) fn run(
    packed: &Packed,
    id: &SnapshotId,
    request: &RestoreRequest<'_>,
) -> Result<RestoreReport, RepositoryError> {
    let (descriptor, objects) = packed.opened()?;
    let known = packed.known_document(id);
    let recheck = known.is_some();
    let document = match known {
        Some(document) => document,
        None => document::read(&objects, &descriptor.id, id)?,
    };
    let cache = Cache::open(request.cache, &descriptor.id);
    let writer = TreeWriter::open(request.target)?;
    request.progress.expect(document.entries, document.bytes);
    let shares = Shares::of(request.workers.memory, request.workers.connections);
    let (budget, buffers) = (Budget::new(shares.budget), Buffers::new(shares.longest));
    let shared = Shared {
        objects: &objects,
        writer: &writer,
        progress: request.progress,
        cancel: request.cancel,
        budget: &budget,
        buffers: &buffers,
        resuming: holds_something(&writer)?,
        fetched_bytes: AtomicU64::new(0),
        open_files: AtomicUsize::new(0),
        failure: Mutex::new(None),
    };
    let writers = request.workers.threads.max(2);
    let fetchers = shares.fetchers;
    let unflushed = AtomicU64::new(0);
    let outcome: Result<Made, RepositoryError> = thread::scope(|scope| {
        let shared = &shared;
        // Both queues are short beside the budget: they only bound the number of very small ranges.
        let (wanted, ranges) = bounded(fetchers);
        let (jobs, queue) = bounded(fetchers.max(writers));
        let failed = |error: io::Error| RepositoryError::Worker(format!("starting a thread: {error}"));
        if recheck {
            // Whoever asked for a snapshot that was withdrawn meanwhile has to choose again. Nobody waits for the
            // answer before the end.
            let (objects, repository) = (&objects, &descriptor.id);
            threads::start(scope, 1, move || {
                if let Err(error) = document::read(objects, repository, id) {
                    shared.fail(error);
                }
            })
            .map_err(failed)?;
        }
        let (due, steps) = bounded(1);
        threads::start(scope, 1, move || flush(shared, &steps)).map_err(failed)?;
        let noting = Noting::new(&unflushed, due);
        threads::start(scope, writers, move || work(shared, &queue, &noting)).map_err(failed)?;
        let fetched = jobs.clone();
        threads::start(scope, fetchers, move || fetch(shared, &ranges, &fetched)).map_err(failed)?;
        let mut run = Run {
            request,
            shared,
            cursor: writer.cursor(),
            wanted,
            jobs,
            longest: shares.longest,
            report: RestoreReport::default(),
            links: Vec::new(),
            directories: Some(Vec::new()),
            directory_bytes: 0,
            link_targets: LinkTargets::default(),
            not_made: HashSet::new(),
        };
        each_segment(&objects, &cache, document.segments.iter(), |segment| run.segment(segment))?;
        // The threads end when the queues are closed, and the scope waits for them.
        let Run { report, mut links, directories, not_made, .. } = run;
        links.retain(|link| link.hard_link.as_ref().is_none_or(|first| !not_made.contains(first)));
        Ok(Made { report, links, directories })
    });
    if let Some(error) = shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error);
    }
    let Made { mut report, links, directories } = outcome?;
    let mut cursor = writer.cursor();
    for entry in &links {
        link(&writer, &mut cursor, entry, shared.resuming)?;
        request.progress.add(1, entry.size());
    }
    // From the last to the first, so that a directory closed to us is closed after what is below it.
    match directories {
        Some(kept) => kept.iter().rev().try_for_each(|entry| cursor.finish_directory(entry))?,
        None => finish_directories(&objects, &cache, &document.segments, request, &mut cursor)?,
    }
    // By the handle that hears of every error since before the first byte, whoever else on the machine was told of
    // one meanwhile. Whoever syncs after this finds little left to do.
    writer.sync_file_system()?;
    report.fetched_bytes = shared.fetched_bytes.load(Ordering::Relaxed);
    report.problems = writer.problems().lines();
    report.problem_count = writer.problems().total();
    packed.keep_document(id, document);
    Ok(report)
}

/// What there is when all contents are written.
struct Made {
    report: RestoreReport,
    links: Vec<Entry>,
    directories: Option<Vec<Entry>>,
}

struct Run<'r, 'a> {
    request: &'r RestoreRequest<'a>,
    shared: &'r Shared<'r>,
    cursor: Cursor,
    wanted: Sender<Wanted<'r>>,
    jobs: Sender<Job<'r>>,
    /// Bytes of one request.
    longest: u64,
    report: RestoreReport,
    /// Later members of groups of hard links.
    links: Vec<Entry>,
    /// All so far; `None`: too many to keep.
    directories: Option<Vec<Entry>>,
    directory_bytes: usize,
    link_targets: LinkTargets,
    /// What could not be made here, such as devices without root: its other names cannot either.
    not_made: HashSet<RelativePath>,
}

impl<'r> Run<'r, '_> {
    fn segment(&mut self, segment: Segment) -> Result<(), RepositoryError> {
        let mut files = Vec::new();
        for (number, entry) in segment.entries.iter().enumerate() {
            if number % 1024 == 0 && self.shared.is_over() {
                return Err(RepositoryError::Cancelled);
            }
            if !self.wants(entry) {
                continue;
            }
            self.report.entries += 1;
            match &entry.kind {
                Kind::Directory => {
                    self.directory(entry)?;
                    self.request.progress.add(1, 0);
                }
                Kind::File { size, .. } => {
                    self.report.files += 1;
                    self.report.bytes = self.report.bytes.saturating_add(*size);
                    match self.link_targets.as_link(self.request.selector, entry) {
                        Some(link) => self.links.push(link),
                        None => files.push(number),
                    }
                }
                _ => match self.link_targets.as_link(self.request.selector, entry) {
                    Some(link) => self.links.push(link),
                    None => self.special(entry)?,
                },
            }
        }
        self.files(segment, files)
    }

    fn wants(&self, entry: &Entry) -> bool {
        let selector = self.request.selector;
        selector.takes(&entry.path) || (entry.is_directory() && selector.leads(&entry.path))
    }

    fn directory(&mut self, entry: &Entry) -> Result<(), RepositoryError> {
        self.cursor.directory(&entry.path)?;
        self.directory_bytes += size_of::<Entry>() + entry.path.as_bytes().len();
        for attribute in &entry.attributes {
            self.directory_bytes += attribute.name.0.len() + attribute.value.0.len();
        }
        match &mut self.directories {
            Some(kept) if self.directory_bytes as u64 <= self.request.workers.memory / DIRECTORIES_KEPT => {
                kept.push(entry.clone());
            }
            _ => self.directories = None,
        }
        Ok(())
    }

    fn special(&mut self, entry: &Entry) -> Result<(), RepositoryError> {
        if self.shared.resuming {
            self.cursor.remove(&entry.path)?;
        }
        if !self.cursor.make(entry)? {
            self.not_made.insert(entry.path.clone());
        }
        self.request.progress.add(1, 0);
        Ok(())
    }

    fn files(&mut self, segment: Segment, mut files: Vec<usize>) -> Result<(), RepositoryError> {
        let mut partial = HashMap::new();
        for number in &files {
            if let Some(Kind::File { extents, holes, .. }) =
                segment.entries.get(*number).map(|entry| &entry.kind)
                && !extents.is_empty()
                && (extents.len() > 1 || !holes.is_empty())
            {
                partial.insert(*number, Partial::new(0));
            }
        }
        let prepared = Arc::new(Prepared { segment, partial });
        if self.shared.resuming {
            let whole = self.inspect(&prepared, &files)?;
            files.retain(|number| whole.binary_search(number).is_err());
        }
        let stored =
            |number: &usize| prepared.segment.entries.get(*number).is_some_and(|e| !e.extents().is_empty());
        let (stored, empty): (Vec<usize>, Vec<usize>) = files.into_iter().partition(stored);
        for batch in empty.chunks(BATCH) {
            self.send(Job::Empty(Arc::clone(&prepared), batch.to_vec()))?;
        }
        let ranges = ranges(&prepared.segment, stored.into_iter(), self.longest);
        // Counted before the first piece is written, or a file could look finished too early.
        for piece in ranges.iter().flat_map(|range| &range.frames).flat_map(|frame| &frame.uses) {
            if let Some(partial) = prepared.partial.get(&piece.entry) {
                partial.left.fetch_add(1, Ordering::Relaxed);
            }
        }
        for range in ranges {
            // Taken here, in the order of the plan. What is held is given back by the writers, or by whoever
            // empties a queue when all is over. A short range takes a whole buffer as well.
            let room =
                self.shared.budget.take(range.length.max(self.longest)).filter(|_| !self.shared.is_over());
            let room = room.ok_or(RepositoryError::Cancelled)?;
            let wanted = Wanted { prepared: Arc::clone(&prepared), range, room };
            self.wanted
                .send(wanted)
                .map_err(|_| RepositoryError::Worker("nobody is left to fetch".to_owned()))?;
        }
        Ok(())
    }

    /// The numbers, sorted, of files that an interrupted run left whole.
    fn inspect(&mut self, prepared: &Arc<Prepared>, files: &[usize]) -> Result<Vec<usize>, RepositoryError> {
        let batches: Vec<_> = files.chunks(BATCH).collect();
        let (reply, answers) = bounded(batches.len().max(1));
        for batch in batches {
            self.send(Job::Inspect(Arc::clone(prepared), batch.to_vec(), reply.clone()))?;
        }
        drop(reply);
        let mut whole: Vec<usize> = answers.iter().flatten().collect();
        whole.sort_unstable();
        self.report.reused_files += whole.len() as u64;
        for entry in whole.iter().filter_map(|number| prepared.segment.entries.get(*number)) {
            self.request.progress.add(1, entry.size());
        }
        Ok(whole)
    }

    fn send(&self, job: Job<'r>) -> Result<(), RepositoryError> {
        self.jobs.send(job).map_err(|_| RepositoryError::Worker("no worker is left".to_owned()))
    }
}

/// Segments are read again rather than kept: memory must not grow with the number of directories.
fn finish_directories(
    objects: &Objects,
    cache: &Cache,
    segments: &[SegmentRef],
    request: &RestoreRequest<'_>,
    cursor: &mut Cursor,
) -> Result<(), RepositoryError> {
    each_segment(objects, cache, segments.iter().rev(), |segment| {
        for entry in segment.entries.iter().rev().filter(|entry| entry.is_directory()) {
            if request.selector.takes(&entry.path) || request.selector.leads(&entry.path) {
                cursor.finish_directory(entry)?;
            }
        }
        Ok(())
    })
}
