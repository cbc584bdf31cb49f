//! What the target holds when a copy begins, found by listing: packs, segments, and packs that no snapshot has
//! taken up yet, which an interrupted copy may have left.

use std::collections::HashSet;
use std::thread;

use crate::base::hash::Hash;
use crate::base::timestamp::Timestamp;
use crate::repository::packed::copy::index::Index;
use crate::repository::packed::copy::origin::Present;
use crate::repository::packed::frame::{PackId, StoredPacks};
use crate::repository::packed::keys;
use crate::repository::packed::objects::Objects;
use crate::repository::packed::tombstone::Condemned;
use crate::repository::{RepositoryError, Workers};

/// The content of the target as far as it is likely to be needed again, and all its segments by name.
pub fn survey<'a>(
    objects: &'a Objects,
    present: &Present<'_>,
    workers: &Workers,
) -> Result<(Index<'a>, HashSet<Hash>), RepositoryError> {
    let Target { packs, segments, leftovers } = Target::list(objects)?;
    let mut index = Index::new(objects, packs);
    if let Some(newest) = present.newest()
        && let Some(newest) = present.read(newest)?
    {
        index.expect(&newest.segments);
    }
    take_up(objects, &leftovers, workers, &mut index)?;
    Ok((index, segments))
}

#[derive(Debug)]
struct Target {
    packs: StoredPacks,
    segments: HashSet<Hash>,
    /// Packs stored later than the last snapshot.
    leftovers: Vec<PackId>,
}

impl Target {
    fn list(objects: &Objects) -> Result<Self, RepositoryError> {
        // Before the objects: one whose tombstone is gone already is gone as well. What has one is as good as gone.
        let condemned = Condemned::list(objects)?;
        // By the clock of the store, as those of the packs are.
        let mut last_commit: Option<Timestamp> = None;
        objects.store.list(keys::SNAPSHOTS, &mut |object| {
            last_commit = last_commit.max(Some(object.modified));
            Ok(())
        })?;
        let mut found =
            Self { packs: StoredPacks::default(), segments: HashSet::new(), leftovers: Vec::new() };
        objects.store.list(keys::PACKS, &mut |object| {
            if let Some(id) = PackId::parse(object.key.name())
                && !condemned.packs.contains(&id)
            {
                found.packs.extend([(id, object.size)]);
                if last_commit.is_none_or(|last| object.modified >= last) {
                    found.leftovers.push(id);
                }
            }
            Ok(())
        })?;
        objects.store.list(keys::SEGMENTS, &mut |object| {
            let segment = Hash::from_hex(object.key.name());
            found.segments.extend(segment.filter(|id| !condemned.segments.contains(id)));
            Ok(())
        })?;
        Ok(found)
    }
}

/// Takes in what left-over packs hold, by their own tables of contents: two small requests each. One that cannot
/// be read is passed over.
fn take_up(
    objects: &Objects,
    leftovers: &[PackId],
    workers: &Workers,
    index: &mut Index<'_>,
) -> Result<(), RepositoryError> {
    for batch in leftovers.chunks(workers.connections.max(1)) {
        let tables: Vec<_> = thread::scope(|scope| {
            let readers: Vec<_> =
                batch.iter().map(|pack| scope.spawn(move || (*pack, objects.table(*pack)))).collect();
            readers.into_iter().filter_map(|reader| reader.join().ok()).collect()
        });
        for (pack, table) in tables {
            match table {
                Ok((frames, size)) => index.add_pack(pack, size, &frames),
                Err(error) if error.is_damage() => {
                    tracing::debug!(%error, "a left-over pack is of no use");
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
