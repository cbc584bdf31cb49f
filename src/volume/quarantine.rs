//! Data that was replaced, kept for a while: each under its own name, with a note why. Holds what is there and
//! what has to go; who puts it there is elsewhere.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::bytes_text::BytesText;
use crate::base::clock::Clock;
use crate::base::fs::{
    TEMPORARY_PREFIX, free_space, metadata_if_present, read_if_present, sync_dir, sync_parent, write_atomic,
};
use crate::base::id::random_hex;
use crate::base::sealed;
use crate::base::timestamp::{self, Timestamp};
use crate::volume::error::VolumeError;
use crate::volume::marker::Origin;
use crate::volume::options::QuarantineOptions;
use crate::volume::removal::{remove_leftover_trees, remove_tree};

const FORMAT: u64 = 1;
const NOTE: &str = "note.json";
const DATA: &str = "data";

/// Why the data is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub reason: String,
    /// Where it was.
    pub path: BytesText,
    /// Where it came from; `None` if nobody knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    #[serde(with = "timestamp::rfc3339")]
    pub time: Timestamp,
    /// As it was configured when the note was written; what is configured now decides.
    #[serde(with = "timestamp::rfc3339")]
    pub expires: Timestamp,
    /// A copy of the data as it was before a repair, which stands for more than what the repair left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub before_repair: bool,
    /// Single files of the volume, which stand for less than a whole one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub files_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Sorts by time.
    pub name: String,
    pub path: PathBuf,
    /// `None` if it is missing or damaged: such a one never expires, it is for a person to judge.
    pub note: Option<Note>,
}

impl Quarantined {
    fn is_before_repair(&self) -> bool {
        self.note.as_ref().is_some_and(|note| note.before_repair)
    }

    fn is_files_only(&self) -> bool {
        self.note.as_ref().is_some_and(|note| note.files_only)
    }

    fn has_expired(&self, keep: Duration, now: Timestamp) -> bool {
        self.note.as_ref().is_some_and(|note| now >= note.time.plus(keep))
    }
}

pub(crate) fn new_name(clock: &dyn Clock) -> io::Result<String> {
    Ok(format!("{}-{}", clock.now().to_compact(), random_hex(4)?))
}

/// Makes the quarantine `name` with its note unless it is there, and returns where the data goes. The note is
/// on disk first: data without a reason would stay for ever.
pub(crate) fn open(
    directory: &Path,
    name: &str,
    note: impl FnOnce() -> Note,
) -> Result<PathBuf, VolumeError> {
    let path = directory.join(name);
    if !make_directory(&path).map_err(VolumeError::io("create", &path))? {
        sync_parent(&path).map_err(VolumeError::io("sync", &path))?;
    }
    let note_path = path.join(NOTE);
    let present = metadata_if_present(&note_path).map_err(VolumeError::io("look at", &note_path))?;
    if present.is_none() {
        sealed::seal(&note(), FORMAT)
            .map_err(io::Error::other)
            .and_then(|bytes| write_atomic(&note_path, &bytes, 0o660))
            .map_err(VolumeError::io("write", &note_path))?;
    }
    Ok(path.join(DATA))
}

/// Makes a directory of the mode of the one it is in, whatever the umask: pods of other users in the same group
/// have to be able to go on. Returns whether it was there already.
pub(crate) fn make_directory(path: &Path) -> io::Result<bool> {
    let parent = path.parent().map(std::fs::metadata).transpose()?;
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            if let Some(parent) = parent {
                std::fs::set_permissions(path, parent.permissions())?;
            }
            Ok(false)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(true),
        Err(error) => Err(error),
    }
}

/// Oldest first.
pub(crate) fn list(directory: &Path) -> Result<Vec<Quarantined>, VolumeError> {
    let read = || -> io::Result<Vec<Quarantined>> {
        if metadata_if_present(directory)?.is_none() {
            return Ok(Vec::new());
        }
        let mut all = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with(TEMPORARY_PREFIX) && entry.file_type()?.is_dir() {
                let note = read_if_present(&entry.path().join(NOTE))?;
                let note = note.and_then(|bytes| sealed::open(&bytes, FORMAT).ok());
                all.push(Quarantined { name, path: entry.path(), note });
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    };
    read().map_err(VolumeError::io("read the directory", directory))
}

/// Drops what has expired, then the oldest while too little space would be free with `expected` bytes more on
/// the file system. Returns the names dropped. Only while no commit is under way.
pub(crate) fn sweep(
    directory: &Path,
    options: &QuarantineOptions,
    expected: u64,
    clock: &dyn Clock,
) -> Result<Vec<String>, VolumeError> {
    let free_percent = || {
        let space = free_space(directory)?;
        Ok(space
            .bytes
            .saturating_sub(expected)
            .saturating_mul(100)
            .checked_div(space.total_bytes)
            .unwrap_or(100))
    };
    sweep_by(directory, options, clock, &free_percent)
}

fn sweep_by(
    directory: &Path,
    options: &QuarantineOptions,
    clock: &dyn Clock,
    free_percent: &dyn Fn() -> io::Result<u64>,
) -> Result<Vec<String>, VolumeError> {
    remove_leftover_trees(directory).map_err(VolumeError::io("remove left-overs in", directory))?;
    let mut kept = list(directory)?;
    let mut dropped = Vec::new();
    let now = clock.now();
    let mut drop_one = |one: &Quarantined| {
        remove_tree(&one.path).map_err(VolumeError::io("remove", &one.path))?;
        dropped.push(one.name.clone());
        Ok::<_, VolumeError>(())
    };
    let expired = kept.extract_if(.., |one| one.has_expired(options.keep, now)).collect::<Vec<_>>();
    expired.iter().try_for_each(&mut drop_one)?;
    let short_of_space = || {
        let free = free_percent().map_err(VolumeError::io("ask for the free space of", directory))?;
        Ok::<_, VolumeError>(free < u64::from(options.min_free_percent))
    };
    kept.retain(|one| one.note.is_some());
    // The newest one may be all that is left of a volume: too little space alone is no reason to drop it. Where that is
    // what a repair has left, it is the copy made before.
    let mut newest = kept.pop();
    // Neither that nor the newest whole one.
    if newest.as_ref().is_some_and(Quarantined::is_files_only) {
        let whole = kept.iter().rposition(|one| !one.is_files_only());
        newest = whole.map(|at| kept.remove(at));
    }
    if newest.is_some_and(|one| !one.is_before_repair())
        && let Some(copy) = kept.iter().rposition(Quarantined::is_before_repair)
    {
        kept.remove(copy);
    }
    for one in &kept {
        if !short_of_space()? {
            break;
        }
        drop_one(one)?;
    }
    if !dropped.is_empty() {
        sync_dir(directory).map_err(VolumeError::io("sync", directory))?;
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;
    use std::cell::Cell;

    const DAY: Duration = Duration::from_secs(86_400);

    fn clock() -> ManualClock {
        ManualClock::at(Timestamp::new(1_000_000_000, 0))
    }

    fn put(directory: &Path, clock: &dyn Clock) -> String {
        put_one(directory, clock, false)
    }

    fn put_one(directory: &Path, clock: &dyn Clock, before_repair: bool) -> String {
        let name = new_name(clock).unwrap();
        let time = clock.now();
        let note = || Note {
            reason: "test".into(),
            path: "/data".into(),
            origin: None,
            time,
            expires: time.plus(DAY),
            before_repair,
            files_only: false,
        };
        let data = open(directory, &name, note).unwrap();
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("file"), "old").unwrap();
        name
    }

    #[test]
    fn single_files_do_not_take_the_place_of_the_newest_whole_one() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
        let mut names = Vec::new();
        for files_only in [false, false, true] {
            clock.advance(DAY);
            let name = put(dir.path(), &clock);
            if files_only {
                let note = dir.path().join(&name).join(NOTE);
                let old: Note = sealed::open(&std::fs::read(&note).unwrap(), FORMAT).unwrap();
                std::fs::write(&note, sealed::seal(&Note { files_only, ..old }, FORMAT).unwrap()).unwrap();
            }
            names.push(name);
        }
        let options = QuarantineOptions { keep: 99 * DAY, min_free_percent: 10 };
        let dropped = sweep_by(dir.path(), &options, &clock, &|| Ok(0)).unwrap();
        assert_eq!(dropped, names[..1]);
    }

    #[test]
    fn what_has_expired_goes_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let clock = clock();
        let old = put(dir.path(), &clock);
        clock.advance(2 * DAY);
        let young = put(dir.path(), &clock);
        std::fs::create_dir(dir.path().join("unknown")).unwrap();
        let options = QuarantineOptions { keep: 2 * DAY, min_free_percent: 0 };
        assert_eq!(sweep_by(dir.path(), &options, &clock, &|| Ok(50)).unwrap(), [old]);
        let names: Vec<_> = list(dir.path()).unwrap().into_iter().map(|one| one.name).collect();
        assert_eq!(names, [young, "unknown".to_owned()]);
    }

    #[test]
    fn too_little_space_drops_the_oldest_but_never_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let clock = clock();
        let mut names = Vec::new();
        for _ in 0..4 {
            names.push(put(dir.path(), &clock));
            clock.advance(Duration::from_secs(60));
        }
        let options = QuarantineOptions { keep: 30 * DAY, min_free_percent: 10 };
        let free = Cell::new(8);
        let more_each_time = || {
            free.set(free.get() + 1);
            Ok(free.get())
        };
        assert_eq!(sweep_by(dir.path(), &options, &clock, &more_each_time).unwrap(), names[..1]);
        assert_eq!(sweep_by(dir.path(), &options, &clock, &|| Ok(0)).unwrap(), names[1..3]);
        assert_eq!(list(dir.path()).unwrap()[0].name, names[3]);
    }

    #[test]
    fn a_copy_made_before_a_repair_is_worth_as_much_as_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let clock = clock();
        let mut names = Vec::new();
        for before_repair in [true, true, false] {
            names.push(put_one(dir.path(), &clock, before_repair));
            clock.advance(Duration::from_secs(60));
        }
        let options = QuarantineOptions { keep: 30 * DAY, min_free_percent: 10 };
        assert_eq!(sweep_by(dir.path(), &options, &clock, &|| Ok(0)).unwrap(), names[..1]);
        clock.advance(31 * DAY);
        assert_eq!(sweep_by(dir.path(), &options, &clock, &|| Ok(90)).unwrap(), names[1..]);
    }

    #[test]
    fn a_damaged_note_keeps_the_data() {
        let dir = tempfile::tempdir().unwrap();
        let clock = clock();
        let name = put(dir.path(), &clock);
        std::fs::write(dir.path().join(&name).join(NOTE), "{").unwrap();
        clock.advance(1000 * DAY);
        sweep_by(dir.path(), &QuarantineOptions::default(), &clock, &|| Ok(0)).unwrap();
        assert_eq!(list(dir.path()).unwrap()[0].note, None);
        assert!(dir.path().join(&name).join("data/file").exists());
    }
}
