//! What a backup can store anew from the volume alone, and how much of it at once. Prune asks as well, so that it
//! names no pack that no backup could empty.

use std::collections::HashSet;

use crate::repository::packed::backup::job::SMALL;
use crate::repository::packed::cache::MostlyDead;
use crate::repository::packed::frame::{Frame, PackId};

/// What is stored anew beside a backup is an eighth of the volume at most, and a GiB: no backup becomes a full one.
const SHARE: u64 = 8;
const LEAST: u64 = 4 << 20;
const MOST: u64 = 1 << 30;

/// Read as a whole, and verified by its own hash.
pub fn is_small(size: u64, without_holes: bool) -> bool {
    size <= SMALL && without_holes
}

/// Of larger files only the chunks in question are read, each verified by the hash of its frame: so it must be a whole
/// one.
pub fn may_move(small: bool, frame: &Frame, skip: u32, length: u32) -> bool {
    small || (skip == 0 && length == frame.plain)
}

/// Pure: the packs that this backup empties, and those that are left for later ones. `data_bytes` are those of the
/// volume.
pub fn share_of(mut packs: Vec<MostlyDead>, data_bytes: u64) -> (HashSet<PackId>, Vec<MostlyDead>) {
    let budget = (data_bytes / SHARE).clamp(LEAST, MOST);
    let mut spent = 0u64;
    let fit = packs.iter().enumerate().position(|(number, pack)| {
        spent = spent.saturating_add(pack.needed);
        // One always fits: a pack is no larger than a few dozen MiB.
        number > 0 && spent > budget
    });
    let later = packs.split_off(fit.unwrap_or(packs.len()));
    (packs.into_iter().map(|one| one.pack).collect(), later)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_backup_moves_more_than_its_share() {
        let packs = |needed: &[u64]| -> Vec<MostlyDead> {
            needed
                .iter()
                .map(|needed| MostlyDead { pack: PackId::random().unwrap(), needed: *needed })
                .collect()
        };
        let moved = |needed: &[u64], data| {
            let all = packs(needed);
            let (now, later) = share_of(all.clone(), data);
            assert_eq!(now.len() + later.len(), all.len());
            assert!(all.iter().take(now.len()).all(|one| now.contains(&one.pack)), "in their order");
            now.len()
        };
        let mib = 1 << 20;
        assert_eq!(moved(&[], 0), 0);
        assert_eq!(moved(&[1; 1000], 0), 1000);
        assert_eq!(moved(&[2 * mib; 10], 8 * mib), 2);
        assert_eq!(moved(&[20 * mib; 10], 0), 1, "one at least");
        assert_eq!(moved(&[20 * mib; 100], 8 << 30), 51);
        assert_eq!(moved(&[20 * mib; 100], u64::MAX), 51);
        assert_eq!(moved(&[u64::MAX; 3], u64::MAX), 1);
    }
}
