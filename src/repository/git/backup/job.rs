//! What the workers of a backup do: read a file, name its content, and put it into the pack. A file that changes
//! meanwhile is read again.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::hash::Hash;
use crate::repository::RepositoryError;
use crate::repository::git::known::Row;
use crate::repository::git::object::Mode;
use crate::repository::git::oid::{Hasher, Kind as ObjectKind, Oid};
use crate::repository::git::sink::{Sink, StreamError};
use crate::repository::scan::{StatRow, is_same, settle};
use crate::snapshot::{Entry, Kind, NamedEntry};
use crate::tree::holes::{data_ranges, holes_between, may_have_holes};
use crate::tree::{EntryReader, FileKind, Found, Root, Stat};

/// Files up to this size are compressed beside each other; larger ones go straight into the pack, one at a time.
const SMALL: u64 = 1 << 20;
const PIECE: usize = 256 << 10;
/// Files changed so recently may still be written to without a trace.
const FRESH: Duration = Duration::from_secs(60);

pub struct Job {
    pub found: Found,
    pub reply: Sender<Outcome>,
}

pub enum Outcome {
    Read {
        row: Box<Row>,
        /// It kept changing while it was read.
        unsteady: bool,
    },
    Vanished,
    Failed(String),
    /// Not the file's fault: the backup is over.
    Over(RepositoryError),
}

pub struct Shared<'a> {
    pub root: &'a Root,
    pub sink: &'a Sink<'a>,
    pub clock: &'a Arc<dyn Clock>,
    pub read_retries: u32,
    pub cancel: &'a Cancel,
    pub files_read: AtomicU64,
    pub bytes_read: AtomicU64,
}

pub fn work(shared: &Shared<'_>, jobs: &Receiver<Job>) {
    let mut reader = EntryReader::new(shared.root);
    let mut buffer = Vec::new();
    for Job { found, reply } in jobs {
        let outcome = read(shared, &mut reader, &found, &mut buffer).unwrap_or_else(|refused| refused);
        // Nobody waits for it only when the backup has failed already.
        let _ = reply.send(outcome);
    }
}

fn read(
    shared: &Shared<'_>,
    reader: &mut EntryReader<'_>,
    found: &Found,
    buffer: &mut Vec<u8>,
) -> Result<Outcome, Outcome> {
    let failed = |error: &dyn std::fmt::Display| Outcome::Failed(error.to_string());
    let mut settled = settle(shared.clock, &found.stat);
    for attempt in 0.. {
        let mut open: File = match reader.open(&found.path) {
            Ok(open) => open,
            Err(error) if error.is_missing() => return Err(Outcome::Vanished),
            Err(error) => return Err(failed(&error)),
        };
        let before = Stat::of(&open).map_err(|error| failed(&error))?;
        if before.kind != FileKind::File {
            return Err(failed(&"it was replaced by something else while it was read"));
        }
        if before != found.stat || attempt > 0 {
            settled = settle(shared.clock, &before);
        }
        shared.files_read.fetch_add(1, Ordering::Relaxed);
        let last = attempt >= shared.read_retries;
        let holes = match may_have_holes(&before) {
            true => {
                let ranges = data_ranges(&open, before.size).map_err(|error| failed(&error))?;
                holes_between(&ranges, before.size)
            }
            false => Vec::new(),
        };
        rustix::fs::seek(&open, rustix::fs::SeekFrom::Start(0)).map_err(|error| failed(&error))?;
        let content = match before.size <= SMALL {
            true => small(shared, &mut open, before.size, buffer, last),
            false => large(shared, &mut open, &before, last),
        }?;
        let after = Stat::of(&open).map_err(|error| failed(&error))?;
        let steady = content.is_some() && is_same(&before, &after);
        let Some((oid, hash)) = content.filter(|_| steady || last) else {
            if last {
                return Err(failed(&"it became shorter each time it was read"));
            }
            continue;
        };
        if before.size <= SMALL {
            shared.sink.put_named(oid, buffer).map_err(Outcome::Over)?;
        }
        let now = Found { path: found.path.clone(), stat: after, mount_point: false };
        let mut entry = reader.file_entry(&now, &open).map_err(|error| failed(&error))?;
        entry.kind = Kind::File { size: before.size, hash, holes, extents: Vec::new() };
        let stat = StatRow {
            inode: now.stat.inode,
            ctime: now.stat.ctime,
            trusted: settled && is_same(&before, &now.stat),
        };
        let row = row_of(entry, stat, now.stat.kind, Some(oid)).map_err(Outcome::Over)?;
        return Ok(Outcome::Read { row: Box::new(row), unsteady: !steady });
    }
    Err(Outcome::Vanished)
}

type Content = Option<(Oid, Hash)>;

/// `None`: it has not the size it had. In the `last` try one that grew is cut where it ended.
fn small(
    shared: &Shared<'_>,
    file: &mut File,
    size: u64,
    buffer: &mut Vec<u8>,
    last: bool,
) -> Result<Content, Outcome> {
    buffer.clear();
    let read = file.take(size + 1).read_to_end(buffer).map_err(|error| Outcome::Failed(error.to_string()))?;
    shared.bytes_read.fetch_add(read as u64, Ordering::Relaxed);
    if last {
        buffer.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    }
    Ok((buffer.len() as u64 == size).then(|| (Oid::of(ObjectKind::Blob, buffer), Hash::of(buffer))))
}

/// Into the pack as it is read. Unless this is the `last` try, a file that changed meanwhile is taken out again.
fn large(shared: &Shared<'_>, file: &mut File, before: &Stat, last: bool) -> Result<Content, Outcome> {
    if shared.clock.now().since(before.mtime) < FRESH {
        // A store through a memory map to a page that is dirty already moves no time. Written out, the page is clean,
        // and the next store will show. Not being able to is no reason not to read.
        let _ = file.sync_data();
    }
    let mut content = None;
    let streamed = shared.sink.stream(before.size, |write| {
        let (mut names, mut hasher) = (Hasher::new(ObjectKind::Blob, before.size), blake3::Hasher::new());
        let mut piece = vec![0; PIECE];
        let mut left = before.size;
        while left > 0 {
            if shared.cancel.is_cancelled() {
                return Err(StreamError::Cancelled);
            }
            let room = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = file
                .read(piece.get_mut(..room).unwrap_or_default())
                .map_err(|error| StreamError::Source(error.to_string()))?;
            if count == 0 {
                return Ok(None);
            }
            let bytes = piece.get(..count).unwrap_or_default();
            names.update(bytes);
            hasher.update(bytes);
            write(bytes)?;
            left -= count as u64;
            shared.bytes_read.fetch_add(count as u64, Ordering::Relaxed);
        }
        let after = Stat::of(&*file).map_err(|error| StreamError::Source(error.to_string()))?;
        if !is_same(before, &after) && !last {
            return Ok(None);
        }
        let oid = names.finish();
        content = Some((oid, Hash::finish(&hasher)));
        Ok(Some(oid))
    });
    match streamed {
        Ok(()) => Ok(content),
        Err(StreamError::Source(reason)) => Err(Outcome::Failed(reason)),
        Err(StreamError::Cancelled) => Err(Outcome::Over(RepositoryError::Cancelled)),
        Err(StreamError::Pack(error)) => Err(Outcome::Over(shared.sink.error(error))),
    }
}

/// With its line for the manifest. `content` is what stands in the tree.
pub fn row_of(
    entry: Entry,
    stat: StatRow,
    kind: FileKind,
    content: Option<Oid>,
) -> Result<Row, RepositoryError> {
    let mode = match &entry.kind {
        Kind::Symlink { .. } => Mode::Symlink,
        _ if entry.mode & 0o100 != 0 => Mode::Executable,
        _ => Mode::File,
    };
    let data_bytes = match &entry.kind {
        Kind::File { size, holes, .. } => size - holes.iter().map(|hole| hole.length).sum::<u64>().min(*size),
        _ => 0,
    };
    let named = NamedEntry { entry, content: content.map(Oid::to_hex) };
    let mut line = serde_json::to_vec(&named).map_err(|error| RepositoryError::Worker(error.to_string()))?;
    line.push(b'\n');
    let entry = named.entry;
    Ok(Row {
        stat,
        mtime: entry.mtime,
        size: entry.size(),
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        kind,
        content: content.map(|oid| (mode, oid)),
        data_bytes,
        line,
        hard_link: entry.hard_link,
        path: entry.path,
    })
}
