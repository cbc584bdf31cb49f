//! The names of the objects of a packed repository. `docs/format.md` shows the same tree.

use crate::base::hash::Hash;
use crate::base::id::is_hex;
use crate::base::timestamp::Timestamp;
use crate::repository::packed::frame::PackId;
use crate::snapshot::SnapshotId;
use crate::store::{Key, StoreError};

pub const DESCRIPTOR: &str = "repository.json";
pub const PACKS: &str = "packs";
pub const SEGMENTS: &str = "segments";
pub const SNAPSHOTS: &str = "snapshots";
pub const LEASES: &str = "leases";
pub const TOMBSTONES: &str = "tombstones";
/// What a repair took out of the way. Nothing reads it.
pub const QUARANTINE: &str = "quarantine";

/// Enough of the hash that nobody meets two alike, short enough to read aloud.
const ID_DIGITS: usize = 16;
const SUFFIX: &str = ".json";

pub fn descriptor() -> Result<Key, StoreError> {
    Key::new(DESCRIPTOR)
}

pub fn pack(id: PackId) -> Result<Key, StoreError> {
    let name = id.to_string();
    let fan = name.get(..2).unwrap_or("00");
    Key::new(format!("{PACKS}/{fan}/{name}"))
}

/// One of the 256 directories that packs are in, by the first two digits of their names.
pub fn pack_directory(number: u8) -> String {
    format!("{PACKS}/{number:02x}")
}

pub fn segment(id: &Hash) -> Result<Key, StoreError> {
    Key::new(format!("{SEGMENTS}/{id}"))
}

pub fn snapshot(id: &SnapshotId) -> Result<Key, StoreError> {
    Key::new(format!("{SNAPSHOTS}/{id}{SUFFIX}"))
}

pub fn lease(epoch: u64) -> Result<Key, StoreError> {
    // Zeros in front, so that a sorted listing ends with the newest.
    Key::new(format!("{LEASES}/{epoch:012}{SUFFIX}"))
}

/// `random` keeps two apart that took the same epoch, where a store ignores conditions.
pub fn tombstone(epoch: u64, random: &str) -> Result<Key, StoreError> {
    Key::new(format!("{TOMBSTONES}/{epoch:012}-{random}{SUFFIX}"))
}

/// Where the repair of this epoch keeps what was there under `key`.
pub fn quarantined(epoch: u64, key: &Key) -> Result<Key, StoreError> {
    Key::new(format!("{QUARANTINE}/{epoch:012}/{key}"))
}

/// The name a snapshot file with these bytes must have: its time, then the beginning of the hash of the file,
/// so that a file that changed no longer fits its name.
pub fn snapshot_id(time: Timestamp, bytes: &[u8]) -> SnapshotId {
    let hash = Hash::of(bytes).to_hex();
    SnapshotId(format!("{}-{}", time.to_compact(), hash.get(..ID_DIGITS).unwrap_or_default()))
}

pub fn parse_snapshot(key: &str) -> Option<SnapshotId> {
    let name = key.strip_prefix(SNAPSHOTS)?.strip_prefix('/')?.strip_suffix(SUFFIX)?;
    let (_, id) = name.split_once('-')?;
    is_hex(id, ID_DIGITS).then(|| SnapshotId(name.to_owned()))
}

pub fn parse_lease(key: &str) -> Option<u64> {
    let name = key.strip_prefix(LEASES)?.strip_prefix('/')?.strip_suffix(SUFFIX)?;
    name.bytes().all(|byte| byte.is_ascii_digit()).then(|| name.parse().ok()).flatten()
}
