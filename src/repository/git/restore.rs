//! A restore out of git: directories first, then contents by several writers, each with its own reader, then hard
//! links, and the directories' own metadata last. What an interrupted run made whole stays.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::budget::Budget;
use crate::base::hash::Hash;
use crate::base::threads;
use crate::repository::git::branch::Wanted;
use crate::repository::git::contents::{Contents, Item};
use crate::repository::git::objects::{Objects, Reader};
use crate::repository::git::{Git, Located};
use crate::repository::staging::{LinkTargets, holds_something, is_whole, link};
use crate::repository::{RepositoryError, RestoreReport, RestoreRequest};
use crate::snapshot::{Entry, Hole, Kind, RelativePath, SnapshotId};
use crate::tree::{Cursor, FileSink, TreeWriter};

/// Files given to a writer at a time.
const BATCH: usize = 64;
/// In memory of a file that comes in pieces.
const PIECE: u64 = 512 << 10;

pub(super) fn run(
    git: &Git,
    id: &SnapshotId,
    request: &RestoreRequest<'_>,
) -> Result<RestoreReport, RepositoryError> {
    let Located { wanted, summary, .. } = git.locate(id)?;
    request.progress.expect(summary.entries, summary.bytes);
    git.with_objects(wanted, request.progress, request.cancel, |objects| fill(objects, wanted, request))
}

struct Shared<'a> {
    objects: &'a Objects,
    writer: &'a TreeWriter,
    request: &'a RestoreRequest<'a>,
    /// Of contents that are read and not yet written.
    budget: Budget,
    /// The target held something when the run began.
    resuming: bool,
    report: Mutex<RestoreReport>,
    failure: Mutex<Option<RepositoryError>>,
}

impl Shared<'_> {
    fn fail(&self, error: RepositoryError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.budget.close();
    }

    fn is_over(&self) -> bool {
        self.request.cancel.is_cancelled()
            || self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

fn fill(
    objects: &Objects,
    wanted: Wanted,
    request: &RestoreRequest<'_>,
) -> Result<RestoreReport, RepositoryError> {
    let writer = TreeWriter::open(request.target)?;
    let shared = Shared {
        objects,
        writer: &writer,
        request,
        budget: Budget::new(request.workers.memory / 2),
        resuming: holds_something(&writer)?,
        report: Mutex::default(),
        failure: Mutex::default(),
    };
    let outcome = thread::scope(|scope| {
        let threads = request.workers.threads.max(1);
        let (jobs, queue) = bounded(threads * 2);
        let shared = &shared;
        threads::start(scope, threads, move || work(shared, &queue))
            .map_err(|error| RepositoryError::Worker(format!("starting a thread: {error}")))?;
        plan(shared, wanted, jobs)
    });
    if let Some(error) = shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error);
    }
    let Planned { directories, links, report } = outcome?;
    if request.cancel.is_cancelled() {
        return Err(RepositoryError::Cancelled);
    }
    let mut cursor = writer.cursor();
    for entry in &links {
        link(&writer, &mut cursor, entry, shared.resuming)?;
        request.progress.add(1, entry.size());
    }
    // From the last to the first, so that a directory closed to us is closed after what is below it.
    directories.iter().rev().try_for_each(|entry| cursor.finish_directory(entry))?;
    writer.sync_file_system()?;
    let written = shared.report.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(RestoreReport {
        entries: report.entries,
        files: report.files,
        bytes: report.bytes,
        problems: writer.problems().lines(),
        problem_count: writer.problems().total(),
        ..written
    })
}

struct Planned {
    directories: Vec<Entry>,
    links: Vec<Entry>,
    report: RestoreReport,
}

fn plan(shared: &Shared<'_>, wanted: Wanted, jobs: Sender<Vec<Item>>) -> Result<Planned, RepositoryError> {
    let selector = shared.request.selector;
    let reader = shared.objects.reader()?;
    let mut contents = Contents::open(&reader, wanted.tree, wanted.seconds)?;
    let mut cursor = shared.writer.cursor();
    let mut targets = LinkTargets::default();
    let mut not_made: HashSet<RelativePath> = HashSet::new();
    let mut planned =
        Planned { directories: Vec::new(), links: Vec::new(), report: RestoreReport::default() };
    let mut batch = Vec::with_capacity(BATCH);
    let send = |batch: &mut Vec<Item>| {
        jobs.send(std::mem::replace(batch, Vec::with_capacity(BATCH)))
            .map_err(|_| RepositoryError::Worker("no writer is left".to_owned()))
    };
    while let Some(item) = contents.next()? {
        if shared.is_over() {
            return Err(RepositoryError::Cancelled);
        }
        let entry = &item.entry;
        if !(selector.takes(&entry.path) || (entry.is_directory() && selector.leads(&entry.path))) {
            continue;
        }
        planned.report.entries += 1;
        if let Kind::File { size, .. } = &entry.kind {
            planned.report.files += 1;
            planned.report.bytes += size;
        }
        if entry.is_directory() {
            cursor.directory(&entry.path)?;
            shared.request.progress.add(1, 0);
            planned.directories.push(item.entry);
        } else if let Some(link) = targets.as_link(selector, entry) {
            planned.links.push(link);
        } else if item.content.is_some() {
            batch.push(item);
            if batch.len() >= BATCH {
                send(&mut batch)?;
            }
        } else {
            if shared.resuming {
                cursor.remove(&entry.path)?;
            }
            if !cursor.make(entry)? {
                not_made.insert(entry.path.clone());
            }
            shared.request.progress.add(1, 0);
        }
    }
    send(&mut batch)?;
    if !contents.left_out.is_empty() {
        let first = contents.left_out.first().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(count = contents.left_out.len(), first, "submodules are left out: they are elsewhere");
    }
    planned.links.retain(|link| link.hard_link.as_ref().is_none_or(|first| !not_made.contains(first)));
    Ok(planned)
}

fn work(shared: &Shared<'_>, jobs: &Receiver<Vec<Item>>) {
    let mut cursor = shared.writer.cursor();
    let mut reader = None;
    for batch in jobs {
        for item in batch {
            if shared.is_over() {
                // Queues are emptied without doing anything, so that whoever fills them is not stuck.
                shared.fail(RepositoryError::Cancelled);
                break;
            }
            if let Err(error) = one(shared, &mut cursor, &mut reader, item) {
                shared.fail(error);
            }
        }
    }
}

fn one(
    shared: &Shared<'_>,
    cursor: &mut Cursor,
    reader: &mut Option<Reader>,
    item: Item,
) -> Result<(), RepositoryError> {
    if shared.resuming && !item.uncounted && is_whole(shared.writer, cursor, &item.entry) {
        shared.request.progress.add(1, item.entry.size());
        shared.report.lock().unwrap_or_else(PoisonError::into_inner).reused_files += 1;
        return Ok(());
    }
    let reader = match reader {
        Some(reader) => reader,
        None => reader.insert(shared.objects.reader()?),
    };
    let Item { mut entry, content, uncounted, .. } = item;
    let Some(oid) = content else { return Ok(()) };
    let wrong = |path: &RelativePath| RepositoryError::Content { path: path.to_string() };
    // What unpacks to something else than it should may unpack to anything.
    if reader.size(oid)? != entry.size() {
        return Err(wrong(&entry.path));
    }
    // A piece, or all of it as it is packed and as it is unpacked.
    let room =
        if reader.comes_in_pieces(oid) { entry.size().min(PIECE) } else { entry.size().saturating_mul(2) };
    let Some(_room) = shared.budget.take(room) else { return Err(RepositoryError::Cancelled) };
    // In the root, and where an interrupted run left a directory, others may look.
    let private = !shared.resuming && entry.path.parent_bytes().is_some_and(|parent| !parent.is_empty());
    let sink = if private {
        cursor.file_in_private(&entry)?
    } else {
        if shared.resuming {
            cursor.remove(&entry.path)?;
        }
        cursor.file(&entry.path)?
    };
    let holes = match &entry.kind {
        Kind::File { holes, .. } => holes.as_slice(),
        _ => &[],
    };
    let (mut hasher, mut at) = (blake3::Hasher::new(), 0);
    reader.pieces(oid, &mut |piece| {
        hasher.update(piece);
        put(&sink, at, piece, holes)?;
        at += piece.len() as u64;
        Ok(())
    })?;
    let found = Hash::finish(&hasher);
    if let Kind::File { hash, .. } = &mut entry.kind {
        if !uncounted && *hash != found {
            return Err(wrong(&entry.path));
        }
        *hash = found;
    }
    sink.finish(&entry)?;
    shared.request.progress.add(1, entry.size());
    shared.report.lock().unwrap_or_else(PoisonError::into_inner).fetched_bytes += at;
    Ok(())
}

/// The content is what counts: a hole is left only where it has nothing but zeros.
fn put(sink: &FileSink, at: u64, piece: &[u8], holes: &[Hole]) -> Result<(), RepositoryError> {
    let end = at + piece.len() as u64;
    let part = |from: u64, to: u64| piece.get((from - at) as usize..(to - at) as usize).unwrap_or_default();
    let mut from = at;
    for hole in holes {
        let (start, stop) = (hole.offset.max(at), hole.offset.saturating_add(hole.length).min(end));
        if start >= stop || part(start, stop).iter().any(|byte| *byte != 0) {
            continue;
        }
        if from < start {
            sink.write_at(from, part(from, start))?;
        }
        from = stop;
    }
    if from < end {
        sink.write_at(from, part(from, end))?;
    }
    Ok(())
}
