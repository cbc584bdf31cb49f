//! Forgets snapshots by writing history anew without them. Contents that nothing refers to any more are the business
//! of the repository's own upkeep: `git gc`, which git hosts run by themselves.

use std::time::Duration;

use crate::repository::git::branch::Seen;
use crate::repository::git::create::new_pack;
use crate::repository::git::history::{self, Link};
use crate::repository::git::message::{self, Said};
use crate::repository::git::object::Commit;
use crate::repository::git::oid::{Kind, Oid};
use crate::repository::git::sink::Sink;
use crate::repository::git::{Git, missing};
use crate::repository::{Epoch, PruneReport, PruneRequest, RepositoryError};
use crate::snapshot::SnapshotId;
use crate::snapshot::retention::{self, Candidate};

pub(super) fn run(git: &Git, request: &PruneRequest<'_>) -> Result<PruneReport, RepositoryError> {
    let tip = git.tip(Duration::ZERO)?;
    let chain = git.chain(tip)?;
    let found = chain.iter().find_map(|link| message::identity(&link.commit).map(str::to_owned));
    let expected = &request.writer.identity;
    match found {
        Some(found) if found == *expected => {}
        Some(found) => {
            let (location, expected) = (git.options.location(), expected.clone());
            return Err(RepositoryError::Identity { location, found, expected });
        }
        None => return Err(git.absent(missing(Seen::Tip(tip)))),
    }
    let epoch = may_prune(git, request, &chain)?;
    let candidates = candidates(&chain);
    let mut report = PruneReport {
        epoch: if request.dry_run { 0 } else { epoch },
        snapshots: retention::decide(request.policy, &candidates),
        ..PruneReport::default()
    };
    let pins = retention::unknown_pins(request.policy, &candidates);
    report.unknown_pins = pins.into_iter().map(str::to_owned).collect();
    let forgotten = report.snapshots.iter().filter(|verdict| !verdict.keep);
    report.forgotten = forgotten.map(|verdict| verdict.id.clone()).collect();
    if !request.dry_run && !report.forgotten.is_empty() {
        rewrite(git, tip, &chain, &report.forgotten)?;
        report.forgotten.iter().for_each(|id| tracing::info!(snapshot = %id, "forgotten"));
    }
    Ok(report)
}

/// History is written anew only by whoever writes it: another volume is not cut off for this.
fn may_prune(git: &Git, request: &PruneRequest<'_>, chain: &[Link]) -> Result<Epoch, RepositoryError> {
    match history::holder(chain) {
        Some(holder) if holder.volume_id != request.writer.volume_id && !request.dry_run => {
            let location = git.options.location();
            Err(RepositoryError::LeaseElsewhere { location, by: holder.describe(), epoch: holder.epoch })
        }
        holder => Ok(holder.map_or(0, |holder| holder.epoch)),
    }
}

fn candidates(chain: &[Link]) -> Vec<Candidate> {
    let judged = |(at, id): (usize, SnapshotId)| {
        let time = chain.get(at)?.newest()?.time;
        Some(Candidate { id, time, held: None })
    };
    history::snapshots(chain).into_iter().filter_map(judged).collect()
}

/// The commits that stay, each on top of the one that stays before it, with the same trees. The branch is moved only
/// if it is where it was: what somebody else committed meanwhile is not lost.
fn rewrite(git: &Git, tip: Oid, chain: &[Link], forgotten: &[SnapshotId]) -> Result<(), RepositoryError> {
    let path = new_pack(git)?;
    let sink = Sink::create(&path, |_| false)?;
    let mut last: Option<Oid> = None;
    let mut texts = Vec::new();
    for (at, link) in chain.iter().enumerate().rev() {
        let stays = match (&link.said, link.snapshot_id()) {
            (_, Some(id)) => !forgotten.contains(&id),
            (Said::Root, None) => true,
            // Who may write is said by the newest commit; older leases have done their work.
            (_, None) => at == 0,
        };
        if !stays {
            continue;
        }
        let parents = last.into_iter().collect::<Vec<_>>();
        let message = match (&link.said, link.snapshot_id()) {
            (Said::Plain, Some(id)) => message::named(&link.commit, &id),
            _ => message::in_place(&link.commit.message, link.commit.tree, &parents),
        };
        // What comes before the first that goes stays as it is.
        if parents == link.commit.parents && message == link.commit.message {
            last = Some(link.oid);
            continue;
        }
        let text = Commit { parents, message, ..link.commit.clone() }.encode();
        let oid = sink.put_own(Kind::Commit, &text)?;
        texts.push((oid, text));
        last = Some(oid);
    }
    let new = last.unwrap_or(tip);
    let pack = sink.finish(None)?;
    let moved = git.branch.advance(Some(tip), new, &pack);
    let _ = std::fs::remove_file(&path);
    git.note_seen(moved.is_ok().then_some(Seen::Tip(new)));
    moved?;
    git.history().note(texts);
    Ok(())
}
