//! A branch, wherever its repository is: what its newest commit is, how the objects behind it are reached, and how it
//! is moved on. Must not know what commits mean.

mod directory;
mod fetched;
mod reference;
mod remote;

use std::collections::HashSet;
use std::fmt::Debug;
use std::path::PathBuf;

use crate::base::cancel::Cancel;
use crate::base::progress::Progress;
use crate::repository::RepositoryError;
use crate::repository::git::object::Commit;
use crate::repository::git::objects::{Objects, Reader};
use crate::repository::git::oid::{Kind, Oid};
use crate::repository::git::pack::Pack;

pub use directory::DirectoryBranch;
pub use fetched::Held;
pub use remote::RemoteBranch;

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    NoRepository,
    /// A repository without this branch, and maybe without any.
    NoBranch {
        empty: bool,
    },
    Tip(Oid),
}

/// How much of a commit is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Whole,
    /// Names of contents will do.
    Trees,
}

/// A commit of the branch, and the way to it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub commit: Oid,
    /// Of the commit. A lease has that of the commit before: who has the one has the other.
    pub tree: Oid,
    /// When the data of the commit was stored, in seconds since 1970.
    pub seconds: i64,
    pub tip: Oid,
    /// How many commits lie between: 0 for the tip itself.
    pub behind: u32,
}

/// Commits that need not be told again.
pub struct Known<'a> {
    /// Some of those of which everything before them is known as well, for a server to go by.
    pub complete: Vec<Oid>,
    pub is_known: &'a dyn Fn(&Oid) -> bool,
}

/// How many commits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    Tip,
    All,
}

/// All that leads to `tip`, by whatever parent, up to what is known.
fn commits_of(
    reader: &Reader,
    tip: Oid,
    known: &Known<'_>,
    extent: Extent,
) -> Result<Vec<(Oid, Vec<u8>)>, RepositoryError> {
    let mut commits = Vec::new();
    let mut seen = HashSet::new();
    let mut open = vec![tip];
    while let Some(oid) = open.pop() {
        if (known.is_known)(&oid) || !seen.insert(oid) {
            continue;
        }
        let bytes = reader.read(Kind::Commit, oid)?;
        let commit = Commit::decode(&bytes)
            .ok_or_else(|| reader.damaged(Kind::Commit, oid, "it is not the text of one"))?;
        commits.push((oid, bytes));
        if extent == Extent::All {
            open.extend(commit.parents);
        }
    }
    Ok(commits)
}

pub trait Branch: Send + Sync + Debug {
    fn look(&self) -> Result<Seen, RepositoryError>;

    /// Makes an empty repository, if that is possible at all and there is none.
    fn create(&self) -> Result<(), RepositoryError>;

    /// The texts of `tip` and of all that comes before it, as far as it is not `known`; or of the tip alone.
    fn commits(
        &self,
        tip: Oid,
        known: &Known<'_>,
        extent: Extent,
    ) -> Result<Vec<(Oid, Vec<u8>)>, RepositoryError>;

    /// A repository on this machine that has this part of the commit.
    fn objects(
        &self,
        wanted: Wanted,
        part: Part,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<Objects, RepositoryError>;

    /// Every commit of the branch, whole: for checks.
    fn everything(&self, tip: Oid, progress: &Progress, cancel: &Cancel) -> Result<Objects, RepositoryError>;

    /// Where a pack for `advance` is best written.
    fn workshop(&self) -> Result<PathBuf, RepositoryError>;

    /// Puts the pack into the repository and moves the branch from `from` (`None`: it is not there) to `to`, or does
    /// nothing of the kind: `Rejected` if it is not at `from` any more.
    fn advance(&self, from: Option<Oid>, to: Oid, pack: &Pack) -> Result<(), RepositoryError>;

    /// Whether objects are copies, which can be had again.
    fn is_remote(&self) -> bool;

    /// Drops what was fetched and can be had again.
    fn forget_fetched(&self);
}
