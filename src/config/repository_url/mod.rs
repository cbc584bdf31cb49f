//! The address of a repository: which kinds there are, and how they are written without secrets. Says where a
//! repository is, never as whom it is used.

mod file;
mod percent;
#[cfg(feature = "s3")]
mod s3;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::base::secret::REDACTED;

#[cfg(feature = "s3")]
pub use s3::S3Address;

/// Where a repository is. The default, an empty path, stands for "not given" and never passes the check.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub enum RepositoryUrl {
    /// An absolute directory of this machine: `file:///backups/wiki`.
    File(PathBuf),
    /// A bucket, or a part of it: `s3://bucket/wiki?region=eu-central-1`.
    #[cfg(feature = "s3")]
    S3(Box<S3Address>),
}

impl RepositoryUrl {
    pub fn is_given(&self) -> bool {
        match self {
            Self::File(path) => !path.as_os_str().is_empty(),
            #[cfg(feature = "s3")]
            Self::S3(_) => true,
        }
    }

    pub fn is_s3(&self) -> bool {
        match self {
            Self::File(_) => false,
            #[cfg(feature = "s3")]
            Self::S3(_) => true,
        }
    }

    /// The profile an `s3://` address names.
    pub fn profile(&self) -> Option<&str> {
        match self {
            Self::File(_) => None,
            #[cfg(feature = "s3")]
            Self::S3(address) => address.profile.as_deref(),
        }
    }

    /// Whether both mean the same objects, whatever way leads there.
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            #[cfg(feature = "s3")]
            (Self::S3(one), Self::S3(other)) => one.is_same_place(other),
            (one, other) => one == other,
        }
    }
}

impl Default for RepositoryUrl {
    fn default() -> Self {
        Self::File(PathBuf::new())
    }
}

impl FromStr for RepositoryUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(match text.starts_with('/') {
                true => format!("`{text}` is a path; as an address it is written `file://{text}`"),
                false => format!("`{text}` is not an address such as file:///backups/wiki"),
            });
        };
        match scheme {
            "file" => file::parse(text, rest).map(Self::File),
            #[cfg(feature = "s3")]
            "s3" => s3::parse(rest).map(|address| Self::S3(Box::new(address))),
            #[cfg(not(feature = "s3"))]
            "s3" => Err("addresses that begin with s3:// are not supported by this build".to_owned()),
            _ => Err(format!(
                "`{}`: `{scheme}` is not supported; addresses are file:///absolute/path and s3://bucket/prefix",
                redact(text)
            )),
        }
    }
}

/// Any address with what stands before its last `@` replaced, but for a user's name. Rather too much goes than
/// a part of a secret with a slash in it stays.
fn redact(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    match rest.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
        Some((user, host)) => format!("{scheme}://{user}:{REDACTED}@{host}"),
        None => text.to_owned(),
    }
}

/// As it is written in the configuration. No address holds a secret.
impl fmt::Display for RepositoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file://{}", percent::encode(&path.to_string_lossy(), "%?#")),
            #[cfg(feature = "s3")]
            Self::S3(address) => write!(f, "{address}"),
        }
    }
}

impl Serialize for RepositoryUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RepositoryUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_explained() {
        for (text, part) in [
            ("/backups", "file:///backups"),
            ("ftp://host/x", "`ftp` is not supported"),
            ("wiki", "not an address"),
        ] {
            let error = text.parse::<RepositoryUrl>().unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn passwords_are_never_shown() {
        for text in ["https://me:hun@ter2@host/x", "https://me:hun/ter2@host/x", "https://me:a?ter2@host/x"] {
            let error = text.parse::<RepositoryUrl>().unwrap_err();
            assert!(error.contains("https://me:***@host/x") && !error.contains("ter2"), "{error}");
        }
        assert_eq!(redact("ssh://git@host/x"), "ssh://git@host/x");
    }

    #[cfg(not(feature = "s3"))]
    #[test]
    fn buckets_need_a_build_that_knows_them() {
        let error = "s3://me:hunter2@bucket/x".parse::<RepositoryUrl>().unwrap_err();
        assert!(error.contains("not supported by this build") && !error.contains("hunter2"), "{error}");
    }
}
