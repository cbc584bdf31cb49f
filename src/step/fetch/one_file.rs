//! A file that is fetched: it grows under another name and takes its place by one rename. One that is right already is
//! not touched.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::arriving::Arriving;
use super::memory::{Placed, Remembered, hex};
use super::{Brought, Fetch, Present};
use crate::step::error::Trouble;
use crate::step::owner::owner_of;
use crate::step::place::Place;
use crate::tree::{Root, TreeError};

const BUFFER: usize = 128 << 10;

pub(super) fn look(
    fetch: &Fetch,
    mode: u32,
    remembered: Option<&Remembered>,
    volume: &Path,
) -> Result<Present, Trouble> {
    let root = Root::open(volume)?;
    let place = Place { to: &fetch.to, mode, owner: owner_of(fetch.owner.as_deref())? };
    let Some(stat) = place.stat(&root)? else { return Ok(Present::Nothing) };
    if !place.fits(&stat) {
        return Ok(Present::Something(None));
    }
    if let Some(remembered) = remembered
        && remembered.placed.as_ref() == Some(&Placed::of(&stat))
    {
        return Ok(Present::Something(Some(remembered.sha256.clone())));
    }
    // To read it all is worth it only if there is something to compare with.
    match fetch.sha256.is_some() || remembered.is_some() {
        true => Ok(Present::Something(digest(&place, &root)?)),
        false => Ok(Present::Something(None)),
    }
}

/// As long as what comes is what is there, nothing is written: not even the time of the directory changes.
pub(super) fn bring(
    fetch: &Fetch,
    mode: u32,
    mut arriving: Arriving<'_>,
    volume: &Path,
) -> Result<Brought, Trouble> {
    let root = Root::open(volume)?;
    let place = Place { to: &fetch.to, mode, owner: owner_of(fetch.owner.as_deref())? };
    let present = match place.stat(&root)? {
        Some(stat) if place.fits(&stat) => place.open(&root)?,
        _ => None,
    };
    let reading = |error| Trouble::from(TreeError::new("read", fetch.to.below(volume), error));
    let changed = match common(&mut arriving, present.as_ref()).map_err(reading)? {
        Common::All => {
            fetch.verify(&arriving.sha256())?;
            false
        }
        Common::Part { length, next } => {
            let draft = place.draft(&root)?;
            let written = draft.open().and_then(|mut file| {
                write(&mut file, present.as_ref(), length, &next, &mut arriving)
                    .map_err(|error| draft.failed("write", error))?;
                fetch.verify(&arriving.sha256())?;
                Ok(file)
            });
            draft.finish(written)?;
            true
        }
    };
    let placed = place.stat(&root)?.as_ref().map(Placed::of);
    Ok(Brought { changed, sha256: arriving.sha256(), placed })
}

/// How much of what comes is what is there.
enum Common {
    All,
    /// After so many bytes something else came: this, and maybe more.
    Part {
        length: u64,
        next: Vec<u8>,
    },
}

/// What has come so far is the begin of what is there, then `next`.
fn write(
    file: &mut File,
    present: Option<&File>,
    length: u64,
    next: &[u8],
    arriving: &mut Arriving<'_>,
) -> io::Result<()> {
    if let Some(mut present) = present {
        present.rewind()?;
        let begin = io::copy(&mut Read::take(present, length), file)?;
        if begin != length {
            return Err(io::Error::other("what was there has changed meanwhile"));
        }
    }
    file.write_all(next)?;
    io::copy(arriving, file).map(drop)
}

fn common(arriving: &mut Arriving<'_>, present: Option<&File>) -> io::Result<Common> {
    let Some(mut present) = present else { return Ok(Common::Part { length: 0, next: Vec::new() }) };
    let (mut buffer, mut there) = (vec![0; BUFFER], Vec::with_capacity(BUFFER));
    let mut length = 0;
    loop {
        let came = arriving.read(&mut buffer)?;
        let piece = buffer.get(..came).unwrap_or_default();
        there.clear();
        // At the end one byte more: whatever follows there is too much.
        Read::take(&mut present, came.max(1) as u64).read_to_end(&mut there)?;
        if there != piece {
            return Ok(Common::Part { length, next: piece.to_vec() });
        }
        if came == 0 {
            return Ok(Common::All);
        }
        length += came as u64;
    }
}

/// Of the file that is there; `None`: something else has taken its place meanwhile.
fn digest(place: &Place<'_>, root: &Root) -> Result<Option<String>, Trouble> {
    let Some(mut file) = place.open(root)? else { return Ok(None) };
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = file.read(&mut buffer);
        match read.map_err(|error| TreeError::new("read", place.to.below(root.path()), error))? {
            0 => return Ok(Some(hex(&hasher.finalize()))),
            length => hasher.update(buffer.get(..length).unwrap_or_default()),
        }
    }
}
