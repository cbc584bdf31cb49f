//! A branch behind a git server. What is fetched goes to bare repositories in the cache, one for each commit that was
//! asked for; nothing rests on them, and all but a few go.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use git2::{Indexer, RepositoryInitOptions};

use crate::base::cancel::Cancel;
use crate::base::progress::Progress;
use crate::repository::RepositoryError;
use crate::repository::git::branch::{Branch, Part, Seen, Wanted};
use crate::repository::git::object::Commit;
use crate::repository::git::objects::Objects;
use crate::repository::git::oid::{Kind, Oid};
use crate::repository::git::pack::Pack;
use crate::repository::git::wire::{
    self, Advertisement, Conversation, Fetch, Filter, Service, Transport, Update,
};

/// Kept in the cache: a comparison needs two.
const KEPT: usize = 2;
/// Says that everything that was asked for is there.
const DONE: &str = "done";

#[derive(Debug)]
pub struct RemoteBranch {
    transport: Arc<dyn Transport>,
    /// The full name.
    reference: String,
    cache: PathBuf,
}

type Connected = (Advertisement, Box<dyn Conversation>);

impl RemoteBranch {
    pub fn new(transport: Arc<dyn Transport>, reference: String, cache: PathBuf) -> Self {
        Self { transport, reference, cache }
    }

    fn connect(&self, service: Service) -> Result<Connected, RepositoryError> {
        self.transport.connect(service)?.ok_or_else(|| self.gone("the repository is gone"))
    }

    fn gone(&self, reason: &str) -> RepositoryError {
        RepositoryError::Rejected { location: self.transport.location(), reason: reason.to_owned() }
    }

    fn fetched(&self) -> PathBuf {
        self.cache.join("fetched")
    }

    /// Runs `ask` unless an earlier run has done so, and keeps what comes below `name`.
    fn kept(
        &self,
        name: &str,
        connected: Option<Connected>,
        progress: &Progress,
        cancel: &Cancel,
        ask: impl FnOnce(&Advertisement) -> Fetch,
    ) -> Result<Objects, RepositoryError> {
        let directory = self.fetched().join(name);
        let objects = Objects::new(directory.clone(), self.transport.location());
        if directory.join(DONE).exists() {
            return Ok(objects);
        }
        make_room(&self.fetched(), &directory);
        let (advertisement, conversation) = match connected {
            Some(connected) => connected,
            None => self.connect(Service::Fetch)?,
        };
        let request = ask(&advertisement);
        self.fetch(&advertisement, conversation, &request, &directory, progress, cancel)?;
        let done = directory.join(DONE);
        fs::write(&done, b"").map_err(RepositoryError::local("write", &done))?;
        Ok(objects)
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
        let unusable = |error: git2::Error| RepositoryError::Local {
            operation: "keep what was fetched in",
            path: directory.to_owned(),
            source: io::Error::other(error.message().to_owned()),
        };
        let _ = fs::remove_dir_all(directory);
        let mut options = RepositoryInitOptions::new();
        options.bare(true).mkpath(true).external_template(false);
        git2::Repository::init_opts(directory, &options).map_err(unusable)?;
        let packs = directory.join("objects/pack");
        let indexer = Indexer::new(None, &packs, 0o600, false).map_err(unusable)?;
        let mut arriving = Arriving { indexer, progress, cancel, location: self.transport.location() };
        wire::fetch(conversation, advertisement, request, &mut arriving)?;
        arriving.indexer.commit().map_err(|error| RepositoryError::Damaged {
            location: self.transport.location(),
            object: "the pack that was sent".to_owned(),
            reason: error.message().to_owned(),
        })?;
        Ok(())
    }
}

/// A pack on its way into the cache.
struct Arriving<'a> {
    indexer: Indexer<'static>,
    progress: &'a Progress,
    cancel: &'a Cancel,
    location: String,
}

impl Write for Arriving<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other(RepositoryError::Cancelled));
        }
        self.progress.add(0, 0);
        self.indexer.write(bytes).map_err(|error| {
            if error.kind() == io::ErrorKind::StorageFull {
                return error;
            }
            io::Error::other(RepositoryError::Damaged {
                location: self.location.clone(),
                object: "the pack that is sent".to_owned(),
                reason: error.to_string(),
            })
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
        known: &[Oid],
        most: Option<u32>,
    ) -> Result<Vec<(Oid, Vec<u8>)>, RepositoryError> {
        let (progress, cancel) = (Progress::default(), Cancel::new());
        let whole = tip.to_hex();
        let (objects, name) =
            if known.is_empty() && self.fetched().join(&whole).join(DONE).exists() && most == Some(1) {
                (Objects::new(self.fetched().join(&whole), self.transport.location()), None)
            } else {
                let connected = self.connect(Service::Fetch)?;
                // Where a server sends nothing but whole commits, those after a known one are little, and a single one is
                // what a restore will ask for next.
                let keep = known.is_empty() && most == Some(1) && !wire::supports_filter(&connected.0);
                let name = if keep { whole } else { format!("commits-{whole}") };
                let objects = self.kept(&name, Some(connected), &progress, &cancel, |_| Fetch {
                    wants: vec![tip],
                    haves: known.to_vec(),
                    depth: most.filter(|_| known.is_empty()),
                    filter: Some(Filter::NoTrees),
                    ..Fetch::default()
                })?;
                (objects, (!keep).then_some(name))
            };
        let reader = objects.reader()?;
        let mut commits = Vec::new();
        let mut next = Some(tip);
        while let Some(oid) = next.filter(|oid| !known.contains(oid)) {
            if known.is_empty() && most.is_some_and(|most| commits.len() >= most as usize) {
                break;
            }
            let bytes = reader.read(Kind::Commit, oid)?;
            next = Commit::decode(&bytes)
                .ok_or_else(|| reader.damaged(Kind::Commit, oid, "it is not the text of one"))?
                .parents
                .first()
                .copied();
            commits.push((oid, bytes));
        }
        drop(reader);
        if let Some(name) = name {
            let _ = fs::remove_dir_all(self.fetched().join(name));
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
        let Wanted { commit, tip, behind } = wanted;
        let whole = commit.to_hex();
        let name = match part {
            Part::Trees if !self.fetched().join(&whole).join(DONE).exists() => format!("trees-{whole}"),
            _ => whole,
        };
        self.kept(&name, None, progress, cancel, |advertisement| {
            let direct = behind == 0 || wire::takes_any_commit(advertisement);
            Fetch {
                wants: vec![if direct { commit } else { tip }],
                depth: Some(if direct { 1 } else { behind.saturating_add(1) }),
                filter: (part == Part::Trees).then_some(Filter::NoBlobs),
                ..Fetch::default()
            }
        })
    }

    fn everything(&self, tip: Oid, progress: &Progress, cancel: &Cancel) -> Result<Objects, RepositoryError> {
        let name = format!("all-{tip}");
        self.kept(&name, None, progress, cancel, |_| Fetch { wants: vec![tip], ..Fetch::default() })
    }

    fn has(&self, _: &Oid) -> bool {
        false
    }

    fn workshop(&self) -> Result<PathBuf, RepositoryError> {
        fs::create_dir_all(&self.cache).map_err(RepositoryError::local("make", &self.cache))?;
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
        let _ = fs::remove_dir_all(self.fetched());
    }
}

/// The oldest go, and whatever stands in the way.
fn make_room(fetched: &Path, wanted: &Path) {
    let Ok(names) = fs::read_dir(fetched) else { return };
    let mut old: Vec<_> = names
        .flatten()
        .filter(|entry| entry.path() != wanted)
        .map(|entry| (entry.metadata().and_then(|metadata| metadata.modified()).ok(), entry.path()))
        .collect();
    old.sort();
    for (_, path) in old.iter().take(old.len().saturating_sub(KEPT - 1)) {
        let _ = fs::remove_dir_all(path);
    }
}
