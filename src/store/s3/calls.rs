//! What every call needs: the client, the bucket, how keys are named in it, and what refusals mean there.

use std::error::Error;
use std::sync::atomic::AtomicBool;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::store::s3::client::{Connection, connect};
use crate::store::s3::errors::{self, Refusal, no_bucket, stranger};
use crate::store::s3::options::S3Options;
use crate::store::{Key, Presence, StoreError};

#[derive(Debug)]
pub(super) struct Calls {
    connection: Connection,
    location: String,
    pub options: S3Options,
    /// Uploads must say their MD5: the bucket locks its objects. Found out by the first refusal.
    pub md5_wanted: AtomicBool,
}

impl Calls {
    pub async fn open(options: S3Options) -> Result<Self, StoreError> {
        let connection = connect(&options).await?;
        Ok(Self { connection, location: options.location(), options, md5_wanted: AtomicBool::new(false) })
    }

    pub fn client(&self) -> &Client {
        &self.connection.client
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    pub fn location(&self) -> &str {
        &self.location
    }

    pub fn bucket(&self) -> &str {
        &self.options.bucket
    }

    pub fn name(&self, key: &Key) -> String {
        format!("{}{key}", self.root())
    }

    /// What all names begin with: nothing, or the prefix and a slash.
    pub fn root(&self) -> String {
        match self.options.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        }
    }

    pub fn sort<E>(&self, permission: &'static str, error: SdkError<E, HttpResponse>) -> Refusal
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        errors::sort(&self.location, permission, error)
    }

    /// The error for a refusal that the caller has no use for.
    pub fn trouble(&self, refusal: Refusal) -> StoreError {
        let unexpected = |what: &str| StoreError::Io {
            location: self.location.clone(),
            source: std::io::Error::other(format!("an unexpected answer: {what}")),
        };
        match refusal {
            Refusal::Other(error) => error,
            Refusal::NoBucket => no_bucket(&self.location),
            Refusal::NoObject => unexpected("there is no such object"),
            Refusal::Precondition => unexpected("a condition did not hold"),
            Refusal::Range => unexpected("there is no such range"),
            Refusal::NotImplemented => unexpected("this kind of request is not implemented"),
            Refusal::WantsMd5 => unexpected("an MD5 is wanted"),
            Refusal::BucketExists => unexpected("the bucket exists"),
        }
    }

    /// The error for an object that is not there. Answers without a body do not tell a missing object from a
    /// missing bucket, and those must not be confused: a bucket that is gone is not an empty repository.
    pub async fn missing(&self, key: &Key) -> StoreError {
        match self.presence().await {
            Ok(Presence::Present) => StoreError::NotFound { key: key.clone() },
            Ok(Presence::Absent) => no_bucket(&self.location),
            Err(error) => error,
        }
    }

    /// Whoever may list below his prefix only is told of a missing object that he may not look at it. The listing
    /// knows which it is.
    pub async fn denied(&self, key: &Key, denied: StoreError) -> StoreError {
        let name = self.name(key);
        let request = self.client().list_objects_v2().bucket(self.bucket()).prefix(&name).max_keys(1);
        match request.send().await.map_err(|error| self.sort("s3:ListBucket", error)) {
            Ok(page) if page.contents().iter().any(|object| object.key() == Some(&name)) => denied,
            Ok(_) => StoreError::NotFound { key: key.clone() },
            Err(Refusal::NoObject) => stranger(&self.location),
            // Has the words that the answer to a request for a head lacks.
            Err(refusal) => self.trouble(refusal),
        }
    }

    /// Asked by listing, which a key that is restricted to our prefix may do as well.
    pub async fn presence(&self) -> Result<Presence, StoreError> {
        let request = self.client().list_objects_v2().bucket(self.bucket()).prefix(self.root()).max_keys(1);
        match request.send().await.map_err(|error| self.sort("s3:ListBucket", error)) {
            Ok(_) => Ok(Presence::Present),
            Err(Refusal::NoBucket) => Ok(Presence::Absent),
            Err(Refusal::NoObject) => Err(stranger(&self.location)),
            Err(refusal) => Err(self.trouble(refusal)),
        }
    }
}
