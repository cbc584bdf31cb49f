//! Where an S3 bucket is and on which terms it is used: plain data, whatever the client library.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::secret::SecretSource;

#[derive(Clone, Debug)]
pub struct S3Options {
    pub bucket: String,
    /// All keys begin with it and a slash; no slash at either end. Empty: the bucket itself.
    pub prefix: String,
    /// Such as `https://s3.example.org:9000`; `None` is Amazon's, or what the environment says.
    pub endpoint: Option<String>,
    /// `None` is what the environment or the profile says, and at last `us-east-1`.
    pub region: Option<String>,
    /// The bucket's name in the path instead of the host's name. `None`: if an endpoint is given.
    pub path_style: Option<bool>,
    pub credentials: S3Credentials,
    /// Certificates in PEM that are trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// Of new objects, such as `STANDARD_IA`; `None` is the bucket's default.
    pub storage_class: Option<String>,
    pub encryption: S3Encryption,
    /// Larger objects are uploaded in parts of this size, in bytes; at least 5 MiB.
    pub part_size: usize,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long an answer may take to begin, and a transfer to go on. Once passed the call fails, to be tried
    /// again.
    pub stall_timeout: Duration,
}

#[derive(Clone, Debug, Default)]
pub enum S3Credentials {
    /// Environment, profile, web identity, container, instance: in this order.
    #[default]
    Chain,
    /// As `Chain`, with this profile of the shared configuration.
    Profile(String),
    Keys {
        access_key_id: SecretSource,
        secret_access_key: SecretSource,
        session_token: Option<SecretSource>,
    },
    /// Requests are not signed: for buckets open to everybody.
    Anonymous,
}

/// What the server does to new objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum S3Encryption {
    /// What the bucket says.
    #[default]
    Default,
    /// By keys of the store.
    S3,
    /// By a key of the key service; `None` is the default one.
    Kms(Option<String>),
}

impl S3Options {
    pub fn new(bucket: impl Into<String>, prefix: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: prefix.into(),
            endpoint: None,
            region: None,
            path_style: None,
            credentials: S3Credentials::Chain,
            ca_file: None,
            storage_class: None,
            encryption: S3Encryption::Default,
            part_size: 16 << 20,
            connect_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(20),
        }
    }

    /// Names the place in messages and markers.
    pub fn location(&self) -> String {
        let Self { bucket, prefix, .. } = self;
        let slash = if prefix.is_empty() { "" } else { "/" };
        match &self.endpoint {
            Some(endpoint) => format!("s3://{bucket}{slash}{prefix}?endpoint={endpoint}"),
            None => format!("s3://{bucket}{slash}{prefix}"),
        }
    }
}
