//! Checks that look at names and sizes, and the way from a relative path to a place inside the volume. Reads
//! no content.

use std::io;
use std::path::{Path, PathBuf};

use super::Verdict;
use crate::snapshot::RelativePath;

pub(super) fn exists(volume: &Path, path: &RelativePath) -> Verdict {
    judge(parent_of(volume, path).and_then(std::fs::symlink_metadata).map(|_| Verdict::Good))
}

pub(super) fn not_empty(volume: &Path, path: &RelativePath) -> Verdict {
    let look = || {
        let place = resolve(volume, path)?;
        let metadata = std::fs::metadata(&place)?;
        let empty = match metadata.is_dir() {
            true => std::fs::read_dir(&place)?.next().transpose()?.is_none(),
            false => metadata.len() == 0,
        };
        Ok(if empty { Verdict::Damaged("it is empty".to_owned()) } else { Verdict::Good })
    };
    judge(look())
}

/// Only "there is nothing by that name" is a finding; any other trouble says nothing about the data.
pub(super) fn judge(result: io::Result<Verdict>) -> Verdict {
    result.unwrap_or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Verdict::Damaged("it is missing".to_owned()),
        _ => Verdict::Unknown(error.to_string()),
    })
}

/// Where `path` really is, links followed; refused if that is outside the volume.
pub(super) fn resolve(volume: &Path, path: &RelativePath) -> io::Result<PathBuf> {
    let (volume, place) = (real_volume(volume)?, path.below(volume));
    inside(&volume, std::fs::canonicalize(place)?)
}

/// The same, but a link in the last place stays one.
fn parent_of(volume: &Path, path: &RelativePath) -> io::Result<PathBuf> {
    let (real, place) = (real_volume(volume)?, path.below(volume));
    let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    Ok(inside(&real, std::fs::canonicalize(parent)?)?.join(name))
}

/// Without the volume there is nothing to be missing in it.
pub(super) fn real_volume(volume: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(volume)
        .map_err(|error| io::Error::other(format!("cannot reach {}: {error}", volume.display())))
}

fn inside(volume: &Path, place: PathBuf) -> io::Result<PathBuf> {
    if place.starts_with(volume) {
        return Ok(place);
    }
    Err(io::Error::other(format!("it leads out of the volume, to {}", place.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn path(text: &str) -> RelativePath {
        RelativePath::new(text).unwrap()
    }

    #[test]
    fn emptiness_is_judged_for_files_and_directories() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("full"), "x").unwrap();
        std::fs::write(dir.path().join("hollow"), "").unwrap();
        std::fs::create_dir(dir.path().join("bare")).unwrap();
        assert!(matches!(not_empty(dir.path(), &path("full")), Verdict::Good));
        for name in ["hollow", "bare", "gone"] {
            assert!(matches!(not_empty(dir.path(), &path(name)), Verdict::Damaged(_)), "{name}");
        }
        let gone = dir.path().join("gone");
        assert!(matches!(exists(&gone, &path("full")), Verdict::Unknown(_)));
    }

    #[test]
    fn links_lead_around_inside_but_not_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("v1")).unwrap();
        std::fs::write(dir.path().join("v1/file"), "x").unwrap();
        symlink("v1", dir.path().join("current")).unwrap();
        symlink("/", dir.path().join("out")).unwrap();
        symlink("nowhere", dir.path().join("dangling")).unwrap();
        assert!(matches!(not_empty(dir.path(), &path("current/file")), Verdict::Good));
        assert!(matches!(exists(dir.path(), &path("dangling")), Verdict::Good));
        assert!(matches!(exists(dir.path(), &path("out/proc")), Verdict::Unknown(_)));
        assert!(matches!(not_empty(dir.path(), &path("out")), Verdict::Unknown(_)));
    }
}
