//! The git repository: a commit a snapshot, on one branch of a bare repository in a directory or behind a git
//! server. `docs/git.md` describes what is stored and how it is used.

// Who may write is said by the branch itself: it is moved from one commit to the next, by whoever knows what it is at,
// and never by force. A volume that restores commits a lease on top, so that whoever wrote before cannot move the
// branch any more. So a writer that was cut off commits nothing, without any look before or after.

mod backup;
mod branch;
mod check;
mod contents;
mod create;
mod history;
mod known;
mod layout;
mod message;
mod name;
mod object;
mod objects;
pub mod oid;
mod one_file;
pub mod options;
mod pack;
mod prune;
mod read;
mod remember;
mod restore;
mod sink;
mod whole;
pub mod wire;

use std::ops::ControlFlow;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::hash::Hash;
use crate::base::progress::Progress;
use crate::repository::{
    Absent, BackupReport, BackupRequest, CheckReport, CheckRequest, EntrySink, Epoch, LeaseInfo, Listing,
    Missing, Presence, PruneReport, PruneRequest, RepairReport, RepairRequest, Repository, RepositoryError,
    RestoreReport, RestoreRequest, Writer,
};
use crate::snapshot::selector::Selector;
use crate::snapshot::{Entry, SnapshotId, Summary};
use crate::store::Container;
use branch::{Branch, DirectoryBranch, Part, RemoteBranch, Seen, Wanted};
use history::{History, Holder, Link};
use message::Said;
use objects::Objects;
use oid::Oid;

pub use options::{GitOptions, HttpsOptions, Place, SshOptions};

/// Questions that follow each other closely are answered by one look: each costs a login. Whoever pushes is refused if
/// the branch has moved since.
const JUST_SEEN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Git {
    options: GitOptions,
    clock: Arc<dyn Clock>,
    branch: Box<dyn Branch>,
    /// For this repository alone.
    cache: PathBuf,
    history: Mutex<History>,
    seen: Mutex<Option<(Duration, Seen)>>,
    /// The totals of a commit that does not tell them, by its name.
    counted: Mutex<Option<(Oid, Summary)>>,
}

/// A snapshot, and where its data is.
struct Located {
    wanted: Wanted,
    /// As far as the commits tell.
    summary: Summary,
    /// Whether they tell all.
    whole: bool,
}

impl Git {
    pub fn new(options: GitOptions, clock: Arc<dyn Clock>) -> Self {
        let location = options.location();
        let name = Hash::of(location.as_bytes()).to_hex();
        let cache = options.cache.join(name.get(..16).unwrap_or_default());
        let branch: Box<dyn Branch> = match (&options.place, wire::open(&options)) {
            (_, Some(transport)) => {
                Box::new(RemoteBranch::new(transport, options.reference(), cache.clone()))
            }
            (Place::Directory(path), None) => {
                Box::new(DirectoryBranch::new(path.clone(), location, options.reference()))
            }
            (_, None) => Box::new(DirectoryBranch::new(PathBuf::new(), location, options.reference())),
        };
        let history = branch.is_remote().then(|| cache.join("history.json"));
        Self {
            options,
            clock,
            branch,
            cache,
            history: Mutex::new(History::open(history)),
            seen: Mutex::default(),
            counted: Mutex::default(),
        }
    }

    fn seen(&self, longest_ago: Duration) -> Result<Seen, RepositoryError> {
        let mut memory = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, seen)) = *memory
            && self.branch.is_remote()
            && self.clock.elapsed().saturating_sub(when) < longest_ago
        {
            return Ok(seen);
        }
        *memory = None;
        let seen = self.branch.look()?;
        *memory = Some((self.clock.elapsed(), seen));
        Ok(seen)
    }

    fn note_seen(&self, seen: Option<Seen>) {
        let now = self.clock.elapsed();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen.map(|seen| (now, seen));
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_cache(&self) {
        // Where nothing can be kept, everything is asked again. What commits say is in it, which is nobody else's.
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.cache);
        if let Err(error) = made {
            tracing::debug!(%error, path = %self.cache.display(), "no cache");
        }
    }

    fn absent(&self, missing: Missing) -> RepositoryError {
        RepositoryError::Absent(Absent { location: self.location(), missing })
    }

    /// The newest commit, of a branch that is a repository of ours.
    fn tip(&self, longest_ago: Duration) -> Result<Oid, RepositoryError> {
        match self.seen(longest_ago)? {
            Seen::Tip(tip) => Ok(tip),
            seen => Err(self.absent(missing(seen))),
        }
    }

    fn tip_link(&self, longest_ago: Duration) -> Result<Link, RepositoryError> {
        let tip = self.tip(longest_ago)?;
        self.make_cache();
        self.history().tip(self.branch.as_ref(), tip)
    }

    fn chain(&self, tip: Oid) -> Result<Vec<Link>, RepositoryError> {
        self.make_cache();
        self.history().chain(self.branch.as_ref(), tip)
    }

    /// Whether somebody made the branch a repository of ours, and for whom.
    fn identity_at(&self, tip: &Link) -> Result<Option<String>, RepositoryError> {
        if let Some(identity) = message::identity(&tip.commit) {
            return Ok(Some(identity.to_owned()));
        }
        let chain = self.chain(tip.oid)?;
        Ok(chain.iter().find_map(|link| message::identity(&link.commit)).map(str::to_owned))
    }

    fn holder_at(&self, tip: &Link) -> Result<Option<Holder>, RepositoryError> {
        match tip.said {
            Said::Plain => Ok(history::holder(&self.chain(tip.oid)?)),
            _ => Ok(tip.said.holder()),
        }
    }

    fn locate(&self, id: &SnapshotId) -> Result<Located, RepositoryError> {
        let tip = self.tip_link(JUST_SEEN)?;
        if let Some(newest) = tip.newest().filter(|newest| newest.id == *id) {
            let wanted = Wanted { seconds: newest.time.seconds, ..tip.wanted() };
            return Ok(match newest.summary {
                Some(summary) => Located { wanted, summary, whole: true },
                None => {
                    // Whether it is news to a volume is told by the epoch, whatever the clock of whoever made it.
                    let epoch = self.holder_at(&tip)?.map_or(0, |holder| holder.epoch);
                    let mut summary = message::plain_summary(tip.oid, &tip.commit, epoch, None);
                    (summary.id, summary.time) = (newest.id, newest.time);
                    Located { wanted, summary, whole: false }
                }
            });
        }
        let chain = self.chain(tip.oid)?;
        let found = chain.iter().enumerate().find(|(_, link)| link.snapshot_id().as_ref() == Some(id));
        let none = || RepositoryError::NoSnapshot { location: self.location(), id: id.clone() };
        let (at, link) = found.ok_or_else(none)?;
        let behind = history::steps(&chain, link.oid).unwrap_or(u32::MAX);
        let parent = chain.iter().skip(at + 1).find_map(Link::snapshot_id);
        Ok(Located {
            wanted: Wanted { tip: tip.oid, behind, ..link.wanted() },
            summary: link.summary(parent).ok_or_else(none)?,
            whole: matches!(link.said, Said::Snapshot(_)),
        })
    }

    fn objects(
        &self,
        wanted: Wanted,
        part: Part,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<Objects, RepositoryError> {
        self.make_cache();
        self.branch.objects(wanted, part, progress, cancel)
    }

    /// What was fetched may be damaged where it is kept; then it is fetched once more.
    fn with_objects<T>(
        &self,
        wanted: Wanted,
        progress: &Progress,
        cancel: &Cancel,
        mut work: impl FnMut(&Objects) -> Result<T, RepositoryError>,
    ) -> Result<T, RepositoryError> {
        let objects = self.objects(wanted, Part::Whole, progress, cancel)?;
        match work(&objects) {
            Err(error) if error.is_damage() && self.branch.is_remote() => {
                tracing::warn!(%error, "fetching it again");
                objects.spoil();
                drop(objects);
                work(&self.objects(wanted, Part::Whole, progress, cancel)?)
            }
            other => other,
        }
    }

    /// As whom is committed on `host`.
    fn author(&self, host: &str) -> String {
        let host = object::plain_name(host);
        format!("volkeep <volkeep@{}>", host.replace(char::is_whitespace, "-"))
    }

    fn fenced(&self, holder: &Holder) -> RepositoryError {
        let location = self.location();
        RepositoryError::Fenced { location, by: holder.describe(), epoch: holder.epoch }
    }
}

fn missing(seen: Seen) -> Missing {
    match seen {
        Seen::NoRepository => Missing::Container(Container::GitRepository),
        Seen::NoBranch { empty: true } => Missing::Repository(Container::EmptyGitRepository),
        Seen::NoBranch { empty: false } => Missing::Repository(Container::GitRepository),
        Seen::Tip(_) => Missing::Repository(Container::GitBranch),
    }
}

impl Repository for Git {
    fn location(&self) -> String {
        self.options.location()
    }

    fn probe(&self) -> Result<Presence, RepositoryError> {
        let seen = self.seen(Duration::ZERO)?;
        let Seen::Tip(_) = seen else { return Ok(Presence::Absent(missing(seen))) };
        let tip = self.tip_link(JUST_SEEN)?;
        Ok(match (&tip.said, self.identity_at(&tip)?) {
            (_, None) => Presence::Absent(missing(seen)),
            (Said::Root | Said::Lease { of: None, .. }, _) => Presence::Empty,
            _ => Presence::Ready,
        })
    }

    fn create(&self, identity: &str) -> Result<(), RepositoryError> {
        create::run(self, identity, create::OthersData::Refused)
    }

    fn take_in(&self, identity: &str) -> Result<(), RepositoryError> {
        create::run(self, identity, create::OthersData::Kept)
    }

    fn identity(&self) -> Result<String, RepositoryError> {
        let tip = self.tip_link(JUST_SEEN)?;
        let absent = || self.absent(Missing::Repository(Container::GitBranch));
        self.identity_at(&tip)?.ok_or_else(absent)
    }

    fn snapshots(&self) -> Result<Listing, RepositoryError> {
        let chain = self.chain(self.tip(JUST_SEEN)?)?;
        let mut parent = None;
        let mut snapshots = Vec::new();
        for link in chain.iter().rev() {
            if let Some(summary) = link.summary(parent.clone()) {
                parent = Some(summary.id.clone());
                snapshots.push(summary);
            }
        }
        Ok(Listing { snapshots, damaged: Vec::new() })
    }

    fn names(&self) -> Result<Vec<SnapshotId>, RepositoryError> {
        let chain = self.chain(self.tip(JUST_SEEN)?)?;
        Ok(history::snapshots(&chain).into_iter().map(|(_, id)| id).collect())
    }

    fn latest(&self) -> Result<Vec<SnapshotId>, RepositoryError> {
        let tip = self.tip_link(JUST_SEEN)?;
        Ok(tip.newest().map(|newest| newest.id).into_iter().collect())
    }

    fn summary(&self, id: &SnapshotId) -> Result<Summary, RepositoryError> {
        let Located { wanted, summary, whole } = self.locate(id)?;
        if whole {
            return Ok(summary);
        }
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        match &*counted {
            Some((commit, summary)) if *commit == wanted.commit => Ok(summary.clone()),
            _ => {
                let summary = read::count(self, wanted, summary)?;
                *counted = Some((wanted.commit, summary.clone()));
                Ok(summary)
            }
        }
    }

    fn take_over(&self, writer: &Writer) -> Result<Epoch, RepositoryError> {
        create::take_over(self, writer)
    }

    fn refresh(&self, writer: &Writer, _: Epoch) -> Result<(), RepositoryError> {
        let tip = self.tip_link(JUST_SEEN)?;
        match self.holder_at(&tip)? {
            Some(holder) if holder.volume_id != writer.volume_id => Err(self.fenced(&holder)),
            _ => Ok(()),
        }
    }

    fn lease(&self) -> Result<Option<LeaseInfo>, RepositoryError> {
        let tip = self.tip_link(JUST_SEEN)?;
        Ok(self.holder_at(&tip)?.map(|Holder { epoch, volume_id, host }| LeaseInfo {
            epoch,
            volume_id,
            host,
            // Each push is decided by the branch itself, so a lease is never older than the look at it.
            since: self.clock.now(),
            until: None,
        }))
    }

    fn backup(&self, request: &BackupRequest<'_>) -> Result<BackupReport, RepositoryError> {
        backup::run(self, request)
    }

    fn entries(
        &self,
        id: &SnapshotId,
        visit: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), RepositoryError> {
        read::entries(self, id, visit)
    }

    fn read(
        &self,
        id: &SnapshotId,
        selector: &Selector,
        sink: &mut EntrySink<'_>,
    ) -> Result<(), RepositoryError> {
        read::contents(self, id, selector, sink)
    }

    fn restore(
        &self,
        id: &SnapshotId,
        request: &RestoreRequest<'_>,
    ) -> Result<RestoreReport, RepositoryError> {
        restore::run(self, id, request)
    }

    fn remember(&self, id: &SnapshotId, request: &BackupRequest<'_>) -> Result<(), RepositoryError> {
        remember::run(self, id, request)
    }

    fn prune(&self, request: &PruneRequest<'_>) -> Result<PruneReport, RepositoryError> {
        prune::run(self, request)
    }

    fn check(&self, request: &CheckRequest) -> Result<CheckReport, RepositoryError> {
        check::run(self, request)
    }

    fn repair(&self, request: &RepairRequest<'_>) -> Result<RepairReport, RepositoryError> {
        check::instead_of_repair(self, request)
    }
}
