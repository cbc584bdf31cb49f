//! A single file out of a branch that need not be a repository of ours: what its newest commit holds by that name.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::fs::temporary_beside;
use crate::base::progress::Progress;
use crate::repository::RepositoryError;
use crate::repository::git::branch::{Extent, Known, Part, Wanted};
use crate::repository::git::object::{Commit, Mode};
use crate::repository::git::objects::Reader;
use crate::repository::git::oid::Oid;
use crate::repository::git::{Git, JUST_SEEN};
use crate::snapshot::RelativePath;

impl Git {
    /// The name of the branch's newest commit.
    pub fn tip_name(&self) -> Result<String, RepositoryError> {
        self.tip(Duration::ZERO).map(|tip| tip.to_hex())
    }

    /// What the newest commit holds by this name, at its beginning; `None`: no file. It is on this machine, and gone when
    /// it is closed.
    pub fn file_at_tip(&self, path: &RelativePath, cancel: &Cancel) -> Result<Option<File>, RepositoryError> {
        let tip = self.tip(JUST_SEEN)?;
        self.make_cache();
        let nothing = Known { complete: Vec::new(), is_known: &|_| false };
        let commits = self.branch.commits(tip, &nothing, Extent::Tip)?;
        let commit = commits.first().and_then(|(_, text)| Commit::decode(text)).ok_or_else(|| {
            let (location, object) = (self.options.location(), format!("the commit {tip}"));
            RepositoryError::Damaged { location, object, reason: "it is not the text of one".to_owned() }
        })?;
        let wanted = Wanted { commit: tip, tree: commit.tree, seconds: commit.seconds, tip, behind: 0 };
        // Names first: for a name that is not there no content is fetched.
        let found = {
            let trees = self.objects(wanted, Part::Trees, &Progress::default(), cancel)?;
            find(&trees.reader()?, commit.tree, path)?
        };
        let Some(oid) = found else { return Ok(None) };
        self.with_objects(wanted, &Progress::default(), cancel, |objects| {
            self.copied(&objects.reader()?, oid).map(Some)
        })
    }

    fn copied(&self, reader: &Reader, oid: Oid) -> Result<File, RepositoryError> {
        let failed = || RepositoryError::local("keep a file in", &self.cache);
        fs::create_dir_all(&self.cache).map_err(failed())?;
        let name = temporary_beside(&self.cache.join("file")).map_err(failed())?;
        let mut file =
            File::options().read(true).write(true).create_new(true).open(&name).map_err(failed())?;
        // Nothing is left behind, whatever happens now.
        fs::remove_file(&name).map_err(failed())?;
        reader.pieces(oid, &mut |piece| file.write_all(piece).map_err(failed()))?;
        file.seek(SeekFrom::Start(0)).map_err(failed())?;
        Ok(file)
    }
}

fn find(reader: &Reader, tree: Oid, path: &RelativePath) -> Result<Option<Oid>, RepositoryError> {
    let mut at = (Mode::Tree, tree);
    for component in path.components() {
        if at.0 != Mode::Tree || !reader.has(at.1) {
            return Ok(None);
        }
        let entries = reader.tree(at.1)?;
        let Some(entry) = entries.into_iter().find(|entry| entry.name == component) else { return Ok(None) };
        at = (entry.mode, entry.oid);
    }
    Ok(matches!(at.0, Mode::File | Mode::Executable).then_some(at.1))
}
