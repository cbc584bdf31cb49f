//! A branch behind a git server. What is fetched goes to bare repositories in the cache, one for each tree that was asked
//! for; nothing rests on them, and all but a few go.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::{ErrorClass, Indexer, RepositoryInitOptions};

use crate::base::cancel::Cancel;
use crate::base::progress::Progress;
use crate::repository::RepositoryError;
use crate::repository::git::branch::fetched::{self, Held};
use crate::repository::git::branch::{Branch, Extent, Known, Part, Seen, Wanted, commits_of};
use crate::repository::git::object::Commit;
use crate::repository::git::objects::Objects;
use crate::repository::git::oid::Oid;
use crate::repository::git::pack::{Pack, remove_abandoned};
use crate::repository::git::wire::{
    self, Advertisement, Connected, Conversation, Fetch, Filter, Service, Transport, Update,
};
use crate::store::StoreError;

#[derive(Debug)]
pub struct RemoteBranch {
    transport: Arc<dyn Transport>,
    /// The full name.
    reference: String,
    cache: PathBuf,
}

impl RemoteBranch {
    pub fn new(transport: Arc<dyn Transport>, reference: String, cache: PathBuf) -> Self {
        Self { transport, reference, cache }
    }

    fn connect(&self, service: Service) -> Result<(Advertisement, Box<dyn Conversation>), RepositoryError> {
        self.transport.connect(service)?.ok_or_else(|| RepositoryError::Rejected {
            location: self.transport.location(),
            reason: "the repository is gone".to_owned(),
        })
    }

    fn fetched(&self) -> PathBuf {
        self.cache.join("fetched")
    }

    /// What `ask` asks for, from an earlier run or from the server. `needed` is an object that has to be among it.
    fn kept(
        &self,
        (name, needed): (&str, Oid),
        mut connected: Connected,
        progress: &Progress,
        cancel: &Cancel,
        ask: impl Fn(&Advertisement) -> Fetch,
    ) -> Result<Objects, RepositoryError> {
        let fetched = self.fetched();
        fetched::make_room(&fetched);
        let failed = || RepositoryError::local("keep what is fetched in", &fetched);
        loop {
            let (held, is_filled) = Held::open(&fetched, name).map_err(failed())?;
            if !is_filled {
                held.clear().map_err(failed())?;
                let (advertisement, conversation) = match connected.take() {
                    Some(connected) => connected,
                    None => self.connect(Service::Fetch)?,
                };
                let request = ask(&advertisement);
                self.fetch(&advertisement, conversation, &request, &held.path, progress, cancel)?;
                held.done().map_err(failed())?;
            }
            let objects = Objects::fetched(held, self.transport.location());
            if objects.reader().is_ok_and(|reader| reader.has(needed)) {
                return Ok(objects);
            }
            objects.spoil();
            if !is_filled {
                // History was written anew between the look and the fetch.
                let location = self.transport.location();
                let reason = "its history was changed at this moment".to_owned();
                return Err(StoreError::Temporary { location, reason }.into());
            }
        }
    }

    fn fetch(
        &self,
        advertisement: &Advertisement,
        conversation: Box<dyn Conversation>,
        request: &Fetch,
        directory: &Path,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<(), RepositoryError> {
        let location = self.transport.location();
        let mut options = RepositoryInitOptions::new();
        options.bare(true).mkpath(true).external_template(false);
        git2::Repository::init_opts(directory, &options)
            .map_err(|error| sort(&error, &location, directory))?;
        let packs = directory.join("objects/pack");
        let indexer =
            Indexer::new(None, &packs, 0o600, false).map_err(|error| sort(&error, &location, directory))?;
        let mut arriving = Arriving { indexer, progress, cancel, location: &location, directory };
        wire::fetch(conversation, advertisement, request, &mut arriving)?;
        arriving.indexer.commit().map_err(|error| sort(&error, &location, directory))?;
        Ok(())
    }

    /// What to ask for to have `commit`, and how many commits that lies before it; `None`: nobody knows. Many servers give
    /// only what a branch is at, which may have moved since somebody looked.
    fn way_to(
        &self,
        commit: Oid,
        tip: Oid,
        behind: u32,
        advertisement: &Advertisement,
    ) -> (Oid, Option<u32>) {
        let here = advertisement.references.get(&self.reference).copied().unwrap_or(tip);
        match here {
            _ if wire::takes_any_commit(advertisement) => (commit, Some(0)),
            here if here == commit => (commit, Some(0)),
            here if here == tip => (tip, Some(behind)),
            here => (here, None),
        }
    }

    fn ask_for_commits(
        &self,
        tip: Oid,
        known: &Known<'_>,
        extent: Extent,
    ) -> Result<(Objects, bool), RepositoryError> {
        let (progress, cancel) = (Progress::default(), Cancel::new());
        let alone = known.complete.is_empty() && extent == Extent::Tip;
        let connected = self.connect(Service::Fetch)?;
        // Where a server sends nothing but whole commits, those after a known one are little, and a single one is what
        // a restore will ask for next.
        let keep = alone && !wire::supports_filter(&connected.0);
        let name = format!("commits-{tip}");
        let objects = self.kept((&name, tip), Some(connected), &progress, &cancel, |advertisement| {
            let (want, behind) = self.way_to(tip, tip, 0, advertisement);
            Fetch {
                wants: vec![want],
                haves: known.complete.clone(),
                depth: behind.filter(|_| alone).map(|behind| behind.saturating_add(1)),
                filter: Some(Filter::NoTrees),
                ..Fetch::default()
            }
        })?;
        Ok((objects, keep))
    }
}

/// A full disk is nobody's damage.
fn sort(error: &git2::Error, location: &str, directory: &Path) -> RepositoryError {
    match error.class() {
        ErrorClass::Os | ErrorClass::Filesystem | ErrorClass::NoMemory => RepositoryError::Local {
            operation: "keep what is fetched in",
            path: directory.to_owned(),
            source: io::Error::other(error.message().to_owned()),
        },
        _ => RepositoryError::Damaged {
            location: location.to_owned(),
            object: "the pack that was sent".to_owned(),
            reason: error.message().to_owned(),
        },
    }
}

/// A pack on its way into the cache.
struct Arriving<'a> {
    indexer: Indexer<'static>,
    progress: &'a Progress,
    cancel: &'a Cancel,
    location: &'a str,
    directory: &'a Path,
}

impl Write for Arriving<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other(RepositoryError::Cancelled));
        }
        self.progress.add(0, 0);
        self.indexer.write(bytes).map_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<git2::Error>());
            match inner {
                Some(inner) => io::Error::other(sort(inner, self.location, self.directory)),
                None => error,
            }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Branch for RemoteBranch {
    fn look(&self) -> Result<Seen, RepositoryError> {
        let Some((advertisement, _)) = self.transport.connect(Service::Fetch)? else {
            return Ok(Seen::NoRepository);
        };
        Ok(match advertisement.references.get(&self.reference) {
            Some(tip) => Seen::Tip(*tip),
            None => Seen::NoBranch { empty: advertisement.references.is_empty() },
        })
    }

    /// At a host a repository is made by its own means.
    fn create(&self) -> Result<(), RepositoryError> {
        Ok(())
    }

    fn commits(
        &self,
        tip: Oid,
        known: &Known<'_>,
        extent: Extent,
    ) -> Result<Vec<(Oid, Vec<u8>)>, RepositoryError> {
        // What came for the sake of one commit is told as well.
        let wanted = if known.complete.is_empty() { extent } else { Extent::All };
        let (objects, keep) = self.ask_for_commits(tip, known, extent)?;
        let commits = commits_of(&objects.reader()?, tip, known, wanted);
        let commits = match commits {
            // Where it is kept it may have been damaged since.
            Err(error) if error.is_damage() => {
                objects.spoil();
                drop(objects);
                let nothing = Known { complete: Vec::new(), is_known: known.is_known };
                let (objects, _) = self.ask_for_commits(tip, &nothing, extent)?;
                tracing::debug!(%error, "asked again");
                return commits_of(&objects.reader()?, tip, &nothing, extent);
            }
            other => other?,
        };
        let tree = commits.first().and_then(|(_, text)| Commit::decode(text)).map(|commit| commit.tree);
        match tree.filter(|_| keep) {
            Some(tree) => objects.rename(&tree.to_hex()),
            None => objects.spoil(),
        }
        Ok(commits)
    }

    fn objects(
        &self,
        wanted: Wanted,
        part: Part,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<Objects, RepositoryError> {
        let Wanted { commit, tree, tip, behind, .. } = wanted;
        let whole = tree.to_hex();
        let name = match part {
            Part::Trees if !fetched::is_filled(&self.fetched(), &whole) => format!("trees-{whole}"),
            _ => whole,
        };
        // By its tree, since a lease has the same.
        self.kept((&name, tree), None, progress, cancel, |advertisement| {
            let (want, behind) = self.way_to(commit, tip, behind, advertisement);
            Fetch {
                wants: vec![want],
                depth: behind.map(|behind| behind.saturating_add(1)),
                filter: (part == Part::Trees).then_some(Filter::NoBlobs),
                ..Fetch::default()
            }
        })
    }

    fn everything(&self, tip: Oid, progress: &Progress, cancel: &Cancel) -> Result<Objects, RepositoryError> {
        let name = format!("all-{tip}");
        self.kept((&name, tip), None, progress, cancel, |advertisement| Fetch {
            wants: vec![self.way_to(tip, tip, 0, advertisement).0],
            ..Fetch::default()
        })
    }

    fn workshop(&self) -> Result<PathBuf, RepositoryError> {
        fs::create_dir_all(&self.cache).map_err(RepositoryError::local("make", &self.cache))?;
        remove_abandoned(&self.cache);
        Ok(self.cache.clone())
    }

    fn advance(&self, from: Option<Oid>, to: Oid, pack: &Pack) -> Result<(), RepositoryError> {
        let (advertisement, conversation) = self.connect(Service::Push)?;
        let update = Update { reference: self.reference.clone(), old: from.unwrap_or(Oid::ZERO), new: to };
        let file = fs::File::open(&pack.path).map_err(RepositoryError::local("open", &pack.path))?;
        wire::push(conversation, &advertisement, &update, Some(file))
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn forget_fetched(&self) {
        fetched::forget(&self.fetched());
    }
}
