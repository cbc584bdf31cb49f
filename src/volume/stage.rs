//! The first half of the journal: from the wish to restore to a tree in staging that is complete and on disk;
//! and the ways to a ready volume that need no restore. Moves nothing of the volume's data.

use std::path::{Path, PathBuf};

use crate::base::clock::Clock;
use crate::base::fs::{metadata_if_present, sync_dir, sync_file_system, sync_parent};
use crate::volume::Volume;
use crate::volume::error::VolumeError;
use crate::volume::inspect::{Data, data_at};
use crate::volume::marker::{Marker, Origin, Phase, RestoreTarget};
use crate::volume::quarantine::make_directory;
use crate::volume::removal::{remove_leftover_trees, remove_tree};

/// Where a restore is put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staging {
    /// Becomes the volume; its root's metadata becomes that of the volume's root.
    pub tree: PathBuf,
}

/// What a restore finds when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Staging is empty.
    Fresh,
    /// Staging holds a part of the same snapshot: what is whole can be used.
    Resumed,
    /// The same snapshot was staged completely: only the commit is missing.
    Staged,
}

impl Volume {
    pub fn staging(&self) -> Staging {
        Staging { tree: self.places.staging_tree() }
    }

    /// A marker for a volume without one, in memory only.
    pub fn new_marker(&self, clock: &dyn Clock) -> Result<Marker, VolumeError> {
        Marker::new(&self.options.identity, Phase::Ready, clock)
            .map_err(VolumeError::io("make an id for", &self.places.path))
    }

    /// Opens the journal for `target` and makes room for it in staging. A staging of another snapshot is
    /// discarded. Refused once a commit has begun: that has to be finished first.
    pub fn begin_restore(
        &self,
        marker: &mut Marker,
        target: RestoreTarget,
        clock: &dyn Clock,
    ) -> Result<Begun, VolumeError> {
        let same = marker.phase.target() == Some(&target);
        let staging = self.places.staging();
        let tree = self.places.staging_tree();
        // Somebody may have cleared it away by hand: then it is restored again, since nothing has moved yet.
        let whole = same && metadata_if_present(&tree).map_err(VolumeError::io("look at", &tree))?.is_some();
        match &marker.phase {
            Phase::Committing { .. } => return Err(refused(marker, "begin a restore")),
            Phase::Staged { .. } if whole => return Ok(Begun::Staged),
            // The journal must not call the tree complete while it is being discarded.
            Phase::Staged { target: old } => {
                let phase = Phase::Restoring { target: old.clone() };
                self.advance(marker, phase, clock)?;
            }
            Phase::Restoring { .. } | Phase::Ready => {}
        }
        if !same {
            // Before the new target is written: a kill in between must not leave the other snapshot's files
            // under its name.
            remove_tree(&tree).map_err(VolumeError::io("discard", &tree))?;
            self.advance(marker, Phase::Restoring { target }, clock)?;
        }
        remove_leftover_trees(&staging).map_err(VolumeError::io("clear", &staging))?;
        make_directory(&staging).map_err(VolumeError::io("create", &staging))?;
        let resumed = make_directory(&tree).map_err(VolumeError::io("create", &tree))?;
        sync_dir(&staging).map_err(VolumeError::io("sync", &staging))?;
        Ok(if resumed { Begun::Resumed } else { Begun::Fresh })
    }

    /// Call it when every byte in staging has been verified. Makes it durable before the journal says so.
    pub fn mark_staged(&self, marker: &mut Marker, clock: &dyn Clock) -> Result<(), VolumeError> {
        let Phase::Restoring { target } = &marker.phase else {
            return Err(refused(marker, "call the restore complete"));
        };
        let phase = Phase::Staged { target: target.clone() };
        let tree = self.places.staging_tree();
        require_tree(&tree)?;
        sync_file_system(&tree).map_err(VolumeError::io("sync the file system of", &tree))?;
        self.advance(marker, phase, clock)
    }

    /// The volume is ready as it is: with nothing on it. Makes the data directory where there is none.
    pub fn start_empty(&self, marker: Option<Marker>, clock: &dyn Clock) -> Result<Marker, VolumeError> {
        let marker = self.marker_to_start_with(marker, "start empty", clock)?;
        let path = &self.places.path;
        match data_at(&self.places)? {
            Data::Some => return Err(VolumeError::NotEmpty { path: path.clone() }),
            Data::None => {}
            Data::NoDirectory => {
                make_directory(path).map_err(VolumeError::io("create", path))?;
                sync_parent(path).map_err(VolumeError::io("sync", path))?;
            }
        }
        self.make_ready(marker, Origin::Empty, clock)
    }

    /// The data on the volume is taken for good and ours.
    pub fn adopt(&self, marker: Option<Marker>, clock: &dyn Clock) -> Result<Marker, VolumeError> {
        let marker = self.marker_to_start_with(marker, "adopt the data", clock)?;
        let origin = match data_at(&self.places)? {
            Data::Some => Origin::Adopted,
            // Or else the next look would say that the adopted data has vanished.
            Data::None => Origin::Empty,
            Data::NoDirectory => return Err(VolumeError::Missing { path: self.places.path.clone() }),
        };
        self.make_ready(marker, origin, clock)
    }

    /// A verified tree in staging is not given up by the way, and a half-done commit leaves nothing to adopt.
    fn marker_to_start_with(
        &self,
        marker: Option<Marker>,
        wanted: &'static str,
        clock: &dyn Clock,
    ) -> Result<Marker, VolumeError> {
        match marker {
            Some(marker) if matches!(marker.phase, Phase::Staged { .. } | Phase::Committing { .. }) => {
                Err(refused(&marker, wanted))
            }
            Some(marker) => Ok(marker),
            None => self.new_marker(clock),
        }
    }

    fn make_ready(
        &self,
        mut marker: Marker,
        origin: Origin,
        clock: &dyn Clock,
    ) -> Result<Marker, VolumeError> {
        marker.origin = Some(origin);
        // What was backed up before says nothing about what is here now.
        marker.forget_backups();
        marker.forget_the_data();
        marker.distrusted = None;
        marker.ready_since = Some(clock.now());
        marker.clean = true;
        self.advance(&mut marker, Phase::Ready, clock)?;
        Ok(marker)
    }

    /// The marker in memory follows only when the one on disk has been written.
    pub(crate) fn advance(
        &self,
        marker: &mut Marker,
        phase: Phase,
        clock: &dyn Clock,
    ) -> Result<(), VolumeError> {
        let next = Marker { phase, ..marker.clone() };
        self.write_marker(&next, clock)?;
        *marker = next;
        Ok(())
    }
}

pub(crate) fn refused(marker: &Marker, wanted: &'static str) -> VolumeError {
    VolumeError::Phase { found: marker.phase.name().to_owned(), wanted }
}

pub(crate) fn require_tree(tree: &Path) -> Result<(), VolumeError> {
    match metadata_if_present(tree).map_err(VolumeError::io("look at", tree))? {
        Some(metadata) if metadata.is_dir() => Ok(()),
        Some(_) => Err(VolumeError::NotADirectory { path: tree.to_owned() }),
        None => Err(VolumeError::StagingMissing { path: tree.to_owned() }),
    }
}
