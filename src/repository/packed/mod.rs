//! The packed repository: snapshots as packs of compressed frames with manifests in segments, over any object
//! store. `docs/format.md` describes what is stored.

pub mod codec;
pub mod fuzzing;

mod backup;
mod cache;
mod check;
mod copy;
mod descriptor;
mod document;
mod frame;
mod keys;
mod known;
mod lease;
mod manifest;
mod objects;
mod pack;
mod parent;
mod prune;
mod read;
mod remember;
mod repair;
mod restore;
mod segment;
mod tombstone;
#[cfg(test)]
mod traffic_tests;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::clock::Clock;
use crate::repository::packed::cache::Cache;
use crate::repository::packed::codec::Codec;
use crate::repository::packed::descriptor::Descriptor;
use crate::repository::packed::document::Document;
use crate::repository::packed::lease::{Held, Lease};
use crate::repository::packed::objects::Objects;
use crate::repository::scan::StatRow;
use crate::repository::{
    Absent, BackupReport, BackupRequest, CheckReport, CheckRequest, EntrySink, Epoch, LeaseInfo, Listing,
    Missing, Presence, PruneReport, PruneRequest, RepairReport, RepairRequest, Repository, RepositoryError,
    RestoreReport, RestoreRequest, Writer,
};
use crate::snapshot::selector::Selector;
use crate::snapshot::{Entry, SnapshotId, Summary};
use crate::store::{self, ObjectStore};

pub use copy::PackedRoute;

/// How a new repository is made and how objects are written to one that exists.
#[derive(Clone, Copy, Debug, Default)]
pub struct PackedOptions {
    /// Of a new repository; one that exists keeps its own.
    pub codec: Codec,
    pub level: Option<i32>,
}

#[derive(Debug)]
pub struct Packed {
    store: Arc<dyn ObjectStore>,
    options: PackedOptions,
    clock: Arc<dyn Clock>,
    /// As it was last read. It is written once and never changes, so questions about an object that is there may rest
    /// on it: `identity`, `summary`, the leases, restores. That something is *not* there may not, nor may what is
    /// written: `probe`, `create`, backups and checks read it again, and "no snapshot" is said only after that.
    descriptor: Mutex<Option<Descriptor>>,
    /// The snapshot file that was read last. It never changes, its name holds its hash, but it may be gone.
    document: Mutex<Option<(SnapshotId, Document)>>,
}

impl Packed {
    pub fn new(store: Arc<dyn ObjectStore>, options: PackedOptions, clock: Arc<dyn Clock>) -> Self {
        Self { store, options, clock, descriptor: Mutex::default(), document: Mutex::default() }
    }

    /// For small questions about objects that are known by name: asks nobody whether the repository is still there.
    fn opened(&self) -> Result<(Descriptor, Objects), RepositoryError> {
        let known = self.descriptor.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known {
            Some(descriptor) => Ok(self.objects_of(descriptor)),
            None => self.open(),
        }
    }

    fn open(&self) -> Result<(Descriptor, Objects), RepositoryError> {
        let found = self.look();
        let mut known = self.descriptor.lock().unwrap_or_else(PoisonError::into_inner);
        *known = found.as_ref().ok().cloned();
        drop(known);
        Ok(self.objects_of(found?))
    }

    fn look(&self) -> Result<Descriptor, RepositoryError> {
        let container = self.store.container();
        let absent = |missing| RepositoryError::Absent(Absent { location: self.store.location(), missing });
        if self.store.presence()? == store::Presence::Absent {
            return Err(absent(Missing::Container(container)));
        }
        match descriptor::read(&self.store)? {
            Some(descriptor) => Ok(descriptor),
            None => {
                let damaged = self.without_descriptor()?;
                Err(damaged.unwrap_or_else(|| absent(Missing::Repository(container))))
            }
        }
    }

    /// As it was when it was last read.
    fn known_document(&self, id: &SnapshotId) -> Option<Document> {
        let known = self.document.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|(same, _)| same == id).map(|(_, document)| document.clone())
    }

    fn keep_document(&self, id: &SnapshotId, document: Document) {
        *self.document.lock().unwrap_or_else(PoisonError::into_inner) = Some((id.clone(), document));
    }

    fn objects_of(&self, descriptor: Descriptor) -> (Descriptor, Objects) {
        let codec = descriptor.codec;
        if codec != self.options.codec {
            tracing::debug!(codec = codec.name(), "the repository keeps the codec it was made with");
        }
        let level = self.options.level.filter(|level| codec.levels().contains(level));
        let objects = Objects {
            store: self.store.clone(),
            codec,
            level: level.unwrap_or_else(|| codec.default_level()),
        };
        (descriptor, objects)
    }
}

impl Packed {
    /// A place with snapshots and no descriptor is a damaged repository, not an absent one: a new descriptor
    /// would make all of them unreadable.
    fn without_descriptor(&self) -> Result<Option<RepositoryError>, RepositoryError> {
        let mut found = 0u64;
        for prefix in [keys::SNAPSHOTS, keys::SEGMENTS, keys::PACKS] {
            self.store.list(prefix, &mut |_| {
                found += 1;
                Ok(())
            })?;
        }
        Ok((found > 0).then(|| RepositoryError::Damaged {
            location: self.store.location(),
            object: keys::DESCRIPTOR.to_owned(),
            reason: "it is missing, and the objects of a repository are there".to_owned(),
        }))
    }
}

impl Repository for Packed {
    fn location(&self) -> String {
        self.store.location()
    }

    fn probe(&self) -> Result<Presence, RepositoryError> {
        match self.open() {
            Err(RepositoryError::Absent(absent)) => Ok(Presence::Absent(absent.missing)),
            Err(error) => Err(error),
            Ok((_, objects)) => match document::names(&objects)?.is_empty() {
                true => Ok(Presence::Empty),
                false => Ok(Presence::Ready),
            },
        }
    }

    fn create(&self, identity: &str) -> Result<(), RepositoryError> {
        self.store.create()?;
        *self.descriptor.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let descriptor = match (descriptor::read(&self.store)?, self.without_descriptor()?) {
            (Some(descriptor), _) => descriptor,
            (None, Some(damaged)) => return Err(damaged),
            (None, None) => descriptor::create(&self.store, identity, self.options.codec, backup::chunker())?,
        };
        if descriptor.identity == identity {
            return Ok(());
        }
        Err(RepositoryError::Identity {
            location: self.location(),
            found: descriptor.identity,
            expected: identity.to_owned(),
        })
    }

    fn identity(&self) -> Result<String, RepositoryError> {
        Ok(self.opened()?.0.identity)
    }

    fn snapshots(&self) -> Result<Listing, RepositoryError> {
        let names = self.names()?;
        let (descriptor, objects) = self.opened()?;
        document::listing(&objects, &descriptor.id, &names)
    }

    fn names(&self) -> Result<Vec<SnapshotId>, RepositoryError> {
        let known = self.descriptor.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if !known && self.store.presence()? == store::Presence::Absent {
            let missing = Missing::Container(self.store.container());
            return Err(RepositoryError::Absent(Absent { location: self.location(), missing }));
        }
        let objects = Objects { store: self.store.clone(), codec: Codec::None, level: 0 };
        let names = document::names(&objects)?;
        if names.is_empty() {
            // Somebody may have emptied the place, or put another disk there.
            self.open()?;
        }
        Ok(names)
    }

    fn summary(&self, id: &SnapshotId) -> Result<Summary, RepositoryError> {
        let (descriptor, objects) = self.opened()?;
        let document = document::read(&objects, &descriptor.id, id)?;
        let summary = document.summary(id);
        self.keep_document(id, document);
        Ok(summary)
    }

    fn take_over(&self, writer: &Writer) -> Result<Epoch, RepositoryError> {
        let (_, objects) = self.opened()?;
        Ok(lease::take(&objects, writer, 0, self.clock.now())?.epoch)
    }

    fn refresh(&self, writer: &Writer, epoch: Epoch) -> Result<(), RepositoryError> {
        let (_, objects) = self.opened()?;
        lease::refresh(&objects, &Held::by(writer, epoch), self.clock.now())
    }

    fn lease(&self) -> Result<Option<LeaseInfo>, RepositoryError> {
        let (_, objects) = self.opened()?;
        Ok(lease::newest(&objects)?.map(Lease::info))
    }

    fn backup(&self, request: &BackupRequest<'_>) -> Result<BackupReport, RepositoryError> {
        backup::run(self, request)
    }

    fn entries(
        &self,
        id: &SnapshotId,
        visit: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), RepositoryError> {
        let (descriptor, objects) = self.opened()?;
        let document = document::read(&objects, &descriptor.id, id)?;
        for reference in &document.segments {
            let segment = parent::load(&objects, &Cache::default(), reference)?;
            for entry in segment.entries {
                if visit(entry).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn entries_as_seen(
        &self,
        id: &SnapshotId,
        cache: &Path,
        visit: &mut dyn FnMut(Entry, Option<StatRow>) -> ControlFlow<()>,
    ) -> Result<(), RepositoryError> {
        let (descriptor, objects) = self.opened()?;
        let document = document::read(&objects, &descriptor.id, id)?;
        let cache = Cache::open(Some(cache), &descriptor.id);
        for reference in &document.segments {
            let rows = cache.stats(reference).unwrap_or_default();
            let segment = parent::load(&objects, &Cache::default(), reference)?;
            for (position, entry) in segment.entries.into_iter().enumerate() {
                if visit(entry, rows.get(position).copied()).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn read(
        &self,
        id: &SnapshotId,
        selector: &Selector,
        sink: &mut EntrySink<'_>,
    ) -> Result<(), RepositoryError> {
        read::run(self, id, selector, sink)
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
        repair::run(self, request)
    }
}
