//! Opens a repository from its options: which kind, over which store, behind which wrappers.

use std::path::PathBuf;
use std::sync::Arc;

use crate::base::clock::Clock;
use crate::repository::packed::{Packed, PackedOptions, PackedRoute};
use crate::repository::{Repository, RepositoryError, Route};
use crate::store::{LocalStore, ObjectStore, StoreOptions, wrap};
#[cfg(feature = "s3")]
use crate::store::{S3Options, S3Store};

#[derive(Clone, Debug)]
pub enum Location {
    /// The packed format in a directory of this machine.
    Directory(PathBuf),
    /// The packed format in a bucket.
    #[cfg(feature = "s3")]
    S3(Box<S3Options>),
}

#[derive(Clone, Debug)]
pub struct RepositoryOptions {
    pub location: Location,
    pub packed: PackedOptions,
    pub store: StoreOptions,
}

impl Location {
    /// Whether both lead to one place, by whatever names. Places that cannot be looked at are told apart by name.
    fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Directory(one), Self::Directory(other)) => {
                let real = |path: &PathBuf| std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
                real(one) == real(other)
            }
            #[cfg(feature = "s3")]
            (Self::S3(one), Self::S3(other)) => {
                (&one.bucket, &one.prefix, &one.endpoint) == (&other.bucket, &other.prefix, &other.endpoint)
            }
            #[cfg(feature = "s3")]
            _ => false,
        }
    }
}

/// Touches nothing yet: whether it is there is for a probe to find out.
pub fn open(options: &RepositoryOptions, clock: &Arc<dyn Clock>) -> Arc<dyn Repository> {
    Arc::new(packed(options, clock))
}

/// The way to copy from one repository to another. Refuses to lead from a place to itself.
pub fn route(
    from: &RepositoryOptions,
    to: &RepositoryOptions,
    clock: &Arc<dyn Clock>,
) -> Result<Box<dyn Route>, RepositoryError> {
    let (source, target) = (packed(from, clock), packed(to, clock));
    if from.location.is_same_place(&to.location) {
        let place = source.location();
        return Err(RepositoryError::Refused(format!("{place} would be copied to itself")));
    }
    Ok(Box::new(PackedRoute::new(source, target, Arc::clone(clock))))
}

fn packed(options: &RepositoryOptions, clock: &Arc<dyn Clock>) -> Packed {
    let store: Arc<dyn ObjectStore> = match &options.location {
        Location::Directory(path) => Arc::new(LocalStore::new(path.clone())),
        #[cfg(feature = "s3")]
        Location::S3(place) => {
            Arc::new(S3Store::new(place.as_ref().clone()).ended_by(options.store.cancel.clone()))
        }
    };
    let store = wrap(store, &options.store, Arc::clone(clock));
    Packed::new(store, options.packed, Arc::clone(clock))
}
