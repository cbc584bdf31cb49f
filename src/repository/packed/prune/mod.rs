//! Forget and prune: drops the snapshots that the policy does not keep, condemns what nothing refers to any more, and
//! deletes what an earlier run condemned. The only place that deletes packs and segments.

// Why nothing is deleted that a committed snapshot refers to, whoever runs beside this and is killed or paused where.
//
// A prune takes an epoch F of its own first, then (1) reads the tombstones, (2) lists packs and segments, (3) lists
// the snapshots, (4) forgets some, lists again, and finds out what the others refer to, (5) writes one more tombstone
// for what nothing refers to. Of what the tombstones of (1) name it deletes what nothing refers to, and (6) looks at
// the leases before each request that deletes: F is still the newest. Tombstones go after what they name.
// A writer (a backup or a copy) of epoch W looks at the leases first, then reads the tombstones, then lists packs and
// segments, and takes what has a tombstone for gone: it stores it anew. It looks at the leases before its commit and
// again after it, and withdraws the snapshot if somebody took over in between. `lease` has that part.
// - W < F: the writer's second look found W, so the snapshot was there before F was taken, and (3) lists it. If the
//   second look finds F, nothing was committed.
// - W > F, and W = F (the same volume goes on under the epoch of its prune, when that has ended or was killed; a copy
//   may even run beside it): whatever the prune deletes had a tombstone at (1), and F was the newest at (6), so the
//   tombstone was there before W was taken or joined. The writer reads it and does not rest on what it names; or the
//   tombstone is gone, and then what it named went before it, and the writer's listing does not have it.
// - A tombstone of (5) may come when the writer has read them, and name what it rests on. This run does not obey
//   it. A later one has a higher epoch: the writer has committed before, and (3) of that run lists the snapshot; or
//   it is cut off. What is referred to again is pardoned: the tombstone goes, the object stays.
// - A request to delete may be on its way for hours, and arrive when the name is in use again? No name ever is. Packs
//   have random names. Segments are named by their content, and their first line holds the writer's epoch W: a name
//   of epoch W comes again only by writers of W, who are cut off by the F of whoever deletes it. Tombstones hold
//   their epoch and random digits.
// So far no clock was needed, and the grace time is not what this rests on. It is there for those whom no look can
// help: a restore of a snapshot that is forgotten under its hands has this long to end; and a writer that was cut
// off, slept between its look and its commit, and was killed before the second look, leaves a snapshot that nobody was
// told of. If it comes before the grace time is over it is listed like any other, and whole. If it comes later it may
// lack packs; it is not the newest, because its epoch is lower than that of the snapshot before it, and `check`
// names it.
//
// What is younger than the grace time is not condemned: a backup that was killed finds its packs again.
//
// Emptying packs adds nothing to this. A prune only notes beside the volume which packs are mostly dead. The next backup
// stores what it needs of them anew, as if it were not there, or goes on to refer to it as to anything else that it
// found by the listing: both are covered above. That the note is old, lost or another volume's costs space alone.
//
// Forgetting rests on snapshots that stay. The newest whole one stays, and all that are newer. It must not be one
// that its writer, paused before its second look, is about to withdraw: so only snapshots of this volume count (its
// locks say that no backup of it runs) and those which have been there for a while.

mod compaction;
mod mark;
mod roots;
mod survey;
mod sweep;
#[cfg(test)]
mod tests;
mod usage;

use crate::base::timestamp::Timestamp;
use crate::repository::packed::Packed;
use crate::repository::packed::backup::refresh::Refresher;
use crate::repository::packed::cache::Cache;
use crate::repository::packed::document;
use crate::repository::packed::lease::{self, Held};
use crate::repository::packed::objects::Objects;
use crate::repository::packed::prune::compaction::Pack;
use crate::repository::packed::prune::mark::{Live, Mark};
use crate::repository::packed::prune::roots::{Roots, Terms};
use crate::repository::packed::prune::survey::Survey;
use crate::repository::packed::prune::sweep::Sweep;
use crate::repository::packed::prune::usage::Usage;
use crate::repository::packed::tombstone;
use crate::repository::{Finding, PruneReport, PruneRequest, RepositoryError};
use crate::snapshot::retention::{self, Verdict};

/// Snapshots deleted between two looks at the leases.
const FORGOTTEN_AT_ONCE: usize = 100;

pub(super) fn run(packed: &Packed, request: &PruneRequest<'_>) -> Result<PruneReport, RepositoryError> {
    let (descriptor, objects) = packed.open()?;
    if descriptor.identity != request.writer.identity {
        return Err(RepositoryError::Identity {
            location: objects.location(),
            found: descriptor.identity,
            expected: request.writer.identity.clone(),
        });
    }
    let now = packed.clock.now();
    let volume_id = match request.dry_run {
        // What whoever may do it would do.
        true => lease::newest(&objects)?.map(|lease| lease.volume_id),
        false => None,
    };
    let volume_id = volume_id.as_ref().unwrap_or(&request.writer.volume_id);
    let mut roots = Roots::new(&objects, &descriptor.id, volume_id);
    let held = match request.dry_run {
        true => None,
        false => Some(above_all(&objects, request, &mut roots, now)?),
    };
    let refresher = held.as_ref().map(|held| Refresher::new(&objects, held, &packed.clock));
    let mut report = PruneReport { epoch: held.as_ref().map_or(0, |held| held.epoch), ..Default::default() };
    // Ages are told by the clock of the store alone, whose latest word is the lease that was just taken.
    let stored_now = match &held {
        Some(held) => lease::stored_at(&objects, held)?,
        None => now,
    };

    let (tombstones, damaged) = tombstone::read_all(&objects)?;
    report.damaged.extend(damaged.into_iter().filter_map(finding));
    let survey = Survey::list(&objects)?;
    roots.list_again()?;
    let mut mark = Mark::new(&objects, &survey, request, refresher.as_ref());

    report.snapshots = judge(request, &roots, &mut mark, stored_now)?;
    let forgotten = report.snapshots.iter().filter(|verdict| !verdict.keep);
    report.forgotten = forgotten.map(|verdict| verdict.id.clone()).collect();
    let pins = retention::unknown_pins(request.policy, &roots.candidates(&terms(request, stored_now)));
    report.unknown_pins = pins.into_iter().map(str::to_owned).collect();
    match &held {
        Some(held) => {
            forget(&objects, held, request, &report)?;
            roots.list_again()?;
        }
        None => report.forgotten.iter().for_each(|id| roots.leave_out(id)),
    }

    mark.read(&roots, &roots.needed())?;
    report.damaged.extend(roots.damaged().cloned().chain(mark.findings(&roots)));
    report.blind = roots.damaged().next().is_some() || mark.is_blind(&roots.needed());
    if report.blind {
        tracing::warn!(
            "something that snapshots refer to cannot be read; so nothing is condemned or deleted"
        );
        return Ok(report);
    }
    let live = mark.live(&roots);
    Sweep {
        objects: &objects,
        held: held.as_ref(),
        request,
        survey: &survey,
        live: &live,
        stored_now,
        now: packed.clock.now(),
    }
    .run(&tombstones, &mut report)?;
    let (mostly_dead, waste) = compaction::choose(in_use(&survey, &live, &mark.into_usage()));
    report.waste = waste;
    if held.is_some() {
        Cache::open(Some(request.cache), &descriptor.id).note_mostly_dead(mostly_dead);
    }
    if let Some(held) = &held {
        lease::drop_old(&objects, held);
        if let Err(error) = objects.store.tidy(packed.clock.now()) {
            tracing::warn!(%error, "left-over temporary files stay in the repository");
        }
    }
    Ok(report)
}

/// The packs that snapshots refer to, and how much of each.
fn in_use<'a>(survey: &'a Survey, live: &'a Live, usage: &'a Usage) -> impl Iterator<Item = Pack> + 'a {
    live.packs.iter().filter_map(|id| {
        let size = survey.packs.get(id)?.size;
        Some(Pack { id: *id, size, standing: usage.standing(*id) })
    })
}

/// A new epoch of this volume. Numbers must go on rising, also where leases were removed by hand.
fn above_all(
    objects: &Objects,
    request: &PruneRequest<'_>,
    roots: &mut Roots<'_>,
    now: Timestamp,
) -> Result<Held, RepositoryError> {
    roots.list_again()?;
    lease::succeed(objects, request.writer, roots.highest_epoch(), now)
}

fn terms(request: &PruneRequest<'_>, now: Timestamp) -> Terms {
    Terms { now, grace: request.grace }
}

/// Which snapshots stay: those of the policy, and whatever protects the others from being lost.
fn judge(
    request: &PruneRequest<'_>,
    roots: &Roots<'_>,
    mark: &mut Mark<'_>,
    now: Timestamp,
) -> Result<Vec<Verdict>, RepositoryError> {
    let terms = terms(request, now);
    let mut verdicts = retention::decide(request.policy, &roots.candidates(&terms));
    if verdicts.iter().all(|verdict| verdict.keep) {
        return Ok(verdicts);
    }
    let mut good = None;
    for root in roots.trustworthy(&terms) {
        mark.read(roots, &root.segments)?;
        if mark.is_whole(&root.segments) {
            good = Some(&root.id);
            break;
        }
        tracing::warn!(snapshot = %root.id, "not everything that it refers to is there");
    }
    let at = verdicts.iter().position(|verdict| Some(&verdict.id) == good);
    if let Some(verdict) = at.and_then(|at| verdicts.get_mut(at)) {
        verdict.keep_for(retention::Reason::NewestGood);
    }
    for verdict in verdicts.iter_mut().skip(at.unwrap_or(0)).filter(|verdict| !verdict.keep) {
        verdict.keep_for(retention::Reason::NoNewerGood);
    }
    Ok(verdicts)
}

/// Oldest first. Another writer may have come since the last look, and may be choosing what to restore.
fn forget(
    objects: &Objects,
    held: &Held,
    request: &PruneRequest<'_>,
    report: &PruneReport,
) -> Result<(), RepositoryError> {
    for some in report.forgotten.chunks(FORGOTTEN_AT_ONCE) {
        if request.cancel.is_cancelled() {
            return Err(RepositoryError::Cancelled);
        }
        lease::recheck(objects, held)?;
        document::forget(objects, some)?;
        some.iter().for_each(|id| tracing::info!(snapshot = %id, "forgotten"));
    }
    Ok(())
}

/// `None` for errors that are no damage.
fn finding(error: RepositoryError) -> Option<Finding> {
    match error {
        RepositoryError::Damaged { object, reason, .. } => Some(Finding::of(object, reason, Vec::new())),
        _ => None,
    }
}
