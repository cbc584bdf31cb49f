//! Which packs are worth emptying: pure arithmetic on how much of each is needed. Knows neither how that was found
//! out, nor how a backup empties them.

use crate::repository::Waste;
use crate::repository::packed::cache::MostlyDead;
use crate::repository::packed::frame::PackId;
use crate::repository::packed::prune::usage::Standing;

/// A pack is emptied when nobody needs this share of it or more, in percent. Less would be much work for little: at a
/// third, two bytes are stored anew to be rid of one.
const DEAD_PERCENT: u64 = 33;
/// Nothing is done as long as no more than this share of what is needed is waste, in percent.
const TOLERATED_PERCENT: u64 = 10;
/// A table of contents: without frames, and for each.
const TABLE: u64 = 400;
const ROW: u64 = 110;

/// A pack that snapshots refer to.
#[derive(Clone, Copy, Debug)]
pub struct Pack {
    pub id: PackId,
    /// In bytes.
    pub size: u64,
    pub standing: Standing,
}

impl Pack {
    /// What would be gone if only what is needed were stored.
    fn dead(&self) -> u64 {
        let table = TABLE + ROW * self.standing.frames;
        self.size.saturating_sub(self.standing.needed.saturating_add(table))
    }

    /// What only older snapshots need cannot be had from the volume, and keeps the pack until they are forgotten. What
    /// the newest needs as well is taken out all the same: else all that come after it would need the pack, too.
    fn is_worth_emptying(&self) -> bool {
        !self.standing.stuck
            && self.standing.needed_by_newest > 0
            && u128::from(self.dead()) * 100 >= u128::from(self.size) * u128::from(DEAD_PERCENT)
    }
}

/// The most dead for the least work first, until what is left is tolerable.
pub fn choose(packs: impl Iterator<Item = Pack>) -> (Vec<MostlyDead>, Waste) {
    let mut waste = Waste::default();
    let mut needed = 0u64;
    let mut candidates = Vec::new();
    for pack in packs {
        waste.bytes += pack.dead();
        needed = needed.saturating_add(pack.standing.needed);
        if pack.is_worth_emptying() {
            candidates.push(pack);
        }
    }
    candidates.sort_by(|a, b| {
        let work =
            |one: &Pack, other: &Pack| u128::from(one.standing.needed_by_newest) * u128::from(other.dead());
        work(a, b).cmp(&work(b, a)).then(a.id.cmp(&b.id))
    });
    let tolerated = u128::from(needed) * u128::from(TOLERATED_PERCENT) / 100;
    let mut chosen = Vec::new();
    for pack in candidates {
        if u128::from(waste.bytes - waste.waiting_bytes) <= tolerated {
            break;
        }
        waste.waiting_packs += 1;
        waste.waiting_bytes += pack.dead();
        waste.needed_bytes += pack.standing.needed_by_newest;
        chosen.push(MostlyDead { pack: pack.id, needed: pack.standing.needed_by_newest });
    }
    (chosen, waste)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn pack(needed: u64, needed_by_newest: u64) -> Pack {
        let standing = Standing { needed, needed_by_newest, frames: 1, stuck: false };
        Pack { id: PackId::random().unwrap(), size: 100 * MIB, standing }
    }

    fn chosen(packs: &[Pack]) -> Vec<PackId> {
        choose(packs.iter().copied()).0.iter().map(|one| one.pack).collect()
    }

    #[test]
    fn mostly_dead_packs_are_chosen_and_the_cheapest_first() {
        let (full, half, little) =
            (pack(99 * MIB, 99 * MIB), pack(50 * MIB, 50 * MIB), pack(10 * MIB, 10 * MIB));
        let all = [full, half, little];
        assert_eq!(chosen(&all), [little.id, half.id]);
        let (_, waste) = choose(all.into_iter());
        assert_eq!((waste.waiting_packs, waste.needed_bytes), (2, 60 * MIB));
        assert_eq!(waste.bytes.div_ceil(MIB), 141);
        assert_eq!(waste.waiting_bytes.div_ceil(MIB), 140);
        // Needed by older ones as well: the same work, with less to gain.
        let older = pack(60 * MIB, 10 * MIB);
        assert_eq!(chosen(&[older, little]), [little.id, older.id]);
    }

    #[test]
    fn what_cannot_be_had_from_the_volume_is_left() {
        let of_older = pack(10 * MIB, 0);
        let mut stuck = pack(10 * MIB, 10 * MIB);
        stuck.standing.stuck = true;
        assert_eq!(chosen(&[of_older, stuck]), []);
        assert_eq!(choose([of_older].into_iter()).1.bytes.div_ceil(MIB), 90);
    }

    #[test]
    fn a_little_waste_is_left_alone() {
        let dead = pack(10 * MIB, 10 * MIB);
        let mut all = vec![pack(100 * MIB, 100 * MIB); 9];
        all.push(dead);
        assert_eq!(chosen(&all), []);
        all.push(dead);
        assert_eq!(chosen(&all).len(), 1, "only until the rest is tolerable");
    }

    #[test]
    fn a_pack_that_holds_nothing_but_what_is_needed_is_never_chosen() {
        // Of tiny ones the table is the larger part.
        for (stored, frames) in [(1, 1), (300, 1), (300, 3), (45_000, 450)] {
            let standing = Standing { needed: stored, needed_by_newest: stored, frames, stuck: false };
            let size = stored + 320 + frames * 90;
            assert_eq!(chosen(&[Pack { id: PackId::random().unwrap(), size, standing }]), []);
        }
    }

    #[test]
    fn impossible_figures_are_taken_as_they_come() {
        let standing =
            Standing { needed: u64::MAX / 2, needed_by_newest: u64::MAX / 2, frames: 450, stuck: false };
        let odd = Pack { id: PackId::random().unwrap(), size: 0, standing };
        assert_eq!(chosen(&[odd]), []);
        assert_eq!(choose(std::iter::empty()).1, Waste::default());
    }
}
