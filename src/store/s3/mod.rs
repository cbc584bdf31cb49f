//! A store in an S3 bucket, by Amazon's client. Owns the runtime that the client needs: callers block.
//! Every request is one attempt; trying again is the retry wrapper's.

pub mod options;

use bytes::Bytes;

pub use options::{S3Credentials, S3Encryption, S3Options, SecretSource};

use crate::store::{Key, ObjectStore, Presence, Put, Replace, StoreError, Visit};

#[derive(Debug)]
pub struct S3Store {
    options: S3Options,
}

impl S3Store {
    /// Touches nothing yet.
    pub fn new(options: S3Options) -> Self {
        Self { options }
    }

    fn not_yet(&self) -> StoreError {
        StoreError::Io { location: self.location(), source: std::io::ErrorKind::Unsupported.into() }
    }
}

impl ObjectStore for S3Store {
    fn location(&self) -> String {
        self.options.location()
    }
    fn presence(&self) -> Result<Presence, StoreError> {
        Err(self.not_yet())
    }
    fn create(&self) -> Result<(), StoreError> {
        Err(self.not_yet())
    }
    fn list(&self, _: &str, _: Visit<'_>) -> Result<(), StoreError> {
        Err(self.not_yet())
    }
    fn size(&self, _: &Key) -> Result<u64, StoreError> {
        Err(self.not_yet())
    }
    fn get(&self, _: &Key) -> Result<Vec<u8>, StoreError> {
        Err(self.not_yet())
    }
    fn get_range(&self, _: &Key, _: u64, _: u64) -> Result<Vec<u8>, StoreError> {
        Err(self.not_yet())
    }
    fn put(&self, _: &Key, _: &Bytes) -> Result<(), StoreError> {
        Err(self.not_yet())
    }
    fn put_if_absent(&self, _: &Key, _: &Bytes) -> Result<Put, StoreError> {
        Err(self.not_yet())
    }
    fn replace(&self, _: &Key, _: &Bytes, _: &Bytes) -> Result<Replace, StoreError> {
        Err(self.not_yet())
    }
    fn delete(&self, _: &Key) -> Result<(), StoreError> {
        Err(self.not_yet())
    }
}
