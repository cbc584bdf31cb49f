//! The content of one snapshot on its way: each segment is read from the source, its frames are looked up in the
//! target, those that are missing are carried over in order, and the segment is written anew over their places.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::hash::Hash;
use crate::repository::packed::backup::upload::{Packer, Shares};
use crate::repository::packed::copy::carry::{Carried, Job, SafePack, upload, work};
use crate::repository::packed::copy::fetch::{Fetch, Wanted, fetches};
use crate::repository::packed::copy::index::{Index, lines_of};
use crate::repository::packed::document::Document;
use crate::repository::packed::frame::{Frame, PackId};
use crate::repository::packed::keys;
use crate::repository::packed::objects::Objects;
use crate::repository::packed::segment::{LONGEST_SEGMENT, Segment, SegmentRef};
use crate::repository::{CopyRequest, Epoch, RepositoryError};

/// Requests to the source under way, where connections and memory allow.
const FETCHERS: usize = 4;
const SHORTEST_FETCH: u64 = 1 << 20;

/// What a run learns, snapshot by snapshot.
#[derive(Debug)]
pub struct Copier<'a> {
    pub from: &'a Objects,
    pub to: &'a Objects,
    pub request: &'a CopyRequest<'a>,
    pub index: Index<'a>,
    /// Segments of the source whose copies the target has.
    pub copies: HashMap<Hash, SegmentRef>,
    /// All segments that the target has.
    pub present: HashSet<Hash>,
    /// Frames of the source that could not be had, and why: another snapshot that needs one fails at once.
    pub bad: HashMap<(PackId, u64), String>,
    /// The newest lease of the target when the run began, or 0.
    pub epoch: Epoch,
}

#[derive(Debug, Default)]
pub struct Made {
    pub segments: Vec<SegmentRef>,
    pub read_bytes: u64,
    pub added_bytes: u64,
    pub stored_bytes: u64,
}

impl Copier<'_> {
    /// When this returns well, everything the segments refer to is durable in the target.
    pub fn content(&mut self, document: &Document) -> Result<Made, RepositoryError> {
        let workers = self.request.workers;
        // Encoding is work for cores, and takes memory; fetching is waiting.
        let fetchers = match self.from.codec == self.to.codec {
            true => workers.threads.max(FETCHERS),
            false => workers.threads.max(1),
        };
        let fetchers = fetchers.min(workers.connections.max(1));
        let shares = Shares::of(workers.memory, workers.connections);
        let limit = workers.memory / 6;
        let (failure, safe) = (Mutex::new(None), Mutex::new(Vec::new()));
        let (job_sender, jobs) = bounded(fetchers);
        let (pack_sender, packs) = bounded(0);
        let (from, to) = (self.from, self.to);
        let outcome = thread::scope(|scope| {
            for _ in 0..fetchers {
                let jobs = jobs.clone();
                scope.spawn(move || work(from, to, &jobs));
            }
            for _ in 0..shares.uploaders {
                let (packs, safe, failure) = (packs.clone(), &safe, &failure);
                scope.spawn(move || upload(to, &packs, safe, failure));
            }
            // From here on the ends of the queues are the workers' alone: when they are gone, sending fails.
            drop((jobs, packs));
            let run = Run {
                copier: self,
                packer: Packer::new(to, shares.pack, pack_sender),
                jobs: job_sender,
                safe: &safe,
                under_way: VecDeque::new(),
                under_way_bytes: 0,
                limit,
                longest: (limit / fetchers as u64).max(SHORTEST_FETCH),
                read_bytes: 0,
                segment_bytes: 0,
            };
            // Ends the workers, who are waited for when the scope ends.
            run.all(document)
        });
        self.note_safe(&safe);
        self.index.forget_fresh();
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let made = outcome?;
        for (original, copy) in document.segments.iter().zip(&made.segments) {
            self.index.trust(copy);
            self.copies.insert(original.id, copy.clone());
        }
        Ok(made)
    }

    /// The copy of a segment, if the target has it and all that it names.
    pub fn copy_of(&mut self, segment: &SegmentRef) -> Result<Option<SegmentRef>, RepositoryError> {
        let Some(copy) = self.copies.get(&segment.id).cloned() else { return Ok(None) };
        if self.present.contains(&copy.id) && self.index.look_at(&copy)? {
            return Ok(Some(copy));
        }
        // Made anew it may get the same name, and must then be written over what is damaged.
        self.present.remove(&copy.id);
        Ok(None)
    }

    fn note_safe(&mut self, safe: &Mutex<Vec<SafePack>>) {
        let packs = std::mem::take(&mut *safe.lock().unwrap_or_else(PoisonError::into_inner));
        for (pack, size, frames) in packs {
            self.index.add_pack(pack, size, &frames);
        }
    }
}

struct Run<'r, 'c> {
    copier: &'r mut Copier<'c>,
    packer: Packer<'r>,
    jobs: Sender<Job>,
    safe: &'r Mutex<Vec<SafePack>>,
    /// In the order of the walk, so that what belongs together lies together in the target as well.
    under_way: VecDeque<(u64, Receiver<Vec<Carried>>)>,
    under_way_bytes: u64,
    limit: u64,
    longest: u64,
    read_bytes: u64,
    segment_bytes: u64,
}

impl Run<'_, '_> {
    fn all(mut self, document: &Document) -> Result<Made, RepositoryError> {
        let mut segments = Vec::with_capacity(document.segments.len());
        for reference in &document.segments {
            let copy = match self.copier.copy_of(reference)? {
                Some(copy) => copy,
                None => self.segment(reference)?,
            };
            segments.push(copy);
            self.copier.request.progress.add(reference.entries, 0);
        }
        self.packer.flush()?;
        Ok(Made {
            segments,
            read_bytes: self.read_bytes,
            added_bytes: self.packer.added_bytes,
            stored_bytes: self.packer.stored_bytes + self.segment_bytes,
        })
    }

    fn segment(&mut self, reference: &SegmentRef) -> Result<SegmentRef, RepositoryError> {
        let lines = lines_of(self.copier.from, reference)?;
        let frames = checked_frames(self.copier.from, reference, &lines)?;
        let mut places: Vec<Option<Frame>> = Vec::with_capacity(frames.len());
        let mut missing = Vec::new();
        for (number, frame) in frames.into_iter().enumerate() {
            let place = self.copier.index.find(&frame.hash, frame.plain)?;
            if place.is_none() {
                if let Some(reason) = self.copier.bad.get(&(frame.pack, frame.offset)) {
                    return Err(self.copier.from.damaged(format!("{}/{}", keys::PACKS, frame.pack), reason));
                }
                missing.push(Wanted { number, frame });
            }
            places.push(place);
        }
        for fetch in fetches(missing, self.longest, self.copier.from.codec != self.copier.to.codec) {
            while !self.under_way.is_empty() && self.under_way_bytes + fetch.cost > self.limit {
                self.settle(&mut places)?;
            }
            self.send(fetch)?;
        }
        while !self.under_way.is_empty() {
            self.settle(&mut places)?;
        }
        let places: Option<Vec<Frame>> = places.into_iter().collect();
        let places = places.ok_or_else(|| RepositoryError::Worker("a frame never arrived".to_owned()))?;
        self.write(reference, lines, places)
    }

    fn send(&mut self, fetch: Fetch) -> Result<(), RepositoryError> {
        if self.copier.request.cancel.is_cancelled() {
            return Err(RepositoryError::Cancelled);
        }
        let (reply, carried) = bounded(1);
        self.under_way_bytes += fetch.cost;
        self.under_way.push_back((fetch.cost, carried));
        self.jobs
            .send(Job { fetch, reply })
            .map_err(|_| RepositoryError::Worker("no worker is left".to_owned()))
    }

    /// Waits for the oldest request and places what it brought.
    fn settle(&mut self, places: &mut [Option<Frame>]) -> Result<(), RepositoryError> {
        let Some((cost, carried)) = self.under_way.pop_front() else { return Ok(()) };
        self.under_way_bytes -= cost;
        let carried =
            carried.recv().map_err(|_| RepositoryError::Worker("a worker gave no answer".to_owned()))?;
        for Carried { wanted: Wanted { number, frame }, stored } in carried {
            let stored = stored.inspect_err(|error| {
                if let RepositoryError::Damaged { reason, .. } = error {
                    self.copier.bad.insert((frame.pack, frame.offset), reason.clone());
                }
            })?;
            self.read_bytes += u64::from(frame.stored);
            self.copier.request.progress.add(0, u64::from(frame.stored));
            // The same content may be named twice, and have come twice.
            let place = match self.copier.index.find(&frame.hash, frame.plain)? {
                Some(place) => place,
                None => {
                    let place = self.packer.add(&stored, frame.plain, frame.hash, Vec::new())?;
                    self.copier.index.add_fresh(place);
                    place
                }
            };
            if let Some(free) = places.get_mut(number) {
                *free = Some(place);
            }
        }
        self.copier.note_safe(self.safe);
        Ok(())
    }

    fn write(
        &mut self,
        reference: &SegmentRef,
        lines: Vec<u8>,
        places: Vec<Frame>,
    ) -> Result<SegmentRef, RepositoryError> {
        let moved = Segment::with_frames(&lines, &places, self.copier.epoch)
            .map_err(|error| RepositoryError::Worker(error.to_string()))?;
        drop(lines);
        let size = moved.len() as u64;
        if size > LONGEST_SEGMENT {
            return Err(RepositoryError::Worker(format!("a segment of {size} bytes could not be read back")));
        }
        let copy = SegmentRef { id: Hash::of(&moved), entries: reference.entries, size };
        if !self.copier.present.contains(&copy.id) {
            let stored: Bytes = self.copier.to.encode(&moved)?.into();
            drop(moved);
            self.copier.to.put_segment(&copy.id, &stored)?;
            self.segment_bytes += stored.len() as u64;
            self.copier.present.insert(copy.id);
        }
        self.copier.index.add_segment(&copy, places);
        Ok(copy)
    }
}

/// The frames of a segment that is whole in every respect: what is written is never less sound than what is read.
fn checked_frames(
    from: &Objects,
    reference: &SegmentRef,
    lines: &[u8],
) -> Result<Vec<Frame>, RepositoryError> {
    let segment = from.parse_segment(reference, lines)?;
    if segment.entries.len() as u64 == reference.entries {
        return Ok(segment.frames);
    }
    let object = format!("{}/{}", keys::SEGMENTS, reference.id);
    Err(from.damaged(object, "it has not as many entries as its snapshot says"))
}
