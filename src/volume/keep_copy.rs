//! A copy of the data in quarantine, beside the data itself: made under a temporary name, so that what a crash leaves
//! stands for nothing and is removed by the next run. What is copied, and how, is the caller's.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use crate::base::bytes_text::BytesText;
use crate::base::clock::Clock;
use crate::base::fs::{TEMPORARY_PREFIX, metadata_if_present, sync_dir, sync_file_system};
use crate::volume::Volume;
use crate::volume::error::VolumeError;
use crate::volume::marker::Marker;
use crate::volume::moving::rename_new;
use crate::volume::quarantine::{self, Note};
use crate::volume::removal::{remove_leftover_trees, remove_tree};

/// A copy that is being made.
#[derive(Debug)]
#[must_use = "it is to be finished or given up"]
pub struct Copying {
    /// Its name once it is whole.
    pub name: String,
    /// An empty directory that nobody else can enter: the root of the copy.
    pub data: PathBuf,
    temporary: PathBuf,
}

impl Volume {
    /// With the volume's lock held exclusively. Removes what another one left that was cut off.
    pub fn begin_copy(
        &self,
        reason: &str,
        marker: &Marker,
        clock: &dyn Clock,
    ) -> Result<Copying, VolumeError> {
        let directory = self.places.quarantine();
        remove_leftover_trees(&directory).map_err(VolumeError::io("remove left-overs in", &directory))?;
        let name = quarantine::new_name(clock)
            .map_err(VolumeError::io("make a quarantine for", &self.places.path))?;
        let temporary_name = format!("{TEMPORARY_PREFIX}{name}");
        let data = quarantine::open(&directory, &temporary_name, || {
            let time = clock.now();
            Note {
                reason: reason.to_owned(),
                path: BytesText::from(self.places.path.as_os_str().as_bytes()),
                origin: marker.origin.clone(),
                time,
                expires: time.plus(self.options.quarantine.keep),
                before_repair: true,
                files_only: false,
            }
        })?;
        std::fs::DirBuilder::new().mode(0o700).create(&data).map_err(VolumeError::io("create", &data))?;
        Ok(Copying { temporary: directory.join(temporary_name), name, data })
    }

    /// When all is in it. Durable when it returns: only then does it have the name that stands for a whole one.
    pub fn finish_copy(&self, copying: &Copying) -> Result<PathBuf, VolumeError> {
        let directory = self.places.quarantine();
        let path = directory.join(&copying.name);
        sync_file_system(&copying.temporary)
            .map_err(VolumeError::io("sync the file system of", &copying.temporary))?;
        rename_new(&copying.temporary, &path).map_err(VolumeError::io("rename", &copying.temporary))?;
        sync_dir(&directory).map_err(VolumeError::io("sync", &directory))?;
        Ok(path)
    }

    /// Gives back the room at once.
    pub fn give_up_copy(&self, copying: &Copying) -> Result<(), VolumeError> {
        remove_tree(&copying.temporary).map_err(VolumeError::io("remove", &copying.temporary))
    }

    /// The quarantine of this name, if it is still there.
    pub fn kept_copy(&self, name: &str) -> Result<Option<PathBuf>, VolumeError> {
        let path = self.places.quarantine().join(name);
        let found = metadata_if_present(&path).map_err(VolumeError::io("look at", &path))?;
        Ok(found.map(|_| path))
    }
}
