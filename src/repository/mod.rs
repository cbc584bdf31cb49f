//! The snapshot seam: what every kind of repository does, whatever it keeps its bytes in. Must not know
//! volumes, markers or configuration; what it needs of them arrives in requests.

pub mod copy;
pub mod error;
#[cfg(feature = "git")]
pub mod git;
pub mod open;
pub mod packed;
pub mod prune;
pub mod repair;
pub mod request;
pub mod scan;
pub mod staging;

use std::fmt::{self, Debug};
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;

pub use copy::{Chosen, CopiedSnapshot, CopyPlan, CopyReport, CopyRequest, PlannedCopy, Route};
pub use error::{HostKeyTrouble, RepositoryError};
pub use open::{Location, RepositoryOptions, open, route};
pub use prune::{Amount, PruneReport, PruneRequest, Waste};
pub use repair::{Aside, Lost, Mended, RepairReport, RepairRequest};
pub use request::{
    BackupReport, BackupRequest, CheckReport, CheckRequest, Finding, Guard, RestoreReport, RestoreRequest,
    Totals, Workers, Writer,
};

use serde::Serialize;

use crate::base::timestamp::{self, Timestamp};
use crate::repository::scan::StatRow;
use crate::snapshot::selector::Selector;
use crate::snapshot::{Entry, SnapshotId, Summary};
use crate::store::Container;

/// What a probe finds. Unreachable, denied and damaged are errors, never one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Nothing at the address: perhaps a mistyped one.
    Absent(Missing),
    /// A repository without a snapshot: somebody said that this address is right.
    Empty,
    Ready,
}

/// What is not there, where there is no repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The directory or bucket is there, without a repository at the address.
    Repository(Container),
    /// Not even that.
    Container(Container),
}

/// A place without a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    pub location: String,
    pub missing: Missing,
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = &self.location;
        match self.missing {
            Missing::Repository(container) => {
                write!(f, "there is no repository at {location}, though the {container} is there")
            }
            Missing::Container(container) => {
                write!(f, "there is no repository at {location}: there is no such {container}")
            }
        }
    }
}

/// All snapshots from old to new, and the names of those that cannot be read.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    pub snapshots: Vec<Summary>,
    pub damaged: Vec<Finding>,
}

/// The number of a lease: whoever holds the newest one may write.
pub type Epoch = u64;

/// Who may write, for people: deciding rests on the number alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaseInfo {
    pub epoch: Epoch,
    pub volume_id: String,
    pub host: String,
    #[serde(with = "timestamp::rfc3339")]
    pub since: Timestamp,
    /// When it looks abandoned, by the clock of its holder. `None`: nobody said.
    #[serde(skip_serializing_if = "Option::is_none", with = "timestamp::optional_rfc3339")]
    pub until: Option<Timestamp>,
}

impl LeaseInfo {
    /// Who has it, for messages.
    pub fn holder(&self) -> String {
        match self.volume_id.as_str() {
            // Somebody without volkeep, where that is possible.
            "" => self.host.clone(),
            volume => format!("volume {volume} on {}", self.host),
        }
    }
}

/// Receives an entry and, for a regular file, its content.
pub type EntrySink<'a> = dyn FnMut(&Entry, &mut dyn Read) -> Result<(), RepositoryError> + 'a;

pub trait Repository: Send + Sync + Debug {
    /// For messages; holds no secret.
    fn location(&self) -> String;

    fn probe(&self) -> Result<Presence, RepositoryError>;

    /// Makes an empty repository for the volumes of `identity`. One that is there already is left alone, if
    /// it has the same identity.
    fn create(&self, identity: &str) -> Result<(), RepositoryError>;

    /// As `create`, for a person who says so: also where others have put data, which becomes the first snapshot.
    fn take_in(&self, identity: &str) -> Result<(), RepositoryError> {
        self.create(identity)
    }

    /// The identity it was made for.
    fn identity(&self) -> Result<String, RepositoryError>;

    fn snapshots(&self) -> Result<Listing, RepositoryError>;

    /// The names of all snapshots, from old to new, by one listing.
    fn names(&self) -> Result<Vec<SnapshotId>, RepositoryError>;

    /// As `names`, but only as many as are cheap to know: the newest is among them, if there is one.
    fn latest(&self) -> Result<Vec<SnapshotId>, RepositoryError> {
        self.names()
    }

    /// The last of the names.
    fn newest(&self) -> Result<Option<SnapshotId>, RepositoryError> {
        Ok(self.latest()?.pop())
    }

    fn summary(&self, id: &SnapshotId) -> Result<Summary, RepositoryError>;

    /// Takes the right to write from whoever has it. What the former writer began can no longer be committed.
    fn take_over(&self, writer: &Writer) -> Result<Epoch, RepositoryError>;

    /// Says that the writer, whose lease `epoch` is, still works. `Fenced` when another one has taken over.
    fn refresh(&self, writer: &Writer, epoch: Epoch) -> Result<(), RepositoryError>;

    /// Who may write at present.
    fn lease(&self) -> Result<Option<LeaseInfo>, RepositoryError>;

    fn backup(&self, request: &BackupRequest<'_>) -> Result<BackupReport, RepositoryError>;

    /// Visits all entries in walk order.
    fn entries(
        &self,
        id: &SnapshotId,
        visit: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), RepositoryError>;

    /// As `entries`, each with what the file looked like when it was read or restored, where the volume's cache knows.
    fn entries_as_seen(
        &self,
        id: &SnapshotId,
        _cache: &Path,
        visit: &mut dyn FnMut(Entry, Option<StatRow>) -> ControlFlow<()>,
    ) -> Result<(), RepositoryError> {
        self.entries(id, &mut |entry| visit(entry, None))
    }

    /// Visits the selected entries in walk order together with their content, verified.
    fn read(
        &self,
        id: &SnapshotId,
        selector: &Selector,
        sink: &mut EntrySink<'_>,
    ) -> Result<(), RepositoryError>;

    /// Fills the target directory with the selected part of the snapshot, every byte verified.
    fn restore(
        &self,
        id: &SnapshotId,
        request: &RestoreRequest<'_>,
    ) -> Result<RestoreReport, RepositoryError>;

    /// Notes that the tree at the root of the request is the snapshot, so that the next backup need not read
    /// what does not change until then. A convenience: losing the note costs time only.
    fn remember(&self, id: &SnapshotId, request: &BackupRequest<'_>) -> Result<(), RepositoryError>;

    /// Forgets the snapshots that the policy does not keep, and deletes what nothing refers to any more, in two steps
    /// a grace time apart. Takes a new lease, so that writers who were cut off notice. `LeaseElsewhere` when another
    /// volume writes there.
    fn prune(&self, request: &PruneRequest<'_>) -> Result<PruneReport, RepositoryError>;

    fn check(&self, request: &CheckRequest) -> Result<CheckReport, RepositoryError>;

    /// Mends what a check finds, as far as the volume still has it, and puts away the snapshots that cannot be saved. As
    /// a prune, for the volume that holds the lease, while no backup of it runs.
    fn repair(&self, request: &RepairRequest<'_>) -> Result<RepairReport, RepositoryError>;
}
