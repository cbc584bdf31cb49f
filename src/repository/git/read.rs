//! Entries and contents of a snapshot in walk order, and the totals of a commit that nobody counted.

use std::ops::ControlFlow;

use crate::base::cancel::Cancel;
use crate::base::hash::Hash;
use crate::base::progress::Progress;
use crate::repository::git::branch::Wanted;
use crate::repository::git::contents::{Contents, Item};
use crate::repository::git::objects::Reader;
use crate::repository::git::oid::Kind as ObjectKind;
use crate::repository::git::{Git, Located};
use crate::repository::{EntrySink, RepositoryError};
use crate::snapshot::selector::Selector;
use crate::snapshot::{Entry, Kind, SnapshotId, Summary};

pub(super) fn count(git: &Git, wanted: Wanted, summary: Summary) -> Result<Summary, RepositoryError> {
    git.with_objects(wanted, &Progress::default(), &Cancel::new(), |objects| {
        let reader = objects.reader()?;
        let mut contents = Contents::open(&reader, wanted.tree, wanted.seconds)?;
        let mut counted = summary.clone();
        while let Some(item) = contents.next()? {
            counted.entries += 1;
            if let Kind::File { size, holes, .. } = &item.entry.kind {
                counted.files += 1;
                counted.bytes += size;
                counted.data_bytes += size - holes.iter().map(|hole| hole.length).sum::<u64>().min(*size);
            }
        }
        Ok(counted)
    })
}

pub(super) fn entries(
    git: &Git,
    id: &SnapshotId,
    visit: &mut dyn FnMut(Entry) -> ControlFlow<()>,
) -> Result<(), RepositoryError> {
    each(git, id, &mut |reader, item| {
        Ok(visit(match item.uncounted {
            true => with_content(reader, item, |entry, _| Ok(entry))?,
            false => item.entry,
        }))
    })
}

pub(super) fn contents(
    git: &Git,
    id: &SnapshotId,
    selector: &Selector,
    sink: &mut EntrySink<'_>,
) -> Result<(), RepositoryError> {
    each(git, id, &mut |reader, item| {
        let on_the_way = item.entry.is_directory() && selector.leads(&item.entry.path);
        if on_the_way || selector.takes(&item.entry.path) {
            with_content(reader, item, |entry, bytes| sink(&entry, &mut { bytes }))?;
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// Hands over the entry with its size and hash, and the content that has them.
pub(super) fn with_content<T>(
    reader: &Reader,
    item: Item,
    work: impl FnOnce(Entry, &[u8]) -> Result<T, RepositoryError>,
) -> Result<T, RepositoryError> {
    let Item { mut entry, content, uncounted, .. } = item;
    let Some(oid) = content else { return work(entry, &[]) };
    // What unpacks to something else than it should may unpack to anything.
    let wrong = |entry: &Entry| RepositoryError::Content { path: entry.path.to_string() };
    if reader.size(oid)? != entry.size() {
        return Err(wrong(&entry));
    }
    reader.with(ObjectKind::Blob, oid, |bytes| {
        if let Kind::File { hash, .. } = &mut entry.kind {
            let found = Hash::of(bytes);
            if uncounted {
                *hash = found;
            } else if *hash != found {
                return Err(wrong(&entry));
            }
        }
        work(entry, bytes)
    })
}

type Visit<'v> = dyn FnMut(&Reader, Item) -> Result<ControlFlow<()>, RepositoryError> + 'v;

fn each(git: &Git, id: &SnapshotId, visit: &mut Visit<'_>) -> Result<(), RepositoryError> {
    let Located { wanted, .. } = git.locate(id)?;
    let mut begun = false;
    git.with_objects(wanted, &Progress::default(), &Cancel::new(), |objects| {
        if begun {
            // Somebody has seen a part of it already.
            let location = git.options.location();
            let (object, reason) =
                (id.to_string(), "what was fetched of it is damaged; try again".to_owned());
            return Err(RepositoryError::Damaged { location, object, reason });
        }
        let reader = objects.reader()?;
        let mut contents = Contents::open(&reader, wanted.tree, wanted.seconds)?;
        while let Some(item) = contents.next()? {
            begun = true;
            if visit(&reader, item)?.is_break() {
                break;
            }
        }
        Ok(())
    })
}
