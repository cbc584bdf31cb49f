//! What is known of drills: which snapshots were proved and how the last drill ended, in one sealed file of the state
//! directory. Holds the format and what is kept; how a drill is done is elsewhere.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::fs::{TEMPORARY_PREFIX, read_if_present, remove_if_present, write_atomic};
use crate::base::sealed;
use crate::base::timestamp::{self, Timestamp};

const FORMAT: u64 = 1;
const MODE: u32 = 0o660;
const FILE: &str = "drill.json";
/// Proofs kept: two years of weekly drills.
const KEPT: usize = 100;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DrillRecord {
    /// How the last drill ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Ended>,
    /// Snapshots that were brought back whole, each with its latest drill; the latest at the end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proofs: Vec<Proof>,
}

/// A drill of one repository that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    #[serde(with = "timestamp::rfc3339")]
    pub time: Timestamp,
    pub repository: String,
    /// `None`: none was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    pub proved: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A snapshot that was restored, compared and checked with success.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    pub repository: String,
    pub snapshot: String,
    /// When the snapshot was made.
    #[serde(with = "timestamp::rfc3339")]
    pub snapshot_time: Timestamp,
    /// When the drill began, and how long it took.
    #[serde(with = "timestamp::rfc3339")]
    pub time: Timestamp,
    pub seconds: f64,
    /// What was compared.
    pub entries: u64,
    pub files: u64,
    pub bytes: u64,
    /// Configured checks that found the data good.
    pub checks: u64,
}

impl DrillRecord {
    /// A record that is damaged counts as none, and says so in the log: it is no truth that anything rests on.
    pub fn load(state_dir: &Path) -> io::Result<Self> {
        let path = path(state_dir);
        let Some(bytes) = read_if_present(&path)? else { return Ok(Self::default()) };
        Ok(sealed::open(&bytes, FORMAT).unwrap_or_else(|error| {
            tracing::warn!(%error, path = %path.display(), "the record of drills is lost; it begins anew");
            Self::default()
        }))
    }

    /// Durable when it returns. Only one drill at a time writes it, so what is there of another writing is left over.
    pub fn save(&self, state_dir: &Path) -> io::Result<()> {
        remove_left_over(state_dir)?;
        let bytes = sealed::seal(self, FORMAT).map_err(io::Error::other)?;
        write_atomic(&path(state_dir), &bytes, MODE)
    }

    pub fn note_proof(&mut self, proof: Proof) {
        self.last = Some(Ended {
            time: proof.time,
            repository: proof.repository.clone(),
            snapshot: Some(proof.snapshot.clone()),
            proved: true,
            reason: None,
        });
        let is_same = |old: &Proof| (&old.repository, &old.snapshot) == (&proof.repository, &proof.snapshot);
        self.proofs.retain(|old| !is_same(old));
        self.proofs.push(proof);
        self.proofs.drain(..self.proofs.len().saturating_sub(KEPT));
    }

    pub fn note_failure(&mut self, ended: Ended) {
        self.last = Some(ended);
    }

    pub fn proof_of(&self, repository: &str, snapshot: &str) -> Option<&Proof> {
        self.proofs.iter().rfind(|proof| proof.repository == repository && proof.snapshot == snapshot)
    }

    /// The latest of each repository, in the order of the drills.
    pub fn latest(&self) -> Vec<&Proof> {
        let is_latest = |(at, proof): &(usize, &Proof)| {
            !self.proofs.iter().skip(at + 1).any(|later| later.repository == proof.repository)
        };
        self.proofs.iter().enumerate().filter(is_latest).map(|(_, proof)| proof).collect()
    }
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

fn remove_left_over(state_dir: &Path) -> io::Result<()> {
    let ours = format!("{TEMPORARY_PREFIX}{FILE}.");
    for entry in std::fs::read_dir(state_dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&ours) {
            remove_if_present(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(repository: &str, snapshot: usize, time: i64) -> Proof {
        Proof {
            repository: repository.to_owned(),
            snapshot: snapshot.to_string(),
            snapshot_time: Timestamp::new(1, 0),
            time: Timestamp::new(time, 0),
            seconds: 0.1,
            entries: 2,
            files: 1,
            bytes: 3,
            checks: 0,
        }
    }

    #[test]
    fn each_snapshot_has_its_latest_proof_and_the_oldest_go() {
        let mut record = DrillRecord::default();
        for time in 0..KEPT + 5 {
            record.note_proof(proof("a", time, time as i64));
        }
        record.note_proof(proof("b", 7, 1_000));
        record.note_proof(proof("a", 50, 2_000));
        assert_eq!(record.proofs.len(), KEPT);
        assert!(record.proof_of("a", "5").is_none() && record.proof_of("a", "7").is_some());
        assert_eq!(record.proof_of("a", "50").unwrap().time.seconds, 2_000);
        let latest: Vec<(&str, &str)> =
            record.latest().iter().map(|one| (one.repository.as_str(), one.snapshot.as_str())).collect();
        assert_eq!(latest, [("b", "7"), ("a", "50")]);
        assert_eq!(record.last.as_ref().unwrap().snapshot.as_deref(), Some("50"));
    }

    #[test]
    fn it_lasts_and_a_damaged_one_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(DrillRecord::load(dir.path()).unwrap(), DrillRecord::default());
        let mut record = DrillRecord::default();
        record.note_proof(proof("a", 1, 5));
        record.save(dir.path()).unwrap();
        assert_eq!(DrillRecord::load(dir.path()).unwrap(), record);
        std::fs::write(dir.path().join(FILE), "torn").unwrap();
        assert_eq!(DrillRecord::load(dir.path()).unwrap(), DrillRecord::default());
    }
}
