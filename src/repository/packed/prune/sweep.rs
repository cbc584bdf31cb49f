//! Condemns what nothing refers to, and deletes what was condemned long enough ago and is still not referred to.

use std::time::Duration;

use crate::base::hash::Hash;
use crate::base::timestamp::Timestamp;
use crate::repository::packed::frame::PackId;
use crate::repository::packed::keys;
use crate::repository::packed::lease::{self, Held};
use crate::repository::packed::objects::Objects;
use crate::repository::packed::prune::mark::Live;
use crate::repository::packed::prune::survey::{Stored, Survey};
use crate::repository::packed::tombstone::{self, Condemned, Tombstone};
use crate::repository::{Amount, PruneReport, PruneRequest, RepositoryError};
use crate::store::Key;

/// Deleted between two looks at the leases: what S3 takes in one request.
const DELETED_AT_ONCE: usize = 1000;

#[derive(Debug)]
pub struct Sweep<'a> {
    pub objects: &'a Objects,
    /// `None`: only a plan.
    pub held: Option<&'a Held>,
    pub request: &'a PruneRequest<'a>,
    pub survey: &'a Survey,
    pub live: &'a Live,
    /// By the clock of the store, and by ours.
    pub stored_now: Timestamp,
    pub now: Timestamp,
}

impl Sweep<'_> {
    /// `tombstones` are those that were there before packs, segments and snapshots were listed.
    pub fn run(&self, tombstones: &[Tombstone], report: &mut PruneReport) -> Result<(), RepositoryError> {
        let packs = self.live.packs.iter().filter_map(|id| self.survey.packs.get(id));
        packs.for_each(|stored| report.live.add(true, stored.size));
        let segments = self.live.segments.iter().filter_map(|id| self.survey.segments.get(id));
        segments.for_each(|stored| report.live.add(false, stored.size));
        self.condemn(&Condemned::of(tombstones), report)?;
        for tombstone in tombstones {
            self.obey(tombstone, report)?;
        }
        Ok(())
    }

    fn condemn(&self, condemned: &Condemned, report: &mut PruneReport) -> Result<(), RepositoryError> {
        let mut dead = |is_pack: bool, stored: &Stored| {
            let old = self.stored_now.since(stored.modified()) >= self.request.grace;
            let amount = if old { &mut report.condemned } else { &mut report.young };
            amount.add(is_pack, stored.size);
            old
        };
        let mut packs: Vec<PackId> = Vec::new();
        for (id, stored) in &self.survey.packs {
            if !self.live.packs.contains(id) && !condemned.packs.contains(id) && dead(true, stored) {
                packs.push(*id);
            }
        }
        let mut segments: Vec<Hash> = Vec::new();
        for (id, stored) in &self.survey.segments {
            if !self.live.segments.contains(id) && !condemned.segments.contains(id) && dead(false, stored) {
                segments.push(*id);
            }
        }
        match self.held {
            Some(held) if !packs.is_empty() || !segments.is_empty() => {
                // Not needed for safety: spares a successor tombstones of what it has just begun to use.
                lease::recheck(self.objects, held)?;
                tombstone::write(self.objects, held.epoch, self.now, &packs, &segments)
            }
            _ => Ok(()),
        }
    }

    fn obey(&self, tombstone: &Tombstone, report: &mut PruneReport) -> Result<(), RepositoryError> {
        let due = self.age(tombstone) >= self.request.grace;
        let referred = tombstone.packs.iter().any(|id| self.live.packs.contains(id))
            || tombstone.segments.iter().any(|id| self.live.segments.contains(id));
        let mut gone: Vec<Key> = Vec::new();
        let mut one = |is_pack: bool, live: bool, stored: Option<&Stored>, key: Key| {
            let Some(stored) = stored else { return };
            let amount = match (live, due) {
                (true, _) => &mut report.pardoned,
                (false, true) => &mut report.deleted,
                (false, false) => &mut report.waiting,
            };
            amount.add(is_pack, stored.size);
            if due && !live {
                gone.push(key);
            }
        };
        for id in &tombstone.packs {
            one(true, self.live.packs.contains(id), self.survey.packs.get(id), keys::pack(*id)?);
        }
        for id in &tombstone.segments {
            one(false, self.live.segments.contains(id), self.survey.segments.get(id), keys::segment(id)?);
        }
        let Some(held) = self.held else { return Ok(()) };
        // What is damaged gets no better by being referred to: backups go on storing it anew.
        let stays = tombstone.damaged && referred;
        if !due {
            return if stays { Ok(()) } else { self.pardon(tombstone, held) };
        }
        for some in gone.chunks(DELETED_AT_ONCE) {
            if self.request.cancel.is_cancelled() {
                return Err(RepositoryError::Cancelled);
            }
            lease::recheck(self.objects, held)?;
            self.objects.store.delete_many(some)?;
        }
        if stays {
            return Ok(());
        }
        // Only now, when all it names is gone or pardoned: a run that is killed before finds it again.
        lease::recheck(self.objects, held)?;
        Ok(self.objects.store.delete(&tombstone.key)?)
    }

    /// Where something is referred to again, the tombstone makes way for one without that: the time would run on, and
    /// whoever restores a snapshot that is forgotten later would not have all of the grace time.
    fn pardon(&self, tombstone: &Tombstone, held: &Held) -> Result<(), RepositoryError> {
        let (packs, segments) = (&tombstone.packs, &tombstone.segments);
        let dead_packs: Vec<PackId> =
            packs.iter().filter(|id| !self.live.packs.contains(id)).copied().collect();
        let dead_segments: Vec<Hash> =
            segments.iter().filter(|id| !self.live.segments.contains(id)).copied().collect();
        if (dead_packs.len(), dead_segments.len()) == (packs.len(), segments.len()) {
            return Ok(());
        }
        lease::recheck(self.objects, held)?;
        // First the new one: what is dead has to be known as condemned without a gap.
        tombstone::write(self.objects, held.epoch, self.now, &dead_packs, &dead_segments)?;
        Ok(self.objects.store.delete(&tombstone.key)?)
    }

    /// The lesser of what two clocks say.
    fn age(&self, tombstone: &Tombstone) -> Duration {
        self.stored_now.since(tombstone.modified).min(self.now.since(tombstone.time))
    }
}

impl Amount {
    fn add(&mut self, is_pack: bool, bytes: u64) {
        match is_pack {
            true => self.packs += 1,
            false => self.segments += 1,
        }
        self.bytes += bytes;
    }
}
