//! Looks at packs, several at a time: the table of contents against what the manifests need, and frames against their
//! hashes. Must not know who needs them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crossbeam_channel::bounded;

use crate::base::budget::Budget;
use crate::base::threads;
use crate::repository::packed::check::survey::NeededPack;
use crate::repository::packed::check::{cancelled, damage};
use crate::repository::packed::frame::{Frame, PackId};
use crate::repository::packed::keys;
use crate::repository::packed::objects::Objects;
use crate::repository::{CheckRequest, RepositoryError};
use crate::store::StoreError;

/// What is wrong with a pack.
#[derive(Clone, Debug, Default)]
pub struct PackDamage {
    /// Bytes of the object; `None`: it is missing.
    pub size: Option<u64>,
    /// Why the table of contents cannot be gone by.
    pub table: Option<String>,
    /// By offset: frames that the manifests need and that cannot be had.
    pub bad: BTreeMap<u64, String>,
    /// How many frames the manifests need.
    pub needed: usize,
}

impl PackDamage {
    fn is_none(&self) -> bool {
        self.table.is_none() && self.bad.is_empty()
    }

    pub fn in_words(&self) -> String {
        if self.size.is_none() {
            return "it is missing".to_owned();
        }
        let frames = self.bad.values().next().map(|first| match self.bad.len() {
            1 => first.clone(),
            bad => format!("{first}; in all, {bad} of the {} frames that are needed are bad", self.needed),
        });
        match (&self.table, frames) {
            (Some(table), Some(frames)) => format!("{table}; {frames}"),
            (Some(table), None) => format!("{table}; all frames that are needed are whole"),
            (None, frames) => frames.unwrap_or_default(),
        }
    }
}

#[derive(Debug, Default)]
pub struct Looked {
    pub damaged: BTreeMap<PackId, PackDamage>,
    pub verified_packs: u64,
    pub verified_bytes: u64,
}

pub fn look(
    objects: &Objects,
    packs: &BTreeMap<PackId, NeededPack>,
    request: &CheckRequest,
) -> Result<Looked, RepositoryError> {
    let verified = request.verify_percent.min(100);
    let bytes: u64 = packs.values().flat_map(|pack| pack.frames.values()).map(|f| u64::from(f.stored)).sum();
    request.progress.expect(packs.len() as u64, bytes * u64::from(verified) / 100);
    let (jobs, queue) = bounded::<(PackId, &NeededPack, bool)>(0);
    let results = Mutex::new(Vec::new());
    // The other half is for what the manifests said.
    let budget = Budget::new(request.workers.memory / 2);
    // On a store with latency most of them wait for an answer.
    let workers = request.workers.connections.max(request.workers.threads);
    thread::scope(|scope| {
        let (results, budget) = (&results, &budget);
        threads::start(scope, workers, move || {
            for (id, pack, whole) in queue {
                let result = look_at(objects, budget, id, pack, whole);
                request.progress.add(1, result.as_ref().map_or(0, |(_, bytes)| *bytes));
                results.lock().unwrap_or_else(PoisonError::into_inner).push((id, whole, result));
            }
        })
        .map_err(|error| RepositoryError::Worker(format!("starting a thread: {error}")))?;
        let turn = request.verify_turn.map(|turn| Turn::new(turn, verified));
        let some_are_due = turn.is_some_and(|turn| packs.keys().any(|id| turn.is_due(*id)));
        for (number, (id, pack)) in packs.iter().enumerate() {
            cancelled(request)?;
            let whole = match turn {
                Some(turn) if some_are_due => turn.is_due(*id),
                _ => is_chosen(number, packs.len(), verified),
            };
            jobs.send((*id, pack, whole))
                .map_err(|_| RepositoryError::Worker("no worker is left".to_owned()))?;
        }
        drop(jobs);
        Ok::<(), RepositoryError>(())
    })?;
    let mut looked = Looked::default();
    for (id, whole, result) in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
        let (damage, bytes) = result?;
        looked.verified_bytes += bytes;
        looked.verified_packs += u64::from(whole && damage.is_none());
        if !damage.is_none() {
            looked.damaged.insert(id, damage);
        }
    }
    Ok(looked)
}

/// The table against what the manifests expect and, if `whole`, every frame against its hash. A pack in which anything
/// is wrong is always read in full, so that what it takes down can be told to the frame. Returns the bytes that were
/// read in full.
pub fn look_at(
    objects: &Objects,
    budget: &Budget,
    id: PackId,
    needed: &NeededPack,
    whole: bool,
) -> Result<(PackDamage, u64), RepositoryError> {
    let mut found = PackDamage { needed: needed.frames.len(), ..PackDamage::default() };
    found.size = match objects.store.size(&keys::pack(id)?) {
        Ok(size) => Some(size),
        Err(StoreError::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let Some(size) = found.size else {
        found.bad = needed.frames.keys().map(|offset| (*offset, "it is missing".to_owned())).collect();
        return Ok((found, 0));
    };
    match objects.table_of(id, size) {
        Ok(table) => {
            let table: HashMap<u64, Frame> = table.into_iter().map(|frame| (frame.offset, frame)).collect();
            let other = needed.frames.iter().find(|(offset, frame)| table.get(offset) != Some(frame));
            found.table = other.map(|(offset, _)| {
                format!("its table of contents has no such frame at {offset} as the manifests need")
            });
        }
        Err(error) => found.table = Some(damage(error)?.1),
    }
    let mut bytes = 0;
    if whole || found.table.is_some() {
        for frame in needed.frames.values() {
            // As it is stored and decoded.
            let _room = budget.take(u64::from(frame.stored) + u64::from(frame.plain));
            match objects.frame_bytes(frame) {
                Ok(_) => bytes += u64::from(frame.stored),
                Err(error) => {
                    found.bad.insert(frame.offset, damage(error)?.1);
                }
            }
        }
    }
    Ok((found, bytes))
}

/// One of several parts into which the packs fall by their random ids, whatever comes and goes beside them.
#[derive(Clone, Copy, Debug)]
struct Turn {
    parts: u64,
    part: u64,
}

impl Turn {
    fn new(turn: u64, percent: u8) -> Self {
        let parts = 100u64.div_ceil(u64::from(percent.max(1)));
        Self { parts, part: turn % parts }
    }

    fn is_due(self, pack: PackId) -> bool {
        pack.number() % self.parts == self.part
    }
}

/// Spreads the chosen packs evenly.
fn is_chosen(number: usize, of: usize, percent: u8) -> bool {
    let share = |count: usize| count * usize::from(percent) / 100;
    let wanted = share(of).max(usize::from(percent > 0));
    // The first of a tiny repository is always read when anything is to be.
    share(number + 1) > share(number) || (number == 0 && wanted == 1 && share(of) == 0)
}
