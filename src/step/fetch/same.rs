//! Whether two trees hold the same: names, kinds, modes, owners, contents and the times of files. What an app does in
//! passing, such as changing the time of a directory, makes no other tree of it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::readlinkat;

use crate::snapshot::RelativePath;
use crate::step::error::Trouble;
use crate::tree::{FileKind, Found, Root, TreeError, Walk, WalkOptions};

const BUFFER: usize = 64 << 10;

pub(super) fn is_same(one: &Root, other: &Root) -> Result<bool, Trouble> {
    let mut ones = Walk::new(one, WalkOptions::default());
    let mut others = Walk::new(other, WalkOptions::default());
    loop {
        let (a, b) = match (ones.next(), others.next()) {
            (None, None) => return Ok(true),
            (None, Some(_)) | (Some(_), None) => return Ok(false),
            (Some(a), Some(b)) => (a.map_err(|problem| problem.error)?, b.map_err(|problem| problem.error)?),
        };
        if !looks_same(&a, &b) || !holds_same(one, other, &a)? {
            return Ok(false);
        }
    }
}

fn looks_same(a: &Found, b: &Found) -> bool {
    let (path, a, b) = (a.path == b.path, &a.stat, &b.stat);
    let is_file = a.kind == FileKind::File;
    let mode = a.kind == FileKind::Symlink || a.mode == b.mode;
    let content = !is_file || (a.size, a.mtime) == (b.size, b.mtime);
    path && a.kind == b.kind && mode && content && (a.uid, a.gid) == (b.uid, b.gid)
}

fn holds_same(one: &Root, other: &Root, found: &Found) -> Result<bool, Trouble> {
    let path = &found.path;
    match found.stat.kind {
        FileKind::File => {
            let open = |root: &Root| root.open_file(path).map(File::from);
            same_content(open(one)?, open(other)?)
                .map_err(|error| TreeError::new("compare", path.below(one.path()), error).into())
        }
        FileKind::Symlink => Ok(target(one, path)? == target(other, path)?),
        _ => Ok(true),
    }
}

fn target(root: &Root, path: &RelativePath) -> Result<Vec<u8>, Trouble> {
    let (directory, name): (OwnedFd, &[u8]) = root.parent(path)?;
    let target = readlinkat(&directory, name, Vec::new())
        .map_err(|error| TreeError::new("read the link", path.below(root.path()), error))?;
    Ok(target.into_bytes())
}

fn same_content(one: File, other: File) -> io::Result<bool> {
    let (mut one, mut other) = (one, other);
    let (mut a, mut b) = (Vec::with_capacity(BUFFER), Vec::with_capacity(BUFFER));
    loop {
        a.clear();
        b.clear();
        one.by_ref().take(BUFFER as u64).read_to_end(&mut a)?;
        other.by_ref().take(BUFFER as u64).read_to_end(&mut b)?;
        match a == b {
            true if a.is_empty() => return Ok(true),
            true => {}
            false => return Ok(false),
        }
    }
}
