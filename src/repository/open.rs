//! Opens a repository from its options: which kind, over which store, behind which wrappers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::clock::Clock;
#[cfg(feature = "git")]
use crate::repository::git::{Git, GitOptions};
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
    /// A branch of a git repository.
    #[cfg(feature = "git")]
    Git(Box<GitOptions>),
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
            #[cfg(feature = "git")]
            (Self::Git(one), Self::Git(other)) => one.location() == other.location(),
            #[cfg(any(feature = "git", feature = "s3"))]
            _ => false,
        }
    }
}

/// Touches nothing yet: whether it is there is for a probe to find out.
pub fn open(options: &RepositoryOptions, clock: &Arc<dyn Clock>) -> Arc<dyn Repository> {
    match &options.location {
        Location::Directory(path) => Arc::new(packed(directory(path), options, clock)),
        #[cfg(feature = "s3")]
        Location::S3(place) => Arc::new(packed(bucket(place, options), options, clock)),
        #[cfg(feature = "git")]
        Location::Git(place) => git(place, options, clock),
    }
}

/// The way to copy from one repository to another. Refuses to lead from a place to itself.
pub fn route(
    from: &RepositoryOptions,
    to: &RepositoryOptions,
    clock: &Arc<dyn Clock>,
) -> Result<Box<dyn Route>, RepositoryError> {
    let end = |options: &RepositoryOptions| -> Result<Packed, RepositoryError> {
        match &options.location {
            Location::Directory(path) => Ok(packed(directory(path), options, clock)),
            #[cfg(feature = "s3")]
            Location::S3(place) => Ok(packed(bucket(place, options), options, clock)),
            #[cfg(feature = "git")]
            Location::Git(place) => Err(RepositoryError::Refused(format!(
                "{} is in git, and snapshots are copied between directories and buckets only",
                place.location()
            ))),
        }
    };
    let (source, target) = (end(from)?, end(to)?);
    if from.location.is_same_place(&to.location) {
        let place = source.location();
        return Err(RepositoryError::Refused(format!("{place} would be copied to itself")));
    }
    Ok(Box::new(PackedRoute::new(source, target, Arc::clone(clock))))
}

fn packed(store: Arc<dyn ObjectStore>, options: &RepositoryOptions, clock: &Arc<dyn Clock>) -> Packed {
    let store = wrap(store, &options.store, Arc::clone(clock));
    Packed::new(store, options.packed, Arc::clone(clock))
}

fn directory(path: &Path) -> Arc<dyn ObjectStore> {
    Arc::new(LocalStore::new(path.to_owned()))
}

#[cfg(feature = "s3")]
fn bucket(place: &S3Options, options: &RepositoryOptions) -> Arc<dyn ObjectStore> {
    Arc::new(S3Store::new(place.clone()).ended_by(options.store.cancel.clone()))
}

/// With what ends a wait, as it is told to every kind of repository.
#[cfg(feature = "git")]
fn git(place: &GitOptions, options: &RepositoryOptions, clock: &Arc<dyn Clock>) -> Arc<dyn Repository> {
    let place = GitOptions { cancel: options.store.cancel.clone(), ..place.clone() };
    Arc::new(Git::new(place, Arc::clone(clock)))
}
