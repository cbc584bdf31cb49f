//! What restore writers do: decode and verify the frames of a range that was fetched, write the pieces, finish
//! files. Also finds out which files of an interrupted run are whole.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender};

use crate::base::budget::{Budget, Taken};
use crate::base::cancel::Cancel;
use crate::base::hash::Hash;
use crate::base::progress::Progress;
use crate::repository::RepositoryError;
use crate::repository::packed::objects::Objects;
use crate::repository::packed::restore::fetch::Buffers;
use crate::repository::packed::restore::flush::Noting;
use crate::repository::packed::restore::plan::{Range, Use};
use crate::repository::packed::segment::Segment;
use crate::repository::staging::is_whole;
use crate::snapshot::{Entry, Kind};
use crate::tree::{Cursor, FileSink, TreeWriter};

/// Files kept open between two of their pieces.
const KEPT_OPEN: usize = 256;

pub enum Job<'b> {
    /// A range and its bytes. Their place in the budget is given back when they are written.
    Range(Arc<Prepared>, Range, Vec<u8>, Taken<'b>),
    /// Files without stored content, by number.
    Empty(Arc<Prepared>, Vec<usize>),
    /// Look whether the files with these numbers are whole; the answer holds those that are.
    Inspect(Arc<Prepared>, Vec<usize>, Sender<Vec<usize>>),
}

/// A segment while its files are written.
#[derive(Debug)]
pub struct Prepared {
    pub segment: Segment,
    /// Files in more than one piece, by entry number.
    pub partial: HashMap<usize, Partial>,
}

/// A file that is written piece by piece, maybe by several workers.
#[derive(Debug)]
pub struct Partial {
    pub left: AtomicUsize,
    state: Mutex<PartialState>,
}

#[derive(Debug, Default)]
struct PartialState {
    created: bool,
    sink: Option<Arc<FileSink>>,
}

impl Partial {
    pub fn new(pieces: usize) -> Self {
        Self { left: AtomicUsize::new(pieces), state: Mutex::default() }
    }
}

#[derive(Debug)]
pub struct Shared<'a> {
    pub objects: &'a Objects,
    pub writer: &'a TreeWriter,
    pub progress: &'a Progress,
    pub cancel: &'a Cancel,
    /// Of bytes under way or fetched, and not yet written.
    pub budget: &'a Budget,
    pub buffers: &'a Buffers,
    /// The target held something when the run began.
    pub resuming: bool,
    pub fetched_bytes: AtomicU64,
    pub open_files: AtomicUsize,
    pub failure: Mutex<Option<RepositoryError>>,
}

impl Shared<'_> {
    pub fn fail(&self, error: RepositoryError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.budget.close();
    }

    /// For what is taken from a queue when all is over: queues are emptied without doing anything, so that
    /// whoever fills them is not stuck. From here on the restore cannot end well, even if the wish to stop came
    /// after the last job was planned.
    pub fn leave_out(&self) {
        self.fail(RepositoryError::Cancelled);
    }

    /// Something failed, or nobody wants it any more.
    pub fn is_over(&self) -> bool {
        self.cancel.is_cancelled() || self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

pub fn work(shared: &Shared<'_>, jobs: &Receiver<Job<'_>>, noting: &Noting<'_>) {
    let mut cursor = shared.writer.cursor();
    for job in jobs {
        if shared.is_over() {
            shared.leave_out();
            continue;
        }
        let done = match job {
            Job::Range(prepared, range, bytes, _room) => {
                let done = write_range(shared, &mut cursor, &prepared, &range, &bytes, noting);
                shared.buffers.put_back(bytes);
                done
            }
            Job::Empty(prepared, numbers) => {
                noting.files(numbers.len());
                numbers
                    .iter()
                    .filter_map(|number| prepared.segment.entries.get(*number))
                    .try_for_each(|entry| write_whole(shared, &mut cursor, entry, &[]))
            }
            Job::Inspect(prepared, numbers, reply) => {
                let whole = numbers.into_iter().filter(|number| {
                    prepared
                        .segment
                        .entries
                        .get(*number)
                        .is_some_and(|entry| is_whole(shared.writer, &mut cursor, entry))
                });
                // Nobody waits for the answer only after a failure.
                drop(reply.send(whole.collect()));
                Ok(())
            }
        };
        if let Err(error) = done {
            shared.fail(error);
        }
    }
}

fn write_range(
    shared: &Shared<'_>,
    cursor: &mut Cursor,
    prepared: &Prepared,
    range: &Range,
    bytes: &[u8],
    noting: &Noting<'_>,
) -> Result<(), RepositoryError> {
    for used in &range.frames {
        noting.files(used.uses.len());
        noting.bytes(used.uses.iter().map(|piece| u64::from(piece.length)).sum());
        let from = usize::try_from(used.frame.offset - range.offset).unwrap_or(usize::MAX);
        let stored = bytes.get(from..from.saturating_add(used.frame.stored as usize)).unwrap_or_default();
        // Files in one piece have a hash of their own, which is looked at before they are written.
        let verified_apart = used.uses.iter().all(|piece| !prepared.partial.contains_key(&piece.entry));
        let plain = match verified_apart {
            true => shared.objects.decode_unverified(&used.frame, stored)?,
            false => shared.objects.decode_frame(&used.frame, stored)?,
        };
        for piece in &used.uses {
            let Some(entry) = prepared.segment.entries.get(piece.entry) else { continue };
            let from = piece.skip as usize;
            let content =
                plain.get(from..from + piece.length as usize).ok_or_else(|| content_error(entry))?;
            match prepared.partial.get(&piece.entry) {
                None => write_whole(shared, cursor, entry, content).map_err(|error| match error {
                    // Whose fault it is: the pack's, if the frame as a whole is not what it was.
                    RepositoryError::Content { .. } => {
                        shared.objects.verify_frame(&used.frame, &plain).err().unwrap_or(error)
                    }
                    other => other,
                })?,
                Some(partial) => write_piece(shared, cursor, entry, partial, piece, content)?,
            }
        }
    }
    Ok(())
}

/// A file in one piece without holes.
fn write_whole(
    shared: &Shared<'_>,
    cursor: &mut Cursor,
    entry: &Entry,
    content: &[u8],
) -> Result<(), RepositoryError> {
    if let Kind::File { hash, size, holes, .. } = &entry.kind {
        let whole = holes.is_empty() && *size == content.len() as u64;
        // Without any stored content it is all hole, or empty.
        let all_hole = content.is_empty() && holes.iter().map(|hole| hole.length).sum::<u64>() == *size;
        if !(all_hole || (whole && Hash::of(content) == *hash)) {
            return Err(content_error(entry));
        }
    }
    // In the root, and where an interrupted run left a directory, others may look.
    let private = !shared.resuming && entry.path.parent_bytes().is_some_and(|parent| !parent.is_empty());
    let mut sink = if private {
        cursor.file_in_private(entry)?
    } else {
        clear(shared, cursor, entry)?;
        cursor.file(&entry.path)?
    };
    sink.write_all(content)?;
    sink.finish(entry)?;
    shared.progress.add(1, entry.size());
    Ok(())
}

fn write_piece(
    shared: &Shared<'_>,
    cursor: &mut Cursor,
    entry: &Entry,
    partial: &Partial,
    piece: &Use,
    content: &[u8],
) -> Result<(), RepositoryError> {
    let sink = {
        let mut state = partial.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (&state.sink, state.created) {
            (Some(sink), _) => Arc::clone(sink),
            (None, created) => {
                let sink = Arc::new(if created {
                    cursor.reopen(&entry.path)?
                } else {
                    clear(shared, cursor, entry)?;
                    cursor.file(&entry.path)?
                });
                state.created = true;
                if shared.open_files.load(Ordering::Relaxed) < KEPT_OPEN {
                    shared.open_files.fetch_add(1, Ordering::Relaxed);
                    state.sink = Some(Arc::clone(&sink));
                }
                sink
            }
        }
    };
    sink.write_at(piece.file_offset, content)?;
    shared.progress.add(0, content.len() as u64);
    drop(sink);
    // Whoever writes the last piece finishes the file; all others have written theirs.
    if partial.left.fetch_sub(1, Ordering::AcqRel) == 1 {
        let kept = partial.state.lock().unwrap_or_else(PoisonError::into_inner).sink.take();
        let sink = match kept.map(Arc::try_unwrap) {
            Some(sink) => {
                shared.open_files.fetch_sub(1, Ordering::Relaxed);
                sink.ok()
            }
            None => None,
        };
        let sink = match sink {
            Some(sink) => sink,
            None => cursor.reopen(&entry.path)?,
        };
        sink.finish(entry)?;
        shared.progress.add(1, 0);
    }
    Ok(())
}

/// What an interrupted run left under this name, if it was not whole.
fn clear(shared: &Shared<'_>, cursor: &mut Cursor, entry: &Entry) -> Result<(), RepositoryError> {
    if shared.resuming { Ok(cursor.remove(&entry.path)?) } else { Ok(()) }
}

fn content_error(entry: &Entry) -> RepositoryError {
    RepositoryError::Content { path: entry.path.to_string() }
}
