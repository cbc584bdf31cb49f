//! What workers do: read small files and pack them into one frame, hash and compress chunks. Knows no order
//! and no manifest; results go back to whoever asked.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender};

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::hash::Hash;
use crate::repository::RepositoryError;
use crate::repository::packed::backup::links::Content;
use crate::repository::packed::backup::stream::{Rhythm, Stream};
use crate::repository::packed::frame::{PackId, Piece};
use crate::repository::packed::known::Known;
use crate::repository::packed::manifest::Slot;
use crate::repository::packed::objects::Objects;
use crate::repository::scan::{StatRow, is_same, settle};
use crate::snapshot::{Entry, Kind};
use crate::tree::{EntryReader, FileKind, Found, Root, Stat};

/// Files up to this size are bundled; larger ones are cut into chunks.
pub const SMALL: u64 = 128 << 10;
/// A bundle is put together by the sizes that the walk saw; files that grew meanwhile stop here.
const FULL_BUNDLE: usize = 4 << 20;

pub enum Job {
    Bundle(Vec<SmallFile>, Sender<Result<Bundle, RepositoryError>>),
    Chunk(Vec<u8>, Sender<Result<Chunk, RepositoryError>>),
}

#[derive(Debug)]
pub struct SmallFile {
    pub slot: Slot,
    pub found: Found,
    /// The content it had in the parent: if it is the same, it stays where it is.
    pub former: Option<(Hash, Vec<Piece>)>,
    /// It did not change, and is to be stored anew somewhere else: what the parent has of it.
    pub kept: Option<Box<Content>>,
    /// With which others it shares a frame.
    pub stream: Stream,
}

impl SmallFile {
    /// Whether what was read of a file that did not change is something else than it was.
    fn differs(&self, stat: &StatRow, found: &Hash) -> bool {
        self.kept.as_ref().is_some_and(|kept| {
            let unchanged = (kept.stat.inode, kept.stat.ctime) == (stat.inode, stat.ctime);
            unchanged && matches!(&kept.entry.kind, Kind::File { hash, .. } if hash != found)
        })
    }
}

/// A frame that is new to the repository.
#[derive(Debug)]
pub struct NewFrame {
    pub stored: Vec<u8>,
    pub plain: u32,
    pub hash: Hash,
}

#[derive(Debug)]
pub struct Bundle {
    pub frame: Option<NewFrame>,
    pub files: Vec<(SmallFile, Outcome)>,
}

#[derive(Debug)]
pub enum Chunk {
    Known(Piece),
    New(NewFrame),
}

#[derive(Debug)]
pub enum Outcome {
    Read(Box<ReadFile>),
    /// It grew past the small ones, or got holes: it must be cut into chunks.
    Large,
    Vanished,
    Failed(String),
    /// It was to be stored anew, and is not what it was, although its times say so.
    Differs,
    /// It was to be stored anew, and there was no room.
    Left,
}

#[derive(Debug)]
pub struct ReadFile {
    pub entry: Entry,
    pub stat: StatRow,
    pub place: Place,
    /// It kept changing while it was read.
    pub unsteady: bool,
}

#[derive(Debug)]
pub enum Place {
    Known(Vec<Piece>),
    /// In the bundle's frame.
    Bundled {
        skip: u32,
        length: u32,
    },
}

/// Shared by all workers of one run.
#[derive(Debug)]
pub struct Shared<'a> {
    pub root: &'a Root,
    pub objects: &'a Objects,
    pub known: &'a Known<'a>,
    /// Packs whose content is stored anew wherever it is still needed, because most of them is not.
    pub emptied: &'a HashSet<PackId>,
    pub rhythm: Rhythm,
    pub clock: &'a Arc<dyn Clock>,
    pub read_retries: u32,
    pub cancel: &'a Cancel,
    pub files_read: AtomicU64,
    pub bytes_read: AtomicU64,
}

pub fn work(shared: &Shared<'_>, jobs: &Receiver<Job>) {
    let mut reader = EntryReader::new(shared.root);
    for job in jobs {
        // The receiver is gone only when the run has failed already.
        match job {
            Job::Bundle(files, reply) => drop(reply.send(bundle(shared, &mut reader, files))),
            Job::Chunk(plain, reply) => drop(reply.send(chunk(shared, &plain))),
        }
    }
}

fn chunk(shared: &Shared<'_>, plain: &[u8]) -> Result<Chunk, RepositoryError> {
    let hash = Hash::of(plain);
    let length = u32::try_from(plain.len()).map_err(|error| RepositoryError::Worker(error.to_string()))?;
    match shared.known.find(&hash, length) {
        Some(piece) => Ok(Chunk::Known(piece)),
        None => Ok(Chunk::New(NewFrame { stored: shared.objects.encode(plain)?, plain: length, hash })),
    }
}

fn bundle(
    shared: &Shared<'_>,
    reader: &mut EntryReader<'_>,
    files: Vec<SmallFile>,
) -> Result<Bundle, RepositoryError> {
    let mut plain = Vec::with_capacity(files.iter().map(|file| file.found.stat.size as usize).sum());
    let mut here: HashMap<Hash, (u32, u32)> = HashMap::new();
    let mut outcomes = Vec::with_capacity(files.len());
    for file in files {
        let start = plain.len();
        let outcome = match read_small(shared, reader, &file, &mut plain) {
            _ if start >= FULL_BUNDLE => {
                plain.truncate(start);
                if file.kept.is_some() { Outcome::Left } else { Outcome::Large }
            }
            Err(refused) => {
                plain.truncate(start);
                refused
            }
            Ok(read) if file.differs(&read.stat, &Hash::of(plain.get(start..).unwrap_or_default())) => {
                plain.truncate(start);
                Outcome::Differs
            }
            Ok(read) => {
                let content = plain.get(start..).unwrap_or_default();
                let length = content.len() as u32;
                let hash = Hash::of(content);
                let place =
                    if let Some((_, pieces)) = file.former.as_ref().filter(|(former, _)| *former == hash) {
                        Place::Known(pieces.clone())
                    } else if length == 0 {
                        Place::Known(Vec::new())
                    } else if let Some((skip, length)) = here.get(&hash) {
                        Place::Bundled { skip: *skip, length: *length }
                    } else if let Some(piece) = shared.known.find(&hash, length) {
                        Place::Known(vec![piece])
                    } else {
                        here.insert(hash, (start as u32, length));
                        Place::Bundled { skip: start as u32, length }
                    };
                if !matches!(place, Place::Bundled { skip, .. } if skip as usize == start) {
                    plain.truncate(start);
                }
                let mut entry = read.entry;
                entry.kind =
                    Kind::File { size: u64::from(length), hash, holes: Vec::new(), extents: Vec::new() };
                Outcome::Read(Box::new(ReadFile { entry, stat: read.stat, place, unsteady: read.unsteady }))
            }
        };
        outcomes.push((file, outcome));
    }
    let frame = match plain.is_empty() {
        true => None,
        false => Some(NewFrame {
            stored: shared.objects.encode(&plain)?,
            plain: plain.len() as u32,
            hash: Hash::of(&plain),
        }),
    };
    Ok(Bundle { frame, files: outcomes })
}

struct SmallRead {
    entry: Entry,
    stat: StatRow,
    unsteady: bool,
}

/// Appends the content to `plain`. A file that changes meanwhile is read again, from the start.
fn read_small(
    shared: &Shared<'_>,
    reader: &mut EntryReader<'_>,
    file: &SmallFile,
    plain: &mut Vec<u8>,
) -> Result<SmallRead, Outcome> {
    let start = plain.len();
    let failed = |error: &dyn std::fmt::Display| Outcome::Failed(error.to_string());
    let mut settled = settle(shared.clock, &file.found.stat);
    for attempt in 0.. {
        let mut open: File = match reader.open(&file.found.path) {
            Ok(open) => open,
            Err(error) if error.is_missing() => return Err(Outcome::Vanished),
            Err(error) => return Err(failed(&error)),
        };
        let before = Stat::of(&open).map_err(|error| failed(&error))?;
        if before.kind != FileKind::File {
            return Err(failed(&"it was replaced by something else while it was read"));
        }
        if before != file.found.stat || attempt > 0 {
            settled = settle(shared.clock, &before);
        }
        if before.size > SMALL {
            return Err(Outcome::Large);
        }
        plain.truncate(start);
        let read =
            Read::by_ref(&mut open).take(SMALL + 1).read_to_end(plain).map_err(|error| failed(&error))?
                as u64;
        shared.files_read.fetch_add(1, Ordering::Relaxed);
        shared.bytes_read.fetch_add(read, Ordering::Relaxed);
        if read > SMALL {
            return Err(Outcome::Large);
        }
        let after = Stat::of(&open).map_err(|error| failed(&error))?;
        let found = Found { path: file.found.path.clone(), stat: after, mount_point: false };
        let entry = reader.file_entry(&found, &open).map_err(|error| failed(&error))?;
        let steady = is_same(&before, &found.stat) && read == found.stat.size;
        if steady || attempt >= shared.read_retries {
            let stat =
                StatRow { inode: found.stat.inode, ctime: found.stat.ctime, trusted: settled && steady };
            return Ok(SmallRead { entry, stat, unsteady: !steady });
        }
    }
    Err(Outcome::Vanished)
}
