//! The snapshots that are there: when and by whom they were made, and which segments they have. Each is read once; of
//! its segments numbers are kept, because neighbours share most of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::base::hash::Hash;
use crate::base::timestamp::Timestamp;
use crate::repository::packed::document::{self, Document};
use crate::repository::packed::objects::Objects;
use crate::repository::packed::segment::SegmentRef;
use crate::repository::{Epoch, Finding, RepositoryError};
use crate::snapshot::SnapshotId;
use crate::snapshot::retention::{Candidate, Reason};

/// A snapshot whose time is further ahead of when it was stored was made by a clock that was wrong.
const CLOCKS_DIFFER: Duration = Duration::from_secs(86_400);
/// Who has not withdrawn a snapshot after this long is not going to, however short the grace time is.
const SETTLED: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub struct Root {
    pub id: SnapshotId,
    time: Timestamp,
    /// By the clock of the store.
    modified: Timestamp,
    epoch: Epoch,
    parent: Option<SnapshotId>,
    /// Made by a backup of the volume that asks.
    own: bool,
    copied: bool,
    /// Places in the table.
    pub segments: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// By the clock of the store.
    pub now: Timestamp,
    pub grace: Duration,
}

#[derive(Debug)]
pub struct Roots<'a> {
    objects: &'a Objects,
    repository: &'a str,
    volume_id: &'a str,
    roots: BTreeMap<SnapshotId, Root>,
    unreadable: BTreeMap<SnapshotId, Finding>,
    /// Every segment of every snapshot, once.
    pub table: Vec<SegmentRef>,
    numbers: HashMap<Hash, u32>,
}

impl<'a> Roots<'a> {
    pub fn new(objects: &'a Objects, repository: &'a str, volume_id: &'a str) -> Self {
        Self {
            objects,
            repository,
            volume_id,
            roots: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            table: Vec::new(),
            numbers: HashMap::new(),
        }
    }

    /// What is there now. Those that were read before are not read again: they never change.
    pub fn list_again(&mut self) -> Result<(), RepositoryError> {
        let listed = document::names_and_times(self.objects)?;
        self.roots.retain(|id, _| listed.contains_key(id));
        self.unreadable.clear();
        for (id, modified) in listed {
            if self.roots.contains_key(&id) {
                continue;
            }
            match document::read(self.objects, self.repository, &id) {
                Ok(document) => self.add(id, modified, document),
                // Forgotten or withdrawn between the listing and now.
                Err(RepositoryError::NoSnapshot { .. }) => {}
                Err(RepositoryError::Damaged { object, reason, .. }) => {
                    let snapshots = vec![id.clone()];
                    self.unreadable.insert(id, Finding::of(object, reason, snapshots));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// As if it were not there: for plans.
    pub fn leave_out(&mut self, id: &SnapshotId) {
        self.roots.remove(id);
    }

    pub fn highest_epoch(&self) -> Epoch {
        self.roots.values().map(|root| root.epoch).max().unwrap_or(0)
    }

    pub fn damaged(&self) -> impl Iterator<Item = &Finding> {
        self.unreadable.values()
    }

    /// For the policy. What cannot be read, or may yet be withdrawn, is for none of its rules.
    pub fn candidates(&self, terms: &Terms) -> Vec<Candidate> {
        let readable = self.roots.values().map(|root| Candidate {
            id: root.id.clone(),
            time: root.judged_time(),
            held: (!root.is_settled(terms)).then_some(Reason::Unsettled),
        });
        let unreadable = self.unreadable.keys().map(|id| Candidate {
            id: id.clone(),
            time: id.time().unwrap_or_default(),
            held: Some(Reason::Damaged),
        });
        readable.chain(unreadable).collect()
    }

    /// From new to old, those that others may rest on: they will not be withdrawn, and whoever looks for the newest
    /// snapshot does not pass over them.
    pub fn trustworthy(&self, terms: &Terms) -> Vec<&Root> {
        let mut before: Option<&Root> = None;
        let mut trusted = Vec::new();
        for root in self.roots.values() {
            if !root.copied {
                let left_behind = before.is_some_and(|before| {
                    before.epoch > root.epoch && root.parent.as_ref() != Some(&before.id)
                });
                if left_behind {
                    continue;
                }
                before = Some(root);
            }
            if root.is_settled(terms) {
                trusted.push(root);
            }
        }
        trusted.sort_by(|a, b| (b.time, &b.id).cmp(&(a.time, &a.id)));
        trusted
    }

    /// The places in the table of all segments that the snapshots have.
    pub fn needed(&self) -> Vec<u32> {
        let mut needed = vec![false; self.table.len()];
        for number in self.roots.values().flat_map(|root| &root.segments) {
            if let Some(place) = needed.get_mut(*number as usize) {
                *place = true;
            }
        }
        (0u32..).zip(needed).filter_map(|(number, needed)| needed.then_some(number)).collect()
    }

    /// Those of the snapshot that the next backup starts from.
    pub fn newest_segments(&self) -> HashSet<u32> {
        self.roots
            .values()
            .next_back()
            .map(|root| root.segments.iter().copied().collect())
            .unwrap_or_default()
    }

    /// The snapshots that have a segment.
    pub fn users(&self, number: u32) -> Vec<SnapshotId> {
        let users = self.roots.values().filter(|root| root.segments.contains(&number));
        users.map(|root| root.id.clone()).collect()
    }

    fn add(&mut self, id: SnapshotId, modified: Timestamp, document: Document) {
        let segments = document.segments.iter().map(|segment| self.number(segment)).collect();
        let copied = document.copied_from.is_some();
        let root = Root {
            id: id.clone(),
            time: document.time,
            modified,
            epoch: document.epoch,
            parent: document.parent,
            own: !copied && document.volume_id == self.volume_id,
            copied,
            segments,
        };
        self.roots.insert(id, root);
    }

    fn number(&mut self, segment: &SegmentRef) -> u32 {
        *self.numbers.entry(segment.id).or_insert_with(|| {
            self.table.push(segment.clone());
            u32::try_from(self.table.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

impl Root {
    /// One backup by a clock that is years ahead, and all that follow it so as to be newer, would make everything
    /// before them look old enough to be forgotten.
    fn judged_time(&self) -> Timestamp {
        match self.time > self.modified.plus(CLOCKS_DIFFER) {
            true => self.modified,
            false => self.time,
        }
    }

    fn is_settled(&self, terms: &Terms) -> bool {
        self.own || terms.now.since(self.modified) >= terms.grace.max(SETTLED)
    }
}
