//! A branch of a bare repository in a directory of this machine: read and written in place, without any server and
//! without copies. What others do to the repository meanwhile (pushes, a `git gc`) is done safely beside this.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use git2::{ErrorCode, RepositoryInitOptions};

use crate::base::cancel::Cancel;
use crate::base::fs::{metadata_if_present, sync_dir, sync_parent, write_atomic};
use crate::base::progress::Progress;
use crate::repository::RepositoryError;
use crate::repository::git::branch::{Branch, Part, Seen, Wanted};
use crate::repository::git::object::Commit;
use crate::repository::git::objects::{Objects, Reader, name, oid};
use crate::repository::git::oid::{Kind, Oid};
use crate::repository::git::pack::Pack;
use crate::store::StoreError;

pub struct DirectoryBranch {
    path: PathBuf,
    location: String,
    /// The full name.
    reference: String,
    /// Kept open for many small questions.
    reader: Mutex<Option<Reader>>,
}

impl std::fmt::Debug for DirectoryBranch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DirectoryBranch").field("path", &self.path).finish_non_exhaustive()
    }
}

impl DirectoryBranch {
    pub fn new(path: PathBuf, location: String, reference: String) -> Self {
        Self { path, location, reference, reader: Mutex::default() }
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
            source: std::io::Error::other(reason.to_owned()),
        }
    }

    /// First the pack, then its index, which is what makes it count; both durable before anything refers to them.
    fn install(&self, pack: &Pack) -> Result<(), RepositoryError> {
        let failed = || RepositoryError::local("install", pack.path.clone());
        pack.sync().map_err(failed())?;
        let directory = self.packs();
        let target = directory.join(format!("pack-{}.pack", pack.name));
        fs::set_permissions(&pack.path, readable()).map_err(failed())?;
        fs::rename(&pack.path, &target).map_err(failed())?;
        sync_dir(&directory).map_err(failed())?;
        write_atomic(&target.with_extension("idx"), &pack.index(), 0o444).map_err(failed())
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
        git2::Repository::init_opts(&self.path, &options).map_err(|error| self.failed(error.message()))?;
        sync_parent(&self.path)
            .and_then(|()| sync_dir(&self.path))
            .map_err(RepositoryError::local("sync", &self.path))
    }

    fn commits(
        &self,
        tip: Oid,
        known: &[Oid],
        most: Option<u32>,
    ) -> Result<Vec<(Oid, Vec<u8>)>, RepositoryError> {
        let known: HashSet<&Oid> = known.iter().collect();
        let reader = self.local().reader()?;
        let mut commits = Vec::new();
        let mut next = Some(tip);
        while let Some(oid) = next.filter(|oid| !known.contains(oid)) {
            if most.is_some_and(|most| commits.len() >= most as usize) {
                break;
            }
            let bytes = reader.read(Kind::Commit, oid)?;
            let commit = Commit::decode(&bytes)
                .ok_or_else(|| reader.damaged(Kind::Commit, oid, "it is not the text of one"))?;
            next = commit.parents.first().copied();
            commits.push((oid, bytes));
        }
        Ok(commits)
    }

    fn objects(&self, _: Wanted, _: Part, _: &Progress, _: &Cancel) -> Result<Objects, RepositoryError> {
        Ok(self.local())
    }

    fn everything(&self, _: Oid, _: &Progress, _: &Cancel) -> Result<Objects, RepositoryError> {
        Ok(self.local())
    }

    fn has(&self, oid: &Oid) -> bool {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if reader.is_none() {
            *reader = self.local().reader().ok();
        }
        reader.as_ref().is_some_and(|reader| reader.has(*oid))
    }

    /// In the repository, so that nothing has to be copied. Git takes files whose names begin so for left over.
    fn workshop(&self) -> Result<PathBuf, RepositoryError> {
        sweep(&self.packs());
        Ok(self.packs())
    }

    fn advance(&self, from: Option<Oid>, to: Oid, pack: &Pack) -> Result<(), RepositoryError> {
        let rejected = |reason: &str| RepositoryError::Rejected {
            location: self.location.clone(),
            reason: reason.to_owned(),
        };
        self.install(pack)?;
        let repository = self.opened()?;
        let log = "volkeep";
        let moved = match from {
            Some(from) => repository.reference_matching(&self.reference, name(to), true, name(from), log),
            None => repository.reference(&self.reference, name(to), false, log),
        };
        match moved {
            Ok(_) => {}
            Err(error)
                if matches!(error.code(), ErrorCode::Modified | ErrorCode::Exists | ErrorCode::NotFound) =>
            {
                return Err(rejected("the branch was moved by somebody else meanwhile"));
            }
            Err(error) if error.code() == ErrorCode::Locked => {
                return Err(rejected("somebody else moves the branch at this moment"));
            }
            Err(error) => return Err(self.failed(error.message())),
        }
        // A branch that a power cut took back would be no harm; one that is empty would.
        let file = self.path.join(&self.reference);
        fs::File::open(&file)
            .and_then(|file| file.sync_all())
            .and_then(|()| sync_parent(&file))
            .map_err(RepositoryError::local("sync", &file))
    }

    fn is_remote(&self) -> bool {
        false
    }

    fn forget_fetched(&self) {
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// What backups that were killed left behind, if it is old enough to be nobody's.
fn sweep(packs: &Path) {
    const OLD: std::time::Duration = std::time::Duration::from_secs(86_400);
    let Ok(names) = fs::read_dir(packs) else { return };
    for entry in
        names.flatten().filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"tmp_volkeep"))
    {
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > OLD) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
