//! The packs of a git repository and their indexes: whether they belong together, whether each is what its checksum
//! says, and which objects they hold. Unpacks nothing.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha1::{Digest, Sha1};

use super::super::limit::{Limit, Tally, open_file};
use super::name::Name;
use super::refs::if_there;

const SUM: u64 = 20;
/// Before the names of objects: mark, version, and how many begin with each byte.
const INDEX_HEAD: u64 = 8 + 256 * 4;
/// Name, checksum and place of an object; the place again, if it is far behind.
const IN_INDEX: u64 = 20 + 4 + 4;
const FAR: u64 = 8;
const LEAST_PACK: u64 = 12 + SUM;

/// A pack with its index, as far as they fit together.
pub(super) struct Pack {
    pack: PathBuf,
    index: PathBuf,
}

/// Reads headers and ends only.
pub(super) fn look(directory: &Path, tally: &mut Tally) -> io::Result<Vec<Pack>> {
    let mut found = Vec::new();
    let Some(entries) = if_there(fs::read_dir(directory))? else { return Ok(found) };
    for entry in entries {
        let pack = entry?.path();
        let name = pack.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with("pack-") {
            continue;
        }
        if name.ends_with(".idx") && !pack.with_extension("pack").try_exists()? && pack.try_exists()? {
            tally.unknown(format!("{name} has no pack"));
        }
        if !name.ends_with(".pack") {
            continue;
        }
        let index = pack.with_extension("idx");
        // An index is the last that comes to a new pack, and the first that goes.
        if !index.try_exists()? {
            if pack.try_exists()? {
                tally.unknown(format!("{name} has no index, so git does not see what it holds"));
            }
            continue;
        }
        match if_there(fit(&pack, &index))? {
            Some(Ok(())) => found.push(Pack { pack, index }),
            Some(Err(Misfit::Damaged(message))) => tally.damaged(message),
            Some(Err(Misfit::Strange(reason))) => tally.unknown(reason),
            None => {}
        }
    }
    Ok(found)
}

/// Whether objects are left out on purpose: they are had from elsewhere when they are asked for, or history was cut by
/// hand.
pub(super) fn are_promised(repository: &Path) -> io::Result<bool> {
    if repository.join("info/grafts").try_exists()? {
        return Ok(true);
    }
    let Some(entries) = if_there(fs::read_dir(repository.join("objects/pack")))? else { return Ok(false) };
    for entry in entries {
        if entry?.path().extension().is_some_and(|extension| extension == "promisor") {
            return Ok(true);
        }
    }
    Ok(false)
}

enum Misfit {
    Damaged(String),
    Strange(String),
}

fn fit(pack_path: &Path, index_path: &Path) -> io::Result<Result<(), Misfit>> {
    let shown = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (pack, index) = (open_file(pack_path)?, open_file(index_path)?);
    let (pack_size, index_size) = (pack.metadata()?.len(), index.metadata()?.len());
    let damaged = |message: String| Ok(Err(Misfit::Damaged(message)));
    if pack_size < LEAST_PACK {
        return damaged(format!("{} has {pack_size} bytes", shown(pack_path)));
    }
    if index_size < INDEX_HEAD + 2 * SUM {
        return damaged(format!("{} has {index_size} bytes", shown(index_path)));
    }
    let head: [u8; 12] = bytes_at(&pack, 0)?;
    let [mark @ .., a, b, c, d] = head;
    if !matches!(mark, [b'P', b'A', b'C', b'K', 0, 0, 0, 2 | 3]) {
        return damaged(format!("{} does not begin as a pack does", shown(pack_path)));
    }
    match bytes_at(&index, 0)? {
        [0xff, b't', b'O', b'c', 0, 0, 0, 2] => {}
        // The first format has no mark, but begins with a number of objects; that is below 2^24 by far.
        [0, ..] | [0xff, b't', b'O', b'c', ..] => {
            return Ok(Err(Misfit::Strange(format!(
                "{} is of a format that is not known here",
                shown(index_path)
            ))));
        }
        _ => return damaged(format!("{} does not begin as an index does", shown(index_path))),
    }
    let count = u64::from(u32::from_be_bytes([a, b, c, d]));
    let listed = u64::from(u32::from_be_bytes(bytes_at(&index, INDEX_HEAD - 4)?));
    if count != listed {
        return damaged(format!("{} holds {count} objects, and its index {listed}", shown(pack_path)));
    }
    let least = INDEX_HEAD + count * IN_INDEX + 2 * SUM;
    if !(least..=least + count * FAR).contains(&index_size) {
        return damaged(format!("{} has {index_size} bytes for {count} objects", shown(index_path)));
    }
    let own: [u8; 20] = bytes_at(&pack, pack_size - SUM)?;
    let named: [u8; 20] = bytes_at(&index, index_size - 2 * SUM)?;
    if own != named {
        return damaged(format!("{} does not end as its index says", shown(pack_path)));
    }
    Ok(Ok(()))
}

fn bytes_at<const N: usize>(file: &File, at: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// Reads all of them.
pub(super) fn check_sums(packs: &[Pack], limit: &Limit, tally: &mut Tally) -> io::Result<()> {
    for path in packs.iter().flat_map(|pack| [&pack.index, &pack.pack]) {
        // Repacked since.
        let Some(mut file) = if_there(open_file(path))? else { continue };
        let body = file.metadata()?.len().saturating_sub(SUM);
        let mut sum = Sha1::new();
        limit.stream(&mut file, body, &mut |piece| sum.update(piece))?;
        let mut named = Vec::new();
        file.read_to_end(&mut named)?;
        if sum.finalize().as_slice() != named {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            tally.damaged(format!("{name} does not have the checksum that it names"));
        }
    }
    Ok(())
}

/// The names of the objects in one pack.
pub(super) struct Index(File);

impl Index {
    /// Of all packs that git sees.
    pub(super) fn all(directory: &Path) -> io::Result<Vec<Self>> {
        let mut found = Vec::new();
        let Some(entries) = if_there(fs::read_dir(directory))? else { return Ok(found) };
        for entry in entries {
            let path = entry?.path();
            let is_index = path.extension().is_some_and(|extension| extension == "idx");
            if is_index && path.with_extension("pack").try_exists()? {
                found.extend(if_there(open_file(&path))?.map(Self));
            }
        }
        Ok(found)
    }

    pub(super) fn holds(&self, name: &Name) -> io::Result<bool> {
        let [first, ..] = name.0;
        let upto = |byte: u8| -> io::Result<u64> {
            Ok(u64::from(u32::from_be_bytes(bytes_at(&self.0, 8 + 4 * u64::from(byte))?)))
        };
        let mut low = if first == 0 { 0 } else { upto(first - 1)? };
        let mut high = upto(first)?;
        while low < high {
            let middle = low + (high - low) / 2;
            let found: [u8; 20] = bytes_at(&self.0, INDEX_HEAD + middle * SUM)?;
            match found.cmp(&name.0) {
                std::cmp::Ordering::Equal => return Ok(true),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(false)
    }
}
