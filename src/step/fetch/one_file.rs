//! A file that is fetched: it grows under another name and takes its place by one rename. One that is right already is
//! not touched.

use std::fs::File;
use std::io::{self, Read, Write};
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

pub(super) fn bring(
    fetch: &Fetch,
    mode: u32,
    mut arriving: Arriving<'_>,
    volume: &Path,
) -> Result<Brought, Trouble> {
    let root = Root::open(volume)?;
    let place = Place { to: &fetch.to, mode, owner: owner_of(fetch.owner.as_deref())? };
    let draft = place.draft(&root)?;
    let mut file = draft.open()?;
    let written = copy(&mut arriving, &mut file)
        .map_err(|error| draft.failed("write", error))
        .and_then(|()| fetch.verify(&arriving.sha256()));
    let sha256 = arriving.sha256();
    let is_there = match (&written, place.stat(&root)?) {
        (Ok(()), Some(stat)) if place.fits(&stat) => digest(&place, &root)?.as_ref() == Some(&sha256),
        _ => false,
    };
    match is_there {
        true => draft.abandon(),
        false => draft.finish(written.map(|()| file))?,
    }
    let placed = place.stat(&root)?.as_ref().map(Placed::of);
    Ok(Brought { changed: !is_there, sha256, placed })
}

fn copy(arriving: &mut Arriving<'_>, file: &mut File) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match arriving.read(&mut buffer)? {
            0 => return Ok(()),
            length => file.write_all(buffer.get(..length).unwrap_or_default())?,
        }
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
