//! `repository.json` again, from what the objects themselves say. Only where that is certain.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::repository::RepositoryError;
use crate::repository::packed::codec::Codec;
use crate::repository::packed::descriptor::Descriptor;
use crate::repository::packed::document::{self, Document};
use crate::repository::packed::objects::Objects;
use crate::repository::packed::{Packed, backup, descriptor, keys};
use crate::snapshot::SnapshotId;

/// `damage` is what was wrong with it: the answer where it cannot be made again.
pub fn rebuild(packed: &Packed, damage: RepositoryError) -> Result<Descriptor, RepositoryError> {
    let objects = Objects { store: packed.store.clone(), codec: Codec::None, level: 0 };
    let mut readable: Vec<(SnapshotId, Document)> = Vec::new();
    for id in document::names(&objects)? {
        match document::read_any(&objects, &id) {
            Ok(document) => readable.push((id, document)),
            Err(RepositoryError::NoSnapshot { .. }) => {}
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    let ids: BTreeSet<&str> = readable.iter().map(|(_, document)| document.repository.as_str()).collect();
    let identities: BTreeSet<&str> =
        readable.iter().map(|(_, document)| document.identity.as_str()).collect();
    let why_not = match (ids.len(), identities.len()) {
        (1, 1) => match codec(&objects, &readable)? {
            Some(codec) => {
                let (id, identity) = (ids.into_iter().collect(), identities.into_iter().collect());
                return Ok(Descriptor { id, identity, codec, chunker: backup::chunker(), encryption: None });
            }
            None => "no segment can be read that would tell the codec",
        },
        (0, _) => "no snapshot can be read that would tell what it was",
        _ => "its snapshots do not agree on what it was",
    };
    match damage {
        RepositoryError::Damaged { location, object, reason } => {
            let reason = format!("{reason}; it cannot be made again for certain: {why_not}");
            Err(RepositoryError::Damaged { location, object, reason })
        }
        other => Err(other),
    }
}

/// The one by which a segment decodes to what has its name.
fn codec(objects: &Objects, readable: &[(SnapshotId, Document)]) -> Result<Option<Codec>, RepositoryError> {
    for segment in readable.iter().rev().flat_map(|(_, document)| &document.segments) {
        let stored = match objects.stored_segment(segment) {
            Ok(stored) => stored,
            Err(error) if error.is_damage() => continue,
            Err(error) => return Err(error),
        };
        for codec in [Codec::Zstd, Codec::Gzip, Codec::None] {
            if (Objects { codec, ..objects.clone() }).decode_segment(segment, &stored).is_ok() {
                return Ok(Some(codec));
            }
        }
    }
    Ok(None)
}

pub fn bytes(descriptor: &Descriptor) -> Result<Bytes, RepositoryError> {
    descriptor::sealed(descriptor).map(Bytes::from)
}

pub const OBJECT: &str = keys::DESCRIPTOR;
