//! The marker: the small sealed file that says what state the volume is in, with the restore journal in it.
//! Holds the format and its reading and writing; what follows from it is decided elsewhere.

// The marker holds no identity of the file system: `f_fsid` and device numbers change with every mount on
// several file systems, and a wrong "this is another volume" would stop a healthy app. What stands against a
// marker of another volume is that it is never part of a backup, and `identity`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::bytes_text::BytesText;
use crate::base::clock::Clock;
use crate::base::fs::{read_if_present, write_atomic};
use crate::base::id::random_hex;
use crate::base::sealed::{self, SealError};
use crate::base::timestamp::{self, Timestamp};
use crate::volume::error::VolumeError;
use crate::volume::loosen::Loosened;

const FORMAT: u64 = 1;
const MODE: u32 = 0o660;
const VOLUME_ID_BYTES: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// 32 hex digits, made once for each volume.
    pub volume_id: String,
    pub identity: String,
    pub phase: Phase,
    /// `None` until the volume was ready for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup: Option<LastBackup>,
    /// When the volume last became ready: a snapshot that another volume made later makes this one stale.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "timestamp::optional_rfc3339")]
    pub ready_since: Option<Timestamp>,
    /// What this volume has to do with each repository, by its location.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub repositories: BTreeMap<String, Dealings>,
    /// The snapshot whose data failed the checks right after it was restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distrusted: Option<String>,
    /// Damage was found on this data, or a repair of it was begun, and no full checks have passed since. It goes with the
    /// data. Unlike `clean` no sidecar counts for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<Damage>,
    /// Run-once steps and the version that was done on this data. It goes with the data: see `forget_steps`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub steps_done: BTreeMap<String, String>,
    /// The data came onto the volume, and no start has done all its steps on it since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub steps_due: bool,
    /// The last init had steps, so whoever waits for the volume has to wait for them, even if it knows of none itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_steps: bool,
    /// Whether whoever worked beside the app ended in order.
    pub clean: bool,
    #[serde(with = "timestamp::rfc3339")]
    pub written_at: Timestamp,
    /// The version of the program that wrote it.
    pub written_by: String,
    /// Fields of this format that a later version has added: kept when the marker is written again.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Phase {
    /// Staging is being filled.
    Restoring {
        target: RestoreTarget,
    },
    /// Staging is complete, verified and on disk.
    Staged {
        target: RestoreTarget,
    },
    /// The staged tree is being made live.
    Committing {
        target: RestoreTarget,
        progress: Progress,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        loosened: Vec<Loosened>,
    },
    Ready,
}

/// Which snapshot is being restored, and from where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreTarget {
    pub repository: String,
    pub snapshot: String,
}

/// How far a commit has come. `quarantine` is the name below the quarantine directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Progress {
    /// The whole directory is being replaced. The inode number of the restored tree's root tells, after a
    /// crash, whether that has happened: doing it twice would bring the old tree back.
    Replacing { staged_inode: u64, quarantine: String },
    /// Old entries are on their way into quarantine.
    Clearing { quarantine: String },
    /// The entries called `names` are on their way from staging. `modified` is the time of the restored root,
    /// which the moves themselves change.
    Filling { quarantine: String, names: Vec<BytesText>, modified: Timestamp },
}

/// What is known of damage to the data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    #[serde(with = "timestamp::rfc3339")]
    pub found: Timestamp,
    /// When a repair was begun. What is there now is neither the data as it was found nor repaired data.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "timestamp::optional_rfc3339")]
    pub repair: Option<Timestamp>,
    /// The quarantine with the data as it was before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<String>,
}

/// Where the data on the volume came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// `time` is when it was brought back, not when the snapshot was made.
    Snapshot {
        id: String,
        repository: String,
        #[serde(with = "timestamp::rfc3339")]
        time: Timestamp,
    },
    Empty,
    Adopted,
}

/// What a volume last had to do with one repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dealings {
    /// The last lease it had: whoever took a later one has cut it off. 0: none.
    pub epoch: u64,
    /// The last snapshot it committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
}

/// The field `lease` of versions that remembered one repository only.
#[derive(Deserialize)]
struct OnlyLease {
    repository: String,
    epoch: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastBackup {
    pub snapshot: String,
    #[serde(with = "timestamp::rfc3339")]
    pub time: Timestamp,
    pub repository: String,
    pub files: u64,
    pub bytes: u64,
}

impl Marker {
    /// A marker for a volume that never had one; not yet written.
    pub(crate) fn new(identity: &str, phase: Phase, clock: &dyn Clock) -> std::io::Result<Self> {
        Ok(Self {
            volume_id: random_hex(VOLUME_ID_BYTES)?,
            identity: identity.to_owned(),
            phase,
            origin: None,
            last_backup: None,
            ready_since: None,
            repositories: BTreeMap::new(),
            distrusted: None,
            damage: None,
            steps_done: BTreeMap::new(),
            steps_due: false,
            has_steps: false,
            clean: true,
            written_at: clock.now(),
            written_by: env!("CARGO_PKG_VERSION").to_owned(),
            extra: Map::new(),
        })
    }

    /// Whether the volume came from this snapshot or made it.
    pub fn knows(&self, snapshot: &str) -> bool {
        self.last_backup.as_ref().is_some_and(|backup| backup.snapshot == snapshot)
            || self.repositories.values().any(|one| one.snapshot.as_deref() == Some(snapshot))
            || matches!(&self.origin, Some(Origin::Snapshot { id, .. }) if id == snapshot)
    }

    /// The epoch of the last lease this volume had in `repository`.
    pub fn epoch_in(&self, repository: &str) -> Option<u64> {
        self.repositories.get(repository).map(|dealings| dealings.epoch).filter(|epoch| *epoch > 0)
    }

    pub fn note_lease(&mut self, repository: &str, epoch: u64) {
        self.repositories.entry(repository.to_owned()).or_default().epoch = epoch;
    }

    pub fn note_snapshot(&mut self, repository: &str, epoch: u64, snapshot: &str) {
        let snapshot = Some(snapshot.to_owned());
        self.repositories.insert(repository.to_owned(), Dealings { epoch, snapshot });
    }

    /// Whether this volume has stored something there before.
    pub fn has_stored_in(&self, repository: &str) -> bool {
        self.repositories.get(repository).is_some_and(|dealings| dealings.snapshot.is_some())
            || self.last_backup.as_ref().is_some_and(|backup| backup.repository == repository)
    }

    /// The data is no longer that of the backups made so far.
    pub(crate) fn forget_backups(&mut self) {
        self.last_backup = None;
        for dealings in self.repositories.values_mut() {
            dealings.snapshot = None;
        }
    }

    /// The data is another than before: what was done on that, and what was wrong with it, says nothing about this.
    pub(crate) fn forget_the_data(&mut self) {
        self.steps_done.clear();
        self.steps_due = true;
        self.damage = None;
    }

    /// Nothing but full checks may say that the data is whole, whoever works beside it.
    pub fn is_suspect(&self) -> bool {
        self.distrusted.is_some() || self.damage.is_some()
    }

    /// The full checks have passed on what is there.
    pub fn checked(self) -> Self {
        Self { clean: true, distrusted: None, damage: None, ..self }
    }

    /// The last time at which the volume was known to hold the newest data there was.
    pub fn knew_at(&self) -> Timestamp {
        let made = self.last_backup.as_ref().map(|backup| backup.time);
        made.max(self.ready_since).unwrap_or_default()
    }

    /// Whether, by all we know, there was data on the volume when it was last seen ready.
    pub fn had_data(&self) -> bool {
        match (&self.last_backup, &self.origin) {
            // The later of the two knows better: an app may have emptied its volume after the restore.
            (Some(backup), Some(Origin::Snapshot { time, .. })) if *time > backup.time => true,
            (Some(backup), _) => backup.files > 0,
            (None, origin) => matches!(origin, Some(Origin::Snapshot { .. } | Origin::Adopted)),
        }
    }
}

impl Phase {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Restoring { .. } => "restoring",
            Self::Staged { .. } => "staged",
            Self::Committing { .. } => "committing",
            Self::Ready => "ready",
        }
    }

    pub fn target(&self) -> Option<&RestoreTarget> {
        match self {
            Self::Restoring { target } | Self::Staged { target } | Self::Committing { target, .. } => {
                Some(target)
            }
            Self::Ready => None,
        }
    }
}

pub(crate) fn read(path: &Path) -> Result<Option<Marker>, VolumeError> {
    let Some(bytes) = read_if_present(path).map_err(VolumeError::io("read", path))? else {
        return Ok(None);
    };
    match sealed::open::<Marker>(&bytes, FORMAT) {
        Ok(mut marker) => {
            if let Some(lease) = marker.extra.remove("lease")
                && let Ok(OnlyLease { repository, epoch }) = serde_json::from_value(lease)
                && marker.epoch_in(&repository).is_none()
            {
                marker.note_lease(&repository, epoch);
            }
            Ok(Some(marker))
        }
        Err(SealError::Newer { found, known }) => {
            Err(VolumeError::MarkerNewer { path: path.to_owned(), found, known })
        }
        // Never taken for "no marker": that would make data of ours look foreign, or a half-done restore ready.
        Err(reason) => Err(VolumeError::MarkerDamaged { path: path.to_owned(), reason }),
    }
}

pub(crate) fn write(path: &Path, marker: &Marker, clock: &dyn Clock) -> Result<(), VolumeError> {
    let stamped = Marker {
        written_at: clock.now(),
        written_by: env!("CARGO_PKG_VERSION").to_owned(),
        ..marker.clone()
    };
    let bytes = sealed::seal(&stamped, FORMAT).map_err(|error| VolumeError::Io {
        doing: "write",
        path: path.to_owned(),
        source: std::io::Error::other(error),
    })?;
    write_atomic(path, &bytes, MODE).map_err(VolumeError::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;

    fn marker(phase: Phase) -> Marker {
        Marker::new("wiki", phase, &ManualClock::at(Timestamp::new(1_000_000_000, 0))).unwrap()
    }

    fn backup(seconds: i64, files: u64) -> Option<LastBackup> {
        let time = Timestamp::new(seconds, 0);
        Some(LastBackup { snapshot: "b".into(), time, repository: "r".into(), files, bytes: files })
    }

    #[test]
    fn every_phase_reads_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("marker.json");
        let clock = ManualClock::at(Timestamp::new(1_000_000_000, 0));
        let target = RestoreTarget { repository: "file:///r".into(), snapshot: "s".into() };
        let names = vec![BytesText::from(&b"\xff"[..]), BytesText::from("a")];
        let quarantine = "q".to_owned();
        for phase in [
            Phase::Restoring { target: target.clone() },
            Phase::Staged { target: target.clone() },
            Phase::Committing {
                target: target.clone(),
                progress: Progress::Replacing { staged_inode: u64::MAX, quarantine: quarantine.clone() },
                loosened: vec![],
            },
            Phase::Committing {
                target: target.clone(),
                progress: Progress::Clearing { quarantine: quarantine.clone() },
                loosened: vec![],
            },
            Phase::Committing {
                target,
                progress: Progress::Filling { quarantine, names, modified: Timestamp::new(-1, 7) },
                loosened: vec![],
            },
            Phase::Ready,
        ] {
            let mut marker = marker(phase);
            marker.last_backup = backup(7, 7);
            marker.steps_done.insert("schema".into(), "3".into());
            let time = Timestamp::new(1_000_000_000, 0);
            marker.damage = Some(Damage { found: time, repair: Some(time), copy: Some("q".into()) });
            write(&path, &marker, &clock).unwrap();
            assert_eq!(read(&path).unwrap().unwrap(), marker);
        }
    }

    #[test]
    fn fields_of_later_versions_survive_a_rewrite() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("marker.json");
        let clock = ManualClock::at(Timestamp::default());
        let mut marker = marker(Phase::Ready);
        marker.extra.insert("later".into(), Value::from(7));
        write(&path, &marker, &clock).unwrap();
        write(&path, &read(&path).unwrap().unwrap(), &clock).unwrap();
        assert_eq!(read(&path).unwrap().unwrap().extra.get("later"), Some(&Value::from(7)));
    }

    #[test]
    fn the_lease_of_a_marker_that_knew_one_repository_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("marker.json");
        let clock = ManualClock::at(Timestamp::default());
        let mut fields = serde_json::to_value(marker(Phase::Ready)).unwrap();
        fields["lease"] = serde_json::json!({ "repository": "file:///a", "epoch": 7 });
        std::fs::write(&path, sealed::seal(&fields, FORMAT).unwrap()).unwrap();
        let mut read_back = read(&path).unwrap().unwrap();
        assert_eq!(read_back.epoch_in("file:///a"), Some(7));
        assert_eq!(read_back.epoch_in("file:///b"), None);
        read_back.note_snapshot("file:///b", 3, "s");
        write(&path, &read_back, &clock).unwrap();
        let marker = read(&path).unwrap().unwrap();
        assert_eq!((marker.epoch_in("file:///a"), marker.epoch_in("file:///b")), (Some(7), Some(3)));
        assert!(marker.knows("s") && marker.has_stored_in("file:///b") && !marker.has_stored_in("file:///a"));
    }

    #[test]
    fn whether_there_was_data_is_what_the_later_record_says() {
        let restored = |seconds| {
            let time = Timestamp::new(seconds, 0);
            Some(Origin::Snapshot { id: "s".into(), repository: "r".into(), time })
        };
        for (origin, last_backup, expected) in [
            (Some(Origin::Empty), None, false),
            (Some(Origin::Empty), backup(5, 3), true),
            (Some(Origin::Adopted), None, true),
            (restored(5), None, true),
            (restored(5), backup(6, 0), false),
            (restored(7), backup(6, 0), true),
        ] {
            let marker = Marker { origin, last_backup, ..marker(Phase::Ready) };
            assert_eq!(marker.had_data(), expected, "{marker:?}");
        }
    }
}
