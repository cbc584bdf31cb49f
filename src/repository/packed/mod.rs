//! The packed repository: snapshots as packs of compressed frames with manifests in segments, over any object
//! store. `docs/format.md` describes what is stored.

pub mod codec;
pub mod fuzzing;

mod backup;
mod cache;
mod check;
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
mod read;
mod remember;
mod restore;
mod segment;
#[cfg(test)]
mod traffic_tests;

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::base::clock::Clock;
use crate::repository::packed::cache::Cache;
use crate::repository::packed::codec::Codec;
use crate::repository::packed::descriptor::Descriptor;
use crate::repository::packed::objects::Objects;
use crate::repository::{
    Absent, BackupReport, BackupRequest, CheckReport, CheckRequest, EntrySink, Epoch, Listing, Missing,
    Presence, Repository, RepositoryError, RestoreReport, RestoreRequest, Writer,
};
use crate::snapshot::selector::Selector;
use crate::snapshot::{Entry, SnapshotId, Summary};
use crate::store::{self, ObjectStore};

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
}

impl Packed {
    pub fn new(store: Arc<dyn ObjectStore>, options: PackedOptions, clock: Arc<dyn Clock>) -> Self {
        Self { store, options, clock }
    }

    fn open(&self) -> Result<(Descriptor, Objects), RepositoryError> {
        let container = self.store.container();
        let absent = |missing| RepositoryError::Absent(Absent { location: self.store.location(), missing });
        if self.store.presence()? == store::Presence::Absent {
            return Err(absent(Missing::Container(container)));
        }
        let descriptor = match descriptor::read(&self.store)? {
            Some(descriptor) => descriptor,
            None => {
                let damaged = self.without_descriptor()?;
                return Err(damaged.unwrap_or_else(|| absent(Missing::Repository(container))));
            }
        };
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
        Ok((descriptor, objects))
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
        Ok(self.open()?.0.identity)
    }

    fn snapshots(&self) -> Result<Listing, RepositoryError> {
        let (descriptor, objects) = self.open()?;
        document::listing(&objects, &descriptor.id)
    }

    fn newest(&self) -> Result<Option<SnapshotId>, RepositoryError> {
        let (_, objects) = self.open()?;
        Ok(document::names(&objects)?.pop())
    }

    fn summary(&self, id: &SnapshotId) -> Result<Summary, RepositoryError> {
        let (descriptor, objects) = self.open()?;
        Ok(document::read(&objects, &descriptor.id, id)?.summary(id))
    }

    fn take_over(&self, writer: &Writer) -> Result<Epoch, RepositoryError> {
        let (_, objects) = self.open()?;
        lease::take(&objects, writer, self.clock.now())
    }

    fn backup(&self, request: &BackupRequest<'_>) -> Result<BackupReport, RepositoryError> {
        backup::run(self, request)
    }

    fn entries(
        &self,
        id: &SnapshotId,
        visit: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), RepositoryError> {
        let (descriptor, objects) = self.open()?;
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

    fn check(&self, request: &CheckRequest) -> Result<CheckReport, RepositoryError> {
        check::run(self, request)
    }
}
