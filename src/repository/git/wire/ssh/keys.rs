//! With what the server is shown who we are: a key from a file or a value, or an agent. No message shows more of a
//! key than where it is from and its fingerprint.

use std::path::PathBuf;
use std::sync::Arc;

use russh::keys::{Algorithm, HashAlg, PrivateKey, decode_secret_key};

use super::super::trouble;
use crate::base::secret::SecretSource;
use crate::repository::RepositoryError;
use crate::repository::git::options::SshOptions;
use crate::store::Denial;

pub(super) enum Identity {
    Key(Arc<PrivateKey>),
    /// The socket of an agent.
    Agent(PathBuf),
}

/// Files are read anew for each connection.
pub(super) fn identity(options: &SshOptions, location: &str) -> Result<Identity, RepositoryError> {
    let Some(source) = &options.key else {
        return match &options.agent {
            Some(socket) => Ok(Identity::Agent(socket.clone())),
            None => Err(nothing(location, "there is neither an ssh key nor an agent".to_owned())),
        };
    };
    let name = named(source, "the ssh key");
    let text = source.read().map_err(|error| nothing(location, format!("{name} cannot be read: {error}")))?;
    let passphrase = match &options.passphrase {
        None => None,
        Some(source) => Some(source.read().map_err(|error| {
            nothing(location, format!("{} cannot be read: {error}", named(source, "the passphrase")))
        })?),
    };
    // A file ends with a line break that nobody meant.
    let passphrase = passphrase.as_ref().map(|secret| secret.reveal().trim_end_matches(['\r', '\n']));
    let key = decode(text.reveal(), passphrase)
        .map_err(|reason| trouble::denied(location, format!("{name} {reason}"), Denial::Credentials))?;
    Ok(Identity::Key(Arc::new(key)))
}

fn nothing(location: &str, reason: String) -> RepositoryError {
    trouble::denied(location, reason, Denial::NoCredentials)
}

fn named(source: &SecretSource, what: &str) -> String {
    match source {
        SecretSource::Value(_) => format!("{what} of the configuration"),
        SecretSource::File(path) => format!("{what} in {}", path.display()),
    }
}

fn decode(text: &str, passphrase: Option<&str>) -> Result<PrivateKey, String> {
    // Line ends of any kind, and indentation that a value brought along.
    let text: String =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect();
    if text.starts_with("ssh-") || text.starts_with("ecdsa-") || text.starts_with("sk-") {
        return Err("is the public half".to_owned());
    }
    let openssh = text.contains("BEGIN OPENSSH PRIVATE KEY");
    let encrypted = text.contains("ENCRYPTED");
    // A passphrase for a key that has none is not used.
    let passphrase = passphrase.filter(|_| openssh || encrypted);
    if encrypted && passphrase.is_none() {
        return Err("needs a passphrase".to_owned());
    }
    decode_secret_key(&text, passphrase).map_err(|error| match error {
        russh::keys::Error::KeyIsEncrypted => "needs a passphrase".to_owned(),
        russh::keys::Error::CouldNotReadKey => "is in no format that this program knows".to_owned(),
        russh::keys::Error::SshKey(russh::keys::ssh_key::Error::Crypto) if passphrase.is_some() => {
            "does not open with the passphrase".to_owned()
        }
        _ if encrypted => "does not open with the passphrase".to_owned(),
        error => format!("cannot be used: {error}"),
    })
}

/// How an RSA key may sign, the best first. SHA-1 is not among them.
pub(super) fn hashes(key: &Algorithm) -> &'static [Option<HashAlg>] {
    match key {
        Algorithm::Rsa { .. } => &[Some(HashAlg::Sha512), Some(HashAlg::Sha256)],
        _ => &[None],
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
