//! Puts whole files in the place of damaged ones: the good ones are prepared in a quarantine of their own, and each
//! exchanges its place with the one it stands for, in one step. So at every instant each name has the one or the other.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::base::bytes_text::BytesText;
use crate::base::clock::Clock;
use crate::base::fs::{metadata_if_present, sync_dir, sync_file_system, sync_parent};
use crate::snapshot::RelativePath;
use crate::tree::{FileKind, Root, Walk, WalkOptions};
use crate::volume::Volume;
use crate::volume::error::VolumeError;
use crate::volume::marker::Marker;
use crate::volume::quarantine::{self, Note};
use crate::volume::removal::remove_tree;

const REASON: &str = "damaged files that a scrub replaced";

#[derive(Debug)]
#[must_use = "it is to be finished or given up"]
pub struct Swap {
    /// The quarantine, and in it the tree with what is to go live, which becomes what was live.
    pub path: PathBuf,
    pub data: PathBuf,
}

impl Volume {
    /// With the volume's lock held exclusively.
    pub fn begin_swap(&self, marker: &Marker, clock: &dyn Clock) -> Result<Swap, VolumeError> {
        let directory = self.places.quarantine();
        let name = quarantine::new_name(clock)
            .map_err(VolumeError::io("make a quarantine for", &self.places.path))?;
        let data = quarantine::open(&directory, &name, || {
            let time = clock.now();
            Note {
                reason: REASON.to_owned(),
                path: BytesText::from(self.places.path.as_os_str().as_bytes()),
                origin: marker.origin.clone(),
                time,
                expires: time.plus(self.options.quarantine.keep),
                before_repair: false,
                files_only: true,
            }
        })?;
        std::fs::DirBuilder::new().mode(0o700).create(&data).map_err(VolumeError::io("create", &data))?;
        Ok(Swap { path: directory.join(name), data })
    }

    /// The file by this name and the one in quarantine take each other's place. What is in quarantine is durable before.
    pub fn swap_in(&self, swap: &Swap, path: &RelativePath) -> Result<(), VolumeError> {
        let place = path.below(&self.places.path);
        let exchange = || -> Result<(), Errno> {
            let open = |root: &Path| Root::open(root).map_err(|_| Errno::NOENT);
            let (live, aside) = (open(&self.places.path)?, open(&swap.data)?);
            let parent = |root: &Root| root.parent(path).map(|(fd, _)| fd).map_err(|_| Errno::NOENT);
            let (from, to) = (parent(&aside)?, parent(&live)?);
            renameat_with(from, path.name(), to, path.name(), RenameFlags::EXCHANGE)
        };
        match exchange() {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                Err(VolumeError::NoExchange { path: self.places.path.clone() })
            }
            other => other.map_err(VolumeError::io("put the good content in the place of", &place)),
        }
    }

    /// When the last one has its place: durable when it returns.
    pub fn finish_swap(&self, swap: &Swap) -> Result<(), VolumeError> {
        sync_file_system(&swap.path).map_err(VolumeError::io("sync the file system of", &swap.path))
    }

    /// For a quarantine in which nothing of the volume is.
    pub fn give_up_swap(&self, swap: &Swap) -> Result<(), VolumeError> {
        remove_tree(&swap.path).map_err(VolumeError::io("remove", &swap.path))?;
        sync_parent(&swap.path).map_err(VolumeError::io("sync", &swap.path))?;
        sync_dir(&self.places.quarantine()).map_err(VolumeError::io("sync", &self.places.quarantine()))
    }

    /// Inodes with several names that were put aside as damaged.
    pub fn swapped_out(&self) -> Result<HashSet<(u64, u64)>, VolumeError> {
        let mut inodes = HashSet::new();
        for kept in quarantine::list(&self.places.quarantine())? {
            let data = kept.path.join("data");
            let is_ours = kept.note.as_ref().is_some_and(|note| note.files_only);
            if !is_ours || metadata_if_present(&data).map_err(VolumeError::io("look at", &data))?.is_none() {
                continue;
            }
            let failed = |error: crate::tree::TreeError| VolumeError::Io {
                doing: "look into",
                path: data.clone(),
                source: std::io::Error::other(error),
            };
            let root = Root::open(&data).map_err(failed)?;
            for found in Walk::new(&root, WalkOptions::default()) {
                let stat = found.map_err(|problem| failed(problem.error))?.stat;
                if stat.kind == FileKind::File && stat.links > 1 {
                    inodes.insert(stat.identity());
                }
            }
        }
        Ok(inodes)
    }
}
