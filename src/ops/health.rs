//! Whether the volume's data is whole: the configured checks, and the comparison with the last manifest, which
//! needs a repository.

use std::ops::ControlFlow;

use crate::base::hash::Hash;
use crate::base::timestamp::Timestamp;
use crate::base::within::within;
use crate::ops::{OpsError, Scope};
use crate::repository::Repository;
use crate::snapshot::{Entry, Kind, SnapshotId};
use crate::tree::{FileKind, Root, Stat};
use crate::volume::check::CheckKind;
use crate::volume::{CheckOutcome, CheckSpec, Finding, Level, Marker, Origin};

/// Findings of one kind that are named.
const NAMED: usize = 20;

/// Runs what is due. "Could not tell" goes to the log and counts as good: it must never lead to a restore. Neither must
/// what is unfit; whether the app may start on it is for the caller.
pub fn examine(scope: &Scope, marker: Option<&Marker>, checks: &[CheckSpec], level: Level) -> CheckOutcome {
    let mut outcome = scope.volume.run_checks(checks, level);
    if !outcome.skipped.is_empty() {
        let limit = checks
            .iter()
            .filter(|check| check.kind == CheckKind::Manifest)
            .map(CheckSpec::time_limit)
            .max()
            .unwrap_or_default();
        let (scope, marker) = (scope.clone(), marker.cloned());
        let answer = within(limit, move || compare_with_manifest(&scope, marker.as_ref(), level));
        match answer.unwrap_or_else(|| Err(format!("not done within {} s", limit.as_secs()))) {
            Ok(findings) => outcome.findings.extend(findings),
            Err(reason) => outcome
                .undecided
                .push(crate::volume::check::Undecided { check: "manifest".to_owned(), reason }),
        }
    }
    for undecided in &outcome.undecided {
        tracing::warn!(check = undecided.check, reason = undecided.reason, "this check could not tell");
    }
    for unfit in &outcome.unfit {
        tracing::warn!(
            check = unfit.check,
            finding = unfit.message,
            "the data is whole, and not what is configured"
        );
    }
    for finding in &outcome.findings {
        tracing::error!(check = finding.check, finding = finding.message, "damage");
    }
    outcome
}

/// As `examine`, for a volume that is what its marker says. One that was begun empty and still is has nothing yet that could
/// be damaged: the app may have been stopped before it wrote anything.
pub fn examine_begun(
    scope: &Scope,
    marker: Option<&Marker>,
    checks: &[CheckSpec],
    level: Level,
) -> Result<CheckOutcome, OpsError> {
    match scope.holds_data()? {
        true => Ok(examine(scope, marker, checks, level)),
        false => Ok(CheckOutcome::default()),
    }
}

/// The newest snapshot that this volume made or came from, and the location of the repository that has it.
pub(super) fn last_snapshot(marker: &Marker) -> Option<(SnapshotId, &str)> {
    let made = marker.last_backup.as_ref().map(|backup| (&backup.snapshot, &backup.repository));
    let came_from = match &marker.origin {
        Some(Origin::Snapshot { id, repository, .. }) => Some((id, repository)),
        _ => None,
    };
    made.or(came_from).map(|(id, repository)| (SnapshotId(id.clone()), repository.as_str()))
}

/// A file that has the time it had in the snapshot but another size, or (full) another content, was not changed
/// by any program: it is damaged. Files whose time moved are the app's business.
fn compare_with_manifest(
    scope: &Scope,
    marker: Option<&Marker>,
    level: Level,
) -> Result<Vec<Finding>, String> {
    let (id, location) = marker.and_then(last_snapshot).ok_or("this volume has no snapshot yet")?;
    let has_it = scope.repositories.iter().find(|repository| repository.location() == location);
    // Under another address, it may be the same one.
    let repository: &dyn Repository =
        has_it.or(scope.repositories.first()).ok_or("no repository is configured")?.as_ref();
    // Restored or backed up: what was changed after that is the app's.
    let untouched_since = marker.map(Marker::knew_at).unwrap_or_default();
    let root = Root::open(scope.volume.path()).map_err(|error| error.to_string())?;
    let mut findings = Vec::new();
    let mut visit = |entry: Entry| {
        if let Some(message) = compare(&root, &entry, untouched_since, level) {
            findings.push(Finding { check: "manifest".to_owned(), message });
        }
        if findings.len() < NAMED { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    repository.entries(&id, &mut visit).map_err(|error| error.to_string())?;
    Ok(findings)
}

fn compare(root: &Root, entry: &Entry, untouched_since: Timestamp, level: Level) -> Option<String> {
    let Kind::File { size, hash, .. } = &entry.kind else { return None };
    let before = root.stat(&entry.path).ok()?;
    // A change time after the snapshot means that somebody touched the file, and may have set its time back.
    if before.kind != FileKind::File || before.mtime != entry.mtime || before.ctime > untouched_since {
        return None;
    }
    if before.size != *size {
        let found = before.size;
        return Some(format!(
            "{} has {found} bytes instead of {size}, and its time is unchanged",
            entry.path
        ));
    }
    if level == Level::Quick {
        return None;
    }
    let mut file = std::fs::File::from(root.open_file(&entry.path).ok()?);
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(&mut file).ok()?;
    // Written to meanwhile: then the app did it.
    let after = Stat::of(&file).ok()?;
    let differs = Hash::finish(&hasher) != *hash && after.mtime == entry.mtime;
    differs
        .then(|| format!("{} has other content than in the snapshot, and its time is unchanged", entry.path))
}
