//! Whose files are: who is meant, and how a tree is given to him. Links are not followed.

use rustix::fs::{AtFlags, Gid, Uid, chownat};

use super::error::Trouble;
use crate::base::process::user::{UserError, find};
use crate::tree::{Root, Stat, TreeError, Walk, WalkOptions};

/// Who is to own something, if somebody is named.
pub(super) fn owner_of(owner: Option<&str>) -> Result<Option<(u32, u32)>, Trouble> {
    let Some(owner) = owner else { return Ok(None) };
    let found = find(owner).map_err(Trouble::Owner)?;
    let us = rustix::process::geteuid();
    match us.is_root() || us.as_raw() == found.uid {
        true => Ok(Some((found.uid, found.gid))),
        false => Err(Trouble::Owner(UserError::NotRoot { wanted: found.uid, present: us.as_raw() })),
    }
}

/// All that is in the tree, without the names in its root that are to be left out; its root comes last, so that one
/// who looks at the root alone is not told of a tree that is half done. Whether anything had to be changed.
pub(super) fn give_all(root: &Root, owner: (u32, u32), leave_out: &[Vec<u8>]) -> Result<bool, Trouble> {
    let options =
        WalkOptions { skip_at_root: leave_out.to_vec(), one_file_system: true, ..WalkOptions::default() };
    let mut changed = false;
    for found in Walk::new(root, options) {
        let found = found.map_err(|problem| problem.error)?;
        if found.path.is_root() || (found.stat.uid, found.stat.gid) == owner {
            continue;
        }
        let (directory, name) = root.parent(&found.path)?;
        let (uid, gid) = (Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)));
        chownat(&directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| TreeError::new("change the owner of", found.path.below(root.path()), error))?;
        changed = true;
    }
    Ok(changed | give_root(root, owner)?)
}

/// The directory itself.
pub(super) fn give_root(root: &Root, owner: (u32, u32)) -> Result<bool, Trouble> {
    let failed = |error| TreeError::new("change the owner of", root.path().to_owned(), error);
    let stat = Stat::of(root.fd()).map_err(failed)?;
    if (stat.uid, stat.gid) == owner {
        return Ok(false);
    }
    rustix::fs::fchown(root.fd(), Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)))
        .map_err(failed)?;
    Ok(true)
}
