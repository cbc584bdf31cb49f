//! Looks into snapshots: what they hold, and what differs between two of them.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use serde::Serialize;

use crate::ops::reach::{Picked, pick_once};
use crate::ops::{OpsError, Scope};
use crate::repository::{Listing, Repository, RepositoryError};
use crate::snapshot::selector::Selector;
use crate::snapshot::summary::Wanted;
use crate::snapshot::{Entry, Kind, RelativePath, Summary};

/// Entries read ahead of the comparison, of each side.
const AHEAD: usize = 1024;

/// The snapshots of each repository by its location, and what to say of those that failed. Fails only when all
/// did.
pub type Listings = (Vec<(String, Listing)>, Option<OpsError>);

pub fn snapshots(scope: &Scope) -> Result<Listings, OpsError> {
    scope.first_repository()?;
    let (mut listed, mut failures) = (Vec::new(), Vec::new());
    for repository in &scope.repositories {
        match repository.snapshots() {
            Ok(listing) => listed.push((repository.location(), listing)),
            Err(error) => failures.push(error.into()),
        }
    }
    if listed.is_empty() {
        return OpsError::of_each(failures).map_or(Ok((listed, None)), Err);
    }
    Ok((listed, OpsError::partly(scope.repositories.len(), failures)))
}

/// The first repository that has the snapshot.
pub fn find(scope: &Scope, wanted: &Wanted) -> Result<(Arc<dyn Repository>, Summary), OpsError> {
    let (repository, picked) = find_once(scope, wanted)?;
    Ok((repository, picked.summary))
}

/// As `find`, for whoever may have to pick again.
pub fn find_once(scope: &Scope, wanted: &Wanted) -> Result<(Arc<dyn Repository>, Picked), OpsError> {
    let mut errors = Vec::new();
    for repository in &scope.repositories {
        match pick_once(repository.as_ref(), wanted) {
            Ok(picked) => {
                for error in &errors {
                    tracing::warn!(%error, repository = repository.location(), "another repository serves");
                }
                return Ok((Arc::clone(repository), picked));
            }
            Err(error) => errors.push(error),
        }
    }
    Err(OpsError::of_each(errors).unwrap_or(OpsError::NoRepository))
}

/// Visits the entries of a snapshot at and below `path`.
pub fn list(
    scope: &Scope,
    wanted: &Wanted,
    path: &RelativePath,
    visit: &mut dyn FnMut(&Entry) -> ControlFlow<()>,
) -> Result<u64, OpsError> {
    let (repository, summary) = find(scope, wanted)?;
    let selector = Selector::paths(vec![path.clone()]);
    let mut found = 0;
    repository.entries(&summary.id, &mut |entry| {
        if !selector.takes(&entry.path) {
            return ControlFlow::Continue(());
        }
        found += 1;
        visit(&entry)
    })?;
    Ok(found)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Added,
    Removed,
    /// The content, the kind or the link target.
    Modified,
    /// Owner, mode, time or attributes only.
    Metadata,
}

/// Visits what differs between two snapshots, in walk order.
pub fn differences(
    scope: &Scope,
    from: &Wanted,
    to: &Wanted,
    visit: &mut dyn FnMut(Change, &Entry),
) -> Result<(), OpsError> {
    let (old, new) = (find(scope, from)?, find(scope, to)?);
    thread::scope(|threads| {
        let stream = |(repository, summary): (Arc<dyn Repository>, Summary)| {
            let (sender, receiver) = sync_channel(AHEAD);
            let reading = threads.spawn(move || {
                repository.entries(&summary.id, &mut |entry| match sender.send(entry) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                })
            });
            (receiver, reading)
        };
        let ((old, reading_old), (new, reading_new)) = (stream(old), stream(new));
        merge(old, new, visit);
        for reading in [reading_old, reading_new] {
            reading.join().map_err(|_| RepositoryError::Worker("reading ended early".to_owned()))??;
        }
        Ok(())
    })
}

fn merge(old: Receiver<Entry>, new: Receiver<Entry>, visit: &mut dyn FnMut(Change, &Entry)) {
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(gone), None) => visit(Change::Removed, gone),
            (None, Some(added)) => visit(Change::Added, added),
            (Some(before), Some(after)) => match before.path.cmp(&after.path) {
                std::cmp::Ordering::Less => visit(Change::Removed, before),
                std::cmp::Ordering::Greater => {
                    visit(Change::Added, after);
                    new.next();
                    continue;
                }
                std::cmp::Ordering::Equal => {
                    if let Some(change) = compared(before, after) {
                        visit(change, after);
                    }
                    new.next();
                }
            },
        }
        if old.peek().is_none() {
            new.next();
        } else {
            old.next();
        }
    }
}

fn compared(before: &Entry, after: &Entry) -> Option<Change> {
    let same_content = match (&before.kind, &after.kind) {
        (Kind::File { hash: old, .. }, Kind::File { hash: new, .. }) => old == new,
        (old, new) => old == new,
    };
    let metadata = |entry: &Entry| (entry.mode, entry.uid, entry.gid, entry.mtime);
    if !same_content {
        Some(Change::Modified)
    } else if metadata(before) != metadata(after)
        || before.attributes != after.attributes
        || before.hard_link != after.hard_link
    {
        Some(Change::Metadata)
    } else {
        None
    }
}
