//! What segments refer to: each is read once, and of its entries only what they take of packs is looked at. Several at
//! a time, as many as memory allows.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crossbeam_channel::bounded;

use crate::base::hash::Hash;
use crate::base::threads;
use crate::repository::packed::backup::refresh::Refresher;
use crate::repository::packed::frame::PackId;
use crate::repository::packed::keys;
use crate::repository::packed::objects::Objects;
use crate::repository::packed::prune::roots::Roots;
use crate::repository::packed::prune::survey::Survey;
use crate::repository::packed::prune::usage::{Need, Taken, Usage};
use crate::repository::packed::segment::{Segment, SegmentRef};
use crate::repository::{Finding, PruneRequest, RepositoryError};

/// What a segment takes while it is read, as a rule: stored and decoded.
const ROOM: u64 = 16 << 20;

/// What one segment said.
#[derive(Debug)]
enum Said {
    /// The packs it refers to, and whether all of that is there.
    Packs(Vec<PackId>, bool),
    /// What it refers to is not known.
    Nothing(Finding),
}

#[derive(Debug)]
pub struct Mark<'a> {
    objects: &'a Objects,
    survey: &'a Survey,
    request: &'a PruneRequest<'a>,
    refresher: Option<&'a Refresher<'a>>,
    /// By place in the table.
    said: HashMap<u32, Said>,
    /// Of all segments that were read. They are those that stay: `judge` reads none of a snapshot that goes.
    usage: Mutex<Usage>,
}

/// What the snapshots that stay refer to.
#[derive(Debug, Default)]
pub struct Live {
    pub packs: HashSet<PackId>,
    pub segments: HashSet<Hash>,
}

impl<'a> Mark<'a> {
    pub fn new(
        objects: &'a Objects,
        survey: &'a Survey,
        request: &'a PruneRequest<'a>,
        refresher: Option<&'a Refresher<'a>>,
    ) -> Self {
        Self { objects, survey, request, refresher, said: HashMap::new(), usage: Mutex::default() }
    }

    /// Reads those of the numbered segments that were not read yet. Damage is noted; any other trouble is an error.
    pub fn read(&mut self, roots: &Roots<'_>, numbers: &[u32]) -> Result<(), RepositoryError> {
        let (table, newest) = (&roots.table, roots.newest_segments());
        let wanted: Vec<(u32, &SegmentRef)> = numbers
            .iter()
            .filter(|number| !self.said.contains_key(number))
            .filter_map(|number| Some((*number, table.get(*number as usize)?)))
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let workers = self.request.workers;
        let most = usize::try_from(workers.memory / 2 / ROOM).unwrap_or(usize::MAX);
        let readers = most.clamp(1, workers.connections.max(1)).min(wanted.len());
        let (jobs, queue) = bounded::<(u32, &SegmentRef)>(0);
        let read = Mutex::new(Ok(Vec::with_capacity(wanted.len())));
        self.request.progress.expect(wanted.len() as u64, 0);
        thread::scope(|scope| {
            let (mark, read, newest) = (&*self, &read, &newest);
            threads::start(scope, readers, move || {
                for (number, segment) in queue {
                    let need = if newest.contains(&number) { Need::Newest } else { Need::Older };
                    let said = mark.ask(segment, need);
                    mark.request.progress.add(1, 0);
                    let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
                    match (&mut *read, said) {
                        (Ok(all), Ok(said)) => all.push((number, said)),
                        (Ok(_), Err(error)) => *read = Err(error),
                        // Who sends jobs finds nobody to take them.
                        (Err(_), _) => return,
                    }
                }
            })
            .map_err(|error| RepositoryError::Worker(format!("starting a thread: {error}")))?;
            for job in wanted {
                if self.request.cancel.is_cancelled() {
                    return Err(RepositoryError::Cancelled);
                }
                self.refresher.map_or(Ok(()), Refresher::refresh_if_due)?;
                if jobs.send(job).is_err() {
                    break;
                }
            }
            drop(jobs);
            Ok(())
        })?;
        self.said.extend(read.into_inner().unwrap_or_else(PoisonError::into_inner)?);
        Ok(())
    }

    pub fn is_whole(&self, numbers: &[u32]) -> bool {
        numbers.iter().all(|number| matches!(self.said.get(number), Some(Said::Packs(_, true))))
    }

    /// Whether it cannot be told what all of them refer to.
    pub fn is_blind(&self, numbers: &[u32]) -> bool {
        !numbers.iter().all(|number| matches!(self.said.get(number), Some(Said::Packs(..))))
    }

    pub fn findings(&self, roots: &Roots<'_>) -> Vec<Finding> {
        let needed = roots.needed();
        let damaged = needed.iter().filter_map(|number| match self.said.get(number)? {
            Said::Nothing(finding) => Some(Finding { snapshots: roots.users(*number), ..finding.clone() }),
            Said::Packs(..) => None,
        });
        damaged.collect()
    }

    pub fn live(&self, roots: &Roots<'_>) -> Live {
        let mut live = Live::default();
        for number in roots.needed() {
            live.segments.extend(roots.table.get(number as usize).map(|segment| segment.id));
            if let Some(Said::Packs(packs, _)) = self.said.get(&number) {
                live.packs.extend(packs);
            }
        }
        live
    }

    /// For [`Usage::standing`].
    pub fn into_usage(self) -> Usage {
        self.usage.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, segment: &SegmentRef, need: Need) -> Result<Said, RepositoryError> {
        match taken(self.objects, segment) {
            Ok(taken) => {
                self.usage.lock().unwrap_or_else(PoisonError::into_inner).add(&taken, need);
                let frames = taken.frames;
                let whole = frames.iter().all(|frame| self.survey.holds(frame));
                let mut packs: Vec<PackId> = frames.iter().map(|frame| frame.pack).collect();
                packs.sort_unstable();
                packs.dedup();
                packs.shrink_to_fit();
                Ok(Said::Packs(packs, whole && self.survey.segments.contains_key(&segment.id)))
            }
            Err(RepositoryError::Damaged { object, reason, .. }) => {
                Ok(Said::Nothing(Finding::of(object, reason, Vec::new())))
            }
            Err(error) => Err(error),
        }
    }
}

fn taken(objects: &Objects, segment: &SegmentRef) -> Result<Taken, RepositoryError> {
    let lines = objects.segment_lines(segment, &objects.stored_segment(segment)?)?;
    Segment::frames_of(&lines)
        .map(|frames| Taken::of(frames, &lines))
        .map_err(|reason| objects.damaged(format!("{}/{}", keys::SEGMENTS, segment.id), reason))
}
