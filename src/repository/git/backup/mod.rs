//! A backup into git: who may write, what changed, one pack with what is new, and the branch moved on. Where nothing
//! changed nothing is written anywhere.

mod fit;
mod gather;
mod job;
mod left_over;

pub(super) use job::row_of;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::base::id::random_hex;
use crate::base::timestamp::Timestamp;
use crate::repository::git::backup::gather::{Gathered, Sources, gather, totals_if_unchanged};
use crate::repository::git::backup::left_over::LeftOver;
use crate::repository::git::branch::{Part, Seen};
use crate::repository::git::create::{new_pack, next_epoch};
use crate::repository::git::history::{Holder, Link};
use crate::repository::git::known::{RowWriter, Rows};
use crate::repository::git::layout::Layout;
use crate::repository::git::message;
use crate::repository::git::object::{Commit, Mode};
use crate::repository::git::objects::Reader;
use crate::repository::git::oid::{Kind, Oid};
use crate::repository::git::pack::Pack;
use crate::repository::git::sink::{FinishError, Sink};
use crate::repository::git::{Git, JUST_SEEN};
use crate::repository::{BackupReport, BackupRequest, Epoch, RepositoryError, Totals};
use crate::snapshot::{SnapshotId, Summary};
use crate::tree::Root;

/// What this volume knows last of the repository.
pub(super) const ROWS: &str = "rows";
/// Of a backup whose push has not ended well yet.
const NEXT_ROWS: &str = "next-rows";

pub(super) fn run(git: &Git, request: &BackupRequest<'_>) -> Result<BackupReport, RepositoryError> {
    let tip = git.tip_link(JUST_SEEN)?;
    check_identity(git, request, &tip)?;
    let holder = git.holder_at(&tip)?;
    let epoch = may_write(git, request, holder.as_ref())?;
    let present = holder.map_or(epoch, |holder| holder.epoch);
    let before = Before { parent: parent_of(git, &tip)?, epoch, present, tip };
    let left_over = LeftOver::settle(git, &before.tip);
    let root = Root::open(request.root)?;
    let rows = Rows::open(&git.cache.join(ROWS)).filter(|rows| rows.tree == before.tip.commit.tree);
    if let (Some(rows), Some(parent)) = (&rows, &before.parent)
        && let Some(totals) = totals_if_unchanged(&root, request, rows)?
    {
        (request.guard)(&totals, Some(parent)).map_err(RepositoryError::Refused)?;
        return Ok(unchanged(request, &before, Gathered { totals, ..Gathered::default() }));
    }
    let pack = new_pack(git)?;
    let mut stored = store(git, request, &root, &before, rows.as_ref(), left_over.as_ref(), &pack);
    if left_over.is_some()
        && let Err(Trouble::LeftOver(error)) = &stored
    {
        tracing::warn!(%error, "what an interrupted push left behind is of no use; reading everything that is new");
        LeftOver::forget(git);
        stored = store(git, request, &root, &before, rows.as_ref(), None, &pack);
    }
    let _ = fs::remove_file(&pack);
    let _ = fs::remove_file(git.cache.join(NEXT_ROWS).with_extension("part"));
    stored.map_err(|trouble| match trouble {
        Trouble::LeftOver(error) | Trouble::Final(error) => error,
    })
}

/// What can end a backup.
enum Trouble {
    /// Once more without what an interrupted push left behind may do.
    LeftOver(RepositoryError),
    Final(RepositoryError),
}

impl From<RepositoryError> for Trouble {
    fn from(error: RepositoryError) -> Self {
        Self::Final(error)
    }
}

/// What a backup starts from.
struct Before {
    tip: Link,
    /// The newest snapshot.
    parent: Option<Summary>,
    /// Of the new snapshot.
    epoch: Epoch,
    /// Of whoever wrote last: where nothing is committed it stays that one's.
    present: Epoch,
}

fn check_identity(git: &Git, request: &BackupRequest<'_>, tip: &Link) -> Result<(), RepositoryError> {
    let expected = &request.writer.identity;
    match git.identity_at(tip)? {
        Some(found) if found == *expected => Ok(()),
        Some(found) => Err(RepositoryError::Identity {
            location: git.options.location(),
            found,
            expected: expected.clone(),
        }),
        None => Err(git.absent(super::missing(Seen::Tip(tip.oid)))),
    }
}

/// The epoch of the new snapshot. Another volume is succeeded only by whoever never wrote here, or is told to: numbers
/// alone do not tell, since history may have been set back by hand.
fn may_write(
    git: &Git,
    request: &BackupRequest<'_>,
    holder: Option<&Holder>,
) -> Result<Epoch, RepositoryError> {
    match holder {
        None => Ok(next_epoch(request.epoch.unwrap_or(0), request.clock.now())),
        Some(holder) if holder.volume_id == request.writer.volume_id => Ok(holder.epoch),
        Some(holder) if request.epoch.is_some() && !request.take_over => Err(git.fenced(holder)),
        Some(holder) => Ok(next_epoch(holder.epoch.max(request.epoch.unwrap_or(0)), request.clock.now())),
    }
}

fn parent_of(git: &Git, tip: &Link) -> Result<Option<Summary>, RepositoryError> {
    use crate::repository::Repository;
    match tip.newest() {
        None => Ok(None),
        Some(newest) => match newest.summary {
            Some(summary) => Ok(Some(summary)),
            None => git.summary(&newest.id).map(Some),
        },
    }
}

fn store(
    git: &Git,
    request: &BackupRequest<'_>,
    root: &Root,
    before: &Before,
    rows: Option<&Rows>,
    left_over: Option<&LeftOver>,
    pack_path: &Path,
) -> Result<BackupReport, Trouble> {
    let there = match rows {
        Some(_) => HashSet::new(),
        None => objects_at(git, request, &before.tip)?,
    };
    let has = |oid: &Oid| rows.is_some_and(|rows| rows.objects.contains(oid)) || there.contains(oid);
    let sink = Sink::create(pack_path, has)?;
    let next_rows = git.cache.join(NEXT_ROWS);
    let mut writer = RowWriter::create(&next_rows).map_err(RepositoryError::local("create", &next_rows))?;
    let sources = Sources {
        known: left_over.map(|left| &left.rows).or(rows),
        left_over: left_over.is_some(),
        largest_file: git.options.largest_file,
    };
    let mut layout = Layout::new(&sink);
    let gathered = gather(request, root, &sources, &sink, &mut layout, &mut writer)?;
    if gathered.too_large_count > 0 {
        return Err(Trouble::Final(RepositoryError::TooLarge {
            location: git.options.location(),
            limit: git.options.largest_file,
            files: gathered.too_large,
            count: gathered.too_large_count,
        }));
    }
    let (tree, others) = layout.finish(&request.writer.identity)?;
    writer.finish(tree, &others).map_err(RepositoryError::local("write", &next_rows))?;
    (request.guard)(&gathered.totals, before.parent.as_ref()).map_err(RepositoryError::Refused)?;
    if tree == before.tip.commit.tree && before.parent.is_some() {
        if !request.dry_run {
            keep_rows(git);
        }
        return Ok(unchanged(request, before, gathered));
    }
    let (added_bytes, stored_bytes) = sink.filled();
    let mut report = BackupReport { added_bytes, stored_bytes, ..unchanged(request, before, gathered) };
    report.snapshot = None;
    if request.dry_run {
        return Ok(report);
    }
    report.epoch = before.epoch;
    // Told to stop when everything was read: what was read last may be of a time when the app was held no longer.
    if request.cancel.is_cancelled() {
        return Err(RepositoryError::Cancelled.into());
    }
    let summary = summary_of(request, before, &report)?;
    let parents = vec![before.tip.oid];
    let message = message::in_place(&message::for_snapshot(&summary), tree, &parents);
    let commit = Commit {
        tree,
        parents,
        author: git.author(&request.writer.host),
        seconds: summary.time.seconds,
        message,
    };
    let text = commit.encode();
    let oid = sink.put_own(Kind::Commit, &text)?;
    let mut pack = sink.finish(left_over.map(|left| &left.pack)).map_err(|error| match error {
        FinishError::LeftOver(_) => Trouble::LeftOver(error.into()),
        FinishError::Other(error) => Trouble::Final(error),
    })?;
    report.stored_bytes = pack.length;
    push(git, request, before, oid, &mut pack, tree).map_err(|error| match error {
        // Where nobody else moved the branch, the server may miss what the left-over pack was said to have.
        RepositoryError::Rejected { .. } if left_over.is_some() => Trouble::LeftOver(error),
        error => Trouble::Final(error),
    })?;
    keep_rows(git);
    git.history().note(vec![(oid, text)]);
    git.note_seen(Some(Seen::Tip(oid)));
    git.branch.forget_fetched();
    fit::warn(&git.options.location(), &report);
    report.snapshot = Some(summary);
    Ok(report)
}

/// Until it has ended well, what is pushed stays for the next run.
fn push(
    git: &Git,
    request: &BackupRequest<'_>,
    before: &Before,
    oid: Oid,
    pack: &mut Pack,
    tree: Oid,
) -> Result<(), RepositoryError> {
    if git.branch.is_remote() {
        LeftOver::keep(git, pack, tree)?;
    }
    match git.branch.advance(Some(before.tip.oid), oid, pack) {
        Ok(()) => {
            LeftOver::forget(git);
            Ok(())
        }
        Err(error @ RepositoryError::Rejected { .. }) => {
            git.note_seen(None);
            Err(who_was_quicker(git, request, before, error))
        }
        Err(error) => {
            git.note_seen(None);
            Err(error)
        }
    }
}

/// A push is refused mostly because somebody else moved the branch: then it is said who.
fn who_was_quicker(
    git: &Git,
    request: &BackupRequest<'_>,
    before: &Before,
    error: RepositoryError,
) -> RepositoryError {
    let Ok(tip) = git.tip_link(JUST_SEEN) else { return error };
    if tip.oid == before.tip.oid {
        return error;
    }
    match git.holder_at(&tip) {
        Ok(Some(holder)) if holder.volume_id != request.writer.volume_id || holder.epoch > before.epoch => {
            git.fenced(&holder)
        }
        _ => error,
    }
}

/// The rows of what the branch is at now.
fn keep_rows(git: &Git) {
    let (next, rows) = (git.cache.join(NEXT_ROWS), git.cache.join(ROWS));
    if let Err(error) = fs::rename(&next, &rows) {
        tracing::debug!(%error, path = %rows.display(), "not cached");
    }
}

/// The names of everything in the newest commit: without them all of it would be sent again.
fn objects_at(git: &Git, request: &BackupRequest<'_>, tip: &Link) -> Result<HashSet<Oid>, RepositoryError> {
    let mut found = HashSet::new();
    if tip.newest().is_none() {
        return Ok(found);
    }
    let objects = git.objects(tip.wanted(), Part::Trees, request.progress, request.cancel)?;
    match collect(&objects.reader()?, tip.commit.tree, &mut found) {
        Ok(()) => Ok(found),
        Err(error) if error.is_damage() => {
            tracing::warn!(%error, "everything is stored again");
            objects.spoil();
            Ok(HashSet::new())
        }
        Err(error) => Err(error),
    }
}

pub(super) fn collect(reader: &Reader, tree: Oid, found: &mut HashSet<Oid>) -> Result<(), RepositoryError> {
    let mut left = vec![tree];
    while let Some(tree) = left.pop() {
        if !found.insert(tree) {
            continue;
        }
        for entry in reader.tree(tree)? {
            match entry.mode {
                Mode::Tree => left.push(entry.oid),
                Mode::Submodule => {}
                _ => drop(found.insert(entry.oid)),
            }
        }
    }
    Ok(())
}

fn unchanged(request: &BackupRequest<'_>, before: &Before, gathered: Gathered) -> BackupReport {
    BackupReport {
        snapshot: before.parent.clone().filter(|_| !request.dry_run),
        epoch: if request.dry_run { 0 } else { before.present },
        totals: gathered.totals,
        files_read: gathered.files_read,
        bytes_read: gathered.bytes_read,
        added_bytes: 0,
        stored_bytes: 0,
        moved_bytes: 0,
        problems: gathered.problems.named,
        problem_count: gathered.problems.count,
    }
}

fn summary_of(
    request: &BackupRequest<'_>,
    before: &Before,
    report: &BackupReport,
) -> Result<Summary, RepositoryError> {
    let Totals { entries, files, bytes, data_bytes } = report.totals;
    let time = later_than(before.parent.as_ref(), request.clock.now());
    let random = random_hex(8).map_err(RepositoryError::local("name a snapshot of", request.root))?;
    Ok(Summary {
        id: SnapshotId(format!("{}-{random}", time.to_compact())),
        time,
        volume_id: request.writer.volume_id.clone(),
        epoch: before.epoch,
        identity: request.writer.identity.clone(),
        host: request.writer.host.clone(),
        parent: before.parent.as_ref().map(|parent| parent.id.clone()),
        copied_from: None,
        entries,
        files,
        bytes,
        data_bytes,
        added_bytes: report.added_bytes,
        stored_bytes: report.stored_bytes,
        problems: report.problems.clone(),
        problem_count: report.problem_count,
    })
}

/// A clock that was set back must not make the new snapshot look older than the newest one. One that was far ahead when
/// that one was made must not lead all others: the order of commits is that of the branch, whatever their times.
fn later_than(parent: Option<&Summary>, now: Timestamp) -> Timestamp {
    const CLOCKS_DIFFER: Duration = Duration::from_secs(86_400);
    // Names hold whole milliseconds.
    let now = Timestamp::new(now.seconds, now.nanoseconds / 1_000_000 * 1_000_000);
    match parent {
        Some(parent) if parent.time <= now.plus(CLOCKS_DIFFER) => {
            now.max(parent.time.plus(Duration::from_millis(1)))
        }
        _ => now,
    }
}
