//! Tombstones: lists of packs and segments that nothing refers to, which are deleted when the grace time has passed.
//! Knows how they are stored; when one is written and obeyed is for `prune`.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use crate::base::hash::Hash;
use crate::base::id::random_hex;
use crate::base::sealed;
use crate::base::timestamp::{self, Timestamp};
use crate::repository::packed::frame::PackId;
use crate::repository::packed::keys;
use crate::repository::packed::objects::Objects;
use crate::repository::{Epoch, RepositoryError};
use crate::store::{Key, StoreError};

const FORMAT: u64 = 1;
/// Names in one object: about a megabyte.
pub const MOST_NAMES: usize = 10_000;
const RANDOM_BYTES: usize = 8;

/// As it is stored. Written once, under a name that is never used again, and deleted whole.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    epoch: Epoch,
    #[serde(with = "timestamp::rfc3339")]
    time: Timestamp,
    /// Keys of packs and segments.
    objects: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    damaged: bool,
}

/// What one prune condemned.
#[derive(Clone, Debug)]
pub struct Tombstone {
    pub key: Key,
    /// By the clock of whoever wrote it.
    pub time: Timestamp,
    /// By the clock of the store.
    pub modified: Timestamp,
    pub packs: Vec<PackId>,
    pub segments: Vec<Hash>,
    /// What it names cannot be mended: nothing may rest on it, whether or not a snapshot refers to it.
    pub damaged: bool,
}

/// All that has a tombstone: no writer may rest on it any more.
#[derive(Debug, Default)]
pub struct Condemned {
    pub packs: HashSet<PackId>,
    pub segments: HashSet<Hash>,
}

impl Condemned {
    /// To be asked after the lease was looked at, and before the objects themselves are listed.
    pub fn list(objects: &Objects) -> Result<Self, RepositoryError> {
        Ok(Self::of(&read_all(objects)?.0))
    }

    pub fn of(tombstones: &[Tombstone]) -> Self {
        let mut all = Self::default();
        for tombstone in tombstones {
            all.packs.extend(&tombstone.packs);
            all.segments.extend(&tombstone.segments);
        }
        all
    }
}

/// All that can be read, and an error for each that is damaged: nobody can obey that one either, so it condemns
/// nothing.
pub fn read_all(objects: &Objects) -> Result<(Vec<Tombstone>, Vec<RepositoryError>), RepositoryError> {
    let mut listed = Vec::new();
    objects.store.list(keys::TOMBSTONES, &mut |object| {
        listed.push((object.key, object.modified));
        Ok(())
    })?;
    let (mut tombstones, mut damaged) = (Vec::new(), Vec::new());
    for (key, modified) in listed {
        let bytes = match objects.store.get(&key) {
            // Obeyed between the listing and now.
            Err(StoreError::NotFound { .. }) => continue,
            other => other?,
        };
        match parse(objects, &key, modified, &bytes) {
            Ok(tombstone) => tombstones.push(tombstone),
            Err(error) if error.is_damage() => {
                tracing::warn!(%error, "what it lists is not deleted");
                damaged.push(error);
            }
            Err(error) => return Err(error),
        }
    }
    Ok((tombstones, damaged))
}

/// The names of all tombstones, by one listing.
pub fn keys_of(objects: &Objects) -> Result<BTreeSet<Key>, RepositoryError> {
    let mut found = BTreeSet::new();
    objects.store.list(keys::TOMBSTONES, &mut |object| {
        found.insert(object.key);
        Ok(())
    })?;
    Ok(found)
}

fn parse(
    objects: &Objects,
    key: &Key,
    modified: Timestamp,
    bytes: &[u8],
) -> Result<Tombstone, RepositoryError> {
    let document: Document = objects.open_sealed(key, bytes, FORMAT)?;
    let mut tombstone = Tombstone {
        key: key.clone(),
        time: document.time,
        modified,
        packs: Vec::new(),
        segments: Vec::new(),
        damaged: document.damaged,
    };
    for name in &document.objects {
        let (kind, last) = name.split_once('/').unwrap_or_default();
        match (kind, last.rsplit('/').next().unwrap_or_default()) {
            (keys::PACKS, id) if PackId::parse(id).is_some() => tombstone.packs.extend(PackId::parse(id)),
            (keys::SEGMENTS, id) if Hash::from_hex(id).is_some() => {
                tombstone.segments.extend(Hash::from_hex(id));
            }
            // Nothing else is ever deleted by way of a tombstone.
            _ => return Err(objects.damaged(key.as_str(), format!("{name} is no pack and no segment"))),
        }
    }
    Ok(tombstone)
}

/// Condemns what is named, durably, in as few objects as will do.
pub fn write(
    objects: &Objects,
    epoch: Epoch,
    time: Timestamp,
    packs: &[PackId],
    segments: &[Hash],
) -> Result<(), RepositoryError> {
    write_all(objects, epoch, time, packs, segments, false)
}

/// The same of what is damaged for good.
pub fn write_damaged(
    objects: &Objects,
    epoch: Epoch,
    time: Timestamp,
    packs: &[PackId],
    segments: &[Hash],
) -> Result<(), RepositoryError> {
    write_all(objects, epoch, time, packs, segments, true)
}

fn write_all(
    objects: &Objects,
    epoch: Epoch,
    time: Timestamp,
    packs: &[PackId],
    segments: &[Hash],
    damaged: bool,
) -> Result<(), RepositoryError> {
    let packs = packs.iter().map(|pack| keys::pack(*pack));
    let names: Vec<Key> = packs.chain(segments.iter().map(keys::segment)).collect::<Result<_, _>>()?;
    for part in names.chunks(MOST_NAMES) {
        let objects_named = part.iter().map(|key| key.as_str().to_owned()).collect();
        let document = Document { epoch, time, objects: objects_named, damaged };
        let worker = |error: &dyn std::fmt::Display| RepositoryError::Worker(error.to_string());
        let bytes = sealed::seal(&document, FORMAT).map_err(|error| worker(&error))?;
        let random = random_hex(RANDOM_BYTES).map_err(|error| worker(&error))?;
        objects.store.put(&keys::tombstone(epoch, &random)?, &bytes.into())?;
    }
    Ok(())
}
