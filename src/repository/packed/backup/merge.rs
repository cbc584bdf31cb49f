//! The merge of the walk with the parent's manifest: what is unchanged keeps its entry, the rest goes through
//! the pipeline. Decides entry by entry, and knows nothing of packs and uploads.

use crate::base::hash::Hash;
use crate::repository::packed::backup::job::{SMALL, Shared, SmallFile};
use crate::repository::packed::backup::links::{Content, Member, linked};
use crate::repository::packed::backup::movable;
use crate::repository::packed::backup::pipeline::Pipeline;
use crate::repository::packed::backup::stream::Stream;
use crate::repository::packed::frame::Piece;
use crate::repository::packed::parent::{Former, ParentReader, pieces};
use crate::repository::scan::{StatRow, bare_directory, settle};
use crate::repository::{BackupRequest, RepositoryError};
use crate::snapshot::{Entry, Kind};
use crate::tree::holes::may_have_holes;
use crate::tree::{EntryReader, FileKind, Found, Walk};

/// Takes the whole tree at the root of the request into the manifest.
pub(super) fn merge(
    request: &BackupRequest<'_>,
    shared: &Shared<'_>,
    mut former: ParentReader<'_>,
    pipeline: &mut Pipeline<'_, '_>,
) -> Result<(), RepositoryError> {
    let mut reader = EntryReader::new(shared.root);
    for found in Walk::new(shared.root, request.walk.clone()) {
        if request.cancel.is_cancelled() {
            return Err(RepositoryError::Cancelled);
        }
        pipeline.keep_up()?;
        let found = match found {
            Ok(found) => found,
            // Without the root there is nothing to back up, and "nothing" must not become a snapshot.
            Err(problem) if problem.path.is_root() => return Err(problem.error.into()),
            Err(problem) => {
                pipeline.problems.add(&problem.path, &problem.error.to_string());
                continue;
            }
        };
        if found.path.is_root() && !found.stat.is_directory() {
            return Err(RepositoryError::Local {
                operation: "back up",
                path: request.root.to_owned(),
                source: std::io::ErrorKind::NotADirectory.into(),
            });
        }
        if found.mount_point {
            tracing::warn!(path = %found.path, "another file system is mounted here; its content is left out");
        }
        request.progress.add(1, found.stat.size * u64::from(found.stat.kind == FileKind::File));
        let before = former.find(&found.path)?;
        match found.stat.kind {
            FileKind::File => file(request, pipeline, &former, found, before)?,
            _ => other(shared, pipeline, &mut reader, &former, &found, before)?,
        }
    }
    Ok(())
}

/// Everything that has no content. Links, fifos and devices may have several names as well.
fn other(
    shared: &Shared<'_>,
    pipeline: &mut Pipeline<'_, '_>,
    reader: &mut EntryReader<'_>,
    parent: &ParentReader<'_>,
    found: &Found,
    before: Option<Former>,
) -> Result<(), RepositoryError> {
    let member = match found.stat.links {
        0 | 1 => None,
        _ if found.stat.is_directory() => None,
        _ => Some(pipeline.links.see(&found.stat, &found.path)),
    };
    let first = match &member {
        Some(Member::Later { first, content: Some(_) }) => Some(first),
        _ => None,
    };
    if let Some(former) = before
        && let Some(stat) = former.stat
        && stat.is_unchanged(&former.entry, found)
        && former.entry.hard_link.as_ref() == first
    {
        if matches!(member, Some(Member::First)) {
            let entry = former.entry.clone();
            pipeline.links.know(&found.stat, Content { entry, pieces: Vec::new(), stat });
        }
        pipeline.count(&former.entry);
        return pipeline.manifest.push_unchanged(former.entry, stat, former.place, parent.frames());
    }
    if let Some(Member::Later { first, content: Some(content) }) = member {
        let entry = linked(&content, found.path.clone(), first);
        pipeline.count(&entry);
        return pipeline.manifest.push_changed(entry, content.stat);
    }
    let trusted = settle(shared.clock, &found.stat);
    match reader.entry(found) {
        Ok(entry) => {
            let stat = StatRow { inode: found.stat.inode, ctime: found.stat.ctime, trusted };
            if matches!(member, Some(Member::First)) {
                pipeline.links.know(&found.stat, Content { entry: entry.clone(), pieces: Vec::new(), stat });
            }
            pipeline.count(&entry);
            pipeline.manifest.push_changed(entry, stat)
        }
        Err(error) if found.stat.is_directory() => {
            // What is below it comes all the same, and an entry without its directory could not be restored.
            pipeline.problems.add(&found.path, &format!("its attributes are left out: {error}"));
            let entry = bare_directory(found);
            pipeline.count(&entry);
            pipeline.manifest.push_changed(entry, StatRow::default())
        }
        Err(error) => {
            pipeline.problems.add(&found.path, &error.to_string());
            Ok(())
        }
    }
}

fn file(
    request: &BackupRequest<'_>,
    pipeline: &mut Pipeline<'_, '_>,
    parent: &ParentReader<'_>,
    found: Found,
    before: Option<Former>,
) -> Result<(), RepositoryError> {
    let member = match found.stat.links {
        0 | 1 => None,
        _ => Some(pipeline.links.see(&found.stat, &found.path)),
    };
    let first = match &member {
        Some(Member::Later { first, .. }) => Some(first),
        _ => None,
    };
    let mut kept = None;
    let before = match before {
        Some(Former { entry, stat: Some(stat), moves: true, .. })
            if stat.is_unchanged(&entry, &found) && entry.hard_link.as_ref() == first =>
        {
            let pieces = pieces(entry.extents(), parent.frames());
            kept = Some(Content { entry, pieces, stat });
            None
        }
        Some(Former { entry, stat: Some(stat), place, .. })
            if stat.is_unchanged(&entry, &found) && entry.hard_link.as_ref() == first =>
        {
            if matches!(member, Some(Member::First)) {
                let pieces = pieces(entry.extents(), parent.frames());
                pipeline.links.know(&found.stat, Content { entry: entry.clone(), pieces, stat });
            }
            pipeline.count(&entry);
            return pipeline.manifest.push_unchanged(entry, stat, place, parent.frames());
        }
        before => before,
    };
    let slot = pipeline.manifest.push_pending(&found.path)?;
    match member {
        Some(Member::Later { first, content: Some(content) }) => {
            let entry = linked(&content, found.path, first);
            pipeline.count(&entry);
            return pipeline.manifest.fill(slot, entry, &content.pieces, content.stat);
        }
        Some(Member::Later { content: None, .. }) => {
            pipeline.links.wait(slot, found);
            return Ok(());
        }
        Some(Member::First) => pipeline.links.reads(&found.stat, slot),
        None => {}
    }
    let fixed = request.fixed_chunks.excludes(&found.path, false);
    if let Some(kept) = kept {
        return match &kept.entry.kind {
            Kind::File { size, holes, .. } if movable::is_small(*size, holes.is_empty()) => {
                let kept = Some(Box::new(kept));
                pipeline.small(SmallFile { slot, found, former: None, kept, stream: Stream::Moved })
            }
            _ => pipeline.elsewhere(slot, &found, kept, fixed),
        };
    }
    let stays = |piece: &Piece| !pipeline.shared.emptied.contains(&piece.frame.pack);
    let stream = match &before {
        Some(former) => pipeline.shared.rhythm.of_changed(former.entry.mtime, found.stat.mtime),
        None => Stream::Seldom,
    };
    let former = before.and_then(|former| content_of(&former.entry, parent));
    if found.stat.size <= SMALL && !may_have_holes(&found.stat) {
        let former = former.filter(|(_, pieces)| pieces.iter().all(stays));
        return pipeline.small(SmallFile { slot, found, former, kept: None, stream });
    }
    if let Some((_, pieces)) = former {
        // Most of a large file that changed did not.
        let whole = |piece: &&Piece| piece.skip == 0 && piece.length == piece.frame.plain;
        for piece in pieces.iter().filter(whole).filter(|piece| stays(piece)) {
            pipeline.shared.known.add(piece.frame.hash, *piece);
        }
    }
    pipeline.large(slot, &found, fixed, stream)
}

fn content_of(entry: &Entry, parent: &ParentReader<'_>) -> Option<(Hash, Vec<Piece>)> {
    match &entry.kind {
        // Of a sparse file the pieces are less than its content.
        Kind::File { hash, extents, holes, .. } if holes.is_empty() => {
            Some((*hash, pieces(extents, parent.frames())))
        }
        _ => None,
    }
}
