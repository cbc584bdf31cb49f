//! Addresses of git repositories: `git+ssh://git@host/wiki.git?branch=main`, `git+https://…` and `git+file://…`.
//! They may hold a key or a token; whatever is printed of them does not. Must not know
//! how they are read.

use std::fmt;
use std::path::PathBuf;

use crate::base::secret::{REDACTED, Secret};
use crate::config::repository_url::branch::DEFAULT_BRANCH;
use crate::config::repository_url::{GitSays, GitWay, percent};

/// A branch of a git repository, the way there, and what opens the door if that is in the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitAddress {
    pub place: GitPlace,
    pub branch: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GitPlace {
    Directory(PathBuf),
    Ssh {
        user: String,
        /// IPv6 addresses without their brackets.
        host: String,
        port: u16,
        /// With a slash in front, or from the user's home directory.
        path: String,
        /// A private key, as text.
        key: Option<Secret>,
    },
    Https {
        host: String,
        port: u16,
        /// With a slash in front.
        path: String,
        /// Some hosts take a token in its place, so it is as secret.
        user: Option<Secret>,
        token: Option<Secret>,
    },
}

pub(super) const SSH_PORT: u16 = 22;
pub(super) const HTTPS_PORT: u16 = 443;

impl GitAddress {
    pub fn branch(&self) -> &str {
        self.branch.as_deref().unwrap_or(DEFAULT_BRANCH)
    }

    pub(super) fn says(&self) -> GitSays<'_> {
        let branch = self.branch.as_deref();
        let nothing = GitSays { way: GitWay::Directory, branch, key: false, user: false, token: false };
        match &self.place {
            GitPlace::Directory(_) => nothing,
            GitPlace::Ssh { key, .. } => GitSays { way: GitWay::Ssh, key: key.is_some(), ..nothing },
            GitPlace::Https { user, token, .. } => {
                GitSays { way: GitWay::Https, user: user.is_some(), token: token.is_some(), ..nothing }
            }
        }
    }

    /// As whom makes no other repository of it, unless the path begins in the home directory of that user.
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.branch() == other.branch() && self.place.is_same(&other.place)
    }
}

impl GitPlace {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Directory(one), Self::Directory(other)) => one == other,
            (
                Self::Ssh { user, host, port, path, .. },
                Self::Ssh { user: their_user, host: their_host, port: their_port, path: their_path, .. },
            ) => {
                (host, port, path) == (their_host, their_port, their_path)
                    && (path.starts_with('/') || user == their_user)
            }
            (
                Self::Https { host, port, path, .. },
                Self::Https { host: their_host, port: their_port, path: their_path, .. },
            ) => (host, port, path) == (their_host, their_port, their_path),
            _ => false,
        }
    }
}

/// Reads back as the same but for its secrets.
impl fmt::Display for GitAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            GitPlace::Directory(path) => {
                write!(f, "git+file://{}", percent::encode(&path.to_string_lossy(), "%?#"))?;
            }
            GitPlace::Ssh { user, host, port, path, key } => {
                let key = if key.is_some() { format!("~{REDACTED}") } else { String::new() };
                let home = if path.starts_with('/') { "" } else { "/~/" };
                let path = percent::encode(path, "%?#@");
                write!(f, "git+ssh://{user}{key}@{}{home}{path}", authority(host, *port, SSH_PORT))?;
            }
            GitPlace::Https { host, port, path, user, token } => {
                let before = match user.is_some() || token.is_some() {
                    true => format!("{REDACTED}@"),
                    false => String::new(),
                };
                let path = percent::encode(path, "%?#@");
                write!(f, "git+https://{before}{}{path}", authority(host, *port, HTTPS_PORT))?;
            }
        }
        match &self.branch {
            Some(branch) => write!(f, "?branch={}", percent::encode(branch, "%&#@")),
            None => Ok(()),
        }
    }
}

fn authority(host: &str, port: u16, usual: u16) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match port == usual {
        true => host,
        false => format!("{host}:{port}"),
    }
}
