//! A pack again, under its own name and with every frame where the manifests say: what is whole is taken over, what is
//! bad is put in anew, and what nobody needs may become filler. Stores nothing.

use std::collections::BTreeMap;

use crate::base::hash::Hash;
use crate::repository::RepositoryError;
use crate::repository::packed::check::{NeededPack, PackDamage};
use crate::repository::packed::codec::Codec;
use crate::repository::packed::frame::{Frame, LONGEST_FRAME, PackId};
use crate::repository::packed::keys;
use crate::repository::packed::objects::Objects;
use crate::repository::packed::pack::{FinishedPack, PackBuilder};
use crate::repository::packed::repair::fit::filler;

/// For the table of contents.
const TABLE_ROOM: usize = 128 << 10;

/// The stored bytes of a bad frame; `None` where it is given up.
pub type Again<'a> = &'a mut dyn FnMut(&Frame) -> Result<Option<Vec<u8>>, RepositoryError>;

/// `Err` in the inner result says why there is no such pack.
pub fn assemble(
    objects: &Objects,
    id: PackId,
    needed: &NeededPack,
    damage: &PackDamage,
    again: Again<'_>,
) -> Result<Result<FinishedPack, String>, RepositoryError> {
    let old = match damage.size {
        Some(_) => objects.needed(&keys::pack(id)?, objects.store.get(&keys::pack(id)?))?,
        None => Vec::new(),
    };
    let mut pieces: BTreeMap<u64, Piece> = BTreeMap::new();
    for frame in needed.frames.values() {
        let stored = match damage.bad.contains_key(&frame.offset) {
            false => whole(objects, frame, &old),
            true => again(frame)?,
        };
        pieces.insert(frame.offset, Piece { frame: *frame, stored });
    }
    // A table that is not as the manifests need is none to go by.
    let table = match (damage.size, &damage.table) {
        (Some(size), None) => objects.table_of(id, size)?,
        _ => Vec::new(),
    };
    for frame in table.into_iter().filter(|frame| !needed.frames.contains_key(&frame.offset)) {
        if let Some(stored) = whole(objects, &frame, &old) {
            pieces.insert(frame.offset, Piece { frame, stored: Some(stored) });
        }
    }
    let length = pieces.values().map(|piece| piece.frame.end()).max().unwrap_or(0);
    let failed = |error: std::io::Error| RepositoryError::Worker(error.to_string());
    let capacity = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(TABLE_ROOM);
    let mut builder = PackBuilder::again(id, capacity).map_err(failed)?;
    let mut end = 0;
    for (offset, piece) in pieces {
        let Some(gap) = offset.checked_sub(end) else {
            return Ok(Err(format!("the manifests name frames that overlap at {offset}")));
        };
        if !fill(&mut builder, objects.codec, gap).map_err(failed)? {
            return Ok(Err(format!("nothing fits between the frames before {offset}")));
        }
        let frame = piece.frame;
        let fits = match piece.stored {
            Some(stored) => {
                let placed = builder.add(&stored, frame.plain, frame.hash).map_err(failed)?;
                placed == frame
            }
            None => fill(&mut builder, objects.codec, u64::from(frame.stored)).map_err(failed)?,
        };
        if !fits {
            return Ok(Err(format!("the frame at {offset} does not fit where it was")));
        }
        end = frame.end();
    }
    // A table may be too large to be hidden, where the codec leaves little room for it.
    Ok(builder.finish(objects.codec).map_err(|error| error.to_string()))
}

struct Piece {
    frame: Frame,
    /// `None`: nobody has it, and its place is kept.
    stored: Option<Vec<u8>>,
}

/// The bytes of a frame as they are in the pack, if they are what they should be.
fn whole(objects: &Objects, frame: &Frame, old: &[u8]) -> Option<Vec<u8>> {
    let from = usize::try_from(frame.offset).ok()?;
    let stored = old.get(from..usize::try_from(frame.end()).ok()?)?;
    objects.decode_frame(frame, stored).ok()?;
    Some(stored.to_vec())
}

/// Frames without content, so that the table stays without gaps. `false`: there is none that short.
fn fill(builder: &mut PackBuilder, codec: Codec, gap: u64) -> std::io::Result<bool> {
    let mut left = gap;
    while left > 0 {
        // Without a codec they have content all the same, and no frame is longer.
        let part = if codec == Codec::None { left.min(u64::from(LONGEST_FRAME)) } else { left };
        let Some(stored) = usize::try_from(part).ok().and_then(|part| filler(codec, part)) else {
            return Ok(false);
        };
        let plain: &[u8] = if codec == Codec::None { &stored } else { &[] };
        let length = u32::try_from(plain.len()).map_err(std::io::Error::other)?;
        builder.add(&stored, length, Hash::of(plain))?;
        left -= part;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use bytes::Bytes;

    use crate::base::clock::ManualClock;
    use crate::base::timestamp::Timestamp;
    use crate::repository::packed::check::look_at;
    use crate::store::{MemoryStore, ObjectStore};

    struct Bench {
        objects: Objects,
        pack: FinishedPack,
        plain: Vec<Vec<u8>>,
    }

    fn bench(codec: Codec) -> Bench {
        let store = Arc::new(MemoryStore::new(Arc::new(ManualClock::at(Timestamp::default()))));
        store.create().unwrap();
        let objects = Objects { store, codec, level: codec.default_level() };
        let plain: Vec<Vec<u8>> = (0..5u32)
            .map(|n| (0..4000).flat_map(|m: u32| format!("{n} {m}\n").into_bytes()).collect())
            .collect();
        let mut builder = PackBuilder::new(0).unwrap();
        for plain in &plain {
            builder.add(&objects.encode(plain).unwrap(), plain.len() as u32, Hash::of(plain)).unwrap();
        }
        let pack = builder.finish(codec).unwrap();
        objects.store.put(&keys::pack(pack.id).unwrap(), &pack.bytes).unwrap();
        Bench { objects, pack, plain }
    }

    impl Bench {
        fn damage(&self, needed: &NeededPack) -> PackDamage {
            let budget = crate::base::budget::Budget::new(1 << 30);
            look_at(&self.objects, &budget, self.pack.id, needed, true).unwrap().0
        }

        fn needed(&self, numbers: &[usize]) -> NeededPack {
            let frames =
                numbers.iter().map(|number| (self.pack.frames[*number].offset, self.pack.frames[*number]));
            NeededPack { frames: frames.collect() }
        }

        fn mended(&self, needed: &NeededPack, without: Option<usize>) -> FinishedPack {
            let damage = self.damage(needed);
            let mut again = |frame: &Frame| {
                let number = self.pack.frames.iter().position(|known| known == frame).unwrap();
                let stored =
                    (Some(number) != without).then(|| self.objects.encode(&self.plain[number]).unwrap());
                Ok(stored)
            };
            assemble(&self.objects, self.pack.id, needed, &damage, &mut again).unwrap().unwrap()
        }

        fn put(&self, bytes: Vec<u8>) {
            self.objects.store.put(&keys::pack(self.pack.id).unwrap(), &Bytes::from(bytes)).unwrap();
        }
    }

    const ALL: [Codec; 3] = [Codec::Zstd, Codec::Gzip, Codec::None];

    #[test]
    fn wherever_a_bit_flipped_the_pack_is_byte_for_byte_what_it_was() {
        for codec in ALL {
            let bench = bench(codec);
            let needed = bench.needed(&[0, 1, 2, 3, 4]);
            for at in (0..bench.pack.bytes.len()).step_by(211) {
                let mut bytes = bench.pack.bytes.to_vec();
                bytes[at] ^= 1;
                bench.put(bytes);
                assert_eq!(bench.mended(&needed, None).bytes, bench.pack.bytes, "{codec:?} {at}");
            }
        }
    }

    #[test]
    fn a_pack_that_is_gone_or_cut_is_made_of_what_is_needed() {
        for codec in ALL {
            let bench = bench(codec);
            let needed = bench.needed(&[1, 3]);
            for length in [Some(0), Some(100), Some(bench.pack.bytes.len() - 1), None] {
                match length {
                    Some(length) => bench.put(bench.pack.bytes[..length].to_vec()),
                    None => bench.objects.store.delete(&keys::pack(bench.pack.id).unwrap()).unwrap(),
                }
                let again = bench.mended(&needed, None);
                bench.put(again.bytes.to_vec());
                let left = bench.damage(&needed);
                assert!(left.table.is_none() && left.bad.is_empty(), "{codec:?} {length:?}: {left:?}");
            }
        }
    }

    #[test]
    fn what_is_given_up_is_not_said_to_be_there() {
        for codec in ALL {
            let bench = bench(codec);
            let all = bench.needed(&[0, 1, 2, 3, 4]);
            let mut bytes = bench.pack.bytes.to_vec();
            for number in [1, 2] {
                bytes[bench.pack.frames[number].offset as usize + 20] ^= 1;
            }
            bench.put(bytes);
            assert_eq!(bench.damage(&all).bad.len(), 2);
            let again = bench.mended(&all, Some(2));
            bench.put(again.bytes.to_vec());
            let left = bench.damage(&bench.needed(&[0, 1, 3, 4]));
            assert!(left.table.is_none() && left.bad.is_empty(), "{codec:?}: {left:?}");
            let left = bench.damage(&all);
            assert_eq!(left.bad.keys().collect::<Vec<_>>(), [&bench.pack.frames[2].offset], "{codec:?}");
        }
    }
}
