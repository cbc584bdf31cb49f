//! What a repository in git has besides its address: a branch, a limit of its host, and as whom it is used. Where it
//! is, is said by the address alone.

pub mod faults;

#[cfg(feature = "git")]
use std::path::Path;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::secret::Secret;
#[cfg(feature = "git")]
use crate::base::secret::SecretSource;
use crate::base::units::ByteSize;
use crate::config::model::RepositoryConfig;
use crate::config::repository_url::RepositoryUrl;
#[cfg(feature = "git")]
use crate::config::repository_url::{GitAddress, GitPlace};
use crate::config::section::Given;
#[cfg(feature = "git")]
use crate::config::surroundings::Surroundings;
#[cfg(feature = "git")]
use crate::repository::git::{GitOptions, HttpsOptions, Place, SshOptions};

/// What hosts such as GitHub take as one file.
pub const USUAL_LARGEST_FILE: ByteSize = ByteSize(100 << 20);

/// Where ssh looks for a key of its own, in this order.
#[cfg(feature = "git")]
const USUAL_KEYS: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

/// As whom a `git+ssh://` address is used, and which hosts are known. Without a key here the usual ones of the home
/// directory are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SshConfig {
    /// The private key, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// A file with the private key, read when it is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// What the private key is encrypted with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<Secret>,
    /// A file with the passphrase, read when it is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passphrase_file: Option<PathBuf>,
    /// The hosts that are known, with their keys, as in OpenSSH's `known_hosts`. Without it `~/.ssh/known_hosts` and
    /// `/etc/ssh/ssh_known_hosts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_hosts_file: Option<PathBuf>,
    /// Instead of a key: the ssh agent behind `SSH_AUTH_SOCK` is asked.
    pub agent: bool,
}

/// As whom a `git+https://` address is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HttpsConfig {
    /// The user's name. Some hosts take a token in its place, so it is not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Secret>,
    /// A file with the user's name, read when it is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_file: Option<PathBuf>,
    /// A token or a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// A file with the token, read when it is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Certificates in PEM that are trusted besides those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// Whether it is left out of what is shown.
pub(super) fn is_usual(largest_file: &ByteSize) -> bool {
    *largest_file == USUAL_LARGEST_FILE
}

impl SshConfig {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    fn key(&self) -> Given<'_> {
        Given(self.key.as_ref(), self.key_file.as_deref())
    }

    fn passphrase(&self) -> Given<'_> {
        Given(self.passphrase.as_ref(), self.passphrase_file.as_deref())
    }

    #[cfg(feature = "git")]
    fn known_hosts(&self, home: Option<&Path>) -> Vec<PathBuf> {
        match &self.known_hosts_file {
            Some(file) => vec![file.clone()],
            None => {
                let own = home.map(|home| home.join(".ssh/known_hosts"));
                own.into_iter().chain([PathBuf::from("/etc/ssh/ssh_known_hosts")]).collect()
            }
        }
    }
}

impl HttpsConfig {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    fn user(&self) -> Given<'_> {
        Given(self.user.as_ref(), self.user_file.as_deref())
    }

    fn token(&self) -> Given<'_> {
        Given(self.token.as_ref(), self.token_file.as_deref())
    }
}

impl RepositoryConfig {
    /// The address with all that says which repository it is.
    pub fn place(&self) -> RepositoryUrl {
        self.url.on_branch(self.branch.as_deref())
    }

    /// For a configuration without faults. Looks for the usual keys, so each call may find others. Time limits are
    /// those of the options.
    #[cfg(feature = "git")]
    pub fn git_options(
        &self,
        address: &GitAddress,
        surroundings: &Surroundings,
        cache: PathBuf,
    ) -> GitOptions {
        let value = |secret: &Secret| SecretSource::Value(secret.clone());
        let place = match &address.place {
            GitPlace::Directory(path) => Place::Directory(path.clone()),
            GitPlace::Ssh { user, host, port, path, key } => {
                let home = surroundings.home.as_deref();
                let given = key.as_ref().map(value).or_else(|| self.ssh.key().source());
                Place::Ssh(Box::new(SshOptions {
                    host: host.clone(),
                    port: *port,
                    user: user.clone(),
                    path: path.clone(),
                    key: given.or_else(|| usual_key(home?).filter(|_| !self.ssh.agent)),
                    passphrase: self.ssh.passphrase().source(),
                    agent: surroundings.agent.clone().filter(|_| self.ssh.agent),
                    known_hosts: self.ssh.known_hosts(home),
                }))
            }
            GitPlace::Https { host, port, path, user, token } => Place::Https(Box::new(HttpsOptions {
                host: host.clone(),
                port: *port,
                path: path.clone(),
                user: user.as_ref().map(value).or_else(|| self.https.user().source()),
                token: token.as_ref().map(value).or_else(|| self.https.token().source()),
                ca_file: self.https.ca_file.clone(),
            })),
        };
        GitOptions {
            branch: self.branch.clone().unwrap_or_else(|| address.branch().to_owned()),
            largest_file: self.largest_file.0,
            ..GitOptions::new(place, cache)
        }
    }
}

#[cfg(feature = "git")]
fn usual_key(home: &Path) -> Option<SecretSource> {
    USUAL_KEYS
        .iter()
        .map(|name| home.join(".ssh").join(name))
        .find(|path| path.exists())
        .map(SecretSource::File)
}
