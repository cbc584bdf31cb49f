//! What a volume remembers of a repository: segments of the newest manifest, the inode and change time of each
//! entry when it was read, packs that an interrupted backup left behind, and packs worth emptying. Everything here may vanish or be
//! damaged at any time: then it costs time, never correctness.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::fs::{TEMPORARY_PREFIX, read_if_present, remove_if_present, temporary_beside};
use crate::base::hash::Hash;
use crate::base::sealed;
use crate::base::timestamp::Timestamp;
use crate::repository::packed::frame::PackId;
use crate::repository::packed::segment::SegmentRef;
use crate::repository::scan::StatRow;

/// A directory, or nothing: then nothing is remembered.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    directory: Option<PathBuf>,
}

pub const STAT_MAGIC: &[u8] = b"VKSTAT1\n";
const STAT_ROW: usize = 24;
pub const UPLOADED_FORMAT: u64 = 1;
pub const MOSTLY_DEAD_FORMAT: u64 = 1;
const MOSTLY_DEAD: &str = "mostly_dead";

/// A pack that was uploaded, for a run that comes after a crash.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UploadedPack {
    pub pack: PackId,
    pub size: u64,
    pub frames: Vec<UploadedFrame>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UploadedFrame {
    pub offset: u64,
    pub stored: u32,
    pub plain: u32,
    pub hash: Hash,
    /// Whole small files inside: `[hash, skip, length]`.
    pub files: Vec<(Hash, u32, u32)>,
}

/// A pack of which so little is needed that it is worth emptying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MostlyDead {
    pub pack: PackId,
    /// What the newest snapshot needs of it, in bytes as they are stored: so much has to be stored anew.
    pub needed: u64,
}

/// A note from a prune to the next backups.
#[derive(Debug, Serialize, Deserialize)]
pub struct MostlyDeadNote {
    /// The most worthwhile first.
    pub packs: Vec<MostlyDead>,
}

impl Cache {
    /// Below `base`, apart for each repository: a repository made anew at the same address has another id.
    pub fn open(base: Option<&Path>, repository: &str) -> Self {
        let directory = base.map(|base| base.join(repository)).filter(|directory| {
            ["segments", "stats", "uploaded", MOSTLY_DEAD].iter().all(|name| {
                fs::create_dir_all(directory.join(name))
                    .inspect_err(|error| tracing::warn!(%error, path = %directory.display(), "no cache"))
                    .is_ok()
            })
        });
        Self { directory }
    }

    /// For those who change nothing: only if it is there.
    pub fn existing(base: Option<&Path>, repository: &str) -> Self {
        Self { directory: base.map(|base| base.join(repository)).filter(|directory| directory.is_dir()) }
    }

    pub fn segment(&self, segment: &SegmentRef) -> Option<Vec<u8>> {
        read_if_present(&self.path("segments", &segment.id.to_hex())?).ok().flatten()
    }

    pub fn keep_segment(&self, id: &Hash, stored: &[u8]) {
        self.keep("segments", &id.to_hex(), stored);
    }

    /// The rows for the `entries` entries of a segment.
    pub fn stats(&self, segment: &SegmentRef) -> Option<Vec<StatRow>> {
        let bytes = read_if_present(&self.path("stats", &segment.id.to_hex())?).ok().flatten()?;
        let rows = decode_stats(&bytes)?;
        (rows.len() as u64 == segment.entries).then_some(rows)
    }

    pub fn keep_stats(&self, id: &Hash, rows: &[StatRow]) {
        self.keep("stats", &id.to_hex(), &encode_stats(rows));
    }

    pub fn note_uploaded(&self, pack: &UploadedPack) {
        if let Ok(bytes) = sealed::seal(pack, UPLOADED_FORMAT) {
            self.keep("uploaded", &pack.pack.to_string(), &bytes);
        }
    }

    /// Sealed, because a snapshot will refer to the places that a note names without looking there again.
    pub fn uploaded(&self) -> Vec<UploadedPack> {
        self.files("uploaded")
            .into_iter()
            .filter_map(|path| sealed::open(&fs::read(path).ok()?, UPLOADED_FORMAT).ok())
            .collect()
    }

    pub fn forget_uploaded(&self) {
        for path in self.files("uploaded") {
            let _ = remove_if_present(&path);
        }
    }

    /// In place of what was noted before.
    pub fn note_mostly_dead(&self, packs: Vec<MostlyDead>) {
        if let Ok(bytes) = sealed::seal(&MostlyDeadNote { packs }, MOSTLY_DEAD_FORMAT) {
            self.keep(MOSTLY_DEAD, "packs", &bytes);
        }
    }

    pub fn mostly_dead(&self) -> Vec<MostlyDead> {
        let note = self.path(MOSTLY_DEAD, "packs").and_then(|path| read_if_present(&path).ok().flatten());
        let note = note.and_then(|bytes| sealed::open::<MostlyDeadNote>(&bytes, MOSTLY_DEAD_FORMAT).ok());
        note.map(|note| note.packs).unwrap_or_default()
    }

    /// Drops what is not of the manifest `kept`, and half-written files of runs that were killed.
    pub fn keep_only(&self, kept: &[SegmentRef]) {
        let kept: std::collections::HashSet<String> =
            kept.iter().map(|segment| segment.id.to_hex()).collect();
        for kind in ["segments", "stats"] {
            for path in self.files(kind) {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if !kept.contains(name) {
                    let _ = remove_if_present(&path);
                }
            }
        }
    }

    /// Renamed into place so that a reader never sees a part, but not fsynced: what a power cut leaves is
    /// found out by hash or checksum.
    fn keep(&self, kind: &str, name: &str, bytes: &[u8]) {
        let Some(path) = self.path(kind, name) else { return };
        let kept = || -> io::Result<()> {
            let temporary = temporary_beside(&path)?;
            fs::write(&temporary, bytes)?;
            fs::rename(&temporary, &path)
        };
        if let Err(error) = kept() {
            tracing::debug!(%error, path = %path.display(), "not cached");
        }
    }

    fn path(&self, kind: &str, name: &str) -> Option<PathBuf> {
        Some(self.directory.as_ref()?.join(kind).join(name))
    }

    fn files(&self, kind: &str) -> Vec<PathBuf> {
        let Some(directory) = &self.directory else { return Vec::new() };
        let Ok(listing) = fs::read_dir(directory.join(kind)) else { return Vec::new() };
        let mut files: Vec<PathBuf> = listing.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let stray = name.starts_with(TEMPORARY_PREFIX);
            if stray {
                let _ = remove_if_present(path);
            }
            !stray
        });
        files
    }
}

pub fn encode_stats(rows: &[StatRow]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(STAT_MAGIC.len() + rows.len() * STAT_ROW + 32);
    bytes.extend(STAT_MAGIC);
    for row in rows {
        bytes.extend(row.inode.to_le_bytes());
        bytes.extend(row.ctime.seconds.to_le_bytes());
        bytes.extend(row.ctime.nanoseconds.to_le_bytes());
        bytes.extend(u32::from(row.trusted).to_le_bytes());
    }
    let hash = Hash::of(&bytes);
    bytes.extend(hash.0);
    bytes
}

pub fn decode_stats(bytes: &[u8]) -> Option<Vec<StatRow>> {
    let (body, hash) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    if Hash::of(body).0 != hash {
        return None;
    }
    let rows = body.strip_prefix(STAT_MAGIC)?.chunks_exact(STAT_ROW);
    rows.map(|row| {
        let (inode, rest) = row.split_first_chunk::<8>()?;
        let (seconds, rest) = rest.split_first_chunk::<8>()?;
        let (nanoseconds, rest) = rest.split_first_chunk::<4>()?;
        let ctime = Timestamp::new(i64::from_le_bytes(*seconds), u32::from_le_bytes(*nanoseconds));
        Some(StatRow { inode: u64::from_le_bytes(*inode), ctime, trusted: rest.first() == Some(&1) })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_rows_are_forgotten_not_believed() {
        let rows = vec![
            StatRow { inode: 7, ctime: Timestamp::new(-3, 9), trusted: true },
            StatRow { inode: 8, ctime: Timestamp::new(4, 0), trusted: false },
        ];
        let bytes = encode_stats(&rows);
        assert_eq!(decode_stats(&bytes), Some(rows));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert_eq!(decode_stats(&damaged), None);
            assert_eq!(decode_stats(&bytes[..at]), None);
        }
    }

    #[test]
    fn damaged_notes_on_packs_are_forgotten_not_believed() {
        let base = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(base.path()), "r");
        let (pack, hash) = (PackId::random().unwrap(), Hash::of(b"f"));
        let files = vec![(Hash::of(b"c"), 10, 20)];
        let frame = UploadedFrame { offset: 0, stored: 40, plain: 100, hash, files };
        cache.note_uploaded(&UploadedPack { pack, size: 1000, frames: vec![frame] });
        let noted = format!("{:?}", cache.uploaded());
        assert!(noted.contains("10, 20"), "{noted}");
        let path = base.path().join("r/uploaded").join(pack.to_string());
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).unwrap();
            let read = cache.uploaded();
            // White space may turn into other white space.
            assert!(read.is_empty() || format!("{read:?}") == noted, "byte {at}: {read:?}");
        }
    }

    #[test]
    fn a_damaged_note_on_packs_worth_emptying_names_none() {
        let base = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(base.path()), "r");
        assert_eq!(cache.mostly_dead(), []);
        let one = MostlyDead { pack: PackId::random().unwrap(), needed: 7 };
        cache.note_mostly_dead(vec![one]);
        assert_eq!(cache.mostly_dead(), [one]);
        let path = base.path().join("r/mostly_dead/packs");
        let bytes = fs::read_to_string(&path).unwrap();
        let (before, needed) = bytes.split_once("needed").unwrap();
        fs::write(&path, format!("{before}needed{}", needed.replacen('7', "8", 1))).unwrap();
        assert_eq!(cache.mostly_dead(), []);
        assert_eq!(Cache::default().mostly_dead(), []);
    }

    #[test]
    fn only_the_present_manifest_stays() {
        let base = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(base.path()), "r");
        let segment = |text: &str| SegmentRef { id: Hash::of(text.as_bytes()), entries: 0, size: 0 };
        for name in ["a", "b"] {
            cache.keep_segment(&segment(name).id, name.as_bytes());
            cache.keep_stats(&segment(name).id, &[]);
        }
        fs::write(base.path().join("r/segments/.tmp-x"), "half").unwrap();
        cache.keep_only(&[segment("b")]);
        assert_eq!(cache.segment(&segment("a")), None);
        assert_eq!(cache.segment(&segment("b")).as_deref(), Some(&b"b"[..]));
        assert_eq!(cache.stats(&segment("b")), Some(Vec::new()));
        assert!(!base.path().join("r/segments/.tmp-x").exists());
        assert_eq!(Cache::open(Some(base.path()), "other").segment(&segment("b")), None);
    }
}
