//! Bytes as anybody may have stored them, for the fuzz targets: each function gives them to the one that reads
//! them from a repository or a cache. Judges only whether what was taken for good survives being written again.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::base::clock::{Clock, ManualClock};
use crate::base::hash::Hash;
use crate::base::sealed;
use crate::base::timestamp::Timestamp;
use crate::repository::Writer;
use crate::repository::packed::cache::{self, MostlyDeadNote, UploadedPack};
use crate::repository::packed::codec::Codec;
use crate::repository::packed::descriptor::{self, Descriptor};
use crate::repository::packed::frame::{LONGEST_FRAME, PackId};
use crate::repository::packed::lease::{self, Lease};
use crate::repository::packed::objects::Objects;
use crate::repository::packed::segment::Segment;
use crate::repository::packed::{document, keys, pack};
use crate::snapshot::SnapshotId;
use crate::store::{Key, MemoryStore, ObjectStore, StoreError};

const FORMAT: u64 = 1;
const CODECS: [Codec; 3] = [Codec::Zstd, Codec::Gzip, Codec::None];
/// The repository that snapshot files say they are of.
const REPOSITORY: &str = "r";
/// In a pack whose table of contents comes from the fuzzer.
const ROOM_FOR_FRAMES: usize = 100;

/// What a reader made of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    Refused,
    /// Taken for good, and the same after being written and read again.
    Same,
    /// Taken for good, but lost or refused when written again: a defect.
    Different,
}

/// Decoded lines of a segment.
pub fn segment(bytes: &[u8]) -> Reading {
    let Ok(segment) = Segment::from_lines(bytes) else { return Reading::Refused };
    let again = segment.clone().into_lines(1).ok().and_then(|lines| Segment::from_lines(&lines).ok());
    same(again == Some(segment))
}

/// A whole pack as it is, and one whose table of contents holds these bytes under a right checksum.
pub fn pack_table(bytes: &[u8]) -> Reading {
    let (Ok(objects), Some(id)) = (objects(), PackId::parse(&"0".repeat(32))) else {
        return Reading::Refused;
    };
    let mut reading = Reading::Refused;
    for codec in CODECS {
        let objects = Objects { codec, ..objects.clone() };
        let hidden = codec.hide(&pack::with_trailer(pack::seal_compact(bytes))).unwrap_or_default();
        let sealed = [vec![0; ROOM_FOR_FRAMES], hidden].concat();
        for pack in [bytes.to_vec(), sealed] {
            let Ok(key) = keys::pack(id) else { continue };
            if objects.store.put(&key, &pack.into()).is_err() {
                continue;
            }
            if let Ok((frames, size)) = objects.table(id) {
                reading = same(frames.last().is_none_or(|last| last.end() <= size));
            }
        }
    }
    reading
}

/// A stored frame behind three bytes that say how long it is when decoded.
pub fn frame(bytes: &[u8]) -> Reading {
    let Some(([low, middle, high], stored)) = bytes.split_first_chunk::<3>() else {
        return Reading::Refused;
    };
    let length = u32::from_le_bytes([*low, *middle, *high, 0]).min(LONGEST_FRAME) as usize;
    let mut reading = Reading::Refused;
    for codec in CODECS {
        let Ok(plain) = codec.decode(stored, length) else { continue };
        let again =
            codec.encode(codec.default_level(), &plain).and_then(|stored| codec.decode(&stored, length));
        if plain.len() != length || again.ok() != Some(plain) {
            return Reading::Different;
        }
        reading = Reading::Same;
    }
    reading
}

/// A snapshot file under the name that its bytes ask for.
pub fn snapshot(bytes: &[u8]) -> Reading {
    let stored = |bytes: &[u8]| {
        let objects = objects().ok()?;
        let id = keys::snapshot_id(Timestamp::default(), bytes);
        objects.store.put(&keys::snapshot(&id).ok()?, &bytes.to_vec().into()).ok()?;
        Some((objects, id))
    };
    let read = |(objects, id): &(Objects, SnapshotId)| document::read(objects, REPOSITORY, id).ok();
    let Some(place) = stored(bytes) else { return Reading::Refused };
    let _ = document::names(&place.0).and_then(|names| document::listing(&place.0, REPOSITORY, &names));
    let Some(document) = read(&place) else { return Reading::Refused };
    let again = objects().ok().and_then(|objects| {
        let (id, _) = document::commit(&objects, &document).ok()?;
        // It must be found by its name as well.
        document::names(&objects).ok()?.contains(&id).then_some(())?;
        document::read(&objects, REPOSITORY, &id).ok()
    });
    same(again.is_some_and(|again| alike(&again, &document)))
}

/// `repository.json`, as it is and with its checksum put right.
pub fn descriptor(bytes: &[u8]) -> Reading {
    let read = |bytes: &[u8]| -> Option<Descriptor> {
        let objects = holding(keys::descriptor(), bytes)?;
        descriptor::read(&objects.store).ok().flatten()
    };
    as_it_is_and_sealed(bytes, read)
}

/// The newest lease, under the name that its number asks for. Somebody then takes a newer one.
pub fn lease(bytes: &[u8]) -> Reading {
    let epoch = serde_json::from_slice::<Map<String, Value>>(bytes)
        .ok()
        .and_then(|fields| fields.get("epoch").and_then(Value::as_u64))
        .unwrap_or(1);
    let read = |bytes: &[u8]| -> Option<Lease> {
        let objects = holding(keys::lease(epoch), bytes)?;
        let lease = lease::newest(&objects).ok().flatten();
        let text = || "w".to_owned();
        let writer = Writer { volume_id: text(), identity: text(), host: text() };
        let _ = lease::take(&objects, &writer, 0, Timestamp::default());
        lease
    };
    as_it_is_and_sealed(bytes, read)
}

/// What the cache keeps of each entry's times, as it is and with magic and checksum around it.
pub fn stat_rows(bytes: &[u8]) -> Reading {
    let mut rows = cache::decode_stats(bytes);
    if rows.is_none() {
        let mut whole = [cache::STAT_MAGIC, bytes].concat();
        whole.extend(Hash::of(&whole).0);
        rows = cache::decode_stats(&whole);
    }
    let Some(rows) = rows else { return Reading::Refused };
    same(cache::decode_stats(&cache::encode_stats(&rows)) == Some(rows))
}

/// A note on an uploaded pack, as it is and with its checksum put right.
pub fn uploaded_pack(bytes: &[u8]) -> Reading {
    as_it_is_and_sealed(bytes, |bytes| sealed::open::<UploadedPack>(bytes, cache::UPLOADED_FORMAT).ok())
}

/// A prune's note on packs worth emptying, as it is and with its checksum put right.
pub fn mostly_dead(bytes: &[u8]) -> Reading {
    as_it_is_and_sealed(bytes, |bytes| sealed::open::<MostlyDeadNote>(bytes, cache::MOSTLY_DEAD_FORMAT).ok())
}

fn as_it_is_and_sealed<T: Serialize>(bytes: &[u8], read: impl Fn(&[u8]) -> Option<T>) -> Reading {
    let document = read(bytes).or_else(|| {
        let fields: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
        read(&sealed::seal(&fields, FORMAT).ok()?)
    });
    let Some(document) = document else { return Reading::Refused };
    let again = sealed::seal(&document, FORMAT).ok().and_then(|bytes| read(&bytes));
    same(again.is_some_and(|again| alike(&again, &document)))
}

fn alike<T: Serialize>(one: &T, other: &T) -> bool {
    serde_json::to_vec(one).ok() == serde_json::to_vec(other).ok()
}

fn same(is_same: bool) -> Reading {
    if is_same { Reading::Same } else { Reading::Different }
}

fn objects() -> Result<Objects, StoreError> {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::default()));
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new(clock));
    store.create()?;
    Ok(Objects { store, codec: Codec::None, level: 0 })
}

/// An otherwise empty store with one object in it.
fn holding(key: Result<Key, StoreError>, bytes: &[u8]) -> Option<Objects> {
    let objects = objects().ok()?;
    objects.store.put(&key.ok()?, &bytes.to_vec().into()).ok()?;
    Some(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A seed that its reader refuses would leave the fuzzer at the door.
    #[test]
    fn the_seeds_are_taken_for_good() {
        type Reader = fn(&[u8]) -> Reading;
        let readers: [(&str, Reader); 9] = [
            ("segment", segment),
            ("pack_table", pack_table),
            ("frame", frame),
            ("snapshot", snapshot),
            ("descriptor", descriptor),
            ("lease", lease),
            ("stat_rows", stat_rows),
            ("uploaded_pack", uploaded_pack),
            ("mostly_dead", mostly_dead),
        ];
        for (name, read) in readers {
            let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
            for seed in std::fs::read_dir(&seeds).unwrap() {
                let path = seed.unwrap().path();
                assert_eq!(read(&std::fs::read(&path).unwrap()), Reading::Same, "{}", path.display());
            }
        }
    }
}
