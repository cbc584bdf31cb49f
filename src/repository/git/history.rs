//! The commits of the branch that are known, from the newest back to the first, and what they say. Commits never
//! change, so what was read once is kept; where a server is far away, in a file of the cache.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::bytes_text::BytesText;
use crate::base::sealed;
use crate::repository::git::branch::Branch;
use crate::repository::git::message::{self, LeaseOf, Said};
use crate::repository::git::object::Commit;
use crate::repository::git::oid::Oid;
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
        let commits = commits.filter_map(|(oid, text)| Some((oid.parse().ok()?, text.0))).collect();
        Self { commits, file }
    }

    /// The commit that is named, which is the newest of the branch.
    pub fn tip(&mut self, branch: &dyn Branch, tip: Oid) -> Result<Link, RepositoryError> {
        if let Some(link) = self.link(tip) {
            return Ok(link);
        }
        let known = self.complete();
        self.add(branch.commits(tip, &known, Some(1))?, None);
        self.link(tip).ok_or_else(|| missing(tip))
    }

    /// From `tip` back to the first.
    pub fn chain(&mut self, branch: &dyn Branch, tip: Oid) -> Result<Vec<Link>, RepositoryError> {
        if let Some(chain) = self.walk(tip) {
            return Ok(chain);
        }
        let known = self.complete();
        self.add(branch.commits(tip, &known, None)?, Some(tip));
        self.walk(tip).ok_or_else(|| missing(tip))
    }

    /// `None`: not all of it is known.
    fn walk(&self, tip: Oid) -> Option<Vec<Link>> {
        let mut chain = Vec::new();
        let mut next = Some(tip);
        while let Some(oid) = next {
            let link = self.link(oid)?;
            next = link.commit.parents.first().copied();
            chain.push(link);
        }
        Some(chain)
    }

    /// Just made by us.
    pub fn note(&mut self, commit: Oid, text: Vec<u8>) {
        self.add(vec![(commit, text)], Some(commit));
    }

    fn link(&self, oid: Oid) -> Option<Link> {
        let commit = Commit::decode(self.commits.get(&oid)?)?;
        let said = message::said(&commit);
        Some(Link { oid, commit, said })
    }

    /// Commits that may be named to a server as known: a handful of the newest, by their own word, of which all that
    /// comes before is known as well. Of others it would leave that out.
    fn complete(&self) -> Vec<Oid> {
        let mut all: Vec<(i64, Oid)> = self
            .commits
            .iter()
            .filter_map(|(oid, text)| Some((Commit::decode(text)?.seconds, *oid)))
            .collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all.into_iter().map(|(_, oid)| oid).filter(|oid| self.walk(*oid).is_some()).take(NAMED).collect()
    }

    /// `tip`: what leads to it is kept, all else is of a history that was written anew.
    fn add(&mut self, commits: Vec<(Oid, Vec<u8>)>, tip: Option<Oid>) {
        self.commits.extend(commits);
        let Some(file) = &self.file else { return };
        let mut kept = Vec::new();
        let mut next = tip;
        while let Some((oid, text)) = next.and_then(|oid| Some((oid, self.commits.get(&oid)?))) {
            kept.push((oid.to_hex(), BytesText(text.clone())));
            next = Commit::decode(text).and_then(|commit| commit.parents.first().copied());
        }
        if tip.is_none() {
            kept.extend(self.commits.iter().map(|(oid, text)| (oid.to_hex(), BytesText(text.clone()))));
        }
        let written = sealed::seal(&Kept { commits: kept }, FORMAT)
            .map_err(|error| error.to_string())
            .and_then(|bytes| {
                let part = file.with_extension("part");
                fs::write(&part, bytes)
                    .and_then(|()| fs::rename(&part, file))
                    .map_err(|error| error.to_string())
            });
        if let Err(error) = written {
            tracing::debug!(error, path = %file.display(), "not cached");
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
    let mut plain = None;
    for (at, link) in chain.iter().enumerate() {
        let holder = match &link.said {
            Said::Root => None,
            Said::Plain => {
                plain.get_or_insert((at, link.commit.author.clone()));
                continue;
            }
            said => said.holder(),
        };
        return match (plain, holder) {
            (None, holder) => holder,
            // Whoever wrote after us cuts us off, with or without a lease.
            (Some((_, host)), before) => Some(Holder {
                epoch: before.map_or(0, |before| before.epoch) + 1,
                volume_id: String::new(),
                host,
            }),
        };
    }
    plain.map(|(_, host)| Holder { epoch: 1, volume_id: String::new(), host })
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
                let summary = message::plain_summary(self.oid, &self.commit, None);
                Some(LeaseOf { commit: self.oid, id: summary.id, time: summary.time, summary: None })
            }
        }
    }

    /// As far as the commit tells.
    pub fn summary(&self, parent: Option<SnapshotId>) -> Option<Summary> {
        match &self.said {
            Said::Snapshot(summary) => Some(summary.as_ref().clone()),
            Said::Plain => Some(message::plain_summary(self.oid, &self.commit, parent)),
            Said::Root | Said::Lease { .. } => None,
        }
    }
}
