//! What a check saw, as facts to decide on: which segments need which bad frames, where the content of these was, and
//! what of each snapshot is gone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::base::hash::Hash;
use crate::repository::packed::check::{KnownSegment, Paths, Survey};
use crate::repository::packed::keys;
use crate::repository::packed::repair::live::{Source, WantedFrame};
use crate::repository::packed::repair::plan::{Facts, PackFacts, Place, SegmentFacts};
use crate::repository::packed::restore::plan::placed;
use crate::repository::packed::segment::Segment;
use crate::repository::{Lost, RepositoryError};
use crate::snapshot::{Kind, RelativePath, SnapshotId};

pub type Wanted = BTreeMap<Place, WantedFrame>;

pub fn facts(survey: &Survey<'_>) -> Result<(Facts, Wanted), RepositoryError> {
    let mut facts = Facts { unreadable: survey.unreadable.keys().cloned().collect(), ..Facts::default() };
    for (id, document) in &survey.documents {
        facts.snapshots.insert(id.clone(), document.segments.iter().map(|segment| segment.id).collect());
    }
    for (id, damage) in &survey.damaged {
        facts.packs.insert(*id, PackFacts { bad: damage.bad.keys().copied().collect() });
    }
    let mut wanted = Wanted::new();
    for (id, known) in &survey.segments {
        let mut found = SegmentFacts {
            damaged: known.trouble.is_some(),
            known: known.trouble.is_none() || known.cached,
            packs: known.packs.clone(),
            bad: BTreeSet::new(),
        };
        if found.known && is_hit(survey, known) {
            found.bad = want(survey, &survey.load(known)?, &mut wanted);
        }
        facts.segments.insert(*id, found);
    }
    Ok((facts, wanted))
}

fn is_hit(survey: &Survey<'_>, known: &KnownSegment) -> bool {
    known.packs.iter().any(|pack| survey.damaged.get(pack).is_some_and(|damage| !damage.bad.is_empty()))
}

/// The bad frames of a segment, by number.
fn bad_frames(survey: &Survey<'_>, segment: &Segment) -> HashMap<u32, Place> {
    let is_bad =
        |place: &Place| survey.damaged.get(&place.0).is_some_and(|damage| damage.bad.contains_key(&place.1));
    let places = segment.frames.iter().map(|frame| (frame.pack, frame.offset));
    (0u32..).zip(places).filter(|(_, place)| is_bad(place)).collect()
}

/// Notes where the content of bad frames was.
fn want(survey: &Survey<'_>, segment: &Segment, wanted: &mut Wanted) -> BTreeSet<Place> {
    let bad = bad_frames(survey, segment);
    for (number, place) in &bad {
        if let Some(frame) = segment.frames.get(*number as usize) {
            let sources = BTreeSet::new();
            wanted.entry(*place).or_insert_with(|| WantedFrame { frame: *frame, sources });
        }
    }
    for (number, entry) in segment.entries.iter().enumerate() {
        if !entry.extents().iter().any(|extent| bad.contains_key(&extent.frame)) {
            continue;
        }
        let whole = match &entry.kind {
            Kind::File { hash, holes, extents, .. } if holes.is_empty() && extents.len() == 1 => Some(*hash),
            _ => None,
        };
        let mut parts: BTreeMap<Place, Vec<(u64, u32, u32)>> = BTreeMap::new();
        for (frame, piece) in placed(segment, number) {
            if let Some(place) = bad.get(&frame) {
                parts.entry(*place).or_default().push((piece.file_offset, piece.skip, piece.length));
            }
        }
        for (place, parts) in parts {
            if let Some(wanted) = wanted.get_mut(&place) {
                wanted.sources.insert(Source { path: entry.path.clone(), whole, parts });
            }
        }
    }
    bad.into_values().collect()
}

/// What each of the snapshots needs and nobody has any more.
pub fn lost(
    survey: &Survey<'_>,
    facts: &Facts,
    snapshots: &BTreeSet<SnapshotId>,
) -> Result<Vec<Lost>, RepositoryError> {
    let mut gone: HashMap<Hash, Vec<RelativePath>> = HashMap::new();
    let mut all = Vec::new();
    for id in snapshots {
        let mut objects = BTreeSet::new();
        let mut paths = Paths::default();
        let mut unnamed = 0;
        let Some(document) = survey.documents.get(id) else {
            let objects = vec![format!("{}/{id}", keys::SNAPSHOTS)];
            all.push(Lost { snapshot: id.clone(), objects, paths: Vec::new(), path_count: 0 });
            continue;
        };
        for reference in &document.segments {
            let Some((known, facts)) =
                survey.segments.get(&reference.id).zip(facts.segments.get(&reference.id).map(|f| (f, facts)))
            else {
                continue;
            };
            let (segment, facts) = facts;
            if !segment.known {
                objects.insert(format!("{}/{}", keys::SEGMENTS, reference.id));
                unnamed += reference.entries;
                continue;
            }
            let bad: BTreeSet<Place> = segment.bad.difference(&facts.rebuilt).copied().collect();
            if bad.is_empty() {
                continue;
            }
            objects.extend(bad.iter().map(|(pack, _)| format!("{}/{pack}", keys::PACKS)));
            let names = match gone.entry(reference.id) {
                std::collections::hash_map::Entry::Occupied(names) => names.into_mut(),
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(paths_of(&survey.load(known)?, &bad))
                }
            };
            names.iter().for_each(|path| paths.add(path));
        }
        let (paths, count) = paths.named();
        let objects = objects.into_iter().collect();
        all.push(Lost { snapshot: id.clone(), objects, paths, path_count: count + unnamed });
    }
    Ok(all)
}

fn paths_of(segment: &Segment, bad: &BTreeSet<Place>) -> Vec<RelativePath> {
    let is_bad = |number: u32| {
        let frame = segment.frames.get(number as usize);
        frame.is_some_and(|frame| bad.contains(&(frame.pack, frame.offset)))
    };
    let hit = segment.entries.iter().filter(|entry| entry.extents().iter().any(|e| is_bad(e.frame)));
    hit.map(|entry| entry.path.clone()).collect()
}
