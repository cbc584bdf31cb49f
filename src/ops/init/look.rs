//! What `init` finds and what follows from it: the state of the volume with the checks that are due, what the
//! repositories offer, and the decision. Changes nothing.

use super::InitOptions;
use super::decide::{Action, Facts, Seen, decide, needs_repository};
use crate::ops::health::examine_begun;
use crate::ops::reach::{Newer, Offer, ask, newer_elsewhere, newest_within};
use crate::ops::{OpsError, Scope};
use crate::repository::Repository;
use crate::volume::{CheckOutcome, Finding, Inspection, Level, Marker, State};

/// What is there, by itself.
pub(super) struct Found {
    pub(super) state: State,
    pub(super) marker: Option<Marker>,
    pub(super) lost: bool,
    pub(super) holds_data: bool,
    pub(super) newer: Option<Newer>,
    /// Whole, and not what is configured.
    pub(super) unfit: Vec<Finding>,
}

/// What was found and decided, with what is needed to act on it.
pub(super) struct Look {
    pub(super) found: Found,
    pub(super) offer: Option<Offer>,
    pub(super) action: Action,
}

pub(super) fn look(scope: &Scope, options: &InitOptions) -> Result<Found, OpsError> {
    let Inspection { state, marker, mut lost } = scope.volume.inspect()?;
    let holds_data = scope.holds_data()?;
    let mut newer = None;
    let mut unfit = Vec::new();
    let state = match state {
        State::Healthy | State::Dirty if !holds_data && has_stored_data(scope, marker.as_ref(), options) => {
            lost = true;
            State::Empty
        }
        State::Healthy | State::Dirty => {
            let suspect = marker.as_ref().is_some_and(Marker::is_suspect);
            let level = if suspect || state == State::Dirty { Level::Full } else { Level::Quick };
            let outcome = examine_begun(scope, marker.as_ref(), &options.checks, level)?;
            let outcome = with_what_was_known(outcome, marker.as_ref(), holds_data);
            if outcome.findings.is_empty() {
                unfit = outcome.unfit;
                newer =
                    marker.as_ref().and_then(|m| newer_elsewhere(scope, m, options.stale_timeout)).flatten();
                if newer.is_some() { State::Stale } else { state }
            } else {
                State::Corrupt(outcome.findings)
            }
        }
        other => other,
    };
    Ok(Found { state, marker, lost, holds_data, newer, unfit })
}

/// Damage that was found before is not gone because a check cannot tell any more, as about a database that a killed
/// repair left in the middle of a transaction; nor because a repair has left nothing to check. What the manifest says
/// depends on a repository, and is left out.
fn with_what_was_known(mut outcome: CheckOutcome, marker: Option<&Marker>, holds_data: bool) -> CheckOutcome {
    let Some(damage) = marker.and_then(|marker| marker.damage.as_ref()) else { return outcome };
    if damage.repair.is_some() && !holds_data {
        let message = "it has left nothing on the volume".to_owned();
        outcome.findings.push(Finding { check: "repair".to_owned(), message });
    }
    for undecided in outcome.undecided.iter().filter(|undecided| undecided.check != "manifest") {
        let message = format!("damage was found before, and now it cannot tell: {}", undecided.reason);
        outcome.findings.push(Finding { check: undecided.check.clone(), message });
    }
    outcome
}

/// Asks the repositories, if that is needed, and decides.
pub(super) fn weigh(scope: &Scope, options: &InitOptions, found: Found) -> Result<Look, OpsError> {
    let Found { state, marker, lost, holds_data, unfit, .. } = &found;
    let offer = needs_repository(state).then(|| ask(scope, options.timeout));
    let seen = match &offer {
        None => Seen::Unasked,
        Some(Offer::Snapshots(_)) => Seen::Snapshots,
        Some(Offer::Nothing) => Seen::Nothing,
        Some(Offer::Absent(_)) => Seen::Absent,
        Some(Offer::OutOfReach(_)) => Seen::OutOfReach,
    };
    let distrusted = match &offer {
        Some(Offer::Snapshots(repository)) => distrusted(repository.as_ref(), marker.as_ref())?,
        _ => None,
    };
    let facts = Facts {
        lost: *lost,
        seen,
        holds_data: *holds_data,
        unfit,
        distrusted: distrusted.as_deref(),
        ..Facts::of(state)
    };
    let action = decide(&facts, &options.policy);
    Ok(Look { found, offer, action })
}

/// A volume that was started empty and has nothing on it: did it store something meanwhile, and lose it? Its
/// marker may have missed the last backup.
fn has_stored_data(scope: &Scope, marker: Option<&Marker>, options: &InitOptions) -> bool {
    let Some(marker) = marker else { return false };
    newest_within(scope, options.stale_timeout)
        .iter()
        .any(|newest| newest.volume_id == marker.volume_id && newest.files > 0 && !marker.knows(&newest.id.0))
}

/// The newest snapshot, if the volume was already found damaged right after restoring it.
fn distrusted(repository: &dyn Repository, marker: Option<&Marker>) -> Result<Option<String>, OpsError> {
    let Some(suspect) = marker.and_then(|marker| marker.distrusted.clone()) else { return Ok(None) };
    let newest = repository.newest()?;
    Ok(newest.filter(|newest| newest.0 == suspect).map(|_| suspect))
}
