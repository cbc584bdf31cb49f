//! The hands of a repair: each look at the leases before a write, and nothing is replaced or taken away before a copy of
//! it lies in quarantine. Decides nothing.

use bytes::Bytes;

use crate::base::budget::Budget;
use crate::repository::packed::backup::refresh::Refresher;
use crate::repository::packed::check::{NeededPack, look_at};
use crate::repository::packed::keys;
use crate::repository::packed::lease::{self, Held};
use crate::repository::packed::objects::Objects;
use crate::repository::packed::pack::FinishedPack;
use crate::repository::{Aside, RepositoryError};
use crate::store::{Key, StoreError};

#[derive(Debug)]
pub struct Hands<'a> {
    pub objects: &'a Objects,
    pub held: &'a Held,
    pub refresher: &'a Refresher<'a>,
    pub aside: Vec<Aside>,
}

impl Hands<'_> {
    /// Another writer may have come since the last look.
    pub fn still(&self) -> Result<(), RepositoryError> {
        self.refresher.refresh_if_due()?;
        lease::recheck(self.objects, self.held)
    }

    /// What is there, if anything is, goes to quarantine first: a crash in between leaves both.
    pub fn replace(&mut self, key: &Key, bytes: &Bytes) -> Result<(), RepositoryError> {
        self.keep(key)?;
        self.still()?;
        Ok(self.objects.store.put(key, bytes)?)
    }

    pub fn put_aside(&mut self, key: &Key) -> Result<(), RepositoryError> {
        self.keep(key)?;
        self.still()?;
        Ok(self.objects.store.delete(key)?)
    }

    pub fn pack(
        &mut self,
        pack: &FinishedPack,
        needed: &NeededPack,
        gone: &[u64],
    ) -> Result<(), RepositoryError> {
        let key = keys::pack(pack.id)?;
        self.replace(&key, &pack.bytes)?;
        // Whoever damaged it once may do so again.
        let left = NeededPack {
            frames: needed
                .frames
                .iter()
                .filter(|(at, _)| !gone.contains(at))
                .map(|(at, f)| (*at, *f))
                .collect(),
        };
        let (damage, _) = look_at(self.objects, &Budget::new(u64::MAX), pack.id, &left, true)?;
        match damage.table.or_else(|| damage.bad.into_values().next()) {
            None => Ok(()),
            Some(reason) => {
                Err(self.objects.damaged(key.as_str(), format!("right after it was written: {reason}")))
            }
        }
    }

    fn keep(&mut self, key: &Key) -> Result<(), RepositoryError> {
        let bytes = match self.objects.store.get(key) {
            Err(StoreError::NotFound { .. }) => return Ok(()),
            other => other?,
        };
        self.still()?;
        let kept = keys::quarantined(self.held.epoch, key)?;
        self.objects.store.put(&kept, &Bytes::from(bytes))?;
        self.aside.push(Aside { object: key.as_str().to_owned(), kept_as: kept.as_str().to_owned() });
        Ok(())
    }
}
