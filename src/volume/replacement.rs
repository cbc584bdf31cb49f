//! A directory in the volume's data gives way to a new one: at once where the file system can, and what was there goes to
//! quarantine. Whatever step a crash comes before, neither of the two is lost.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::base::bytes_text::BytesText;
use crate::base::clock::Clock;
use crate::base::fs::{sync_dir, sync_parent};
use crate::volume::Volume;
use crate::volume::error::VolumeError;
use crate::volume::moving::{exchange, rename_new};
use crate::volume::quarantine::{self, Note};

impl Volume {
    /// Puts the tree `new`, which is whole and durable and on this file system, in the place of the directory `live`.
    /// Returns the quarantine. The caller holds the volume's lock exclusively.
    pub fn replace_directory(
        &self,
        new: &Path,
        live: &Path,
        reason: &str,
        clock: &dyn Clock,
    ) -> Result<PathBuf, VolumeError> {
        let directory = self.places.quarantine();
        let name = quarantine::new_name(clock).map_err(VolumeError::io("make a quarantine for", live))?;
        let origin = self.read_marker()?.and_then(|marker| marker.origin);
        let time = clock.now();
        let data = quarantine::open(&directory, &name, || Note {
            reason: reason.to_owned(),
            path: BytesText::from(live.as_os_str().as_bytes()),
            origin,
            time,
            expires: time.plus(self.options.quarantine.keep),
            before_repair: false,
            files_only: false,
        })?;
        let own = directory.join(name);
        self.swap(new, live, &data, &own).map_err(VolumeError::io("replace", live))?;
        Ok(own)
    }

    /// The new one waits in the quarantine for its turn: then the exchange puts the old one there. A crash before it
    /// leaves a quarantine with what can be had again.
    fn swap(&self, new: &Path, live: &Path, data: &Path, own: &Path) -> io::Result<()> {
        rename_new(new, data)?;
        sync_dir(own)?;
        if !(self.options.exchange && exchange(data, live)?) {
            // Between the two renames nothing is at the place: whoever comes then finds no directory, and the next run
            // brings a new one.
            let waiting = own.join("new");
            rename_new(data, &waiting)?;
            rename_new(live, data)?;
            rename_new(&waiting, live)?;
        }
        sync_dir(own)?;
        sync_parent(live)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::base::clock::ManualClock;
    use crate::base::timestamp::Timestamp;
    use crate::volume::VolumeOptions;

    #[test]
    fn what_gives_way_is_kept_with_its_reason() {
        for can_exchange in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let options = VolumeOptions {
                exchange: can_exchange,
                ..VolumeOptions::new(dir.path().join("data"), dir.path().join("state"), "wiki")
            };
            let volume = Volume::new(options).unwrap();
            let (new, live) = (dir.path().join("state/new"), dir.path().join("data/plugins"));
            fs::create_dir_all(&live).unwrap();
            volume.prepare().unwrap();
            fs::create_dir(&new).unwrap();
            fs::write(live.join("a"), "old").unwrap();
            fs::write(new.join("a"), "new").unwrap();
            let clock = ManualClock::at(Timestamp::new(1_000_000_000, 0));
            let kept = volume.replace_directory(&new, &live, "replaced by a step", &clock).unwrap();
            assert_eq!(fs::read(live.join("a")).unwrap(), b"new");
            assert_eq!(fs::read(kept.join("data/a")).unwrap(), b"old");
            assert!(!new.exists() && !kept.join("new").exists());
            let [quarantined] = volume.quarantined().unwrap().try_into().unwrap();
            assert_eq!(quarantined.note.unwrap().reason, "replaced by a step");
        }
    }
}
