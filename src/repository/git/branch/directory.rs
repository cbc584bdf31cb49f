//! A branch of a bare repository in a directory of this machine: read and written in place, without any server and
//! without copies. What others do to the repository meanwhile (pushes, a `git gc`) is done safely beside this.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use git2::{ErrorCode, RepositoryInitOptions};
use rustix::fs::{FlockOperation, flock};

use crate::base::cancel::Cancel;
use crate::base::fs::{
    metadata_if_present, sync_dir, sync_file_system, sync_parent, temporary_beside, write_atomic,
};
use crate::base::progress::Progress;
use crate::repository::RepositoryError;
use crate::repository::git::branch::reference::{self, NotMoved};
use crate::repository::git::branch::{Branch, Extent, Known, Part, Seen, Wanted, commits_of};
use crate::repository::git::objects::{Objects, oid};
use crate::repository::git::oid::Oid;
use crate::repository::git::pack::{Pack, remove_abandoned};
use crate::store::StoreError;

#[derive(Debug)]
pub struct DirectoryBranch {
    path: PathBuf,
    location: String,
    /// The full name.
    reference: String,
}

impl DirectoryBranch {
    pub fn new(path: PathBuf, location: String, reference: String) -> Self {
        Self { path, location, reference }
    }

    fn local(&self) -> Objects {
        Objects::new(self.path.clone(), self.location.clone())
    }

    fn open(&self) -> Result<Option<git2::Repository>, RepositoryError> {
        let sorted = |error| StoreError::from_io(&self.location, error);
        if metadata_if_present(&self.path).map_err(sorted)?.is_none() {
            return Ok(None);
        }
        match git2::Repository::open_bare(&self.path) {
            Ok(repository) => Ok(Some(repository)),
            Err(error) if error.code() == ErrorCode::NotFound => {
                let mut names = fs::read_dir(&self.path).map_err(sorted)?;
                match names.next() {
                    None => Ok(None),
                    Some(_) => Err(self.failed("it is no bare git repository, and not empty")),
                }
            }
            Err(error) => Err(self.failed(error.message())),
        }
    }

    fn opened(&self) -> Result<git2::Repository, RepositoryError> {
        self.open()?.ok_or_else(|| self.failed("it is gone"))
    }

    fn failed(&self, reason: &str) -> RepositoryError {
        RepositoryError::Local {
            operation: "use the git repository",
            path: self.path.clone(),
            source: io::Error::other(reason.to_owned()),
        }
    }

    /// First the pack, then its index, which is what makes it count; both durable before anything refers to them. Until
    /// something does, a `git gc` would throw it away: while the answer lives, it does not.
    fn install(&self, pack: &Pack) -> Result<Kept, RepositoryError> {
        let failed = || RepositoryError::local("install", pack.path.clone());
        pack.sync().map_err(failed())?;
        let directory = self.packs();
        let target = directory.join(format!("pack-{}.pack", pack.name));
        let kept = Kept::of(&target).map_err(failed())?;
        fs::set_permissions(&pack.path, readable()).map_err(failed())?;
        fs::rename(&pack.path, &target).map_err(failed())?;
        sync_dir(&directory).map_err(failed())?;
        write_atomic(&target.with_extension("idx"), &pack.index(), 0o444).map_err(failed())?;
        Ok(kept)
    }

    fn packs(&self) -> PathBuf {
        self.path.join("objects/pack")
    }

    fn is_at(&self, repository: &git2::Repository) -> Result<Seen, RepositoryError> {
        match repository.find_reference(&self.reference) {
            Ok(reference) => match reference.resolve().ok().and_then(|direct| direct.target()) {
                Some(target) => Ok(Seen::Tip(oid(target))),
                None => Err(self.failed("its branch leads nowhere")),
            },
            Err(error) if error.code() == ErrorCode::NotFound => {
                let references = repository.references().map_err(|error| self.failed(error.message()))?;
                Ok(Seen::NoBranch { empty: references.count() == 0 })
            }
            Err(error) => Err(self.failed(error.message())),
        }
    }
}

/// A file beside a pack by which git leaves that alone. Ours says so inside and is locked as long as its maker lives.
struct Kept {
    path: PathBuf,
    _lock: fs::File,
}

impl Kept {
    const MARK: &[u8] = b"volkeep\n";

    fn of(pack: &Path) -> io::Result<Self> {
        let path = pack.with_extension("keep");
        let mut lock = fs::File::options().write(true).create(true).truncate(true).open(&path)?;
        flock(&lock, FlockOperation::LockExclusive)?;
        lock.write_all(Self::MARK)?;
        Ok(Self { path, _lock: lock })
    }

    /// Of backups that were killed.
    fn release_abandoned(packs: &Path) {
        for entry in fs::read_dir(packs).into_iter().flatten().flatten() {
            let path = entry.path();
            let ours = path.extension().is_some_and(|extension| extension == "keep")
                && fs::read(&path).is_ok_and(|said| said == Self::MARK);
            let dead = ours
                && fs::File::open(&path)
                    .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok());
            if dead {
                let _ = fs::remove_file(&path);
            }
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn readable() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    fs::Permissions::from_mode(0o444)
}

impl Branch for DirectoryBranch {
    fn look(&self) -> Result<Seen, RepositoryError> {
        match self.open()? {
            None => Ok(Seen::NoRepository),
            Some(repository) => self.is_at(&repository),
        }
    }

    fn create(&self) -> Result<(), RepositoryError> {
        if self.open()?.is_some() {
            return Ok(());
        }
        let branch = self.reference.strip_prefix("refs/heads/").unwrap_or(&self.reference);
        let mut options = RepositoryInitOptions::new();
        options.bare(true).mkpath(true).external_template(false).initial_head(branch);
        let failed = || RepositoryError::local("make", &self.path);
        if let Some(above) = self.path.parent() {
            fs::create_dir_all(above).map_err(failed())?;
        }
        // Killed in between, half a repository would be in the way of the next attempt.
        let beside = temporary_beside(&self.path).map_err(failed())?;
        git2::Repository::init_opts(&beside, &options).map_err(|error| self.failed(error.message()))?;
        sync_file_system(&beside).and_then(|()| fs::rename(&beside, &self.path)).map_err(failed())?;
        sync_parent(&self.path).map_err(failed())
    }

    fn commits(
        &self,
        tip: Oid,
        known: &Known<'_>,
        extent: Extent,
    ) -> Result<Vec<(Oid, Vec<u8>)>, RepositoryError> {
        commits_of(&self.local().reader()?, tip, known, extent)
    }

    fn objects(&self, _: Wanted, _: Part, _: &Progress, _: &Cancel) -> Result<Objects, RepositoryError> {
        Ok(self.local())
    }

    fn everything(&self, _: Oid, _: &Progress, _: &Cancel) -> Result<Objects, RepositoryError> {
        Ok(self.local())
    }

    /// In the repository, so that nothing has to be copied, and apart from what a `git gc` tidies up.
    fn workshop(&self) -> Result<PathBuf, RepositoryError> {
        let workshop = self.path.join("volkeep");
        fs::create_dir_all(&workshop).map_err(RepositoryError::local("make", &workshop))?;
        remove_abandoned(&workshop);
        Kept::release_abandoned(&self.packs());
        Ok(workshop)
    }

    fn advance(&self, from: Option<Oid>, to: Oid, pack: &Pack) -> Result<(), RepositoryError> {
        let rejected = |reason: &str| RepositoryError::Rejected {
            location: self.location.clone(),
            reason: reason.to_owned(),
        };
        let _kept = self.install(pack)?;
        let file = self.path.join(&self.reference);
        let moved = reference::advance(&file, from, to, || {
            let repository = self.opened().map_err(io::Error::other)?;
            match self.is_at(&repository).map_err(io::Error::other)? {
                Seen::Tip(tip) => Ok(Some(tip)),
                _ => Ok(None),
            }
        });
        match moved {
            Ok(()) => Ok(()),
            Err(NotMoved::Elsewhere) => Err(rejected("the branch was moved by somebody else meanwhile")),
            Err(NotMoved::Locked) => Err(rejected(
                "somebody else is changing the branch at this moment, or was killed while doing so and left a file \
                 whose name ends in .lock beside it",
            )),
            Err(NotMoved::Io(source)) => {
                Err(RepositoryError::Local { operation: "move the branch in", path: file, source })
            }
        }
    }

    fn is_remote(&self) -> bool {
        false
    }

    fn forget_fetched(&self) {}
}
