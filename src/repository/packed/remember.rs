//! Fills the cache from a tree that was just restored: a walk instead of the reading that the next backup
//! would do without it.

use std::thread;

use crossbeam_channel::bounded;

use crate::repository::packed::cache::Cache;
use crate::repository::packed::parent::load;
use crate::repository::packed::{Packed, document};
use crate::repository::scan::{StatRow, is_as_restored, settle};
use crate::repository::{BackupRequest, RepositoryError};
use crate::snapshot::SnapshotId;
use crate::tree::{Root, Walk};

/// Entries of the tree, in memory.
const WALKED_AHEAD: usize = 4096;

/// Entries that differ from the snapshot, because somebody was quicker, are noted as not to be trusted.
pub(super) fn run(
    packed: &Packed,
    id: &SnapshotId,
    request: &BackupRequest<'_>,
) -> Result<(), RepositoryError> {
    let (descriptor, objects) = packed.opened()?;
    // That it is still there matters to nobody here.
    let document = match packed.known_document(id) {
        Some(document) => document,
        None => document::read(&objects, &descriptor.id, id)?,
    };
    let cache = Cache::open(Some(request.cache), &descriptor.id);
    let root = Root::open(request.root)?;
    let (sender, receiver) = bounded(WALKED_AHEAD);
    thread::scope(|scope| {
        // The app waits for this to be over: one looks at the tree while the other reads what it should be.
        let walk = Walk::new(&root, request.walk.clone());
        scope.spawn(move || walk.filter_map(Result::ok).all(|found| sender.send(found).is_ok()));
        let mut walk = receiver.into_iter().peekable();
        for reference in &document.segments {
            let segment = load(&objects, &cache, reference)?;
            let mut rows = Vec::with_capacity(segment.entries.len());
            for entry in &segment.entries {
                while walk.next_if(|found| found.path < entry.path).is_some() {}
                let row = walk.next_if(|found| found.path == entry.path).map(|found| {
                    // Whoever writes from now on gets a later time than the one noted.
                    let settled = settle(request.clock, &found.stat);
                    let trusted = settled && is_as_restored(entry, &found);
                    StatRow { inode: found.stat.inode, ctime: found.stat.ctime, trusted }
                });
                rows.push(row.unwrap_or_default());
            }
            cache.keep_stats(&reference.id, &rows);
        }
        cache.keep_only(&document.segments);
        Ok(())
    })
}
