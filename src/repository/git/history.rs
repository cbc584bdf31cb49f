//! The commits of the branch that are known, from the newest back to the first, and what they say. Commits never
//! change, so what was read once is kept; where a server is far away, in a file of the cache.

use std::collections::{BinaryHeap, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::bytes_text::BytesText;
use crate::base::fs::temporary_beside;
use crate::base::sealed;
use crate::repository::git::branch::{Branch, Extent, Known, Wanted};
use crate::repository::git::message::{self, LeaseOf, Said};
use crate::repository::git::object::Commit;
use crate::repository::git::oid::{Kind, Oid};
use crate::repository::{Epoch, RepositoryError};
use crate::snapshot::{SnapshotId, Summary};

const FORMAT: u64 = 1;
/// Commits that are named to a server as known: one of them will do.
const NAMED: usize = 16;

#[derive(Debug)]
pub struct History {
    commits: HashMap<Oid, Vec<u8>>,
    /// `None`: nothing is kept.
    file: Option<PathBuf>,
}

/// A commit and what it says.
#[derive(Clone, Debug)]
pub struct Link {
    pub oid: Oid,
    pub commit: Commit,
    pub said: Said,
}

/// Who may write, by the newest commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub epoch: Epoch,
    /// Empty: somebody without volkeep.
    pub volume_id: String,
    pub host: String,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    /// Name and text.
    commits: Vec<(String, BytesText)>,
}

impl History {
    /// A file that is damaged is as good as none.
    pub fn open(file: Option<PathBuf>) -> Self {
        let kept = file.as_ref().and_then(|file| sealed::open::<Kept>(&fs::read(file).ok()?, FORMAT).ok());
        let commits = kept.map(|kept| kept.commits).unwrap_or_default().into_iter();
        // What a commit says is acted on, so it has to be that commit.
        let commits = commits.filter_map(|(oid, text)| Some((oid.parse().ok()?, text.0)));
        let commits = commits.filter(|(oid, text)| Oid::of(Kind::Commit, text) == *oid).collect();
        Self { commits, file }
    }

    /// The commit that is named, which is the newest of the branch.
    pub fn tip(&mut self, branch: &dyn Branch, tip: Oid) -> Result<Link, RepositoryError> {
        if let Some(link) = self.link(tip) {
            return Ok(link);
        }
        let commits = self.ask(branch, tip, Extent::Tip)?;
        self.add(commits, None);
        self.link(tip).ok_or_else(|| missing(tip))
    }

    /// `tip` and all that leads to it, from new to old: each commit before those it was made on.
    pub fn chain(&mut self, branch: &dyn Branch, tip: Oid) -> Result<Vec<Link>, RepositoryError> {
        if let Some(chain) = self.walk(tip) {
            return Ok(chain);
        }
        let commits = self.ask(branch, tip, Extent::All)?;
        self.add(commits, Some(tip));
        self.walk(tip).ok_or_else(|| missing(tip))
    }

    fn ask(
        &self,
        branch: &dyn Branch,
        tip: Oid,
        extent: Extent,
    ) -> Result<Vec<(Oid, Vec<u8>)>, RepositoryError> {
        let complete = self.complete();
        // A commit that is known alone does not tell what comes before it.
        let whole: HashSet<Oid> =
            complete.iter().flat_map(|oid| self.reach(*oid).unwrap_or_default()).collect();
        let is_known = |oid: &Oid| whole.contains(oid);
        let known = Known { complete: complete.into_iter().take(NAMED).collect(), is_known: &is_known };
        branch.commits(tip, &known, extent)
    }

    /// `None`: not all of it is known.
    fn walk(&self, tip: Oid) -> Option<Vec<Link>> {
        // How many of the commits made on it are not in the chain yet.
        let mut above: HashMap<Oid, usize> = HashMap::new();
        let reached = self.reach(tip)?;
        for oid in &reached {
            for parent in self.link(*oid)?.commit.parents {
                *above.entry(parent).or_default() += 1;
            }
        }
        let mut ready = BinaryHeap::from([(i64::MAX, tip)]);
        let mut chain = Vec::with_capacity(reached.len());
        while let Some((_, oid)) = ready.pop() {
            let link = self.link(oid)?;
            for parent in &link.commit.parents {
                let left = above.get_mut(parent)?;
                *left -= 1;
                if *left == 0 {
                    ready.push((self.link(*parent)?.commit.seconds, *parent));
                }
            }
            chain.push(link);
        }
        Some(chain)
    }

    /// `tip` and everything before it, if all of it is known.
    fn reach(&self, tip: Oid) -> Option<Vec<Oid>> {
        let mut seen = HashSet::from([tip]);
        let mut reached = Vec::new();
        let mut open = vec![tip];
        while let Some(oid) = open.pop() {
            let commit = Commit::decode(self.commits.get(&oid)?)?;
            open.extend(commit.parents.into_iter().filter(|parent| seen.insert(*parent)));
            reached.push(oid);
        }
        Some(reached)
    }

    /// Just made by us; the last of them is the newest of the branch.
    pub fn note(&mut self, commits: Vec<(Oid, Vec<u8>)>) {
        let tip = commits.last().map(|(oid, _)| *oid);
        self.add(commits, tip);
    }

    fn link(&self, oid: Oid) -> Option<Link> {
        let commit = Commit::decode(self.commits.get(&oid)?)?;
        let said = message::said(&commit);
        Some(Link { oid, commit, said })
    }

    /// Commits of which all that comes before is known as well: a handful of the newest, by their own word. Of others a
    /// server that is told of them would leave out what comes before.
    fn complete(&self) -> Vec<Oid> {
        let mut all: Vec<(i64, Oid)> = self
            .commits
            .iter()
            .filter_map(|(oid, text)| Some((Commit::decode(text)?.seconds, *oid)))
            .collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all.into_iter().map(|(_, oid)| oid).filter(|oid| self.reach(*oid).is_some()).take(NAMED).collect()
    }

    /// `tip`: what leads to it is kept, all else is of a history that was written anew.
    fn add(&mut self, commits: Vec<(Oid, Vec<u8>)>, tip: Option<Oid>) {
        self.commits.extend(commits);
        let Some(file) = &self.file else { return };
        let kept: Vec<Oid> = match tip.and_then(|tip| self.reach(tip)) {
            Some(reached) => reached,
            None => self.commits.keys().copied().collect(),
        };
        let text = |oid: &Oid| Some((oid.to_hex(), BytesText(self.commits.get(oid)?.clone())));
        let kept = Kept { commits: kept.iter().filter_map(text).collect() };
        let written = sealed::seal(&kept, FORMAT).map_err(io::Error::other).and_then(|bytes| {
            // Another process may do the same.
            let part = temporary_beside(file)?;
            fs::write(&part, bytes).and_then(|()| fs::rename(&part, file))
        });
        if let Err(error) = written {
            tracing::debug!(%error, path = %file.display(), "not cached");
        }
    }
}

fn missing(oid: Oid) -> RepositoryError {
    RepositoryError::Damaged {
        location: "the branch".to_owned(),
        object: format!("the commit {oid}"),
        reason: "it was not sent".to_owned(),
    }
}

/// The snapshots of a chain, from old to new: the place of each in the chain, and its name.
pub fn snapshots(chain: &[Link]) -> Vec<(usize, SnapshotId)> {
    let name = |(at, link): (usize, &Link)| Some((at, link.snapshot_id()?));
    chain.iter().enumerate().rev().filter_map(name).collect()
}

/// Who wrote last.
pub fn holder(chain: &[Link]) -> Option<Holder> {
    let tip = chain.first()?;
    if tip.said != Said::Plain {
        return tip.said.holder();
    }
    // Whoever wrote after us cuts us off, with or without a lease.
    let before = chain.iter().filter_map(|link| link.said.holder()).map(|holder| holder.epoch).max();
    Some(Holder {
        epoch: before.unwrap_or(0).saturating_add(1),
        volume_id: String::new(),
        host: tip.commit.author.clone(),
    })
}

/// How many steps lie between the first of the chain and a commit in it.
pub fn steps(chain: &[Link], to: Oid) -> Option<u32> {
    let links: HashMap<Oid, &Link> = chain.iter().map(|link| (link.oid, link)).collect();
    let mut level: HashSet<Oid> = chain.first().map(|link| link.oid).into_iter().collect();
    let mut seen = level.clone();
    for steps in 0u32.. {
        if level.contains(&to) {
            return Some(steps);
        }
        let parents = level.iter().filter_map(|oid| links.get(oid)).flat_map(|link| &link.commit.parents);
        level = parents.copied().filter(|parent| seen.insert(*parent)).collect();
        if level.is_empty() {
            break;
        }
    }
    None
}

impl Holder {
    pub fn describe(&self) -> String {
        match self.volume_id.as_str() {
            "" => format!("{}, by a commit without volkeep", self.host),
            volume => format!("volume {volume} on {}", self.host),
        }
    }
}

impl Said {
    /// `None` where one commit does not tell.
    pub fn holder(&self) -> Option<Holder> {
        match self {
            Self::Snapshot(summary) => Some(Holder {
                epoch: summary.epoch,
                volume_id: summary.volume_id.clone(),
                host: summary.host.clone(),
            }),
            Self::Lease { epoch, writer, host, .. } => {
                Some(Holder { epoch: *epoch, volume_id: writer.clone(), host: host.clone() })
            }
            Self::Root | Self::Plain => None,
        }
    }
}

impl Link {
    /// All of this commit, which is the newest.
    pub fn wanted(&self) -> Wanted {
        let Commit { tree, seconds, .. } = self.commit;
        Wanted { commit: self.oid, tree, seconds, tip: self.oid, behind: 0 }
    }

    /// Of a commit that is a snapshot itself.
    pub fn snapshot_id(&self) -> Option<SnapshotId> {
        match &self.said {
            Said::Snapshot(summary) => Some(summary.id.clone()),
            Said::Plain => Some(message::plain_id(self.oid, &self.commit)),
            Said::Root | Said::Lease { .. } => None,
        }
    }

    /// The snapshot whose data this commit has: its own, or that of the commit before a lease.
    pub fn newest(&self) -> Option<LeaseOf> {
        match &self.said {
            Said::Root | Said::Lease { of: None, .. } => None,
            Said::Lease { of: Some(of), .. } => Some(of.as_ref().clone()),
            Said::Snapshot(summary) => Some(LeaseOf {
                commit: self.oid,
                id: summary.id.clone(),
                time: summary.time,
                summary: Some(summary.as_ref().clone()),
            }),
            Said::Plain => {
                let summary = message::plain_summary(self.oid, &self.commit, 0, None);
                Some(LeaseOf { commit: self.oid, id: summary.id, time: summary.time, summary: None })
            }
        }
    }

    /// As far as the commit tells.
    pub fn summary(&self, parent: Option<SnapshotId>) -> Option<Summary> {
        match &self.said {
            Said::Snapshot(summary) => Some(summary.as_ref().clone()),
            Said::Plain => Some(message::plain_summary(self.oid, &self.commit, 0, parent)),
            Said::Root | Said::Lease { .. } => None,
        }
    }
}
