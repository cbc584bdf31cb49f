//! The section of a repository in S3: as whom the bucket is used, and on which terms. Where the bucket is, is
//! said by the address alone.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::secret::Secret;
use crate::config::repository_url::RepositoryUrl;
#[cfg(feature = "s3")]
use crate::config::repository_url::S3Address;
use crate::config::section::{Given, first_key, no_absolute_path};
#[cfg(feature = "s3")]
use crate::store::s3::{S3Credentials, S3Encryption, S3Options};

/// As whom, and on which terms, the bucket of an `s3://` address is used. Without keys here the usual chain is
/// asked: environment, profile, web identity, container, instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct S3Config {
    /// The access key; its secret has to be given too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<Secret>,
    /// A file with the access key, read when it is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id_file: Option<PathBuf>,
    /// The secret of the access key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<Secret>,
    /// A file with the secret, read when it is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key_file: Option<PathBuf>,
    /// What makes temporary keys complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_token: Option<Secret>,
    /// A file with the session token, read when it is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_token_file: Option<PathBuf>,
    /// A profile of the shared configuration of Amazon's tools (`~/.aws/config`); the address can name it as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Requests carry no signature: for buckets that everybody may read.
    pub anonymous: bool,
    /// Certificates in PEM that are trusted besides those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The storage class of new objects, such as `STANDARD_IA`. Without it the bucket's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// How the server encrypts new objects: as the bucket says, by keys of the store, or by the key service.
    pub encryption: ServerEncryption,
    /// The key of the key service for `encryption: kms`. Without it the default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServerEncryption {
    /// As the bucket says.
    #[default]
    Default,
    /// By keys of the store (SSE-S3).
    S3,
    /// By a key of the key service (SSE-KMS).
    Kms,
}

impl S3Config {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    fn secrets(&self) -> [(&'static str, Given<'_>); 3] {
        [
            ("access_key_id", Given(self.access_key_id.as_ref(), self.access_key_id_file.as_deref())),
            (
                "secret_access_key",
                Given(self.secret_access_key.as_ref(), self.secret_access_key_file.as_deref()),
            ),
            ("session_token", Given(self.session_token.as_ref(), self.session_token_file.as_deref())),
        ]
    }

    /// For a configuration without faults.
    #[cfg(feature = "s3")]
    pub fn options(&self, address: &S3Address) -> S3Options {
        S3Options {
            endpoint: address.endpoint.clone(),
            region: address.region.clone(),
            path_style: address.path_style,
            credentials: self.credentials(address),
            ca_file: self.ca_file.clone(),
            storage_class: self.storage_class.clone(),
            encryption: match self.encryption {
                ServerEncryption::Default => S3Encryption::Default,
                ServerEncryption::S3 => S3Encryption::S3,
                ServerEncryption::Kms => S3Encryption::Kms(self.kms_key.clone()),
            },
            ..S3Options::new(&address.bucket, &address.prefix)
        }
    }

    #[cfg(feature = "s3")]
    fn credentials(&self, address: &S3Address) -> S3Credentials {
        let [key, secret, token] = self.secrets().map(|(_, given)| given.source());
        match (key, secret, self.profile.as_ref().or(address.profile.as_ref())) {
            _ if self.anonymous => S3Credentials::Anonymous,
            (Some(access_key_id), Some(secret_access_key), _) => {
                S3Credentials::Keys { access_key_id, secret_access_key, session_token: token }
            }
            (.., Some(profile)) => S3Credentials::Profile(profile.clone()),
            _ => S3Credentials::Chain,
        }
    }
}

/// What is wrong with the section of a repository at `url`: the key below `s3`, and why.
pub fn faults(s3: &S3Config, url: &RepositoryUrl) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut refuse = |key: &str, message: &str| found.push((key.to_owned(), message.to_owned()));
    if !url.is_given() || s3.is_default() {
        return found;
    }
    if !url.is_s3() {
        let key = first_key(s3).unwrap_or_default();
        refuse(&key, "it is for s3:// addresses, and this repository has another one");
        return found;
    }
    for (name, given) in s3.secrets() {
        if let Some(why) = given.fault(name) {
            refuse(name, &why);
        } else if given.text().is_some_and(|text| !text.bytes().all(|byte| byte.is_ascii_graphic())) {
            refuse(name, "it holds something else than printable ASCII (it is not shown)");
        }
    }
    pairs(s3, url, &mut refuse);
    for (key, path) in [
        ("access_key_id_file", &s3.access_key_id_file),
        ("secret_access_key_file", &s3.secret_access_key_file),
        ("session_token_file", &s3.session_token_file),
        ("ca_file", &s3.ca_file),
    ] {
        if let Some(why) = no_absolute_path(path.as_deref()) {
            refuse(key, &why);
        }
    }
    if let Some(class) = &s3.storage_class {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if class.is_empty() || !class.bytes().all(fits) {
            refuse("storage_class", &format!("`{class}` is not a storage class such as STANDARD_IA"));
        } else if ["GLACIER", "DEEP_ARCHIVE"].contains(&class.as_str()) {
            refuse("storage_class", &format!("objects in {class} cannot be read until they are thawed"));
        }
    }
    if s3.kms_key.is_some() && s3.encryption != ServerEncryption::Kms {
        refuse("kms_key", "it is for `encryption: kms`");
    }
    found
}

/// Who we are is said in one way.
fn pairs(s3: &S3Config, url: &RepositoryUrl, refuse: &mut dyn FnMut(&str, &str)) {
    let [key, secret, token] = s3.secrets().map(|(_, given)| given.is_there());
    match (key, secret) {
        (true, false) => refuse("access_key_id", "its secret_access_key is missing"),
        (false, true) => refuse("secret_access_key", "its access_key_id is missing"),
        (false, false) if token => refuse("session_token", "its access_key_id is missing"),
        _ => {}
    }
    let in_address = url.profile().is_some();
    let keys = key || secret || token;
    if s3.profile.as_ref().is_some_and(|profile| profile.is_empty()) {
        refuse("profile", "it is empty");
    } else if s3.profile.is_some() && in_address {
        refuse("profile", "the address names a profile as well; one of them has to go");
    } else if (s3.profile.is_some() || in_address) && keys {
        refuse("profile", "keys are given as well; one of them has to go");
    }
    if s3.anonymous && (keys || s3.profile.is_some() || in_address) {
        refuse("anonymous", "keys or a profile are given as well; one of them has to go");
    }
}
