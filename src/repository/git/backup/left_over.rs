//! A pack whose push has not ended well: was it interrupted, the next backup takes from it what it needs instead of
//! reading and compressing it again.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::sealed;
use crate::repository::RepositoryError;
use crate::repository::git::Git;
use crate::repository::git::backup::{NEXT_ROWS, ROWS};
use crate::repository::git::history::Link;
use crate::repository::git::known::Rows;
use crate::repository::git::oid::Oid;
use crate::repository::git::pack::Pack;

const PACK: &str = "left-over.pack";
const INDEX: &str = "left-over.idx";
const NOTE: &str = "left-over.json";
const ROWS_OF_IT: &str = "left-over-rows";
const FORMAT: u64 = 1;

#[derive(Debug)]
pub struct LeftOver {
    pub pack: Pack,
    pub rows: Rows,
}

#[derive(Serialize, Deserialize)]
struct Note {
    tree: String,
}

impl LeftOver {
    /// Before the push begins. The pack moves to a name that the next run finds.
    pub fn keep(git: &Git, pack: &mut Pack, tree: Oid) -> Result<(), RepositoryError> {
        let target = path(git, PACK);
        let failed = || RepositoryError::local("keep", target.clone());
        Self::forget(git);
        pack.sync().map_err(failed())?;
        fs::rename(&pack.path, &target).map_err(failed())?;
        pack.path.clone_from(&target);
        let rows = (git.cache.join(NEXT_ROWS), path(git, ROWS_OF_IT));
        fs::copy(rows.0, rows.1).map_err(failed())?;
        fs::write(path(git, INDEX), pack.index()).map_err(failed())?;
        let note = sealed::seal(&Note { tree: tree.to_hex() }, FORMAT)
            .map_err(|error| RepositoryError::Worker(error.to_string()))?;
        // Last: without it the others are as good as not there.
        fs::write(path(git, NOTE), note).map_err(failed())
    }

    pub fn forget(git: &Git) {
        for name in [NOTE, INDEX, PACK, ROWS_OF_IT] {
            let _ = fs::remove_file(path(git, name));
        }
    }

    /// What an interrupted push left behind, unless it had arrived after all: then its rows are those of the branch.
    pub fn settle(git: &Git, tip: &Link) -> Option<Self> {
        let note: Note = sealed::open(&fs::read(path(git, NOTE)).ok()?, FORMAT).ok()?;
        if note.tree.parse() == Ok(tip.commit.tree) {
            let _ = fs::rename(path(git, ROWS_OF_IT), git.cache.join(ROWS));
            Self::forget(git);
            return None;
        }
        let index = fs::read(path(git, INDEX)).ok()?;
        let found = Pack::reopen(&path(git, PACK), &index).zip(Rows::open(&path(git, ROWS_OF_IT)));
        if found.is_none() {
            Self::forget(git);
        }
        found.map(|(pack, rows)| Self { pack, rows })
    }
}

fn path(git: &Git, name: &str) -> PathBuf {
    git.cache.join(name)
}
