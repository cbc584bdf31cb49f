//! What a check sees: snapshots, segments and packs, who needs what, and what is wrong with each. Must not know what
//! follows from it.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::hash::Hash;
use crate::repository::packed::cache::Cache;
use crate::repository::packed::check::look::{Looked, PackDamage, look};
use crate::repository::packed::check::{cancelled, damage};
use crate::repository::packed::document::{self, Document};
use crate::repository::packed::frame::{Frame, PackId};
use crate::repository::packed::objects::Objects;
use crate::repository::packed::segment::{Segment, SegmentRef};
use crate::repository::packed::{keys, lease, parent, tombstone};
use crate::repository::{CheckRequest, RepositoryError};
use crate::snapshot::SnapshotId;

/// Trouble is told as an object and what is wrong with it.
type Trouble = (String, String);

#[derive(Debug)]
pub struct Survey<'a> {
    pub objects: &'a Objects,
    pub cache: &'a Cache,
    pub documents: BTreeMap<SnapshotId, Document>,
    pub unreadable: BTreeMap<SnapshotId, String>,
    pub segments: BTreeMap<Hash, KnownSegment>,
    pub packs: BTreeMap<PackId, NeededPack>,
    /// The packs that are not as the manifests need them.
    pub damaged: BTreeMap<PackId, PackDamage>,
    pub lease: Option<Trouble>,
    pub tombstones: Vec<Trouble>,
    /// Something that a newer program wrote: it is not damaged, and not for this one to judge.
    pub newer: Option<RepositoryError>,
    pub verified_packs: u64,
    pub verified_bytes: u64,
}

#[derive(Debug)]
pub struct KnownSegment {
    pub reference: SegmentRef,
    pub users: Vec<SnapshotId>,
    pub trouble: Option<String>,
    /// The volume remembers it whole, whatever became of the object.
    pub cached: bool,
    pub packs: BTreeSet<PackId>,
}

/// What the manifests expect of a pack.
#[derive(Debug, Default)]
pub struct NeededPack {
    pub frames: BTreeMap<u64, Frame>,
}

impl<'a> Survey<'a> {
    pub fn make(
        objects: &'a Objects,
        repository: &str,
        cache: &'a Cache,
        request: &CheckRequest,
    ) -> Result<Self, RepositoryError> {
        let mut survey = Self {
            objects,
            cache,
            documents: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            segments: BTreeMap::new(),
            packs: BTreeMap::new(),
            damaged: BTreeMap::new(),
            lease: None,
            tombstones: Vec::new(),
            newer: None,
            verified_packs: 0,
            verified_bytes: 0,
        };
        survey.small_objects()?;
        survey.snapshots(repository, request)?;
        survey.read_segments(request)?;
        let Looked { damaged, verified_packs, verified_bytes } = look(objects, &survey.packs, request)?;
        Ok(Self { damaged, verified_packs, verified_bytes, ..survey })
    }

    /// A segment that can be read, from where it can be read.
    pub fn load(&self, segment: &KnownSegment) -> Result<Segment, RepositoryError> {
        match segment.trouble {
            // What had to be fetched is kept in a cache, where old segments only take room.
            None => parent::load(self.objects, &Cache::default(), &segment.reference),
            Some(_) => parent::load(self.objects, self.cache, &segment.reference),
        }
    }

    fn small_objects(&mut self) -> Result<(), RepositoryError> {
        if let Err(error) = lease::newest(self.objects) {
            self.lease = Some(self.trouble(error)?);
        }
        match tombstone::read_all(self.objects) {
            Ok((_, damaged)) => {
                for error in damaged {
                    let trouble = self.trouble(error)?;
                    self.tombstones.push(trouble);
                }
            }
            Err(error) => {
                let trouble = self.trouble(error)?;
                self.tombstones.push(trouble);
            }
        }
        Ok(())
    }

    fn snapshots(&mut self, repository: &str, request: &CheckRequest) -> Result<(), RepositoryError> {
        for id in document::names(self.objects)? {
            cancelled(request)?;
            match document::read(self.objects, repository, &id) {
                Ok(document) => {
                    self.add(&id, &document);
                    self.documents.insert(id, document);
                }
                // Forgotten between the listing and now.
                Err(RepositoryError::NoSnapshot { .. }) => {}
                Err(error) => {
                    let (_, reason) = self.trouble(error)?;
                    self.unreadable.insert(id, reason);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, id: &SnapshotId, document: &Document) {
        for reference in &document.segments {
            let segment = self.segments.entry(reference.id).or_insert_with(|| KnownSegment {
                reference: reference.clone(),
                users: Vec::new(),
                trouble: None,
                cached: false,
                packs: BTreeSet::new(),
            });
            if segment.users.last() != Some(id) {
                segment.users.push(id.clone());
            }
        }
    }

    fn read_segments(&mut self, request: &CheckRequest) -> Result<(), RepositoryError> {
        for (id, known) in &mut self.segments {
            cancelled(request)?;
            // Not through a cache: the object itself is to be looked at.
            let stored = whole(self.objects, &Cache::default(), &known.reference);
            let segment = match stored {
                Ok(segment) => segment,
                Err(error) => {
                    let (_, reason) = damage(error)?;
                    known.trouble = Some(reason);
                    if self.cache.segment(&known.reference).is_none() {
                        continue;
                    }
                    let Ok(segment) = whole(self.objects, self.cache, &known.reference) else { continue };
                    tracing::debug!(segment = %id, "the volume remembers it");
                    known.cached = true;
                    segment
                }
            };
            for frame in &segment.frames {
                self.packs.entry(frame.pack).or_default().frames.insert(frame.offset, *frame);
                known.packs.insert(frame.pack);
            }
        }
        Ok(())
    }

    fn trouble(&mut self, error: RepositoryError) -> Result<Trouble, RepositoryError> {
        if let RepositoryError::Newer { location, object, found, known } = &error {
            let (location, object) = (location.clone(), object.clone());
            self.newer = Some(RepositoryError::Newer { location, object, found: *found, known: *known });
        }
        damage(error)
    }
}

fn whole(objects: &Objects, cache: &Cache, reference: &SegmentRef) -> Result<Segment, RepositoryError> {
    let segment = parent::load(objects, cache, reference)?;
    if segment.entries.len() as u64 == reference.entries {
        return Ok(segment);
    }
    let object = format!("{}/{}", keys::SEGMENTS, reference.id);
    Err(objects.damaged(object, "it has not as many entries as its snapshots say"))
}
