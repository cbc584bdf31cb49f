//! Who may write. An epoch is an object created if absent, so exactly one of many claimants gets it; whoever
//! has the newest one is the writer. Nothing rests on process ids, host names or clocks: `since` and `expires`
//! are for people and monitoring, and no line here compares them to decide anything.

// How a commit is kept from hiding behind a successor's choice. A successor takes its epoch E+1 first and lists
// the snapshots after that. A writer of epoch E looks at the leases, writes its snapshot, and looks once more:
// - Both looks find E: the snapshot was written before E+1 was taken, so the successor's listing has it.
// - The second look finds E+1: the successor may or may not have seen the snapshot. The writer withdraws it and
//   says that nothing was committed. A successor that chose it meanwhile finds it gone and chooses again.
// - The writer dies, or loses the store, between writing and the second look: the snapshot stays, and nobody was
//   told that it was stored. Should the writer's clock have been ahead, its name even sorts last. Its epoch gives
//   it away as soon as the successor has committed: whoever picks the newest passes over a snapshot that follows
//   one of a higher epoch. And the next commit is named later than all that are there.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::id::random_hex;
use crate::base::sealed;
use crate::base::timestamp::{self, Timestamp};
use crate::repository::packed::keys;
use crate::repository::packed::objects::Objects;
use crate::repository::{Epoch, LeaseInfo, RepositoryError, Writer};
use crate::store::{Put, Replace};

const FORMAT: u64 = 1;
/// Losing this often in a row means that the store does not keep its word.
const CLAIMS: u32 = 64;
const CLAIM_BYTES: usize = 16;
/// Leases kept for people who want to know who wrote when; only the newest decides.
const KEPT: Epoch = 100;
/// How far ahead the expiry is written. Long enough that a writer that uploads big packs over a slow line
/// refreshes in time, short enough that a person sees within minutes that nobody does.
const TERM: Duration = Duration::from_secs(600);
/// How often the one who works refreshes: two may fail before the lease looks abandoned.
pub const REFRESH: Duration = Duration::from_secs(200);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub epoch: Epoch,
    pub volume_id: String,
    pub host: String,
    /// Random: two claimants never write the same bytes, so that a claim whose response was lost is known again.
    /// Empty in leases of earlier versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub claim: String,
    #[serde(with = "timestamp::rfc3339")]
    pub since: Timestamp,
    /// When it looks abandoned, for people.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "timestamp::optional_rfc3339")]
    pub expires: Option<Timestamp>,
}

impl Lease {
    pub fn info(self) -> LeaseInfo {
        let Self { epoch, volume_id, host, since, expires, .. } = self;
        LeaseInfo { epoch, volume_id, host, since, until: expires }
    }
}

/// The right to write as a run has it. Where a store ignores conditions, two may have written the same epoch, and
/// only the one whose object is there has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub epoch: Epoch,
    volume_id: String,
    /// Empty: whichever of the volume.
    claim: String,
}

impl Held {
    /// For a writer that knows its epoch only.
    pub fn by(writer: &Writer, epoch: Epoch) -> Self {
        Self { epoch, volume_id: writer.volume_id.clone(), claim: String::new() }
    }

    pub fn of(lease: &Lease) -> Self {
        Self { epoch: lease.epoch, volume_id: lease.volume_id.clone(), claim: lease.claim.clone() }
    }

    fn is(&self, lease: &Lease) -> bool {
        self.epoch == lease.epoch
            && self.volume_id == lease.volume_id
            && (self.claim.is_empty() || self.claim == lease.claim)
    }
}

/// The newest epoch that anybody took.
pub fn newest_epoch(objects: &Objects) -> Result<Option<Epoch>, RepositoryError> {
    let mut newest: Option<Epoch> = None;
    objects.store.list(keys::LEASES, &mut |object| {
        newest = newest.max(keys::parse_lease(object.key.as_str()));
        Ok(())
    })?;
    Ok(newest)
}

pub fn newest(objects: &Objects) -> Result<Option<Lease>, RepositoryError> {
    newest_epoch(objects)?.map(|epoch| Ok(read(objects, epoch)?.0)).transpose()
}

/// The lease and its bytes.
fn read(objects: &Objects, epoch: Epoch) -> Result<(Lease, Vec<u8>), RepositoryError> {
    let key = keys::lease(epoch)?;
    let bytes = objects.needed(&key, objects.store.get(&key))?;
    let lease: Lease = objects.open_sealed(&key, &bytes, FORMAT)?;
    if lease.epoch == epoch {
        Ok((lease, bytes))
    } else {
        Err(objects.damaged(key.as_str(), "it names another epoch"))
    }
}

/// A new epoch above `floor`, whoever has the present one.
pub fn take(
    objects: &Objects,
    writer: &Writer,
    floor: Epoch,
    now: Timestamp,
) -> Result<Held, RepositoryError> {
    for _ in 0..CLAIMS {
        let epoch = newest_epoch(objects)?
            .unwrap_or(0)
            .max(floor)
            .checked_add(1)
            .ok_or_else(|| last_number(objects))?;
        if let Some(held) = attempt(objects, writer, epoch, now)? {
            return Ok(held);
        }
    }
    Err(no_lease(objects))
}

/// A new epoch above `floor` for a volume that has the lease already, or where nobody has it: another volume is not
/// cut off for this.
pub fn succeed(
    objects: &Objects,
    writer: &Writer,
    floor: Epoch,
    now: Timestamp,
) -> Result<Held, RepositoryError> {
    for _ in 0..CLAIMS {
        let present = match newest(objects)? {
            Some(lease) if lease.volume_id != writer.volume_id => {
                return Err(RepositoryError::LeaseElsewhere {
                    location: objects.location(),
                    by: format!("volume {} on {}", lease.volume_id, lease.host),
                    epoch: lease.epoch,
                });
            }
            other => other.map_or(0, |lease| lease.epoch),
        };
        // The very next number: if another volume takes it in this instant, it has it.
        let epoch = present.max(floor).checked_add(1).ok_or_else(|| last_number(objects))?;
        if let Some(held) = attempt(objects, writer, epoch, now)? {
            return Ok(held);
        }
    }
    Err(no_lease(objects))
}

/// One claim. `None`: somebody else has that number.
fn attempt(
    objects: &Objects,
    writer: &Writer,
    epoch: Epoch,
    now: Timestamp,
) -> Result<Option<Held>, RepositoryError> {
    let lease = Lease {
        epoch,
        volume_id: writer.volume_id.clone(),
        host: writer.host.clone(),
        claim: random_hex(CLAIM_BYTES).map_err(|error| RepositoryError::Worker(error.to_string()))?,
        since: now,
        expires: Some(now.plus(TERM)),
    };
    let held = Held::of(&lease);
    let claimed = claim(objects, &lease)? == Put::Created
        && (conditions_hold(objects, &lease) || held.is(&read(objects, epoch)?.0));
    Ok(claimed.then_some(held))
}

fn no_lease(objects: &Objects) -> RepositoryError {
    RepositoryError::Worker(format!("no new lease in {CLAIMS} attempts at {}", objects.location()))
}

fn last_number(objects: &Objects) -> RepositoryError {
    objects.damaged(keys::LEASES, "the newest has the last number there is")
}

/// When a lease was stored, by the clock of the store.
pub fn stored_at(objects: &Objects, held: &Held) -> Result<Timestamp, RepositoryError> {
    let mut stored = None;
    objects.store.list(keys::LEASES, &mut |object| {
        if keys::parse_lease(object.key.as_str()) == Some(held.epoch) {
            stored = Some(object.modified);
        }
        Ok(())
    })?;
    stored.ok_or_else(|| objects.damaged(keys::LEASES, "the lease of this run is gone"))
}

/// Removes leases long before `held`, which decide nothing. Only a convenience.
pub fn drop_old(objects: &Objects, held: &Held) {
    let mut old = Vec::new();
    let listed = objects.store.list(keys::LEASES, &mut |object| {
        if keys::parse_lease(object.key.as_str()).is_some_and(|epoch| epoch + KEPT < held.epoch) {
            old.push(object.key);
        }
        Ok(())
    });
    if let Err(error) = listed.and_then(|()| objects.store.delete_many(&old)) {
        tracing::debug!(%error, "old leases stay");
    }
}

fn claim(objects: &Objects, lease: &Lease) -> Result<Put, RepositoryError> {
    objects.put_new(&keys::lease(lease.epoch)?, &seal(lease)?)
}

fn seal(lease: &Lease) -> Result<bytes::Bytes, RepositoryError> {
    let bytes = sealed::seal(lease, FORMAT).map_err(|error| RepositoryError::Worker(error.to_string()))?;
    Ok(bytes.into())
}

/// The test of conditional writes, made when a lease was just claimed: claiming it a second time, with other bytes
/// that are a valid lease of ours as well, must be refused. `false` where that is not so or cannot be told: then
/// what is there has to be read again before it is believed.
fn conditions_hold(objects: &Objects, lease: &Lease) -> bool {
    let second = Lease { expires: Some(lease.since.plus(TERM + Duration::from_secs(1))), ..lease.clone() };
    match claim(objects, &second) {
        Ok(Put::Exists) => true,
        Ok(Put::Created) => {
            tracing::warn!(
                repository = objects.location(),
                "this store replaces objects that it was told to create only if absent: of two writers that \
                 start at the same instant, both may believe for a moment that they hold the lease"
            );
            false
        }
        Err(error) => {
            tracing::debug!(%error, "cannot tell whether the store honours conditions");
            false
        }
    }
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
) -> Result<Held, RepositoryError> {
    match newest(objects) {
        Ok(Some(lease)) if lease.volume_id == writer.volume_id => {
            let held = Held::of(&lease);
            // For those who watch: whoever works holds a lease that has not expired.
            if lease.expires.is_none_or(|expires| expires < now.plus(REFRESH)) {
                refresh_if_possible(objects, &held, now)?;
            }
            Ok(held)
        }
        Ok(Some(lease)) if held.is_some_and(|held| held < lease.epoch) && !over => {
            Err(fenced(objects, &lease))
        }
        Ok(_) => take(objects, writer, 0, now),
        // Its number is all that counts, and that is in its name.
        Err(error) if error.is_damage() => {
            tracing::warn!(%error, "taking a new lease");
            take(objects, writer, 0, now)
        }
        Err(error) => Err(error),
    }
}

/// Fails when somebody took a newer epoch, or has ours on a store that ignores conditions: a writer that was cut
/// off must not commit what nobody will see.
pub fn recheck(objects: &Objects, held: &Held) -> Result<(), RepositoryError> {
    let newest = match newest_epoch(objects)? {
        Some(newest) if newest >= held.epoch => newest,
        _ => return Err(objects.damaged(keys::LEASES, "the lease of this run is gone")),
    };
    match read(objects, newest) {
        Ok((lease, _)) if held.is(&lease) => Ok(()),
        Ok((lease, _)) => Err(fenced(objects, &lease)),
        Err(_) if newest > held.epoch => {
            // Whoever it was: the number alone decides.
            let by = "an unknown volume".to_owned();
            Err(RepositoryError::Fenced { location: objects.location(), by, epoch: newest })
        }
        // A lease that was damaged later is still the newest.
        Err(error) if error.is_damage() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes a later expiry into the lease that `held` stands for. `Fenced` when another one has taken over; then
/// nothing was written.
pub fn refresh(objects: &Objects, held: &Held, now: Timestamp) -> Result<(), RepositoryError> {
    let newest = newest_epoch(objects)?;
    let (lease, bytes) = read(objects, newest.unwrap_or(held.epoch))?;
    if !held.is(&lease) {
        return Err(fenced(objects, &lease));
    }
    let key = keys::lease(held.epoch)?;
    let next = seal(&Lease { expires: Some(now.plus(TERM)), ..lease })?;
    match objects.store.replace(&key, &bytes.into(), &next)? {
        Replace::Done => Ok(()),
        // Another run of this volume refreshed it at the same time, which is as good, or it is another's.
        Replace::Changed => recheck(objects, held),
        Replace::Unsupported => {
            // Somebody may come between the look and the put. Their epoch is another object, which this does not
            // touch, and the number decides; the expiry in an old lease misleads nobody.
            recheck(objects, held)?;
            Ok(objects.store.put(&key, &next)?)
        }
    }
}

/// As `refresh`, when only being fenced is a reason to stop: an expiry that passed decides nothing.
pub fn refresh_if_possible(objects: &Objects, held: &Held, now: Timestamp) -> Result<(), RepositoryError> {
    match refresh(objects, held, now) {
        Err(error @ RepositoryError::Fenced { .. }) => Err(error),
        Err(error) => {
            tracing::warn!(%error, "the lease could not be refreshed");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

pub fn fenced(objects: &Objects, lease: &Lease) -> RepositoryError {
    RepositoryError::Fenced {
        location: objects.location(),
        by: format!("volume {} on {}", lease.volume_id, lease.host),
        epoch: lease.epoch,
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
