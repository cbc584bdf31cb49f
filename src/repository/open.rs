//! Opens a repository from its options: which kind, over which store, behind which wrappers.

use std::path::PathBuf;
use std::sync::Arc;

use crate::base::clock::Clock;
use crate::repository::Repository;
use crate::repository::packed::{Packed, PackedOptions};
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

/// Touches nothing yet: whether it is there is for a probe to find out.
pub fn open(options: &RepositoryOptions, clock: &Arc<dyn Clock>) -> Arc<dyn Repository> {
    let store: Arc<dyn ObjectStore> = match &options.location {
        Location::Directory(path) => Arc::new(LocalStore::new(path.clone())),
        #[cfg(feature = "s3")]
        Location::S3(options) => Arc::new(S3Store::new(options.as_ref().clone())),
    };
    let store = wrap(store, &options.store, Arc::clone(clock));
    Arc::new(Packed::new(store, options.packed, Arc::clone(clock)))
}
