//! The snapshot file: the commit. Written last, whole, and only if absent; its name holds the hash of its
//! bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::base::timestamp::{self, Timestamp};
use crate::repository::packed::keys;
use crate::repository::packed::objects::Objects;
use crate::repository::packed::segment::SegmentRef;
use crate::repository::{Epoch, Finding, Listing, RepositoryError};
use crate::snapshot::{CopiedFrom, SnapshotId, Summary};
use crate::store::{Put, StoreError};

const FORMAT: u64 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Document {
    pub format: u64,
    /// The repository it belongs to: a file copied into another one is not taken for its own.
    pub repository: String,
    pub epoch: Epoch,
    #[serde(with = "timestamp::rfc3339")]
    pub time: Timestamp,
    pub volume_id: String,
    pub identity: String,
    pub host: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SnapshotId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied_from: Option<CopiedFrom>,
    pub entries: u64,
    pub files: u64,
    pub bytes: u64,
    pub data_bytes: u64,
    pub added_bytes: u64,
    pub stored_bytes: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    #[serde(default)]
    pub problem_count: u64,
    pub segments: Vec<SegmentRef>,
}

impl Document {
    /// Where the snapshot `id` that this document is was first made.
    pub fn origin(&self, id: &SnapshotId) -> CopiedFrom {
        let here = || CopiedFrom { repository: self.repository.clone(), snapshot: id.clone() };
        self.copied_from.clone().unwrap_or_else(here)
    }

    pub fn summary(&self, id: &SnapshotId) -> Summary {
        Summary {
            id: id.clone(),
            time: self.time,
            volume_id: self.volume_id.clone(),
            epoch: self.epoch,
            identity: self.identity.clone(),
            host: self.host.clone(),
            parent: self.parent.clone(),
            copied_from: self.copied_from.clone(),
            entries: self.entries,
            files: self.files,
            bytes: self.bytes,
            data_bytes: self.data_bytes,
            added_bytes: self.added_bytes,
            stored_bytes: self.stored_bytes,
            problems: self.problems.clone(),
            problem_count: self.problem_count,
        }
    }
}

pub const THIS_FORMAT: u64 = FORMAT;

/// The commit itself. Returns the new snapshot's name.
pub fn commit(objects: &Objects, document: &Document) -> Result<(SnapshotId, u64), RepositoryError> {
    let mut bytes =
        serde_json::to_vec_pretty(document).map_err(|error| RepositoryError::Worker(error.to_string()))?;
    bytes.push(b'\n');
    let bytes = Bytes::from(bytes);
    let id = keys::snapshot_id(document.time, &bytes);
    // The name holds the hash, so whoever was first wrote the same.
    match objects.put_new(&keys::snapshot(&id)?, &bytes)? {
        Put::Created | Put::Exists => Ok((id, bytes.len() as u64)),
    }
}

/// Takes back what `commit` has just written and nobody has been told of yet.
pub fn withdraw(objects: &Objects, id: &SnapshotId) -> Result<(), StoreError> {
    objects.store.delete(&keys::snapshot(id)?)
}

/// Removes snapshots that nothing protects any more.
pub fn forget(objects: &Objects, ids: &[SnapshotId]) -> Result<(), RepositoryError> {
    let keys: Vec<_> = ids.iter().map(keys::snapshot).collect::<Result<_, _>>()?;
    Ok(objects.store.delete_many(&keys)?)
}

/// All snapshots, and when each was stored by the clock of the store.
pub fn names_and_times(objects: &Objects) -> Result<BTreeMap<SnapshotId, Timestamp>, RepositoryError> {
    let mut names = BTreeMap::new();
    objects.store.list(keys::SNAPSHOTS, &mut |object| {
        names.extend(keys::parse_snapshot(object.key.as_str()).map(|id| (id, object.modified)));
        Ok(())
    })?;
    Ok(names)
}

/// The names of all snapshots, from old to new, by one listing.
pub fn names(objects: &Objects) -> Result<Vec<SnapshotId>, RepositoryError> {
    let mut names = Vec::new();
    objects.store.list(keys::SNAPSHOTS, &mut |object| {
        match keys::parse_snapshot(object.key.as_str()) {
            Some(id) => names.push(id),
            None => tracing::warn!(key = object.key.as_str(), "not the name of a snapshot; passed over"),
        }
        Ok(())
    })?;
    names.sort();
    Ok(names)
}

pub fn read(objects: &Objects, repository: &str, id: &SnapshotId) -> Result<Document, RepositoryError> {
    let document = read_any(objects, id)?;
    if document.repository != repository {
        let object = format!("{}/{id}", keys::SNAPSHOTS);
        return Err(objects.damaged(object, format!("it belongs to the repository {}", document.repository)));
    }
    Ok(document)
}

/// Whichever repository it belongs to.
pub fn read_any(objects: &Objects, id: &SnapshotId) -> Result<Document, RepositoryError> {
    let key = keys::snapshot(id)?;
    let bytes = match objects.store.get(&key) {
        Err(StoreError::NotFound { .. }) => {
            return Err(RepositoryError::NoSnapshot { location: objects.location(), id: id.clone() });
        }
        other => other?,
    };
    parse(objects, id, &bytes)
}

fn parse(objects: &Objects, id: &SnapshotId, bytes: &[u8]) -> Result<Document, RepositoryError> {
    let object = format!("{}/{id}", keys::SNAPSHOTS);
    let named = id.0.rsplit_once('-').map(|(_, hash)| hash);
    let found = keys::snapshot_id(Timestamp::default(), bytes);
    if found.0.rsplit_once('-').map(|(_, hash)| hash) != named {
        return Err(objects.damaged(object, "its content does not match its name"));
    }
    #[derive(Deserialize)]
    struct Format {
        format: u64,
    }
    let syntax = |error: serde_json::Error| objects.damaged(object.clone(), error.to_string());
    let Format { format } = serde_json::from_slice(bytes).map_err(syntax)?;
    if format > FORMAT {
        return Err(RepositoryError::Newer {
            location: objects.location(),
            object,
            found: format,
            known: FORMAT,
        });
    }
    serde_json::from_slice(bytes).map_err(syntax)
}

/// Reads the named snapshot files. A damaged one is listed as such; a store that does not answer is an error.
pub fn listing(
    objects: &Objects,
    repository: &str,
    names: &[SnapshotId],
) -> Result<Listing, RepositoryError> {
    let mut listing = Listing::default();
    for id in names {
        match read(objects, repository, id) {
            Ok(document) => listing.snapshots.push(document.summary(id)),
            // Forgotten between the listing and now.
            Err(RepositoryError::NoSnapshot { .. }) => {}
            Err(RepositoryError::Damaged { object, reason, .. }) => {
                listing.damaged.push(Finding::of(object, reason, vec![id.clone()]));
            }
            Err(error) => return Err(error),
        }
    }
    listing.snapshots.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
    Ok(listing)
}
