//! Keeps results in walk order while workers do the jobs: at most so many bytes are under way, and the oldest
//! job is waited for when the limit is reached. Places new frames in packs and completes manifest entries.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::hash::Hash;
use crate::repository::packed::backup::chunk;
use crate::repository::packed::backup::job::{
    Bundle, Chunk, Job, Outcome, Place, ReadFile, SMALL, Shared, SmallFile,
};
use crate::repository::packed::backup::links::{Content, Links, Settled, linked};
use crate::repository::packed::backup::stream::Stream;
use crate::repository::packed::backup::upload::Packers;
use crate::repository::packed::frame::{Frame, Piece};
use crate::repository::packed::manifest::{ManifestWriter, Slot};
use crate::repository::scan::{Problems, StatRow, is_same, settle};
use crate::repository::{RepositoryError, Totals};
use crate::snapshot::{Entry, Kind};
use crate::tree::holes::{data_ranges, holes_between, may_have_holes};
use crate::tree::{EntryReader, FileKind, Found, Stat};

/// A frame of small files: large enough to compress well, small enough that fetching one file is cheap.
const BUNDLE_BYTES: u64 = 1 << 20;
const BUNDLE_FILES: usize = 2_000;
/// Files changed so recently may still be written to without a trace.
const FRESH: Duration = Duration::from_secs(60);
const KEPT: &str = "the snapshot keeps what the one before has of it";
const DIFFERS: &str = "its content is not what it was, though its size and times are the same: the disk may have damaged \
                       it. The snapshot keeps what the one before has of it; a change of its times stores it as it is";
/// Finished segments that may wait for content before the open bundle is closed early.
const WAITING_SEGMENTS: usize = 1;

pub struct Pipeline<'p, 'a> {
    pub shared: &'p Shared<'a>,
    pub manifest: ManifestWriter<'a>,
    pub packers: Packers<'a>,
    pub links: Links,
    pub problems: &'p mut Problems,
    pub totals: Totals,
    jobs: Sender<Job>,
    pub(super) reader: EntryReader<'a>,
    bundles: [OpenBundle; 3],
    pub(super) under_way: VecDeque<UnderWay>,
    under_way_bytes: u64,
    limit: u64,
    large: HashMap<u64, Vec<Piece>>,
    next_large: u64,
}

#[derive(Default)]
struct OpenBundle {
    files: Vec<SmallFile>,
    bytes: u64,
}

pub(super) enum UnderWay {
    Bundle {
        bytes: u64,
        stream: Stream,
        result: Receiver<Result<Bundle, RepositoryError>>,
    },
    Chunk {
        bytes: u64,
        file: u64,
        stream: Stream,
        result: Receiver<Result<Chunk, RepositoryError>>,
    },
    /// A chunk that stays where it is.
    Piece {
        file: u64,
        piece: Piece,
    },
    /// All chunks of a file are before this.
    End {
        file: u64,
        slot: Slot,
        read: Box<(Entry, StatRow)>,
    },
    /// It changed while it was read: what was cut so far is not its content.
    Discard {
        file: u64,
    },
}

impl<'p, 'a> Pipeline<'p, 'a> {
    pub fn new(
        shared: &'p Shared<'a>,
        manifest: ManifestWriter<'a>,
        packers: Packers<'a>,
        problems: &'p mut Problems,
        jobs: Sender<Job>,
        limit: u64,
    ) -> Self {
        Self {
            shared,
            manifest,
            packers,
            links: Links::default(),
            problems,
            totals: Totals::default(),
            jobs,
            reader: EntryReader::new(shared.root),
            bundles: Default::default(),
            under_way: VecDeque::new(),
            under_way_bytes: 0,
            limit,
            large: HashMap::new(),
            next_large: 0,
        }
    }

    pub fn small(&mut self, file: SmallFile) -> Result<(), RepositoryError> {
        let bytes = file.found.stat.size;
        let stream = file.stream;
        let bundle = self.bundle(stream);
        if bundle.bytes + bytes > BUNDLE_BYTES || bundle.files.len() >= BUNDLE_FILES {
            self.close_bundle(stream)?;
        }
        let bundle = self.bundle(stream);
        bundle.bytes += bytes;
        bundle.files.push(file);
        Ok(())
    }

    /// Reads a large or sparse file on this thread and lets the workers hash and compress its chunks.
    pub fn large(
        &mut self,
        slot: Slot,
        found: &Found,
        fixed: bool,
        stream: Stream,
    ) -> Result<(), RepositoryError> {
        for attempt in 0.. {
            let file = self.begin_large();
            match self.read_large(file, slot, found, (fixed, stream), attempt) {
                Ok(true) => return Ok(()),
                Ok(false) => self.under_way.push_back(UnderWay::Discard { file }),
                Err(Trouble::Ours(error)) => return Err(error),
                Err(Trouble::File(error)) => {
                    self.under_way.push_back(UnderWay::Discard { file });
                    let vanished = error.kind() == std::io::ErrorKind::NotFound;
                    let outcome =
                        if vanished { Outcome::Vanished } else { Outcome::Failed(error.to_string()) };
                    return self.give_up(slot, found, &outcome);
                }
            }
        }
        Ok(())
    }

    /// A number for its pieces, which come one by one.
    pub(super) fn begin_large(&mut self) -> u64 {
        let file = self.next_large;
        self.next_large += 1;
        self.large.insert(file, Vec::new());
        file
    }

    /// Waits for everything under way and closes the last packs.
    pub fn finish(&mut self) -> Result<(), RepositoryError> {
        // A hard link may have to be read once more, after all others.
        while self.bundles.iter().any(|bundle| !bundle.files.is_empty()) || !self.under_way.is_empty() {
            self.close_bundles()?;
            self.drain()?;
        }
        self.packers.flush()
    }

    /// `false`: it changed while it was read, try again.
    fn read_large(
        &mut self,
        file: u64,
        slot: Slot,
        found: &Found,
        (fixed, stream): (bool, Stream),
        attempt: u32,
    ) -> Result<bool, Trouble> {
        let settled = settle(self.shared.clock, &found.stat);
        let mut open: File = self.reader.open(&found.path).map_err(Trouble::tree)?;
        let before = Stat::of(&open).map_err(Trouble::errno)?;
        if before.kind != FileKind::File {
            return Err(Trouble::File(std::io::Error::other(
                "it was replaced by something else while it was read",
            )));
        }
        let settled = if before == found.stat { settled } else { settle(self.shared.clock, &before) };
        self.shared.files_read.fetch_add(1, Ordering::Relaxed);
        if self.shared.clock.now().since(before.mtime) < FRESH {
            // A store through a memory map to a page that is dirty already moves no time. Written out, the page
            // is clean, and the next store will show. Not being able to is no reason not to read.
            let _ = open.sync_data();
        }
        let ranges = match may_have_holes(&before) {
            true => data_ranges(&open, before.size).map_err(Trouble::errno)?,
            false if before.size == 0 => Vec::new(),
            false => vec![(0, before.size)],
        };
        let mut hasher = blake3::Hasher::new();
        let mut end = 0u64;
        let mut read = 0u64;
        chunk::cut(&mut open, &ranges, fixed, |offset, data| {
            hash_zeros(&mut hasher, offset - end);
            hasher.update(&data);
            end = offset + data.len() as u64;
            read += data.len() as u64;
            self.shared.bytes_read.fetch_add(data.len() as u64, Ordering::Relaxed);
            if self.shared.cancel.is_cancelled() {
                return Err(Trouble::Ours(RepositoryError::Cancelled));
            }
            self.submit_chunk(file, data, stream).map_err(Trouble::Ours)
        })?;
        let after = Stat::of(&open).map_err(Trouble::errno)?;
        let expected: u64 = ranges.iter().map(|(_, length)| length).sum();
        let steady = is_same(&before, &after) && read == expected;
        if !steady && attempt < self.shared.read_retries {
            return Ok(false);
        }
        if read != expected {
            return Err(Trouble::File(std::io::Error::other("it became shorter each time it was read")));
        }
        hash_zeros(&mut hasher, before.size - end);
        let found = Found { path: found.path.clone(), stat: after, mount_point: false };
        let mut entry = self.reader.file_entry(&found, &open).map_err(Trouble::tree)?;
        let holes = holes_between(&ranges, before.size);
        entry.kind =
            Kind::File { size: before.size, hash: Hash::finish(&hasher), holes, extents: Vec::new() };
        if !steady {
            self.problems.add(&found.path, "it kept changing while it was read; the copy may be torn");
        }
        let stat = StatRow { inode: found.stat.inode, ctime: found.stat.ctime, trusted: settled && steady };
        self.under_way.push_back(UnderWay::End { file, slot, read: Box::new((entry, stat)) });
        self.make_room(0).map_err(Trouble::Ours)?;
        Ok(true)
    }

    pub(super) fn submit_chunk(
        &mut self,
        file: u64,
        data: Vec<u8>,
        stream: Stream,
    ) -> Result<(), RepositoryError> {
        let bytes = data.len() as u64;
        self.make_room(bytes)?;
        let (reply, result) = bounded(1);
        self.send(Job::Chunk(data, reply))?;
        self.under_way_bytes += bytes;
        self.under_way.push_back(UnderWay::Chunk { bytes, file, stream, result });
        Ok(())
    }

    fn bundle(&mut self, stream: Stream) -> &mut OpenBundle {
        let [often, seldom, moved] = &mut self.bundles;
        match stream {
            Stream::Often => often,
            Stream::Seldom => seldom,
            Stream::Moved => moved,
        }
    }

    fn close_bundles(&mut self) -> Result<(), RepositoryError> {
        Stream::ALL.into_iter().try_for_each(|stream| self.close_bundle(stream))
    }

    fn close_bundle(&mut self, stream: Stream) -> Result<(), RepositoryError> {
        let OpenBundle { files, bytes } = std::mem::take(self.bundle(stream));
        if files.is_empty() {
            return Ok(());
        }
        self.make_room(bytes)?;
        let (reply, result) = bounded(1);
        self.send(Job::Bundle(files, reply))?;
        self.under_way_bytes += bytes;
        self.under_way.push_back(UnderWay::Bundle { bytes, stream, result });
        Ok(())
    }

    fn send(&self, job: Job) -> Result<(), RepositoryError> {
        self.jobs.send(job).map_err(|_| RepositoryError::Worker("no worker is left".to_owned()))
    }

    /// Completes the oldest until `bytes` more fit; a single larger job is let through alone.
    pub(super) fn make_room(&mut self, bytes: u64) -> Result<(), RepositoryError> {
        while self.under_way_bytes > 0 && self.under_way_bytes + bytes > self.limit {
            self.complete_oldest()?;
        }
        // What waits for nobody is completed at once, so that the queue does not grow by it.
        while matches!(
            self.under_way.front(),
            Some(UnderWay::End { .. } | UnderWay::Discard { .. } | UnderWay::Piece { .. })
        ) {
            self.complete_oldest()?;
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), RepositoryError> {
        while !self.under_way.is_empty() {
            self.complete_oldest()?;
        }
        Ok(())
    }

    fn complete_oldest(&mut self) -> Result<(), RepositoryError> {
        match self.under_way.pop_front() {
            None => Ok(()),
            Some(UnderWay::Bundle { bytes, stream, result }) => {
                self.under_way_bytes -= bytes;
                let bundle = received(&result)?;
                self.place_bundle(bundle, stream)
            }
            Some(UnderWay::Piece { file, piece }) => {
                if let Some(pieces) = self.large.get_mut(&file) {
                    pieces.push(piece);
                }
                Ok(())
            }
            Some(UnderWay::Chunk { bytes, file, stream, result }) => {
                self.under_way_bytes -= bytes;
                let piece = match received(&result)? {
                    Chunk::Known(piece) => piece,
                    Chunk::New(frame) => {
                        // Two equal chunks may be under way at once; the second is dropped here.
                        match self.shared.known.find(&frame.hash, frame.plain) {
                            Some(piece) => piece,
                            None => {
                                let piece = self
                                    .packers
                                    .add(stream, &frame.stored, frame.plain, frame.hash, Vec::new())?
                                    .whole();
                                self.shared.known.add(frame.hash, piece);
                                piece
                            }
                        }
                    }
                };
                if let Some(pieces) = self.large.get_mut(&file) {
                    pieces.push(piece);
                }
                Ok(())
            }
            Some(UnderWay::End { file, slot, read }) => {
                let (entry, stat) = *read;
                let pieces = self.large.remove(&file).unwrap_or_default();
                self.complete(slot, Content { entry, pieces, stat })
            }
            Some(UnderWay::Discard { file }) => {
                self.large.remove(&file);
                Ok(())
            }
        }
    }

    fn place_bundle(&mut self, bundle: Bundle, stream: Stream) -> Result<(), RepositoryError> {
        let placed: Option<Frame> = match &bundle.frame {
            None => None,
            Some(frame) => {
                let files = whole_files(&bundle);
                Some(self.packers.add(stream, &frame.stored, frame.plain, frame.hash, files)?)
            }
        };
        for (file, outcome) in bundle.files {
            match outcome {
                Outcome::Read(read) => {
                    let ReadFile { entry, stat, place, unsteady } = *read;
                    let pieces = match (place, placed) {
                        (Place::Known(pieces), _) => pieces,
                        (Place::Bundled { skip, length }, Some(frame)) => {
                            let piece = Piece { frame, skip, length };
                            if let Kind::File { hash, .. } = &entry.kind {
                                self.shared.known.add(*hash, piece);
                            }
                            vec![piece]
                        }
                        (Place::Bundled { .. }, None) => {
                            return Err(RepositoryError::Worker("a bundle without its frame".to_owned()));
                        }
                    };
                    if unsteady {
                        self.problems.add(
                            &file.found.path,
                            "it kept changing while it was read; the copy may be torn",
                        );
                    }
                    self.complete(file.slot, Content { entry, pieces, stat })?;
                }
                Outcome::Large => self.large(file.slot, &file.found, false, file.stream)?,
                other => match file.kept {
                    Some(kept) => self.stays(file.slot, &file.found, *kept, &other)?,
                    None => self.give_up(file.slot, &file.found, &other)?,
                },
            }
        }
        Ok(())
    }

    /// The file of `slot` is read: it and the hard links that waited for it are complete.
    fn complete(&mut self, slot: Slot, content: Content) -> Result<(), RepositoryError> {
        match self.links.settle(slot, Some(&content)) {
            Settled::Alone => {}
            Settled::Linked { first, waiting } => {
                for (waiting, found) in waiting {
                    let entry = linked(&content, found.path, first.clone());
                    self.count(&entry);
                    self.manifest.fill(waiting, entry, &content.pieces, content.stat)?;
                }
            }
            Settled::Next { slot, found } => self.again(slot, *found)?,
        }
        self.count(&content.entry);
        self.manifest.fill(slot, content.entry, &content.pieces, content.stat)
    }

    /// The file of `slot` was to be stored anew, and could not be: that it moves must not cost anything, so it stays
    /// as it is in the parent.
    pub(super) fn stays(
        &mut self,
        slot: Slot,
        found: &Found,
        kept: Content,
        outcome: &Outcome,
    ) -> Result<(), RepositoryError> {
        self.tell_of(found, outcome);
        self.complete(slot, kept)
    }

    pub(super) fn tell_of(&mut self, found: &Found, outcome: &Outcome) {
        match outcome {
            Outcome::Differs => self.problems.add(&found.path, DIFFERS),
            Outcome::Failed(reason) => {
                self.problems.add(&found.path, &format!("it cannot be read any more; {KEPT}: {reason}"));
            }
            // It was there when the walk came by, or will be read another time.
            _ => {}
        }
    }

    fn give_up(&mut self, slot: Slot, found: &Found, outcome: &Outcome) -> Result<(), RepositoryError> {
        let reason = match outcome {
            Outcome::Failed(reason) => reason.as_str(),
            _ => "it vanished before it was read",
        };
        self.problems.add(&found.path, reason);
        self.manifest.drop_entry(slot)?;
        match self.links.settle(slot, None) {
            Settled::Next { slot, found } => self.again(slot, *found),
            Settled::Alone | Settled::Linked { .. } => Ok(()),
        }
    }

    /// Reads a member of a group in place of the one that was to be read for all.
    fn again(&mut self, slot: Slot, found: Found) -> Result<(), RepositoryError> {
        if found.stat.size <= SMALL && !may_have_holes(&found.stat) {
            self.small(SmallFile { slot, found, former: None, kept: None, stream: Stream::Seldom })
        } else {
            self.large(slot, &found, false, Stream::Seldom)
        }
    }

    /// To be called between entries: when finished segments wait for content, it is fetched in, so that memory
    /// does not grow with the tree.
    pub fn keep_up(&mut self) -> Result<(), RepositoryError> {
        if self.manifest.waiting() > WAITING_SEGMENTS {
            self.close_bundles()?;
            self.drain()?;
        }
        Ok(())
    }

    pub fn count(&mut self, entry: &Entry) {
        self.totals.entries += 1;
        if let Kind::File { size, holes, .. } = &entry.kind {
            self.totals.files += 1;
            self.totals.bytes += size;
            // Each member of a group of hard links counts in full but for the space it takes.
            if entry.hard_link.is_none() {
                self.totals.data_bytes += size - holes.iter().map(|hole| hole.length).sum::<u64>();
            }
        }
    }
}

pub(super) enum Trouble {
    /// With this file: it is reported and left out.
    File(std::io::Error),
    Ours(RepositoryError),
}

impl Trouble {
    pub(super) fn errno(error: rustix::io::Errno) -> Self {
        Self::File(error.into())
    }

    pub(super) fn tree(error: crate::tree::TreeError) -> Self {
        let kind = if error.is_missing() { std::io::ErrorKind::NotFound } else { std::io::ErrorKind::Other };
        Self::File(std::io::Error::new(kind, error.to_string()))
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::File(error)
    }
}

fn received<T>(result: &Receiver<Result<T, RepositoryError>>) -> Result<T, RepositoryError> {
    result.recv().map_err(|_| RepositoryError::Worker("it gave no answer".to_owned()))?
}

/// The small files that can be found again in the bundle's frame, for the note on the uploaded pack.
fn whole_files(bundle: &Bundle) -> Vec<(Hash, u32, u32)> {
    let whole = bundle.files.iter().filter_map(|(_, outcome)| match outcome {
        Outcome::Read(read) => match (&read.entry.kind, &read.place) {
            (Kind::File { hash, .. }, Place::Bundled { skip, length }) => Some((*hash, *skip, *length)),
            _ => None,
        },
        _ => None,
    });
    whole.collect()
}

fn hash_zeros(hasher: &mut blake3::Hasher, mut length: u64) {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    while length > 0 {
        let step = length.min(ZEROS.len() as u64);
        hasher.update(ZEROS.get(..step as usize).unwrap_or_default());
        length -= step;
    }
}
