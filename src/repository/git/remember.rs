//! Notes what a tree that was just restored looks like, so that the next backup finds it unchanged without reading.

use std::fs;

use crate::base::cancel::Cancel;
use crate::base::progress::Progress;
use crate::repository::git::backup::{ROWS, collect, row_of};
use crate::repository::git::branch::Wanted;
use crate::repository::git::contents::Contents;
use crate::repository::git::known::RowWriter;
use crate::repository::git::objects::Objects;
use crate::repository::git::oid::Oid;
use crate::repository::git::{Git, Located};
use crate::repository::scan::{StatRow, is_as_restored, settle};
use crate::repository::{BackupRequest, RepositoryError};
use crate::snapshot::SnapshotId;
use crate::tree::{Root, Walk};

pub(super) fn run(git: &Git, id: &SnapshotId, request: &BackupRequest<'_>) -> Result<(), RepositoryError> {
    let Located { wanted, .. } = git.locate(id)?;
    let noted = git.with_objects(wanted, &Progress::default(), &Cancel::new(), |objects| {
        note(git, objects, wanted, request)
    });
    // Of the copy of all that was fetched nothing is needed any more.
    git.branch.forget_fetched();
    noted
}

fn note(
    git: &Git,
    objects: &Objects,
    wanted: Wanted,
    request: &BackupRequest<'_>,
) -> Result<(), RepositoryError> {
    let path = git.cache.join(ROWS);
    let failed = || RepositoryError::local("write", path.clone());
    let reader = objects.reader()?;
    let Wanted { tree, seconds, .. } = wanted;
    let mut contents = Contents::open(&reader, tree, seconds)?;
    let mut rows = RowWriter::create(&path).map_err(failed())?;
    let root = Root::open(request.root)?;
    let mut walk = Walk::new(&root, request.walk.clone()).filter_map(Result::ok).peekable();
    while let Some(item) = contents.next()? {
        let entry = item.entry;
        while walk.next_if(|found| found.path < entry.path).is_some() {}
        let Some(found) = walk.next_if(|found| found.path == entry.path) else { continue };
        // Whoever writes from now on gets a later time than the one noted.
        let settled = settle(request.clock, &found.stat);
        let trusted = settled && !item.uncounted && is_as_restored(&entry, &found);
        let stat = StatRow { inode: found.stat.inode, ctime: found.stat.ctime, trusted };
        rows.push(&row_of(entry, stat, found.stat.kind, item.standing)?).map_err(failed())?;
    }
    let mut all = std::collections::HashSet::new();
    collect(&reader, tree, &mut all)?;
    let all: Vec<Oid> = all.into_iter().collect();
    let finished = rows.finish(tree, &all).map_err(failed());
    let _ = fs::remove_file(path.with_extension("part"));
    finished
}
