//! What the repositories can offer, told apart so that "nothing there" is never confused with "cannot tell".

use std::sync::Arc;
use std::time::Duration;

use crate::base::pause::pause;
use crate::base::timestamp::Timestamp;
use crate::base::within::{each_within, within_unless};
use crate::ops::error::Refusal;
use crate::ops::{OpsError, Scope};
use crate::repository::{Absent, Presence, Repository, RepositoryError};
use crate::snapshot::summary::{PickError, Wanted};
use crate::snapshot::{SnapshotId, Summary};
use crate::store::retry::retry_no_longer_than;
use crate::store::{Obstacle, StoreError};
use crate::volume::Marker;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// The last attempt may begin in the last moment, and a store that is well must be able to answer it.
const LAST_ATTEMPT: Duration = Duration::from_secs(5);

/// What all repositories together have to offer to a restore.
#[derive(Debug)]
pub enum Offer {
    /// The first repository in order that has a snapshot.
    Snapshots(Arc<dyn Repository>),
    /// There are repositories and none has a snapshot.
    Nothing,
    /// Some are not there, and none has a snapshot.
    Absent(Vec<Absent>),
    OutOfReach(OpsError),
}

/// Asks the repositories in order until one has a snapshot. Those that cannot be reached are tried again until
/// `timeout` has passed, each in turn.
pub fn ask(scope: &Scope, timeout: Duration) -> Offer {
    let mut absent = Vec::new();
    let mut troubles: Vec<OpsError> = Vec::new();
    for repository in &scope.repositories {
        match probe(scope, repository, timeout) {
            Ok(Presence::Ready) => {
                for absent in &absent {
                    tracing::warn!(repository = repository.location(), "{absent}; another repository serves");
                }
                return Offer::Snapshots(Arc::clone(repository));
            }
            Ok(Presence::Empty) => {}
            Ok(Presence::Absent(missing)) => {
                absent.push(Absent { location: repository.location(), missing });
            }
            Err(error @ RepositoryError::Cancelled) => return Offer::OutOfReach(error.into()),
            Err(error) => {
                tracing::warn!(%error, repository = repository.location(), "this repository cannot help");
                troubles.push(error.into());
            }
        }
    }
    // One that cannot be asked may hold the snapshots: nothing may be concluded from the others.
    if !troubles.is_empty() && !absent.is_empty() {
        troubles.push(OpsError::RepositoryAbsent { places: std::mem::take(&mut absent) });
    }
    match OpsError::of_each(troubles) {
        Some(error) => Offer::OutOfReach(error),
        None if scope.repositories.is_empty() => Offer::OutOfReach(OpsError::NoRepository),
        None if !absent.is_empty() => Offer::Absent(absent),
        None => Offer::Nothing,
    }
}

/// Never much longer than `timeout`, whatever the store is like: one call to it may be tried again for longer than
/// that, or be answered by nobody.
fn probe(
    scope: &Scope,
    repository: &Arc<dyn Repository>,
    timeout: Duration,
) -> Result<Presence, RepositoryError> {
    let deadline = scope.clock.elapsed() + timeout;
    let mut pause_bound = FIRST_PAUSE;
    loop {
        let left = deadline.saturating_sub(scope.clock.elapsed());
        let limit = left + LAST_ATTEMPT;
        let asked = (scope.clone(), Arc::clone(repository));
        let answer = within_unless(limit, &scope.cancel, move || {
            retry_no_longer_than(left, || probe_ours(&asked.0, asked.1.as_ref()))
        });
        let answer = answer.unwrap_or_else(|| {
            Err(RepositoryError::Store(StoreError::Unreachable {
                location: repository.location(),
                reason: format!("no answer within {} s", limit.as_secs_f32()),
                obstacle: Obstacle::Silence,
            }))
        });
        match answer {
            Err(_) if scope.cancel.is_cancelled() => return Err(RepositoryError::Cancelled),
            Err(error) if error.retryable() => {
                let left = deadline.saturating_sub(scope.clock.elapsed());
                if left.is_zero() {
                    return Err(error);
                }
                tracing::warn!(%error, seconds_left = left.as_secs(), "trying again");
                pause(scope.clock.as_ref(), &scope.cancel, pause_bound.min(left));
                pause_bound = (pause_bound * 2).min(LONGEST_PAUSE);
            }
            other => return other,
        }
    }
}

/// An empty repository of another identity is a mistyped address as well.
pub fn probe_ours(scope: &Scope, repository: &dyn Repository) -> Result<Presence, RepositoryError> {
    let presence = repository.probe()?;
    if !matches!(presence, Presence::Absent(_)) {
        let (found, expected) = (repository.identity()?, scope.volume.identity().to_owned());
        if found != expected {
            return Err(RepositoryError::Identity { location: repository.location(), found, expected });
        }
    }
    Ok(presence)
}

/// A snapshot, and what there was to choose from.
#[derive(Clone, Debug)]
pub struct Picked {
    pub summary: Summary,
    names: Vec<SnapshotId>,
}

/// The snapshot `wanted` of a repository, by one listing and as few files as will do. A damaged newest one is not
/// silently passed over.
pub fn pick(repository: &dyn Repository, wanted: &Wanted) -> Result<Summary, OpsError> {
    Ok(pick_once(repository, wanted)?.summary)
}

/// As `pick`, for whoever will `pick_again`.
pub fn pick_once(repository: &dyn Repository, wanted: &Wanted) -> Result<Picked, OpsError> {
    let mut names = names_for(repository, wanted)?;
    loop {
        match pick_among(repository, wanted, &names) {
            Ok(summary) => return Ok(Picked { summary, names }),
            // A prune may have forgotten all that were listed, for the sake of one that came since.
            Err(error @ OpsError::Pick { .. }) => {
                let now = names_for(repository, wanted)?;
                if now == names {
                    return Err(error);
                }
                names = now;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The newest snapshot, after one was picked before: read anew only if others are there now.
pub fn pick_again(repository: &dyn Repository, before: Picked) -> Result<Picked, OpsError> {
    let names = repository.latest()?;
    if names == before.names {
        return Ok(before);
    }
    match pick_among(repository, &Wanted::Latest, &names) {
        Ok(summary) => Ok(Picked { summary, names }),
        Err(OpsError::Pick { .. }) => pick_once(repository, &Wanted::Latest),
        Err(error) => Err(error),
    }
}

/// Whoever wants the newest needs no older ones.
fn names_for(repository: &dyn Repository, wanted: &Wanted) -> Result<Vec<SnapshotId>, RepositoryError> {
    match wanted {
        Wanted::Latest => repository.latest(),
        Wanted::Named(_) | Wanted::At(_) => repository.names(),
    }
}

fn pick_among(
    repository: &dyn Repository,
    wanted: &Wanted,
    names: &[SnapshotId],
) -> Result<Summary, OpsError> {
    let failed = |source: PickError| OpsError::Pick { location: repository.location(), source };
    let mut candidates = wanted.candidates(names).map_err(failed)?.into_iter();
    while let Some(id) = candidates.next() {
        match repository.summary(id) {
            Ok(summary) if wanted.allows(&summary) => {
                return unless_cut_off(repository, summary, candidates);
            }
            Ok(_) => {}
            // Forgotten or withdrawn since it was listed.
            Err(RepositoryError::NoSnapshot { .. }) => {}
            Err(RepositoryError::Damaged { location, reason, .. }) if !matches!(wanted, Wanted::Named(_)) => {
                let reason = format!("{reason}; {}", Refusal::NewestDamaged(id.to_string()));
                return Err(RepositoryError::Damaged { location, object: id.to_string(), reason }.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(failed(wanted.missing()))
}

/// A writer that was cut off and died in the instant of its commit leaves a snapshot that nobody was told of. If
/// its clock was ahead, the name sorts behind those of its successor. It gives itself away by a lower epoch than
/// the one before it has. Whoever names the one before as his parent has seen it, and follows it rightly. Copies
/// have no epoch to go by: they are as old as they say.
fn unless_cut_off<'a>(
    repository: &dyn Repository,
    mut newest: Summary,
    older: impl Iterator<Item = &'a SnapshotId>,
) -> Result<Summary, OpsError> {
    for id in older {
        if newest.parent.as_ref() == Some(id) || newest.copied_from.is_some() {
            break;
        }
        match repository.summary(id) {
            Ok(before) if before.copied_from.is_some() => {}
            Ok(before) if before.epoch > newest.epoch => {
                tracing::warn!(snapshot = %newest.id, "passed over: its writer had been succeeded by then");
                newest = before;
            }
            Err(RepositoryError::NoSnapshot { .. }) => {}
            Err(error) if !error.is_damage() => return Err(error.into()),
            _ => break,
        }
    }
    Ok(newest)
}

/// The newest snapshot of `first`, or, where it has none that can be read, of a repository behind it: one that
/// fails does not hide a good one. What is damaged gives way only to something at least as new: which data to lose
/// is for a person to say.
pub fn first_readable(
    scope: &Scope,
    first: &Arc<dyn Repository>,
) -> Result<(Arc<dyn Repository>, Picked), OpsError> {
    let error = match pick_once(first.as_ref(), &Wanted::Latest) {
        Ok(picked) => return Ok((Arc::clone(first), picked)),
        Err(error) => error,
    };
    let floor = match &error {
        OpsError::Repository(RepositoryError::Damaged { object, .. }) => SnapshotId(object.clone()).time(),
        _ => None,
    };
    next_readable(scope, first, floor, &error).ok_or(error)
}

/// The newest snapshot of the first repository behind `former` that has one not older than `floor`. `error` is what
/// was wrong with the former.
pub fn next_readable(
    scope: &Scope,
    former: &Arc<dyn Repository>,
    floor: Option<Timestamp>,
    error: &OpsError,
) -> Option<(Arc<dyn Repository>, Picked)> {
    let behind = scope.repositories.iter().skip_while(|one| one.location() != former.location()).skip(1);
    for repository in behind {
        tracing::warn!(%error, next = repository.location(), "this repository cannot help, trying the next");
        let picked = match probe_ours(scope, repository.as_ref()) {
            Ok(Presence::Ready) => pick_once(repository.as_ref(), &Wanted::Latest),
            Ok(_) => continue,
            Err(error) => Err(error.into()),
        };
        match picked {
            Ok(picked) if floor.is_none_or(|floor| picked.summary.time >= floor) => {
                return Some((Arc::clone(repository), picked));
            }
            Ok(picked) => {
                tracing::warn!(snapshot = %picked.summary.id, "older than what is damaged; not taken unasked");
            }
            Err(error) => tracing::warn!(%error, repository = repository.location(), "nor can this one"),
        }
    }
    None
}

/// Cuts off whoever wrote before, and notes the new lease in the marker. A reader without the right to write can
/// still restore; then nobody is cut off, and the log says so.
pub fn take_over(scope: &Scope, repository: &dyn Repository, marker: &mut Marker) {
    match repository.take_over(&scope.writer(marker)) {
        Ok(epoch) => marker.note_lease(&repository.location(), epoch),
        Err(error) => tracing::warn!(%error, "a former writer, if one still runs, is not cut off"),
    }
}

/// A later snapshot of another volume, and the repository that has it.
#[derive(Clone, Debug)]
pub struct Newer {
    pub repository: Arc<dyn Repository>,
    pub summary: Summary,
}

/// Whether another volume wrote a snapshot later than ours. All repositories are asked at the same time and answer
/// within `limit`; `None` is "cannot tell", with the reason in the log.
pub fn newer_elsewhere(scope: &Scope, marker: &Marker, limit: Duration) -> Option<Option<Newer>> {
    let marker = Arc::new(marker.clone());
    let answers = ask_each(scope, limit, move |repository| find_newer(repository, &marker));
    combine(scope, answers, limit)
}

/// Asks every repository at the same time. One that does not answer within `limit` hides none of the others.
pub fn ask_each<T: Send + 'static>(
    scope: &Scope,
    limit: Duration,
    question: impl Fn(&dyn Repository) -> T + Send + Sync + 'static,
) -> Vec<Option<T>> {
    let question = Arc::new(question);
    each_within(
        limit,
        scope.repositories.iter().cloned().map(|repository| {
            let question = Arc::clone(&question);
            move || question(repository.as_ref())
        }),
    )
}

/// The first that has something newer counts; that none has is known only when all have said so.
pub fn combine(
    scope: &Scope,
    answers: Vec<Option<Result<Option<Summary>, OpsError>>>,
    limit: Duration,
) -> Option<Option<Newer>> {
    let mut all = !answers.is_empty();
    let mut newer = None;
    for (repository, answer) in scope.repositories.iter().zip(answers) {
        let location = repository.location();
        match answer {
            Some(Ok(None)) => {}
            Some(Ok(Some(summary))) => {
                newer.get_or_insert(Newer { repository: Arc::clone(repository), summary });
            }
            Some(Err(error)) => {
                all = false;
                tracing::warn!(%error, repository = location, "cannot tell whether the volume is stale");
            }
            None => {
                all = false;
                let seconds = limit.as_secs_f32();
                tracing::warn!(
                    seconds,
                    repository = location,
                    "no answer in time whether the volume is stale"
                );
            }
        }
    }
    if newer.is_some() || all { Some(newer) } else { None }
}

/// The newest snapshot of each repository that says so within `limit`.
pub fn newest_within(scope: &Scope, limit: Duration) -> Vec<Summary> {
    let look = |repository: &dyn Repository| pick(repository, &Wanted::Latest);
    ask_each(scope, limit, look).into_iter().flatten().flatten().collect()
}

/// The newest snapshot, if another volume made it after this one last knew what there is.
pub fn find_newer(repository: &dyn Repository, marker: &Marker) -> Result<Option<Summary>, OpsError> {
    let names = repository.latest()?;
    if names.last().is_none_or(|last| marker.knows(&last.0)) {
        return Ok(None);
    }
    let newest = pick_among(repository, &Wanted::Latest, &names)?;
    Ok(is_newer(&newest, &repository.location(), marker).then_some(newest))
}

/// Pure: whether `newest` was made elsewhere after this volume last knew what there is. Leases tell without any
/// clock; times are asked only where the volume never had a lease, and of copies: those were made under a lease of
/// another repository, or under none that this volume could have known.
pub fn is_newer(newest: &Summary, repository: &str, marker: &Marker) -> bool {
    if marker.knows(&newest.id.0) || newest.volume_id == marker.volume_id {
        return false;
    }
    // Somebody put it there without volkeep, behind everything that this volume knows.
    if newest.volume_id.is_empty() {
        return true;
    }
    match marker.epoch_in(repository).filter(|_| newest.copied_from.is_none()) {
        // The same number is another volume's only where two were told that they have it.
        Some(epoch) => newest.epoch >= epoch,
        None => newest.time > marker.knew_at(),
    }
}
