//! A restore out of git: directories first, then contents by several writers, each with its own reader, then hard
//! links, and the directories' own metadata last. What an interrupted run made whole stays.

use std::collections::HashSet;
use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::budget::Budget;
use crate::base::hash::Hash;
use crate::base::threads;
use crate::repository::git::branch::Wanted;
use crate::repository::git::contents::{Contents, Item};
use crate::repository::git::objects::{Objects, Reader};
use crate::repository::git::oid::{Hasher, Kind as ObjectKind};
use crate::repository::git::pack_read::BlobReader;
use crate::repository::git::read::with_content;
use crate::repository::git::{Git, Located};
use crate::repository::staging::{LinkTargets, holds_something, is_whole, link};
use crate::repository::{RepositoryError, RestoreReport, RestoreRequest};
use crate::snapshot::{Entry, Hole, Kind, RelativePath, SnapshotId};
use crate::tree::{Cursor, FileSink, TreeWriter};

/// Files given to a writer at a time.
const BATCH: usize = 64;
/// Larger files are unpacked piece by piece, where their pack allows it.
const LARGE: u64 = 4 << 20;
const PIECE: usize = 256 << 10;

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
    if item.entry.size() > LARGE
        && let Some(pieces) = item.content.and_then(|oid| reader.pieces(oid))
    {
        return write_pieces(shared, cursor, item, pieces);
    }
    // As it is packed and as it is unpacked.
    let room = shared.budget.take(item.entry.size().saturating_mul(2));
    let Some(_room) = room else { return Err(RepositoryError::Cancelled) };
    with_content(reader, item, |entry, bytes| {
        let sink = create(shared, cursor, &entry)?;
        write_at(&sink, holes_of(&entry), 0, bytes)?;
        finish(shared, sink, &entry, bytes.len() as u64)
    })
}

/// As it is unpacked, and held against its name and hash when all of it was.
fn write_pieces(
    shared: &Shared<'_>,
    cursor: &mut Cursor,
    item: Item,
    mut pieces: BlobReader,
) -> Result<(), RepositoryError> {
    let Item { mut entry, content, uncounted, .. } = item;
    let damaged = |entry: &Entry| RepositoryError::Content { path: entry.path.to_string() };
    // What unpacks to something else than it should may unpack to anything.
    if pieces.size != entry.size() {
        return Err(damaged(&entry));
    }
    let sink = create(shared, cursor, &entry)?;
    let (mut names, mut hasher) = (Hasher::new(ObjectKind::Blob, entry.size()), blake3::Hasher::new());
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    loop {
        if shared.is_over() {
            return Err(RepositoryError::Cancelled);
        }
        let count = pieces.read(&mut buffer).map_err(|_| damaged(&entry))?;
        if count == 0 {
            break;
        }
        let bytes = buffer.get(..count).unwrap_or_default();
        names.update(bytes);
        hasher.update(bytes);
        at += count as u64;
        if at > entry.size() {
            return Err(damaged(&entry));
        }
        write_at(&sink, holes_of(&entry), at - count as u64, bytes)?;
    }
    let found = Hash::finish(&hasher);
    let same = match &mut entry.kind {
        Kind::File { hash, .. } if uncounted => {
            *hash = found;
            true
        }
        Kind::File { hash, .. } => *hash == found,
        _ => false,
    };
    if !same || at != entry.size() || Some(names.finish()) != content {
        return Err(damaged(&entry));
    }
    finish(shared, sink, &entry, at)
}

fn create(shared: &Shared<'_>, cursor: &mut Cursor, entry: &Entry) -> Result<FileSink, RepositoryError> {
    // In the root, and where an interrupted run left a directory, others may look.
    let private = !shared.resuming && entry.path.parent_bytes().is_some_and(|parent| !parent.is_empty());
    if private {
        return Ok(cursor.file_in_private(entry)?);
    }
    if shared.resuming {
        cursor.remove(&entry.path)?;
    }
    Ok(cursor.file(&entry.path)?)
}

fn finish(shared: &Shared<'_>, sink: FileSink, entry: &Entry, fetched: u64) -> Result<(), RepositoryError> {
    sink.finish(entry)?;
    shared.request.progress.add(1, entry.size());
    shared.report.lock().unwrap_or_else(PoisonError::into_inner).fetched_bytes += fetched;
    Ok(())
}

fn holes_of(entry: &Entry) -> &[Hole] {
    match &entry.kind {
        Kind::File { holes, .. } => holes,
        _ => &[],
    }
}

/// Leaves holes where there were some. The content is what counts: where it has more than zeros it is written.
fn write_at(sink: &FileSink, holes: &[Hole], at: u64, bytes: &[u8]) -> Result<(), RepositoryError> {
    let end = at + bytes.len() as u64;
    let part = |from: u64, to: u64| {
        let place = |offset: u64| usize::try_from(offset.saturating_sub(at)).unwrap_or(usize::MAX);
        bytes.get(place(from)..place(to)).unwrap_or_default()
    };
    let mut next = at;
    let first = holes.partition_point(|hole| hole.offset.saturating_add(hole.length) <= at);
    for hole in holes.iter().skip(first).take_while(|hole| hole.offset < end) {
        let (from, to) = (hole.offset.max(at), hole.offset.saturating_add(hole.length).min(end));
        if part(from, to).iter().any(|byte| *byte != 0) {
            continue;
        }
        if from > next {
            sink.write_at(next, part(next, from))?;
        }
        next = to;
    }
    if next < end {
        sink.write_at(next, part(next, end))?;
    }
    Ok(())
}
