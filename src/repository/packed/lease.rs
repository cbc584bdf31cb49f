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

pub fn newest(objects: &Objects) -> Result<Option<Lease>, RepositoryError> {
    let mut newest: Option<Epoch> = None;
    objects.store.list(keys::LEASES, &mut |object| {
        newest = newest.max(keys::parse_lease(object.key.as_str()));
        Ok(())
    })?;
    let Some(epoch) = newest else { return Ok(None) };
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
        let epoch = newest(objects)?.map_or(0, |lease| lease.epoch) + 1;
        let lease =
            Lease { epoch, volume_id: writer.volume_id.clone(), host: writer.host.clone(), since: now };
        let bytes =
            sealed::seal(&lease, FORMAT).map_err(|error| RepositoryError::Worker(error.to_string()))?;
        if objects.put_new(&keys::lease(epoch)?, &bytes)? == Put::Created {
            return Ok(epoch);
        }
    }
    Err(RepositoryError::Worker(format!("no new lease in {CLAIMS} attempts at {}", objects.location())))
}

/// The present epoch if it is this volume's own, else a new one. Runs on one volume exclude each other by its
/// lock, so they may share an epoch.
pub fn join_or_take(objects: &Objects, writer: &Writer, now: Timestamp) -> Result<Epoch, RepositoryError> {
    match newest(objects)? {
        Some(lease) if lease.volume_id == writer.volume_id => Ok(lease.epoch),
        _ => take(objects, writer, now),
    }
}

/// Fails when somebody took a newer epoch: a writer that was cut off must not commit what nobody will see.
pub fn recheck(objects: &Objects, epoch: Epoch) -> Result<(), RepositoryError> {
    match newest(objects)? {
        Some(lease) if lease.epoch > epoch => Err(RepositoryError::Fenced {
            location: objects.location(),
            by: format!("volume {} on {}", lease.volume_id, lease.host),
            epoch: lease.epoch,
        }),
        Some(_) => Ok(()),
        None => Err(objects.damaged(keys::LEASES, "the lease of this run is gone")),
    }
}
