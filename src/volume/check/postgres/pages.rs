//! The checksums of the pages of a cluster's relations, as `checksum_impl.h` of PostgreSQL computes them. Only of a
//! cluster that was shut down: in any other, a page that is torn is put right from the log.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::super::limit::{Limit, Tally, open_file};
use super::control::Control;

/// At a time.
const PAGES: usize = 32;
const LANES: usize = 32;
const PRIME: u32 = 16_777_619;
/// Where the lanes begin.
const BASES: [u32; LANES] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

/// An error says how far it came.
pub(super) fn look(
    volume: &Path,
    directory: &Path,
    control: &Control,
    limit: &Limit,
    tally: &mut Tally,
) -> io::Result<()> {
    let mut directories = vec![directory.join("global")];
    directories.extend(below(&directory.join("base"))?);
    for space in below(&directory.join("pg_tblspc"))? {
        // One that is kept elsewhere is not of this volume.
        let Ok(place) = std::fs::canonicalize(&space) else { continue };
        if !place.starts_with(std::fs::canonicalize(volume)?) {
            continue;
        }
        for version in below(&place)? {
            directories.extend(below(&version)?);
        }
    }
    for place in directories.iter().filter(|place| place.is_dir()) {
        for path in below(place)? {
            let Some(file) = path.file_name().and_then(|name| name.to_str()).and_then(Relation::of) else {
                continue;
            };
            let shown = path.strip_prefix(directory).unwrap_or(&path).display().to_string();
            scan(&path, &shown, &file, control, limit, tally)?;
            if tally.is_full() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// None, if the directory is not there.
fn below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// A file of a relation: `16384`, `16384.2`, `16384_vm`. Temporary ones begin with a `t` and are none.
#[derive(Debug, PartialEq, Eq)]
struct Relation {
    segment: u32,
    /// The map of free space or of visibility: a server that finds it damaged makes it anew.
    map: bool,
}

impl Relation {
    fn of(name: &str) -> Option<Self> {
        let (name, segment) = match name.split_once('.') {
            Some((name, segment)) => (name, segment.parse().ok()?),
            None => (name, 0),
        };
        let (number, fork) = name.split_once('_').unwrap_or((name, ""));
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let known = matches!(fork, "" | "init" | "fsm" | "vm");
        (is_number && known).then_some(Self { segment, map: matches!(fork, "fsm" | "vm") })
    }
}

fn scan(
    path: &Path,
    shown: &str,
    relation: &Relation,
    control: &Control,
    limit: &Limit,
    tally: &mut Tally,
) -> io::Result<()> {
    let page = control.page as usize;
    let mut file = open_file(path)?;
    let mut piece = vec![0; page * PAGES];
    let first = relation.segment.wrapping_mul(control.file_pages);
    let mut number: u32 = 0;
    loop {
        limit.check()?;
        let count = fill(&mut file, &mut piece)?;
        let whole = piece.get(..count).unwrap_or_default().chunks_exact(page);
        if !whole.remainder().is_empty() {
            let rest = whole.remainder().len();
            tally.unknown(format!("{shown} ends with {rest} bytes that are no page"));
        }
        for bytes in whole {
            let block = first.wrapping_add(number);
            if !is_whole(bytes, block) {
                let message = format!("page {number} of {shown} does not have the checksum that it names");
                match relation.map {
                    true => tally.unknown(message),
                    false => {
                        tally.damaged(message);
                        // The next file may tell more than the next page.
                        return Ok(());
                    }
                }
            }
            number = number.wrapping_add(1);
        }
        if count < piece.len() {
            return Ok(());
        }
    }
}

/// As much as there is.
fn fill(source: &mut dyn Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while let Some(room) = piece.get_mut(done..).filter(|room| !room.is_empty()) {
        match source.read(room) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// One that was never used holds nothing at all.
fn is_whole(page: &[u8], block: u32) -> bool {
    let two = |at: usize| page.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_ne_bytes);
    // The end of free space, which no page that was begun has at 0.
    if two(14) == 0 {
        return page.iter().all(|byte| *byte == 0);
    }
    sum(page, block) == two(8)
}

fn sum(page: &[u8], block: u32) -> u16 {
    let mut lanes = BASES;
    for (row, bytes) in page.chunks_exact(4 * LANES).enumerate() {
        for (lane, (sum, word)) in lanes.iter_mut().zip(bytes.chunks_exact(4)).enumerate() {
            let mut value = word.try_into().map_or(0, u32::from_ne_bytes);
            // The checksum itself, the first half of the third word, counts as 0.
            if (row, lane) == (0, 2) {
                let mut bytes = value.to_ne_bytes();
                (bytes[0], bytes[1]) = (0, 0);
                value = u32::from_ne_bytes(bytes);
            }
            *sum = mix(*sum, value);
        }
    }
    let folded = lanes.into_iter().fold(0, |all, sum| all ^ mix(mix(sum, 0), 0)) ^ block;
    u16::try_from(folded % 65_535 + 1).unwrap_or_default()
}

fn mix(sum: u32, value: u32) -> u32 {
    let mixed = sum ^ value;
    mixed.wrapping_mul(PRIME) ^ (mixed >> 17)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_relations_are_known_by_their_names() {
        let main = |segment| Some(Relation { segment, map: false });
        assert_eq!(Relation::of("16384"), main(0));
        assert_eq!(Relation::of("16384.2"), main(2));
        assert_eq!(Relation::of("16384_init"), main(0));
        assert_eq!(Relation::of("16384_vm.1"), Some(Relation { segment: 1, map: true }));
        for name in ["PG_VERSION", "pg_filenode.map", "t3_16384", "16384_other", "16384.x", ""] {
            assert_eq!(Relation::of(name), None, "{name}");
        }
    }

    #[test]
    fn a_page_is_bound_to_its_place() {
        let mut page = vec![7; 8192];
        let sum = sum(&page, 3);
        page[8..10].copy_from_slice(&sum.to_ne_bytes());
        assert!(is_whole(&page, 3));
        assert!(!is_whole(&page, 4));
        page[8191] ^= 1;
        assert!(!is_whole(&page, 3));
        assert!(is_whole(&[0; 8192], 3));
        page[14..16].copy_from_slice(&[0, 0]);
        assert!(!is_whole(&page, 3));
    }
}
