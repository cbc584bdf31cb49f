//! Owner and mode of the volume's root, for apps that run as another user. What is right already is not touched.

use std::path::Path;

use rustix::fs::{Mode, fchmod, fsync};

use super::error::Trouble;
use super::owner::{give_all, give_root, owner_of};
use crate::tree::{Root, Stat, TreeError, Walk, WalkOptions};

const PERMISSIONS: u32 = 0o7777;

#[derive(Clone, Debug)]
pub struct Permissions {
    /// As `base::process::user` understands it; `None`: whoever owns it now.
    pub owner: Option<String>,
    /// Of the root alone; `None`: as it is.
    pub mode: Option<u32>,
    /// Whether the owner is that of everything in the volume as well.
    pub recursive: bool,
    /// Names in the root that are not the app's.
    pub leave_out: Vec<Vec<u8>>,
}

impl Permissions {
    /// Looks only.
    pub(super) fn are_right(&self, volume: &Path) -> Result<bool, Trouble> {
        let root = Root::open(volume)?;
        let stat = stat(&root)?;
        let Some(owner) = owner_of(self.owner.as_deref())? else { return Ok(self.has_mode(&stat)) };
        if !self.has_mode(&stat) || (stat.uid, stat.gid) != owner {
            return Ok(false);
        }
        if !self.recursive {
            return Ok(true);
        }
        let options = WalkOptions {
            skip_at_root: self.leave_out.clone(),
            one_file_system: true,
            ..WalkOptions::default()
        };
        for found in Walk::new(&root, options) {
            let found = found.map_err(|problem| problem.error)?;
            if (found.stat.uid, found.stat.gid) != owner {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether anything had to be changed. The owner first: changing it takes set-id bits from the mode.
    pub(super) fn apply(&self, volume: &Path) -> Result<bool, Trouble> {
        let root = Root::open(volume)?;
        let mut changed = match owner_of(self.owner.as_deref())? {
            Some(owner) if self.recursive => give_all(&root, owner, &self.leave_out)?,
            Some(owner) => give_root(&root, owner)?,
            None => false,
        };
        if let Some(mode) = self.mode.filter(|_| stat(&root).is_ok_and(|stat| !self.has_mode(&stat))) {
            let failed = |error| TreeError::new("change the mode of", volume.to_owned(), error);
            fchmod(root.fd(), Mode::from_raw_mode(mode)).map_err(failed)?;
            changed = true;
        }
        if changed {
            fsync(root.fd()).map_err(|error| TreeError::new("sync", volume.to_owned(), error))?;
        }
        Ok(changed)
    }

    fn has_mode(&self, stat: &Stat) -> bool {
        self.mode.is_none_or(|mode| stat.mode & PERMISSIONS == mode)
    }
}

fn stat(root: &Root) -> Result<Stat, Trouble> {
    Ok(Stat::of(root.fd()).map_err(|error| TreeError::new("look at", root.path().to_owned(), error))?)
}
