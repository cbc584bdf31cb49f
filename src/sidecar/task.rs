//! The work that a sidecar has done by a child process of the same program: how it is asked for on the child's
//! command line, and what the child answers on its stdout. Must not know how the work is done.

use serde::{Deserialize, Serialize};

use crate::base::timestamp::Timestamp;
use crate::ops::lease::LeaseKept;
use crate::sidecar::record::Figures;

/// The hidden command of the child.
pub const COMMAND: &str = "task";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    Backup,
    Prune,
    Check,
    /// Part number `turn` of the packs, of which each part is `percent`.
    Verify {
        percent: u8,
        turn: u64,
    },
    Drill,
    /// Part number `turn` of the files.
    Scrub {
        percent: u8,
        turn: u64,
        repair: bool,
    },
    /// Where the lease is older than this, a new epoch is begun.
    Lease {
        since: Timestamp,
    },
}

/// What the child says at its end, as one line of JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskReport {
    /// The exit code of the command that does the same by hand.
    pub code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    pub figures: Figures,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leases: Vec<LeaseKept>,
}

impl Task {
    pub fn arguments(self) -> Vec<String> {
        let words = |words: &[&str]| -> Vec<String> { words.iter().map(|word| (*word).to_owned()).collect() };
        match self {
            Self::Backup => words(&[COMMAND, "backup"]),
            Self::Prune => words(&[COMMAND, "prune"]),
            Self::Check => words(&[COMMAND, "check"]),
            Self::Drill => words(&[COMMAND, "drill"]),
            Self::Scrub { percent, turn, repair } => {
                let (percent, turn) = (percent.to_string(), turn.to_string());
                let mut all = words(&[COMMAND, "scrub", "--percent", &percent, "--turn", &turn]);
                all.extend(repair.then(|| "--repair".to_owned()));
                all
            }
            Self::Verify { percent, turn } => {
                words(&[COMMAND, "verify", "--percent", &percent.to_string(), "--turn", &turn.to_string()])
            }
            Self::Lease { since } => words(&[COMMAND, "lease", "--since", &since.to_rfc3339()]),
        }
    }
}
