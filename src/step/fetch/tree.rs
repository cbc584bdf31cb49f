//! What is in an archive that is fetched: it grows beside the volume's data, and takes its place at once. A directory
//! that holds the same already is not touched; one that holds something else is kept by whoever keeps what is replaced.

use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use super::arriving::Arriving;
use super::memory::{Memory, Remembered};
use super::same::is_same;
use super::{Brought, Fetch, Present};
use crate::archive::{Limits, unpack};
use crate::base::fs::{metadata_if_present, sync_dir, sync_parent};
use crate::snapshot::RelativePath;
use crate::step::error::{FetchError, Trouble};
use crate::step::owner::{give_all, owner_of};
use crate::step::perform::Means;
use crate::step::place::Place;
use crate::tree::{Root, TreeError, TreeWriter};

const BUFFER: usize = 64 << 10;
/// Of the directory, where the archive does not say.
const USUAL_MODE: u32 = 0o755;
/// As with other limits on what comes from elsewhere: more than anybody unpacks before an app starts.
const MOST_ENTRIES: u64 = 10_000_000;
/// How many of the things that could not be set are named.
const NAMED: usize = 5;

pub(super) fn look(
    fetch: &Fetch,
    remembered: Option<&Remembered>,
    volume: &Path,
) -> Result<Present, Trouble> {
    match Root::open(volume)?.stat(&fetch.to) {
        Ok(stat) if stat.is_directory() => {
            Ok(Present::Something(remembered.map(|remembered| remembered.sha256.clone())))
        }
        Ok(_) => Err(Trouble::NoDirectory { path: fetch.to.below(volume) }),
        Err(error) if error.is_missing() => Ok(Present::Nothing),
        Err(error) => Err(error.into()),
    }
}

/// Nobody else is at it: the volume's lock is held.
pub(super) fn bring(
    fetch: &Fetch,
    from: &RelativePath,
    mut arriving: Arriving<'_>,
    memory: &Memory,
    means: &Means<'_>,
) -> Result<Brought, Trouble> {
    let workshop = memory.workshop();
    let failed = |error| Trouble::from(TreeError::new("unpack in", workshop.clone(), error));
    remove(&workshop).map_err(failed)?;
    let done = prepare(&workshop).map_err(failed).and_then(|()| {
        let writer = TreeWriter::open(&workshop)?;
        let limits = Limits { bytes: fetch.largest, entries: MOST_ENTRIES };
        let place = fetch.source.place();
        unpack(&mut arriving, &writer, &limits).map_err(|source| FetchError::Archive { place, source })?;
        // The checksum is of all that comes, also of what follows the archive's end.
        drain(&mut arriving).map_err(failed)?;
        fetch.verify(&arriving.sha256())?;
        let new = from.below(&workshop);
        if !Root::open(&workshop)?.stat(from).is_ok_and(|stat| stat.is_directory()) {
            return Err(FetchError::NotInArchive { place: fetch.source.place(), path: from.clone() }.into());
        }
        if let Some(owner) = owner_of(fetch.owner.as_deref())? {
            give_all(&Root::open(&new)?, owner, &[])?;
        }
        tell_problems(&writer);
        writer.sync_file_system()?;
        put(fetch, &new, means)
    });
    // What is left is what was not taken of the archive, or what failed: the next run would remove it as well.
    if let Err(error) = remove(&workshop) {
        tracing::debug!(%error, path = %workshop.display(), "left for the next run");
    }
    Ok(Brought { changed: done?, sha256: arriving.sha256(), placed: None })
}

/// Whether anything had to be changed.
fn put(fetch: &Fetch, new: &Path, means: &Means<'_>) -> Result<bool, Trouble> {
    let live = fetch.to.below(means.volume);
    let failed = |error| Trouble::from(TreeError::new("replace", live.clone(), error));
    let root = Root::open(means.volume)?;
    let there = match root.stat(&fetch.to) {
        Ok(_) => true,
        Err(error) if error.is_missing() => false,
        Err(error) => return Err(error.into()),
    };
    if there {
        if is_same(&Root::open(&live)?, &Root::open(new)?)? {
            return Ok(false);
        }
        let kept = means.host.replace(new, &live).map_err(failed)?;
        tracing::info!(to = %fetch.to, quarantine = %kept.display(), "what was there is in quarantine");
        return Ok(true);
    }
    let place = Place { to: &fetch.to, mode: USUAL_MODE, owner: owner_of(fetch.owner.as_deref())? };
    place.make_directories(&root)?;
    // The way there was made, or walked, without following a link; one that is put in its place now is our app's.
    std::fs::rename(new, &live).map_err(failed)?;
    sync_parent(&live).map_err(failed)?;
    Ok(true)
}

fn prepare(workshop: &Path) -> io::Result<()> {
    if let Some(above) = workshop.parent() {
        std::fs::create_dir_all(above)?;
    }
    std::fs::DirBuilder::new().mode(0o700).create(workshop)?;
    std::fs::set_permissions(workshop, std::fs::Permissions::from_mode(USUAL_MODE))
}

fn remove(workshop: &Path) -> io::Result<()> {
    if metadata_if_present(workshop)?.is_none() {
        return Ok(());
    }
    let writer = TreeWriter::open(workshop).map_err(io::Error::other)?;
    writer.remove_tree(&RelativePath::root()).map_err(io::Error::other)?;
    std::fs::remove_dir(workshop)?;
    workshop.parent().map_or(Ok(()), sync_dir)
}

fn drain(arriving: &mut Arriving<'_>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    while arriving.read(&mut buffer)? > 0 {}
    Ok(())
}

fn tell_problems(writer: &TreeWriter) {
    let problems = writer.problems();
    if problems.total() > 0 {
        let some = problems.lines().into_iter().take(NAMED).collect::<Vec<_>>().join("; ");
        tracing::warn!(count = problems.total(), some, "not everything in the archive could be set");
    }
}
