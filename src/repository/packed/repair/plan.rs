//! What is to be done about damage. Pure: from what is damaged and what can be had again to what is mended, what is
//! given up, and what must not be rested on.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::hash::Hash;
use crate::repository::packed::frame::PackId;
use crate::snapshot::SnapshotId;

/// A frame by its place.
pub type Place = (PackId, u64);

#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The segments of each snapshot that can be read.
    pub snapshots: BTreeMap<SnapshotId, Vec<Hash>>,
    /// Snapshots that cannot be read.
    pub unreadable: BTreeSet<SnapshotId>,
    pub segments: BTreeMap<Hash, SegmentFacts>,
    pub packs: BTreeMap<PackId, PackFacts>,
    /// Of the bad frames, those whose content is there again.
    pub rebuilt: BTreeSet<Place>,
}

#[derive(Clone, Debug, Default)]
pub struct SegmentFacts {
    /// The object is not what it was, or is missing.
    pub damaged: bool,
    /// What was in it is known, from wherever.
    pub known: bool,
    pub packs: BTreeSet<PackId>,
    /// The bad frames that it refers to.
    pub bad: BTreeSet<Place>,
}

/// Of a pack that is damaged.
#[derive(Clone, Debug, Default)]
pub struct PackFacts {
    pub bad: BTreeSet<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub saved: BTreeSet<SnapshotId>,
    pub lost: BTreeSet<SnapshotId>,
    /// Nothing is left that could be restored. Then lost snapshots stay where they are: a repository without any would
    /// look like one that is yet to be filled, and an app would start empty.
    pub none_left: bool,
    pub segments: Vec<Hash>,
    /// All that is needed of them can be had again.
    pub packs: Vec<PackId>,
    /// Snapshots that are saved need them, and some frames in them are gone.
    pub packs_in_part: Vec<PackId>,
    /// Nobody who is saved needs them, and they cannot be mended.
    pub condemned_packs: Vec<PackId>,
    pub condemned_segments: Vec<Hash>,
}

pub fn decide(facts: &Facts) -> Plan {
    let mut plan = Plan { lost: facts.unreadable.clone(), ..Plan::default() };
    for (id, segments) in &facts.snapshots {
        let whole = segments.iter().all(|segment| {
            let segment = facts.segments.get(segment);
            segment.is_some_and(|segment| segment.known && segment.bad.is_subset(&facts.rebuilt))
        });
        if whole {
            plan.saved.insert(id.clone())
        } else {
            plan.lost.insert(id.clone())
        };
    }
    plan.none_left = plan.saved.is_empty() && !plan.lost.is_empty();
    let saved_segments =
        plan.saved.iter().filter_map(|id| facts.snapshots.get(id)).flatten().collect::<BTreeSet<_>>();
    let needed: BTreeSet<PackId> = saved_segments
        .iter()
        .filter_map(|id| facts.segments.get(id))
        .flat_map(|segment| &segment.packs)
        .copied()
        .collect();
    for (id, segment) in facts.segments.iter().filter(|(_, segment)| segment.damaged) {
        if segment.known { &mut plan.segments } else { &mut plan.condemned_segments }.push(*id);
    }
    for (id, pack) in &facts.packs {
        let whole = pack.bad.iter().all(|offset| facts.rebuilt.contains(&(*id, *offset)));
        match (whole, needed.contains(id)) {
            (true, _) => plan.packs.push(*id),
            (false, true) => plan.packs_in_part.push(*id),
            (false, false) => plan.condemned_packs.push(*id),
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(number: u8) -> PackId {
        PackId::parse(&format!("{number:032x}")).unwrap()
    }

    fn snapshot(name: &str) -> SnapshotId {
        SnapshotId(name.to_owned())
    }

    fn segment(facts: &mut Facts, name: &str, packs: &[u8], bad: &[(u8, u64)]) -> Hash {
        let id = Hash::of(name.as_bytes());
        let bad: BTreeSet<Place> = bad.iter().map(|(number, offset)| (pack(*number), *offset)).collect();
        for (id, offset) in &bad {
            facts.packs.entry(*id).or_default().bad.insert(*offset);
        }
        let packs = packs.iter().map(|number| pack(*number)).collect();
        facts.segments.insert(id, SegmentFacts { damaged: false, known: true, packs, bad });
        id
    }

    /// `old` needs one bad frame of pack 1, `new` another one of it and one of pack 2.
    fn facts() -> Facts {
        let mut facts = Facts::default();
        let old = segment(&mut facts, "old", &[1], &[(1, 0)]);
        let new = segment(&mut facts, "new", &[1, 2], &[(1, 50), (2, 0)]);
        facts.snapshots.insert(snapshot("a"), vec![old]);
        facts.snapshots.insert(snapshot("b"), vec![new]);
        facts
    }

    #[test]
    fn all_that_is_had_again_is_mended() {
        let mut facts = facts();
        facts.rebuilt = [(pack(1), 0), (pack(1), 50), (pack(2), 0)].into();
        let plan = decide(&facts);
        assert_eq!((plan.saved.len(), plan.lost.len()), (2, 0));
        assert_eq!(plan.packs, [pack(1), pack(2)]);
        assert!(plan.packs_in_part.is_empty() && plan.condemned_packs.is_empty() && !plan.none_left);
    }

    #[test]
    fn a_pack_is_mended_in_part_for_those_who_can_be_saved() {
        let mut facts = facts();
        facts.rebuilt = [(pack(1), 50), (pack(2), 0)].into();
        let plan = decide(&facts);
        assert_eq!(plan.lost, [snapshot("a")].into());
        assert_eq!((plan.packs, plan.packs_in_part), (vec![pack(2)], vec![pack(1)]));
    }

    #[test]
    fn what_only_the_lost_need_is_condemned() {
        let mut facts = facts();
        facts.rebuilt = [(pack(1), 0), (pack(1), 50)].into();
        let plan = decide(&facts);
        assert_eq!(plan.lost, [snapshot("b")].into());
        assert_eq!((plan.packs, plan.condemned_packs), (vec![pack(1)], vec![pack(2)]));
    }

    #[test]
    fn the_last_snapshots_stay_even_if_they_are_lost() {
        let plan = decide(&facts());
        assert!(plan.none_left && plan.saved.is_empty());
        assert_eq!(plan.condemned_packs, [pack(1), pack(2)]);
        assert!(!decide(&Facts::default()).none_left, "an empty repository has lost nothing");
    }

    #[test]
    fn a_segment_comes_back_if_somebody_knows_it() {
        let mut facts = facts();
        facts.rebuilt = [(pack(1), 0), (pack(1), 50), (pack(2), 0)].into();
        let (old, new) = (Hash::of(b"old"), Hash::of(b"new"));
        facts.segments.get_mut(&old).unwrap().damaged = true;
        *facts.segments.get_mut(&new).unwrap() = SegmentFacts { damaged: true, ..SegmentFacts::default() };
        facts.unreadable = [snapshot("c")].into();
        let plan = decide(&facts);
        assert_eq!(plan.saved, [snapshot("a")].into());
        assert_eq!((plan.segments, plan.condemned_segments), (vec![old], vec![new]));
        assert_eq!(plan.lost, [snapshot("b"), snapshot("c")].into());
    }
}
