//! What callers ask of a repair and what they are told afterwards: plain data.

use std::path::Path;

use serde::Serialize;

use crate::base::cancel::Cancel;
use crate::base::progress::Progress;
use crate::repository::{CheckReport, Epoch, Workers, Writer};
use crate::snapshot::SnapshotId;

#[derive(Debug)]
pub struct RepairRequest<'a> {
    /// The tree that is backed up: what of it still has the content that a manifest names is used.
    pub root: &'a Path,
    /// Where the volume keeps what it remembers of the repository.
    pub cache: &'a Path,
    /// Whoever holds the lease: that of another volume is not taken away for this.
    pub writer: &'a Writer,
    /// The last lease this volume is known to have had: one that is damaged may be this one.
    pub epoch: Option<Epoch>,
    /// Which part of the packs to read in full.
    pub verify_percent: u8,
    /// Only find out what would be done. Needs no right to write.
    pub dry_run: bool,
    pub workers: &'a Workers,
    pub progress: &'a Progress,
    pub cancel: &'a Cancel,
}

/// For a dry run: what would be done.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RepairReport {
    /// The lease it was done under: a new one. 0 for a dry run.
    pub epoch: Epoch,
    /// What was damaged before.
    pub found: CheckReport,
    pub mended: Vec<Mended>,
    /// Snapshots that cannot be saved.
    pub lost: Vec<Lost>,
    /// No snapshot is whole or can be made so: those that are lost stay where they are until there is a good one.
    pub none_left: bool,
    /// Damaged packs and segments that nothing may rest on any more: the next backup stores anew what is in them.
    pub condemned: Vec<String>,
    /// What was taken out of the way or replaced, and where it is kept.
    pub quarantined: Vec<Aside>,
    /// What could not be mended although it should have been: the volume changed meanwhile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
    /// Who mends it, where this program does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_hand: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mended {
    pub object: String,
    pub how: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lost {
    pub snapshot: SnapshotId,
    /// What it needs and nobody has any more.
    pub objects: Vec<String>,
    /// The paths in it that are gone: as in a finding.
    pub paths: Vec<String>,
    pub path_count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Aside {
    pub object: String,
    pub kept_as: String,
}
