//! The S3 servers that `tests/run` starts, and places in them of a test's own.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use aws_config::BehaviorVersion;
use aws_credential_types::Credentials;
use aws_sdk_s3::config::Region;
use aws_sdk_s3::types::{
    BucketVersioningStatus, DefaultRetention, ObjectLockConfiguration, ObjectLockEnabled,
    ObjectLockRetentionMode, ObjectLockRule, VersioningConfiguration,
};
use volkeep::base::secret::{Secret, SecretSource};
use volkeep::store::s3::{S3Credentials, S3Options};
use volkeep::store::{ObjectStore, S3Store};

/// A server, and one of its users.
#[derive(Clone, Debug)]
pub struct Server {
    pub endpoint: String,
    pub access_key_id: String,
    pub secret_access_key: String,
}

impl Server {
    /// Ceph's gateway, as the owner of all buckets.
    #[track_caller]
    pub fn real() -> Self {
        Self::named("VOLKEEP_TEST_S3", "")
    }

    /// The same server as a user who may do nothing until a bucket's policy allows it: `backup`, `restore`,
    /// `prune` or `nobody`.
    #[track_caller]
    pub fn real_as(user: &str) -> Self {
        Self::named("VOLKEEP_TEST_S3", &format!("_{}", user.to_uppercase()))
    }

    /// rclone, which ignores the conditions of a request.
    #[track_caller]
    pub fn sloppy() -> Self {
        Self::named("VOLKEEP_TEST_S3_SLOPPY", "")
    }

    #[track_caller]
    fn named(server: &str, user: &str) -> Self {
        let variable = |name: String| {
            std::env::var(&name).unwrap_or_else(|_| {
                panic!("{name} is not set: this test needs an S3 server, which tests/run starts; docs/working.md says how to do so by hand")
            })
        };
        Self {
            endpoint: variable(server.to_owned()),
            access_key_id: variable(format!("{server}{user}_ACCESS_KEY_ID")),
            secret_access_key: variable(format!("{server}{user}_SECRET_ACCESS_KEY")),
        }
    }

    pub fn options(&self, bucket: &str, prefix: &str) -> S3Options {
        let value = |text: &str| SecretSource::Value(Secret::new(text.to_owned()));
        S3Options {
            endpoint: Some(self.endpoint.clone()),
            region: Some("us-east-1".to_owned()),
            credentials: S3Credentials::Keys {
                access_key_id: value(&self.access_key_id),
                secret_access_key: value(&self.secret_access_key),
                session_token: None,
            },
            ..S3Options::new(bucket, prefix)
        }
    }

    /// Without retries and limits.
    pub fn store(&self, bucket: &str, prefix: &str) -> Arc<dyn ObjectStore> {
        Arc::new(S3Store::new(self.options(bucket, prefix)))
    }

    /// A bucket of this test process, for tests that are content with a prefix of their own.
    pub fn shared_bucket(&self) -> String {
        static MADE: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());
        let mut made = MADE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match made.iter().find(|(endpoint, _)| *endpoint == self.endpoint) {
            Some((_, bucket)) => bucket.clone(),
            None => {
                let bucket = self.new_bucket();
                made.push((self.endpoint.clone(), bucket.clone()));
                bucket
            }
        }
    }

    /// Its name.
    pub fn new_bucket(&self) -> String {
        let bucket = unique("bucket");
        self.store(&bucket, "").create().unwrap();
        bucket
    }

    /// A bucket that keeps old versions of its objects.
    pub fn new_versioned_bucket(&self) -> String {
        let bucket = self.new_bucket();
        let versioning = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        self.ask(|client| {
            client.put_bucket_versioning().bucket(&bucket).versioning_configuration(versioning).send()
        });
        bucket
    }

    /// A bucket where each object is locked for a day: the version cannot be deleted.
    pub fn new_locked_bucket(&self) -> String {
        let bucket = unique("locked");
        self.ask(|client| client.create_bucket().bucket(&bucket).object_lock_enabled_for_bucket(true).send());
        let retention = DefaultRetention::builder().mode(ObjectLockRetentionMode::Compliance).days(1).build();
        let lock = ObjectLockConfiguration::builder()
            .object_lock_enabled(ObjectLockEnabled::Enabled)
            .rule(ObjectLockRule::builder().default_retention(retention).build())
            .build();
        self.ask(|client| {
            client.put_object_lock_configuration().bucket(&bucket).object_lock_configuration(lock).send()
        });
        bucket
    }

    /// How many versions of objects a bucket holds below a prefix, and how many marks of deletion.
    pub fn versions(&self, bucket: &str, prefix: &str) -> (usize, usize) {
        let page = self.ask(|client| client.list_object_versions().bucket(bucket).prefix(prefix).send());
        assert_ne!(page.is_truncated(), Some(true), "more versions than this helper counts");
        (page.versions().len(), page.delete_markers().len())
    }

    /// A request by the plain client, without anything of ours.
    pub fn ask<T, E: Debug, F: Future<Output = Result<T, E>>>(
        &self,
        request: impl FnOnce(aws_sdk_s3::Client) -> F,
    ) -> T {
        self.try_ask(request).unwrap_or_else(|error| panic!("{error:?}"))
    }

    pub fn try_ask<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        request: impl FnOnce(aws_sdk_s3::Client) -> F,
    ) -> Result<T, E> {
        let keys = Credentials::new(&self.access_key_id, &self.secret_access_key, None, None, "test");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(&self.endpoint)
            .region(Region::new("us-east-1"))
            .force_path_style(true)
            .credentials_provider(keys)
            .build();
        let client = aws_sdk_s3::Client::from_conf(config);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(request(client))
    }
}

/// A name that no other test takes, in this run or another on the same server.
pub fn unique(kind: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO).as_nanos();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{kind}-{}-{now:x}-{count}", std::process::id())
}
