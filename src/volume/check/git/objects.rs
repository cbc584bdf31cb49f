//! Where the objects of a git repository are: in files of their own, in packs, in other repositories. Finds the files
//! that are not what their names say, and answers whether anything is there by a name.

use std::fs;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::ZlibDecoder;
use sha1::{Digest, Sha1};

use super::super::limit::{Limit, Tally, open_file, read_start};
use super::name::Name;
use super::packs::Index;
use super::refs::if_there;

const KINDS: [&str; 4] = ["blob", "tree", "commit", "tag"];
/// The kind, the size, and a NUL.
const LONGEST_HEAD: usize = 32;
const MOST_BORROWED: usize = 5;
/// One is enough to know; some tell whether it is one kind of damage.
const MOST_BROKEN: usize = 1000;

/// All the places objects are in.
pub(super) struct Store {
    places: Vec<PathBuf>,
    indexes: Vec<Index>,
    /// Some of it is not on the volume, or where it is cannot be told.
    pub(super) leads_out: bool,
}

impl Store {
    pub(super) fn open(directory: &Path, volume: &Path) -> io::Result<Self> {
        let own = directory.join("objects");
        let mut store = Self { places: vec![own], indexes: Vec::new(), leads_out: false };
        let mut next = 0;
        while let Some(place) = store.places.get(next).cloned() {
            next += 1;
            store.indexes.extend(Index::all(&place.join("pack"))?);
            for borrowed in borrowed_from(&place)? {
                match fs::canonicalize(&borrowed) {
                    Ok(real) if real.starts_with(volume) && next <= MOST_BORROWED => {
                        if !store.places.contains(&real) {
                            store.places.push(real);
                        }
                    }
                    _ => store.leads_out = true,
                }
            }
        }
        Ok(store)
    }

    pub(super) fn own(&self) -> Option<&PathBuf> {
        self.places.first()
    }

    pub(super) fn has_packed(&self, name: &Name) -> io::Result<bool> {
        for index in &self.indexes {
            if index.holds(name)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn has(&self, name: &Name) -> io::Result<bool> {
        let hex = name.to_string();
        let (first, rest) = hex.split_at_checked(2).unwrap_or_default();
        for place in &self.places {
            if place.join(first).join(rest).try_exists()? {
                return Ok(true);
            }
        }
        self.has_packed(name)
    }
}

/// The object directories that this one refers to.
fn borrowed_from(objects: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(bytes) = if_there(read_start(&objects.join("info/alternates"), 1 << 20))? else {
        return Ok(Vec::new());
    };
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(|line| objects.join(line)).collect())
}

/// Objects in files of their own whose content is not what the name says, and what is wrong.
pub(super) fn broken(
    objects: &Path,
    limit: &Limit,
    tally: &mut Tally,
) -> io::Result<Vec<(Name, &'static str)>> {
    let mut found = Vec::new();
    for byte in 0..=u8::MAX {
        let first = format!("{byte:02x}");
        let Some(entries) = if_there(fs::read_dir(objects.join(&first)))? else { continue };
        for entry in entries {
            limit.check()?;
            let entry = entry?;
            // What has another name is what a crash left.
            let hex = [first.as_bytes(), entry.file_name().as_encoded_bytes()].concat();
            let Some(name) = Name::of_hex(&hex) else { continue };
            match read_one(&entry.path(), &name, limit) {
                Ok(None) => {}
                Ok(Some(why)) => found.push((name, why)),
                // Packed, and so removed, since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error),
                Err(error) => tally.unknown(format!("the object {name}: {error}")),
            }
            if found.len() >= MOST_BROKEN {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// What is wrong with it, if anything is.
fn read_one(path: &Path, name: &Name, limit: &Limit) -> io::Result<Option<&'static str>> {
    let file = open_file(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(Some("is empty"));
    }
    let mut unpacked = ZlibDecoder::new(BufReader::new(Remembering { file, failed: false }));
    let (mut sum, mut head, mut size) = (Sha1::new(), Vec::new(), 0u64);
    let read = limit.stream(&mut unpacked, u64::MAX, &mut |piece| {
        sum.update(piece);
        size += piece.len() as u64;
        let room = LONGEST_HEAD.saturating_sub(head.len()).min(piece.len());
        head.extend_from_slice(piece.get(..room).unwrap_or_default());
    });
    match read {
        // The disk failed, which is not the same as bytes that cannot be unpacked.
        Err(error) if unpacked.get_ref().get_ref().failed || error.kind() == io::ErrorKind::TimedOut => {
            Err(error)
        }
        Err(_) => Ok(Some("cannot be unpacked")),
        Ok(_) if !is_sized(&head, size) => Ok(Some("does not begin as an object does, or is cut off")),
        Ok(_) if sum.finalize().as_slice() != name.0 => Ok(Some("has another content than its name says")),
        Ok(_) => Ok(None),
    }
}

fn is_sized(head: &[u8], size: u64) -> bool {
    let read = || {
        let end = head.iter().position(|byte| *byte == 0)?;
        let text = std::str::from_utf8(head.get(..end)?).ok()?;
        let (kind, named) = text.split_once(' ')?;
        let named: u64 = named.parse().ok()?;
        Some(KINDS.contains(&kind) && named.checked_add(end as u64 + 1) == Some(size))
    };
    read().unwrap_or(false)
}

struct Remembering {
    file: fs::File,
    failed: bool,
}

impl Read for Remembering {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer);
        self.failed |= read.is_err();
        read
    }
}
