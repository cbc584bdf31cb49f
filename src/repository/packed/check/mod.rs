//! Check and verify: every snapshot, its segments, the packs they refer to, leases and tombstones. Names what is
//! damaged and exactly what that takes down. Changes nothing.

mod hit;
mod look;
mod survey;

use std::collections::BTreeSet;

use crate::repository::packed::cache::Cache;
use crate::repository::packed::codec::Codec;
use crate::repository::packed::objects::Objects;
use crate::repository::packed::{Packed, document, keys};
use crate::repository::{CheckReport, CheckRequest, Finding, RepositoryError};
use crate::snapshot::SnapshotId;

pub(super) use hit::Paths;
pub(super) use look::{PackDamage, look_at};
pub(super) use survey::{KnownSegment, NeededPack, Survey};

pub(super) fn run(packed: &Packed, request: &CheckRequest) -> Result<CheckReport, RepositoryError> {
    let (descriptor, objects) = match packed.open() {
        Err(error) if error.is_damage() => return without_descriptor(packed, error),
        other => other?,
    };
    let cache = Cache::existing(request.cache.as_deref(), &descriptor.id);
    let survey = Survey::make(&objects, &descriptor.id, &cache, request)?;
    report(&survey)
}

/// Without `repository.json` no snapshot can be read, whatever else is whole.
fn without_descriptor(packed: &Packed, error: RepositoryError) -> Result<CheckReport, RepositoryError> {
    let objects = Objects { store: packed.store.clone(), codec: Codec::None, level: 0 };
    let names = document::names(&objects)?;
    let (object, reason) = damage(error)?;
    Ok(CheckReport {
        snapshots: names.len() as u64,
        findings: vec![Finding::of(object, reason, names)],
        ..CheckReport::default()
    })
}

pub(super) fn report(survey: &Survey<'_>) -> Result<CheckReport, RepositoryError> {
    let mut findings = Vec::new();
    for (object, reason) in survey.lease.iter().chain(&survey.tombstones) {
        findings.push(Finding::of(object.clone(), reason.clone(), Vec::new()));
    }
    for (id, reason) in &survey.unreadable {
        let object = format!("{}/{id}", keys::SNAPSHOTS);
        findings.push(Finding::of(object, reason.clone(), vec![id.clone()]));
    }
    for (id, segment) in &survey.segments {
        if let Some(reason) = &segment.trouble {
            let object = format!("{}/{id}", keys::SEGMENTS);
            let finding = Finding::of(object, reason.clone(), segment.users.clone());
            findings.push(hit::of_segment(survey, segment, finding));
        }
    }
    let mut hits = hit::of_packs(survey)?;
    for (id, damage) in &survey.damaged {
        let mut finding = Finding::of(format!("{}/{id}", keys::PACKS), damage.in_words(), Vec::new());
        if let Some(hit) = hits.remove(id) {
            finding.snapshots = hit.snapshots.into_iter().collect();
            (finding.paths, finding.path_count) = hit.paths.named();
        }
        findings.push(finding);
    }
    findings.sort_by(|a, b| (&a.object, &a.reason).cmp(&(&b.object, &b.reason)));
    let hit: BTreeSet<&SnapshotId> = findings.iter().flat_map(|finding| &finding.snapshots).collect();
    let whole = survey.documents.keys().filter(|id| !hit.contains(id)).cloned().collect();
    Ok(CheckReport {
        snapshots: (survey.documents.len() + survey.unreadable.len()) as u64,
        segments: survey.segments.len() as u64,
        packs: survey.packs.len() as u64,
        verified_packs: survey.verified_packs,
        verified_bytes: survey.verified_bytes,
        whole,
        findings,
    })
}

/// Damage as object and reason; a store that does not answer ends the check.
pub(super) fn damage(error: RepositoryError) -> Result<(String, String), RepositoryError> {
    match error {
        RepositoryError::Damaged { object, reason, .. } => Ok((object, reason)),
        RepositoryError::Newer { object, found, known, .. } => {
            Ok((object, format!("it is of format {found}; this program reads up to {known}")))
        }
        error => Err(error),
    }
}

fn cancelled(request: &CheckRequest) -> Result<(), RepositoryError> {
    if request.cancel.is_cancelled() { Err(RepositoryError::Cancelled) } else { Ok(()) }
}
