//! Who may write. An epoch is an object created if absent, so exactly one of many claimants gets it; whoever
//! has the newest one is the writer. Nothing rests on process ids, host names or clocks.

use serde::{Deserialize, Serialize};

use crate::base::sealed;
use crate::base::timestamp::{self, Timestamp};
use crate::repository::packed::keys;
use crate::repository::packed::objects::Objects;
use crate::repository::{Epoch, RepositoryError, Writer};
use crate::store::Put;

const FORMAT: u64 = 1;
/// Losing this often in a row means that the store does not keep its word.
const CLAIMS: u32 = 64;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub epoch: Epoch,
    pub volume_id: String,
    pub host: String,
    #[serde(with = "timestamp::rfc3339")]
    pub since: Timestamp,
}

/// The newest epoch that anybody took.
fn newest_epoch(objects: &Objects) -> Result<Option<Epoch>, RepositoryError> {
    let mut newest: Option<Epoch> = None;
    objects.store.list(keys::LEASES, &mut |object| {
        newest = newest.max(keys::parse_lease(object.key.as_str()));
        Ok(())
    })?;
    Ok(newest)
}

pub fn newest(objects: &Objects) -> Result<Option<Lease>, RepositoryError> {
    let Some(epoch) = newest_epoch(objects)? else { return Ok(None) };
    let key = keys::lease(epoch)?;
    let bytes = objects.needed(&key, objects.store.get(&key))?;
    let lease: Lease = objects.open_sealed(&key, &bytes, FORMAT)?;
    if lease.epoch == epoch {
        Ok(Some(lease))
    } else {
        Err(objects.damaged(key.as_str(), "it names another epoch"))
    }
}

/// A new epoch, whoever has the present one.
pub fn take(objects: &Objects, writer: &Writer, now: Timestamp) -> Result<Epoch, RepositoryError> {
    for _ in 0..CLAIMS {
        let epoch = newest_epoch(objects)?
            .unwrap_or(0)
            .checked_add(1)
            .ok_or_else(|| objects.damaged(keys::LEASES, "the newest has the last number there is"))?;
        let lease =
            Lease { epoch, volume_id: writer.volume_id.clone(), host: writer.host.clone(), since: now };
        let bytes =
            sealed::seal(&lease, FORMAT).map_err(|error| RepositoryError::Worker(error.to_string()))?;
        if objects.put_new(&keys::lease(epoch)?, &bytes.into())? == Put::Created {
            return Ok(epoch);
        }
    }
    Err(RepositoryError::Worker(format!("no new lease in {CLAIMS} attempts at {}", objects.location())))
}

/// The present epoch if it is this volume's own, else a new one. Runs on one volume exclude each other by its
/// locks, so they may share an epoch. `held` is the last epoch that this volume is known to have had: whoever took
/// a later one has cut it off, unless `over` says that a person wants it back.
pub fn join_or_take(
    objects: &Objects,
    writer: &Writer,
    held: Option<Epoch>,
    over: bool,
    now: Timestamp,
) -> Result<Epoch, RepositoryError> {
    match newest(objects) {
        Ok(Some(lease)) if lease.volume_id == writer.volume_id => Ok(lease.epoch),
        Ok(Some(lease)) if held.is_some_and(|held| held < lease.epoch) && !over => {
            Err(fenced(objects, &lease))
        }
        Ok(_) => take(objects, writer, now),
        // Its number is all that counts, and that is in its name.
        Err(error) if error.is_damage() => {
            tracing::warn!(%error, "taking a new lease");
            take(objects, writer, now)
        }
        Err(error) => Err(error),
    }
}

/// Fails when somebody took a newer epoch: a writer that was cut off must not commit what nobody will see.
pub fn recheck(objects: &Objects, epoch: Epoch) -> Result<(), RepositoryError> {
    match newest_epoch(objects)? {
        Some(later) if later > epoch => match newest(objects) {
            Ok(Some(lease)) => Err(fenced(objects, &lease)),
            // Whoever it was: the number alone decides.
            _ => {
                let by = "an unknown volume".to_owned();
                Err(RepositoryError::Fenced { location: objects.location(), by, epoch: later })
            }
        },
        Some(_) => Ok(()),
        None => Err(objects.damaged(keys::LEASES, "the lease of this run is gone")),
    }
}

fn fenced(objects: &Objects, lease: &Lease) -> RepositoryError {
    RepositoryError::Fenced {
        location: objects.location(),
        by: format!("volume {} on {}", lease.volume_id, lease.host),
        epoch: lease.epoch,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::clock::ManualClock;
    use crate::repository::packed::codec::Codec;
    use crate::store::{MemoryStore, ObjectStore};

    #[test]
    fn behind_the_last_number_there_is_no_lease() {
        let store: Arc<dyn ObjectStore> =
            Arc::new(MemoryStore::new(Arc::new(ManualClock::at(Timestamp::default()))));
        store.create().unwrap();
        let objects = Objects { store, codec: Codec::None, level: 0 };
        let writer = Writer { volume_id: "v".into(), identity: "app".into(), host: "h".into() };
        let last = Lease {
            epoch: Epoch::MAX,
            volume_id: "other".into(),
            host: "h".into(),
            since: Timestamp::default(),
        };
        objects
            .put_new(&keys::lease(last.epoch).unwrap(), &sealed::seal(&last, FORMAT).unwrap().into())
            .unwrap();
        let taken = take(&objects, &writer, Timestamp::default());
        assert!(matches!(taken, Err(RepositoryError::Damaged { .. })), "{taken:?}");
        assert_eq!(newest(&objects).unwrap(), Some(last));
    }
}
