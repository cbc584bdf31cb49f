//! The address of a repository: which kinds there are, and how they are written without secrets. Says where a
//! repository is; as whom it is used only where git has it in the address.

pub mod branch;
mod file;
#[cfg(feature = "git")]
mod git;
#[cfg(feature = "git")]
mod git_parse;
#[cfg(any(feature = "git", feature = "s3"))]
mod host;
mod other;
mod percent;
#[cfg(feature = "s3")]
mod s3;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

#[cfg(feature = "git")]
pub use git::{GitAddress, GitPlace};
#[cfg(feature = "s3")]
pub use s3::S3Address;

/// Where a repository is. The default, an empty path, stands for "not given" and never passes the check.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", extend("title" = "address"))]
pub enum RepositoryUrl {
    /// An absolute directory of this machine: `file:///backups/wiki`.
    File(PathBuf),
    /// A bucket, or a part of it: `s3://bucket/wiki?region=eu-central-1`.
    #[cfg(feature = "s3")]
    S3(Box<S3Address>),
    /// A branch of a git repository: `git+ssh://git@host/wiki.git?branch=main`.
    #[cfg(feature = "git")]
    Git(Box<GitAddress>),
}

/// How a git repository is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitWay {
    Directory,
    Ssh,
    Https,
}

/// What a git address says besides where the repository is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GitSays<'a> {
    pub way: GitWay,
    pub branch: Option<&'a str>,
    pub key: bool,
    pub user: bool,
    pub token: bool,
}

impl RepositoryUrl {
    pub fn is_given(&self) -> bool {
        match self {
            Self::File(path) => !path.as_os_str().is_empty(),
            #[cfg(any(feature = "git", feature = "s3"))]
            _ => true,
        }
    }

    pub fn is_s3(&self) -> bool {
        match self {
            #[cfg(feature = "s3")]
            Self::S3(_) => true,
            _ => false,
        }
    }

    /// Of an address that begins with `file://`.
    pub fn plain_directory(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            #[cfg(any(feature = "git", feature = "s3"))]
            _ => None,
        }
    }

    /// Of an address of S3: whether it says more than a bucket.
    pub fn names_object(&self) -> bool {
        match self {
            #[cfg(feature = "s3")]
            Self::S3(address) => !address.prefix.is_empty(),
            _ => false,
        }
    }

    /// The profile an `s3://` address names.
    pub fn profile(&self) -> Option<&str> {
        match self {
            #[cfg(feature = "s3")]
            Self::S3(address) => address.profile.as_deref(),
            _ => None,
        }
    }

    /// `None`: it is another kind of address.
    pub fn git(&self) -> Option<GitSays<'_>> {
        match self {
            #[cfg(feature = "git")]
            Self::Git(address) => Some(address.says()),
            _ => None,
        }
    }

    /// The directory of this machine that it leads to, whatever is in it.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            #[cfg(feature = "git")]
            Self::Git(address) => match &address.place {
                GitPlace::Directory(path) => Some(path),
                _ => None,
            },
            #[cfg(feature = "s3")]
            Self::S3(_) => None,
        }
    }

    /// With the branch that is named beside it.
    pub fn on_branch(&self, branch: Option<&str>) -> Self {
        match (self, branch) {
            #[cfg(feature = "git")]
            (Self::Git(address), Some(branch)) => Self::Git(Box::new(GitAddress {
                branch: Some(branch.to_owned()),
                ..address.as_ref().clone()
            })),
            _ => self.clone(),
        }
    }

    /// Whether both mean the same snapshots, whatever way leads there.
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            #[cfg(feature = "s3")]
            (Self::S3(one), Self::S3(other)) => one.is_same_place(other),
            #[cfg(feature = "git")]
            (Self::Git(one), Self::Git(other)) => one.is_same_place(other),
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
        let Some((scheme, rest)) = text.split_once("://") else { return Err(other::no_scheme(text)) };
        match scheme {
            "file" => file::parse(text, rest).map(Self::File),
            #[cfg(feature = "s3")]
            "s3" => s3::parse(rest).map(|address| Self::S3(Box::new(address))),
            #[cfg(feature = "git")]
            "git+ssh" | "git+https" | "git+file" => {
                git_parse::parse(scheme, rest).map(|address| Self::Git(Box::new(address)))
            }
            #[cfg(not(feature = "s3"))]
            "s3" => Err("addresses that begin with s3:// are not supported by this build".to_owned()),
            #[cfg(not(feature = "git"))]
            "git+ssh" | "git+https" | "git+file" => {
                Err(format!("addresses that begin with {scheme}:// are not supported by this build"))
            }
            _ => Err(other::unknown_scheme(scheme, text)),
        }
    }
}

/// As it is written in the configuration, without the secrets that are in an address of git.
impl fmt::Display for RepositoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file://{}", percent::encode(&path.to_string_lossy(), "%?#")),
            #[cfg(feature = "s3")]
            Self::S3(address) => write!(f, "{address}"),
            #[cfg(feature = "git")]
            Self::Git(address) => write!(f, "{address}"),
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

    #[cfg(not(feature = "s3"))]
    #[test]
    fn buckets_need_a_build_that_knows_them() {
        let error = "s3://me:hunter2@bucket/x".parse::<RepositoryUrl>().unwrap_err();
        assert!(error.contains("not supported by this build") && !error.contains("hunter2"), "{error}");
    }

    #[cfg(not(feature = "git"))]
    #[test]
    fn git_needs_a_build_that_knows_it() {
        let error = "git+https://me:hunter2@host/x".parse::<RepositoryUrl>().unwrap_err();
        assert!(error.contains("not supported by this build") && !error.contains("hunter2"), "{error}");
    }
}
