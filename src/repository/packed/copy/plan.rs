//! What a copy would do, from manifests alone. Writes nothing.

use std::collections::{HashMap, HashSet};

use crate::base::hash::Hash;
use crate::repository::packed::copy::index::{Index, frames_of};
use crate::repository::packed::copy::origin::{Present, choose};
use crate::repository::packed::copy::session::{before, pairs, source_finding};
use crate::repository::packed::copy::target::survey;
use crate::repository::packed::descriptor::Descriptor;
use crate::repository::packed::document::{self, Document};
use crate::repository::packed::objects::Objects;
use crate::repository::packed::segment::SegmentRef;
use crate::repository::{CopyPlan, CopyRequest, PlannedCopy, RepositoryError};
use crate::snapshot::SnapshotId;

/// Beyond so many frames some may be counted twice: the sum is one "at most".
const MOST_COUNTED: usize = 900_000;

/// `to` is `None` while it is absent.
pub fn run(
    from: &(Descriptor, Objects),
    to: Option<&(Descriptor, Objects)>,
    request: &CopyRequest<'_>,
) -> Result<CopyPlan, RepositoryError> {
    let mut plan = CopyPlan::default();
    let names = document::names(&from.1)?;
    let mut present = to.map(|(descriptor, to)| Present::list(to, &descriptor.id)).transpose()?;
    let mut count = Count::default();
    let mut base = None;
    for id in choose(&names, request.chosen) {
        if request.cancel.is_cancelled() {
            return Err(RepositoryError::Cancelled);
        }
        let original = match document::read(&from.1, &from.0.id, &id) {
            Ok(original) => original,
            Err(error) => {
                plan.failed.push(source_finding(&from.1, &id, error)?);
                continue;
            }
        };
        if let (Some((_, to)), Some(present)) = (to, &mut present) {
            if let Some(copy) = present.find(&original.origin(&id))? {
                plan.present += 1;
                base = Some((original, copy));
                continue;
            }
            if count.index.is_none() {
                if base.is_none() {
                    base = before(from, &names, present, &id)?;
                }
                count.index = Some(survey(to, present, request.workers)?.0);
            }
            count.learn(base.take(), present)?;
        }
        match count.read_bytes(&from.1, &original.segments) {
            Ok(read_bytes) => plan.snapshots.push(PlannedCopy {
                snapshot: id,
                time: original.time,
                host: original.host,
                files: original.files,
                bytes: original.bytes,
                read_bytes,
            }),
            Err(error) => plan.failed.push(source_finding(&from.1, &id, error)?),
        }
    }
    Ok(plan)
}

#[derive(Default)]
struct Count<'a> {
    index: Option<Index<'a>>,
    copies: HashMap<Hash, SegmentRef>,
    /// Segments of the source, and beginnings of the hashes of frames.
    segments: HashSet<Hash>,
    frames: HashSet<u64>,
}

impl Count<'_> {
    fn learn(
        &mut self,
        base: Option<(Document, SnapshotId)>,
        present: &Present<'_>,
    ) -> Result<(), RepositoryError> {
        if let (Some((original, copy)), Some(index)) = (base, &mut self.index)
            && let Some(copy) = present.read(&copy)?
        {
            index.expect(&copy.segments);
            self.copies.extend(pairs(&original, &copy));
        }
        Ok(())
    }

    fn read_bytes(&mut self, from: &Objects, segments: &[SegmentRef]) -> Result<u64, RepositoryError> {
        let mut bytes = 0;
        for segment in segments {
            if self.segments.contains(&segment.id) {
                continue;
            }
            let copied = match (self.copies.get(&segment.id), &mut self.index) {
                (Some(copy), Some(index)) => index.look_at(copy)?,
                _ => false,
            };
            if !copied {
                bytes += self.missing(from, segment)?;
            }
            self.segments.insert(segment.id);
        }
        Ok(bytes)
    }

    fn missing(&mut self, from: &Objects, segment: &SegmentRef) -> Result<u64, RepositoryError> {
        let mut bytes = 0;
        for frame in frames_of(from, segment)? {
            let there = match &mut self.index {
                Some(index) => index.find(&frame.hash, frame.plain)?.is_some(),
                None => false,
            };
            if there || self.frames.contains(&frame.hash.prefix()) {
                continue;
            }
            bytes += u64::from(frame.stored);
            if self.frames.len() < MOST_COUNTED {
                self.frames.insert(frame.hash.prefix());
            }
        }
        Ok(bytes)
    }
}
