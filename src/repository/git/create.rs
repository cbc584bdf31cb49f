//! Commits without data: the first one, which says that a branch is a repository, and leases.

use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::id::random_hex;
use crate::base::progress::Progress;
use crate::base::timestamp::Timestamp;
use crate::repository::git::branch::{Part, Seen};
use crate::repository::git::history::Link;
use crate::repository::git::layout::adopted;
use crate::repository::git::message;
use crate::repository::git::name;
use crate::repository::git::object::Commit;
use crate::repository::git::oid::{Kind, Oid};
use crate::repository::git::pack::UNFINISHED;
use crate::repository::git::sink::Sink;
use crate::repository::git::{Git, JUST_SEEN};
use crate::repository::{Epoch, RepositoryError, Writer};

/// Losing this often in a row is more than bad luck.
const ATTEMPTS: u32 = 8;

/// What becomes of commits that others have made on the branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OthersData {
    /// It may be the wrong branch.
    Refused,
    /// What is there is the first snapshot.
    Kept,
}

pub(super) fn run(git: &Git, identity: &str, others: OthersData) -> Result<(), RepositoryError> {
    git.branch.create()?;
    let seen = git.seen(Duration::ZERO)?;
    let tip = match seen {
        Seen::Tip(_) => Some(git.tip_link(JUST_SEEN)?),
        Seen::NoBranch { .. } => None,
        Seen::NoRepository => return Err(git.absent(super::missing(seen))),
    };
    if let Some(tip) = &tip
        && let Some(found) = git.identity_at(tip)?
    {
        return match found == identity {
            true => Ok(()),
            false => Err(RepositoryError::Identity {
                location: git.options.location(),
                found,
                expected: identity.to_owned(),
            }),
        };
    }
    if tip.is_some() && others == OthersData::Refused {
        return Err(git.absent(super::missing(seen)));
    }
    let entries = match &tip {
        None => Vec::new(),
        Some(tip) => {
            let objects = git.objects(tip.wanted(), Part::Trees, &Progress::default(), &Cancel::new())?;
            objects.reader()?.tree(tip.commit.tree)?
        }
    };
    if entries.iter().any(|entry| entry.name == name::OWN) {
        let why = "the branch has a `.volkeep` of its own, which is not of volkeep".to_owned();
        return Err(RepositoryError::Refused(why));
    }
    let message = if tip.is_some() { message::for_adoption(identity) } else { message::for_root(identity) };
    let parent = tip.as_ref().map(|tip| tip.oid);
    commit(git, parent, "repository", message, |sink| adopted(sink, identity, entries))?;
    Ok(())
}

/// A new epoch, by a commit with the data of the one before. Whoever works on top of that one is cut off.
pub(super) fn take_over(git: &Git, writer: &Writer) -> Result<Epoch, RepositoryError> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let tip = git.tip_link(JUST_SEEN)?;
        let before = git.holder_at(&tip)?.map_or(0, |holder| holder.epoch);
        let epoch = next_epoch(before, git.clock.now());
        match lease(git, &tip, writer, epoch) {
            Ok(_) => return Ok(epoch),
            // Somebody was quicker: theirs is the data to take over from.
            Err(error @ RepositoryError::Rejected { .. }) => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or(RepositoryError::Cancelled))
}

/// Above the one before. It is the time in milliseconds if that is later, because history may have been set back by hand:
/// then a number that was counted on from what is left could be one that somebody had who is to be cut off.
pub(super) fn next_epoch(before: Epoch, now: Timestamp) -> Epoch {
    let milliseconds =
        now.seconds.saturating_mul(1_000).saturating_add(i64::from(now.nanoseconds / 1_000_000));
    before.saturating_add(1).max(u64::try_from(milliseconds).unwrap_or(0))
}

fn lease(git: &Git, tip: &Link, writer: &Writer, epoch: Epoch) -> Result<Oid, RepositoryError> {
    let Writer { volume_id, identity, host } = writer;
    let message = message::for_lease(epoch, identity, volume_id, host, tip.newest().as_ref());
    commit(git, Some(tip.oid), host, message, |_| Ok(tip.commit.tree))
}

/// Commits what `tree` makes on top of `parent`, and remembers it.
pub(super) fn commit(
    git: &Git,
    parent: Option<Oid>,
    host: &str,
    message: String,
    tree: impl FnOnce(&Sink<'_>) -> Result<Oid, RepositoryError>,
) -> Result<Oid, RepositoryError> {
    let path = new_pack(git)?;
    let sink = Sink::create(&path, |_| false)?;
    let tree = tree(&sink)?;
    let parents: Vec<Oid> = parent.into_iter().collect();
    let message = message::in_place(&message, tree, &parents);
    let commit =
        Commit { tree, parents, author: git.author(host), seconds: git.clock.now().seconds, message };
    let text = commit.encode();
    let oid = sink.put_own(Kind::Commit, &text)?;
    let pack = sink.finish(None)?;
    let moved = git.branch.advance(parent, oid, &pack);
    let _ = std::fs::remove_file(&path);
    git.note_seen(moved.is_ok().then_some(Seen::Tip(oid)));
    moved?;
    git.history().note(vec![(oid, text)]);
    Ok(oid)
}

/// A name for a pack that nobody else takes.
pub(super) fn new_pack(git: &Git) -> Result<std::path::PathBuf, RepositoryError> {
    git.make_cache();
    let workshop = git.branch.workshop()?;
    let random = random_hex(8).map_err(RepositoryError::local("name a file in", &workshop))?;
    Ok(workshop.join(format!("{UNFINISHED}{random}.pack")))
}
