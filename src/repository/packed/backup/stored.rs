//! The objects that are there when a backup begins. What an earlier manifest names and somebody removed is stored
//! anew, so that a backup never rests on something that is gone.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use crate::base::hash::Hash;
use crate::base::threads;
use crate::repository::RepositoryError;
use crate::repository::packed::frame::{PackId, StoredPacks};
use crate::repository::packed::keys;
use crate::repository::packed::objects::Objects;
use crate::repository::packed::tombstone::Condemned;
use crate::store::StoreError;

/// What stores list in one request as a rule; the next page is asked for with the end of this one.
const PAGE: usize = 1000;

#[derive(Debug, Default)]
pub struct StoredObjects {
    pub packs: StoredPacks,
    pub segments: HashSet<Hash>,
}

impl StoredObjects {
    pub fn list(objects: &Objects, connections: usize) -> Result<Self, RepositoryError> {
        let mut stored = Self::default();
        // The pages of one listing come one after another. The packs lie in 256 directories by the first digits
        // of random names, so one of them tells how many there are.
        let sample = packs_below(objects, &keys::pack_directory(0))?;
        if are_many(sample.len(), connections) {
            stored.packs.extend(sample);
            stored.packs.extend(packs_of_others(objects, connections)?);
        } else {
            stored.packs.extend(packs_below(objects, keys::PACKS)?);
        }
        objects.store.list(keys::SEGMENTS, &mut |object| {
            stored.segments.extend(Hash::from_hex(object.key.name()));
            Ok(())
        })?;
        Ok(stored)
    }

    /// What has a tombstone is as good as gone.
    pub fn without(mut self, condemned: &Condemned) -> Self {
        condemned.packs.iter().for_each(|pack| self.packs.remove(*pack));
        self.segments.retain(|segment| !condemned.segments.contains(segment));
        self
    }
}

/// Whether all pages one after another take longer than 255 listings by so many at once.
fn are_many(in_one_directory: usize, connections: usize) -> bool {
    connections > 1 && in_one_directory.saturating_mul(connections) > PAGE
}

fn packs_below(objects: &Objects, prefix: &str) -> Result<Vec<(PackId, u64)>, StoreError> {
    let mut packs = Vec::new();
    objects.store.list(prefix, &mut |object| {
        packs.extend(PackId::parse(object.key.name()).map(|id| (id, object.size)));
        Ok(())
    })?;
    Ok(packs)
}

/// Of all directories but the first.
fn packs_of_others(objects: &Objects, connections: usize) -> Result<Vec<(PackId, u64)>, RepositoryError> {
    let last = AtomicU8::new(0);
    let found = Mutex::new(Ok(Vec::new()));
    thread::scope(|scope| {
        let work = || {
            while let Ok(before) =
                last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| last.checked_add(1))
            {
                let packs = packs_below(objects, &keys::pack_directory(before + 1));
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                match (&mut *found, packs) {
                    (Ok(all), Ok(packs)) => all.extend(packs),
                    (Ok(_), Err(error)) => *found = Err(error),
                    (Err(_), _) => return,
                }
            }
        };
        threads::start(scope, connections, work)
    })
    .map_err(|error| RepositoryError::Worker(format!("starting a thread: {error}")))?;
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::clock::ManualClock;
    use crate::base::timestamp::Timestamp;
    use crate::repository::packed::codec::Codec;
    use crate::store::faulty::{Failure, Fault, Operation, Rule};
    use crate::store::{FaultyStore, MemoryStore, ObjectStore};

    fn with_packs(count: u128) -> (Arc<FaultyStore>, Objects) {
        let clock = Arc::new(ManualClock::at(Timestamp::default()));
        let memory = Arc::new(MemoryStore::new(clock.clone()));
        memory.create().unwrap();
        for number in 0..count {
            // Spread as random names are: by the first two digits.
            let id = PackId::parse(&format!("{:02x}{number:030x}", number % 256)).unwrap();
            memory.put(&keys::pack(id).unwrap(), &vec![0; number as usize % 7].into()).unwrap();
        }
        let store = Arc::new(FaultyStore::new(memory, clock));
        (store.clone(), Objects { store, codec: Codec::None, level: 0 })
    }

    #[test]
    fn few_packs_are_listed_at_once_and_many_by_directory() {
        for (count, connections, listings) in [(0, 16, 3), (700, 16, 3), (2560, 1, 3), (2560, 200, 257)] {
            let (store, objects) = with_packs(count);
            let stored = StoredObjects::list(&objects, connections).unwrap();
            assert_eq!(store.counts().of(Operation::List), listings, "{count} packs");
            for number in 0..count {
                let id = PackId::parse(&format!("{:02x}{number:030x}", number % 256)).unwrap();
                assert_eq!(stored.packs.size(id), Some((number % 7) as u64));
            }
        }
    }

    #[test]
    fn a_directory_that_cannot_be_listed_is_an_error_not_an_empty_one() {
        let (store, objects) = with_packs(2560);
        store.inject(Rule::new(Operation::List, "packs/c8", Fault::Fail(Failure::Denied)));
        let error = StoredObjects::list(&objects, 200).unwrap_err();
        assert!(matches!(error, RepositoryError::Store(StoreError::Denied { .. })), "{error:?}");
    }
}
