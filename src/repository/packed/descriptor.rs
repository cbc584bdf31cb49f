//! `repository.json`: says that a place is a repository, of which identity, and how its objects are made.
//! Written once.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::id::random_hex;
use crate::base::sealed;
use crate::repository::packed::codec::Codec;
use crate::repository::packed::keys;
use crate::repository::packed::objects::Objects;
use crate::repository::{Absent, Missing, RepositoryError};
use crate::store::{ObjectStore, Put, StoreError};

const FORMAT: u64 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    pub id: String,
    pub identity: String,
    pub codec: Codec,
    pub chunker: Chunker,
    /// Reserved: absent means that objects are stored as they are. A reader that finds it must understand it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<serde_json::Value>,
}

/// How large files are cut. Another cut would only deduplicate less, but it is written down for the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunker {
    pub name: String,
    pub min: u32,
    pub average: u32,
    pub max: u32,
}

/// `None` when there is no descriptor.
pub fn read(store: &Arc<dyn ObjectStore>) -> Result<Option<Descriptor>, RepositoryError> {
    let key = keys::descriptor()?;
    let bytes = match store.get(&key) {
        Ok(bytes) => bytes,
        Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let objects = Objects { store: store.clone(), codec: Codec::None, level: 0 };
    let descriptor: Descriptor = objects.open_sealed(&key, &bytes, FORMAT)?;
    if descriptor.encryption.is_some() {
        return Err(RepositoryError::Newer {
            location: store.location(),
            object: key.as_str().to_owned(),
            found: FORMAT + 1,
            known: FORMAT,
        });
    }
    Ok(Some(descriptor))
}

/// Makes the descriptor; if another process was first, theirs counts.
pub fn create(
    store: &Arc<dyn ObjectStore>,
    identity: &str,
    codec: Codec,
    chunker: Chunker,
) -> Result<Descriptor, RepositoryError> {
    let failed = |error: std::io::Error| RepositoryError::Worker(error.to_string());
    let id = random_hex(16).map_err(failed)?;
    let descriptor = Descriptor { id, identity: identity.to_owned(), codec, chunker, encryption: None };
    match store.put_if_absent(&keys::descriptor()?, &sealed(&descriptor)?.into())? {
        Put::Created => Ok(descriptor),
        Put::Exists => read(store)?.ok_or_else(|| {
            let missing = Missing::Repository(store.container());
            RepositoryError::Absent(Absent { location: store.location(), missing })
        }),
    }
}

/// As it is stored.
pub fn sealed(descriptor: &Descriptor) -> Result<Vec<u8>, RepositoryError> {
    sealed::seal(descriptor, FORMAT).map_err(|error| RepositoryError::Worker(error.to_string()))
}
