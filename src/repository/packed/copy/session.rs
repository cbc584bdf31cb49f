//! One run of a copy: which snapshots, in which order, and the commit of each. Takes no lease: a copy only adds
//! history under the lease that is there, and stops when a writer takes over meanwhile, because that writer may
//! just be choosing the newest snapshot.

use std::collections::{BTreeSet, HashMap};

use crate::base::hash::Hash;
use crate::repository::packed::copy::content::{Copier, Made};
use crate::repository::packed::copy::origin::{Present, choose};
use crate::repository::packed::copy::target::survey;
use crate::repository::packed::descriptor::Descriptor;
use crate::repository::packed::document::{self, Document, THIS_FORMAT};
use crate::repository::packed::lease::{self, Held};
use crate::repository::packed::objects::Objects;
use crate::repository::packed::segment::SegmentRef;
use crate::repository::packed::tombstone;
use crate::repository::{CopiedSnapshot, CopyReport, CopyRequest, Epoch, Finding, RepositoryError};
use crate::snapshot::{CopiedFrom, SnapshotId};
use crate::store::Key;

/// No lease of the target says when a copy was made.
const NO_EPOCH: Epoch = 0;
/// So many snapshots before the first new one are looked at for one that the target has.
const LOOK_BACK: usize = 8;
/// How often a snapshot is begun because of prunes.
const SURVEYS: u32 = 4;

#[derive(Debug)]
pub struct Session<'a> {
    from: &'a (Descriptor, Objects),
    to: &'a (Descriptor, Objects),
    request: &'a CopyRequest<'a>,
    /// The newest lease of the target when the run began.
    lease: Option<Held>,
    names: Vec<SnapshotId>,
    present: Present<'a>,
    /// Names in the source and in the target of what is in both, as far as the run has met it.
    pairs: HashMap<SnapshotId, SnapshotId>,
    /// Of those pairs the last one, whose segments are likely to be needed.
    base: Option<(Document, SnapshotId)>,
    copier: Option<Copier<'a>>,
    /// Those that were there when the target was surveyed.
    tombstones: BTreeSet<Key>,
}

impl<'a> Session<'a> {
    pub fn new(
        from: &'a (Descriptor, Objects),
        to: &'a (Descriptor, Objects),
        request: &'a CopyRequest<'a>,
    ) -> Result<Self, RepositoryError> {
        Ok(Self {
            from,
            to,
            request,
            // Before anything is looked at: whoever takes over from now on is noticed at the commit.
            lease: lease::newest(&to.1)?.as_ref().map(Held::of),
            names: document::names(&from.1)?,
            present: Present::list(&to.1, &to.0.id)?,
            pairs: HashMap::new(),
            base: None,
            copier: None,
            tombstones: BTreeSet::new(),
        })
    }

    /// What was done before an error is in the report.
    pub fn run(&mut self, report: &mut CopyReport) -> Result<(), RepositoryError> {
        for id in choose(&self.names, self.request.chosen) {
            if self.request.cancel.is_cancelled() {
                return Err(RepositoryError::Cancelled);
            }
            match self.one(&id) {
                Ok(Some(copied)) => {
                    tracing::info!(snapshot = %copied.snapshot, copy = %copied.copy, "copied");
                    report.copied.push(copied);
                }
                Ok(None) => report.present += 1,
                Err(error) => report.failed.push(source_finding(&self.from.1, &id, error)?),
            }
        }
        Ok(())
    }

    /// `None`: the target has it.
    fn one(&mut self, id: &SnapshotId) -> Result<Option<CopiedSnapshot>, RepositoryError> {
        let original = document::read(&self.from.1, &self.from.0.id, id)?;
        let origin = original.origin(id);
        if let Some(copy) = self.present.find(&origin)? {
            self.pairs.insert(id.clone(), copy.clone());
            self.base = Some((original, copy));
            return Ok(None);
        }
        for _ in 0..SURVEYS {
            self.prepare(id)?;
            let Some(copier) = &mut self.copier else { return Ok(None) };
            let made = copier.content(&original)?;
            still(&self.to.1, self.lease.as_ref())?;
            if tombstone::keys_of(&self.to.1)?.is_subset(&self.tombstones) {
                return self.commit(id, original, origin, made);
            }
            // A prune under the same lease condemned something meanwhile, perhaps what this copy rests on. What was
            // stored so far is found again.
            self.copier = None;
        }
        Err(RepositoryError::Worker("prunes came in between again and again".to_owned()))
    }

    /// What the target holds is looked at when there is something to copy, not before.
    fn prepare(&mut self, id: &SnapshotId) -> Result<(), RepositoryError> {
        let copier = match self.copier.take() {
            Some(copier) => copier,
            None => self.first(id)?,
        };
        let copier = self.copier.insert(copier);
        if let Some((original, copy)) = self.base.take()
            && let Some(copy) = self.present.read(&copy)?
        {
            copier.index.expect(&copy.segments);
            copier.copies.extend(pairs(&original, &copy));
        }
        Ok(())
    }

    fn first(&mut self, id: &SnapshotId) -> Result<Copier<'a>, RepositoryError> {
        if self.base.is_none() {
            self.base = before(self.from, &self.names, &mut self.present, id)?;
        }
        // Before what they name is listed.
        self.tombstones = tombstone::keys_of(&self.to.1)?;
        let (index, present) = survey(&self.to.1, &self.present, self.request.workers)?;
        Ok(Copier {
            from: &self.from.1,
            to: &self.to.1,
            request: self.request,
            index,
            copies: HashMap::new(),
            present,
            bad: HashMap::new(),
            epoch: self.lease.as_ref().map_or(NO_EPOCH, |lease| lease.epoch),
        })
    }

    fn commit(
        &mut self,
        id: &SnapshotId,
        original: Document,
        origin: CopiedFrom,
        made: Made,
    ) -> Result<Option<CopiedSnapshot>, RepositoryError> {
        let to = &self.to.1;
        // Another copy may have been quicker.
        self.present.list_again()?;
        if self.present.find(&origin)?.is_some() {
            return Ok(None);
        }
        let (read_bytes, added_bytes, stored_bytes) = (made.read_bytes, made.added_bytes, made.stored_bytes);
        let document = Document {
            format: THIS_FORMAT,
            repository: self.to.0.id.clone(),
            epoch: NO_EPOCH,
            parent: original.parent.as_ref().and_then(|parent| self.pairs.get(parent)).cloned(),
            copied_from: Some(origin),
            added_bytes,
            stored_bytes,
            segments: made.segments,
            ..original
        };
        let (copy, bytes) = document::commit(to, &document)?;
        // A prune that took the lease since the look before may be about to delete what the copy refers to.
        if let Err(error) = still(to, self.lease.as_ref()) {
            return Err(withdrawn(to, copy, error));
        }
        self.pairs.insert(id.clone(), copy.clone());
        Ok(Some(CopiedSnapshot {
            snapshot: id.clone(),
            copy,
            time: document.time,
            files: document.files,
            bytes: document.bytes,
            read_bytes,
            added_bytes,
            stored_bytes: stored_bytes + bytes,
        }))
    }
}

/// Takes back a copy that nobody has been told of, and says why.
fn withdrawn(to: &Objects, id: SnapshotId, error: RepositoryError) -> RepositoryError {
    let RepositoryError::Fenced { location, epoch, .. } = &error else { return error };
    let (location, epoch) = (location.clone(), *epoch);
    match document::withdraw(to, &id) {
        Ok(()) => error,
        Err(source) => RepositoryError::NotWithdrawn { location, id, epoch, source: Box::new(source) },
    }
}

/// The newest snapshot before `id` that the target has as well.
pub fn before(
    from: &(Descriptor, Objects),
    names: &[SnapshotId],
    present: &mut Present<'_>,
    id: &SnapshotId,
) -> Result<Option<(Document, SnapshotId)>, RepositoryError> {
    for name in names.iter().rev().filter(|name| *name < id).take(LOOK_BACK) {
        let document = match document::read(&from.1, &from.0.id, name) {
            // It was not asked for.
            Err(error) if error.is_damage() || matches!(error, RepositoryError::NoSnapshot { .. }) => {
                continue;
            }
            other => other?,
        };
        if let Some(copy) = present.find(&document.origin(name))? {
            return Ok(Some((document, copy)));
        }
    }
    Ok(None)
}

/// The segments of an original and of its copy, which was made of them one by one.
pub fn pairs<'d>(
    original: &'d Document,
    copy: &'d Document,
) -> impl Iterator<Item = (Hash, SegmentRef)> + 'd {
    let alike = original.segments.len() == copy.segments.len();
    let both = original.segments.iter().zip(&copy.segments).filter(move |_| alike);
    both.filter(|(one, other)| one.entries == other.entries).map(|(one, other)| (one.id, other.clone()))
}

/// Damage of the source is a finding that ends one snapshot; any other error ends the run.
pub fn source_finding(
    from: &Objects,
    id: &SnapshotId,
    error: RepositoryError,
) -> Result<Finding, RepositoryError> {
    let (object, reason) = match error {
        RepositoryError::Damaged { location, object, reason } if location == from.location() => {
            (object, reason)
        }
        RepositoryError::Newer { location, object, found, known } if location == from.location() => {
            (object, format!("it is of format {found}; this program reads up to {known}"))
        }
        RepositoryError::NoSnapshot { location, .. } if location == from.location() => {
            (id.to_string(), "it was removed meanwhile".to_owned())
        }
        other => return Err(other),
    };
    tracing::error!(snapshot = %id, object, reason, "this snapshot cannot be copied");
    Ok(Finding::of(object, reason, vec![id.clone()]))
}

/// Fails when somebody took the lease since.
fn still(to: &Objects, held: Option<&Held>) -> Result<(), RepositoryError> {
    match held {
        Some(held) => lease::recheck(to, held),
        None => match lease::newest(to)? {
            None => Ok(()),
            Some(lease) => Err(lease::fenced(to, &lease)),
        },
    }
}
