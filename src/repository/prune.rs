//! What callers ask of a prune and what they are told afterwards: plain data.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::base::cancel::Cancel;
use crate::base::progress::Progress;
use crate::repository::{Epoch, Finding, Workers, Writer};
use crate::snapshot::SnapshotId;
use crate::snapshot::retention::{Policy, Verdict};

#[derive(Debug)]
pub struct PruneRequest<'a> {
    /// Which snapshots stay.
    pub policy: &'a Policy,
    /// How long what nothing refers to is kept, by the clock of the store.
    pub grace: Duration,
    /// Whoever holds the lease, or held it last: the lease of another volume is not taken away for this. No backup
    /// of this volume may run meanwhile.
    pub writer: &'a Writer,
    /// Where the next backup of this volume finds what it should store anew: that of its own request.
    pub cache: &'a Path,
    /// Only find out what would be done. Needs no right to write.
    pub dry_run: bool,
    pub workers: &'a Workers,
    pub progress: &'a Progress,
    pub cancel: &'a Cancel,
}

/// Objects of the repository, and what they take there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    pub packs: u64,
    pub segments: u64,
    pub bytes: u64,
}

impl Amount {
    pub fn is_none(&self) -> bool {
        self.packs + self.segments == 0
    }
}

/// In packs that are in use: what no snapshot needs any more. Bytes as they are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Waste {
    pub bytes: u64,
    /// Packs that the next backups empty, and what nobody needs in them: it waits for compaction.
    pub waiting_packs: u64,
    pub waiting_bytes: u64,
    /// What is needed in them, and will be stored anew.
    pub needed_bytes: u64,
}

/// For a dry run: what would be done.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PruneReport {
    /// The lease it was done under: a new one. 0 for a dry run.
    pub epoch: Epoch,
    /// All there were, from old to new.
    pub snapshots: Vec<Verdict>,
    pub forgotten: Vec<SnapshotId>,
    /// Pins that no snapshot has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown_pins: Vec<String>,
    /// What could not be read. If that hides what is still needed, nothing is condemned and nothing deleted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<Finding>,
    /// Nothing was condemned or deleted, because of damage.
    pub blind: bool,
    /// Got a tombstone: nothing refers to it any more.
    pub condemned: Amount,
    /// Has a tombstone whose grace time has not passed.
    pub waiting: Amount,
    pub deleted: Amount,
    /// Something refers to it again; its tombstone is gone.
    pub pardoned: Amount,
    /// Nothing refers to it, and it is too young to tell whether anything will.
    pub young: Amount,
    /// What snapshots refer to: whole packs, however little of one is needed.
    pub live: Amount,
    pub waste: Waste,
}
