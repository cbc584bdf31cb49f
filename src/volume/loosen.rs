//! Moves read-only directories without being root: the kernel wants the right to write into a directory that
//! changes its parent. The right is lent for the one rename, and the journal knows of it.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::bytes_text::BytesText;
use crate::base::fs::metadata_if_present;
use crate::volume::commit::Commit;
use crate::volume::error::VolumeError;
use crate::volume::marker::Phase;

const OWNER_WRITES: u32 = 0o200;

/// A directory that its owner may write into for a moment; `mode` is what it must have again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loosened {
    /// Where it was, and where it is moved to.
    pub places: Vec<BytesText>,
    pub inode: u64,
    pub mode: u32,
}

impl Commit<'_> {
    /// `rename` itself where that is allowed. The inner error is that of `rename`.
    pub(super) fn rename_by<T>(
        &mut self,
        from: &Path,
        to: &Path,
        rename: impl Fn(&Path, &Path) -> io::Result<T>,
    ) -> Result<io::Result<T>, VolumeError> {
        let first = rename(from, to);
        if !first.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
            return Ok(first);
        }
        if !self.loosen(from, to)? {
            return Ok(first);
        }
        let second = rename(from, to);
        self.tighten()?;
        Ok(second)
    }

    /// Gives back the modes that this run, or one that was killed, has changed.
    pub(super) fn tighten(&mut self) -> Result<(), VolumeError> {
        let Phase::Committing { loosened, .. } = &mut self.marker.phase else {
            return Ok(());
        };
        // The journal on disk forgets them with its next step; doing it twice does no harm.
        for one in std::mem::take(loosened) {
            for place in one.places.iter().map(|place| Path::new(place.as_os_str())) {
                let found = metadata_if_present(place).map_err(VolumeError::io("look at", place))?;
                if found.is_some_and(|found| found.is_dir() && found.ino() == one.inode) {
                    std::fs::set_permissions(place, Permissions::from_mode(one.mode))
                        .map_err(VolumeError::io("set the mode of", place))?;
                }
            }
        }
        Ok(())
    }

    /// Returns whether there was anything to loosen.
    fn loosen(&mut self, from: &Path, to: &Path) -> Result<bool, VolumeError> {
        let places: Vec<BytesText> =
            [from, to].iter().map(|path| BytesText::from(path.as_os_str().as_encoded_bytes())).collect();
        let mut found = Vec::new();
        for path in [from, to] {
            let metadata = metadata_if_present(path).map_err(VolumeError::io("look at", path))?;
            if let Some(metadata) = metadata.filter(|one| one.is_dir() && one.mode() & OWNER_WRITES == 0) {
                let (inode, mode) = (metadata.ino(), metadata.mode() & 0o7777);
                found.push((path, Loosened { places: places.clone(), inode, mode }));
            }
        }
        let mut phase = self.marker.phase.clone();
        match &mut phase {
            Phase::Committing { loosened, .. } if !found.is_empty() => {
                *loosened = found.iter().map(|(_, one)| one.clone()).collect();
            }
            _ => return Ok(false),
        }
        self.step("write the marker: a read-only directory", from)?;
        self.volume.advance(self.marker, phase, self.clock)?;
        for (path, one) in found {
            self.step("lend the right to write", path)?;
            std::fs::set_permissions(path, Permissions::from_mode(one.mode | OWNER_WRITES))
                .map_err(VolumeError::io("set the mode of", path))?;
        }
        self.step("move a read-only directory", from)?;
        Ok(true)
    }
}
