//! The reading half of the local store's directories: listing objects in the order of their keys, and
//! removing what writers that died left behind.

use std::fs::{DirEntry, FileType, Metadata};
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::base::fs::{TEMPORARY_PREFIX, remove_if_present};
use crate::base::timestamp::Timestamp;
use crate::store::key::DEEPEST;
use crate::store::{Key, ObjectInfo, StoreError, Visit};

/// No write takes that long.
const LEFT_OVER: Duration = Duration::from_secs(24 * 3600);
/// A file system's own directory, closed to everybody but root.
const LOST_AND_FOUND: &str = "lost+found";

pub(super) fn list(root: &Path, prefix: Option<&Key>, each: Visit<'_>) -> Result<(), StoreError> {
    match prefix {
        None => list_directory(root, "", each),
        Some(prefix) => list_directory(&root.join(prefix.as_str()), &format!("{prefix}/"), each),
    }
}

/// `start` is what the keys of this directory begin with: empty, or ending in a slash.
fn list_directory(directory: &Path, start: &str, each: Visit<'_>) -> Result<(), StoreError> {
    let trouble = |error| StoreError::from_io(directory.display().to_string(), error);
    for found in children(directory).map_err(trouble)? {
        if found.name.starts_with(TEMPORARY_PREFIX) || (start.is_empty() && found.name == LOST_AND_FOUND) {
            continue;
        }
        let text = format!("{start}{}", found.name);
        if found.is_directory {
            if text.split('/').count() >= DEEPEST {
                return Err(trouble(io::Error::other("directories nested too deep, or a loop of links")));
            }
            list_directory(&found.entry.path(), &format!("{text}/"), each)?;
            continue;
        }
        let Ok(key) = Key::new(text) else {
            tracing::debug!(file = %found.entry.path().display(), "not an object's name, left alone");
            continue;
        };
        let Some(metadata) = target(&found.entry).map_err(trouble)?.filter(Metadata::is_file) else {
            continue;
        };
        let modified = metadata.modified().map_err(trouble)?.into();
        each(ObjectInfo { key, size: metadata.len(), modified })?;
    }
    Ok(())
}

/// Temporary files at every depth, if older than a day by their modification time.
pub(super) fn sweep(directory: &Path, now: Timestamp) -> io::Result<u64> {
    let mut removed = 0;
    for found in children(directory)? {
        if !found.name.starts_with(TEMPORARY_PREFIX) {
            if found.is_directory && found.name != LOST_AND_FOUND {
                removed += sweep(&found.entry.path(), now)?;
            }
            continue;
        }
        let Some(metadata) = target(&found.entry)?.filter(Metadata::is_file) else { continue };
        if now.since(metadata.modified()?.into()) > LEFT_OVER {
            remove_if_present(&found.entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

struct Child {
    name: String,
    entry: DirEntry,
    is_directory: bool,
}

/// Sorted so that walking them gives keys in the order of their bytes: a directory counts with its slash.
/// Nothing, if there is no such directory. Names that are not UTF-8 are nothing of ours.
fn children(directory: &Path) -> io::Result<Vec<Child>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        // The caller knows that the root is there: this one is absent, or was removed while we walked.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut children = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let is_directory = match entry.file_type()? {
            kind if kind.is_symlink() => target(&entry)?.is_some_and(|metadata| metadata.is_dir()),
            kind => FileType::is_dir(&kind),
        };
        children.push(Child { name, entry, is_directory });
    }
    let order =
        |child: &Child| child.name.bytes().chain(child.is_directory.then_some(b'/')).collect::<Vec<u8>>();
    children.sort_by_cached_key(order);
    Ok(children)
}

/// What the entry is, links followed; `None` if it is gone by now.
fn target(entry: &DirEntry) -> io::Result<Option<Metadata>> {
    match std::fs::metadata(entry.path()) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
