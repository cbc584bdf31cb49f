//! Up to a session that the server lets us use: connection, the host's key, and who we are. Nothing is shown to a host
//! that is not known.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::client::{self, AuthResult, DisconnectReason, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{AlgorithmKind, Preferred, SshId};
use thiserror::Error;

use super::super::said::clean;
use super::super::trouble;
use super::Setup;
use super::keys::{Identity, hashes};
use super::known_hosts::KnownHosts;
use crate::base::dial::{DialError, dial};
use crate::repository::{HostKeyTrouble, RepositoryError};
use crate::store::{Denial, Obstacle};

/// A connection on which nothing comes for so long is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Packets that wait to be read; each has up to 32 KiB.
const WAITING: usize = 32;

pub(super) struct Session {
    pub(super) handle: Handle<Client>,
    farewell: Farewell,
}

/// Why the session ended, once it has.
pub(super) type Farewell = Arc<Mutex<Option<String>>>;

pub(super) struct Client {
    host: String,
    port: u16,
    known: KnownHosts,
    farewell: Farewell,
}

#[derive(Debug, Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Ssh(#[from] russh::Error),
    #[error("{trouble}")]
    HostKey { trouble: HostKeyTrouble, fingerprint: String },
}

impl client::Handler for Client {
    type Error = Trouble;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Trouble> {
        let key = shown.public_key();
        self.known.judge(&self.host, self.port, &key).map(|()| true).map_err(|trouble| {
            let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
            Trouble::HostKey { trouble, fingerprint }
        })
    }

    async fn auth_banner(&mut self, banner: &str, _: &mut client::Session) -> Result<(), Trouble> {
        tracing::debug!(banner = clean(banner.as_bytes()), "the ssh server says");
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Trouble>) -> Result<(), Trouble> {
        let said = match &reason {
            DisconnectReason::ReceivedDisconnect(info) => clean(info.message.as_bytes()),
            DisconnectReason::Error(error) => clean(error.to_string().as_bytes()),
        };
        if let Ok(mut farewell) = self.farewell.lock() {
            farewell.get_or_insert(said);
        }
        match reason {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(error) => Err(error),
        }
    }
}

impl Session {
    /// That the connection broke, and why if that is known.
    pub(super) fn broken(&self, location: &str) -> RepositoryError {
        let said = self.farewell.lock().ok().and_then(|mut farewell| farewell.take());
        trouble::temporary(
            location,
            match said {
                Some(said) if !said.is_empty() => format!("the ssh connection broke: {said}"),
                _ => "the ssh connection broke".to_owned(),
            },
        )
    }
}

/// Without a time limit of its own.
pub(super) async fn login(setup: &Setup) -> Result<Session, RepositoryError> {
    let location = &setup.terms.location;
    let dialled = dial(&setup.host, setup.port, setup.terms.connect_timeout).await;
    let stream = dialled.map_err(|error| match error {
        DialError::Unresolvable(source) => trouble::unreachable(location, source.to_string(), Obstacle::Name),
        DialError::Refused(source) => trouble::not_connected(location, &source),
    })?;
    let farewell = Farewell::default();
    let client = Client {
        host: setup.host.clone(),
        port: setup.port,
        known: setup.known.clone(),
        farewell: Arc::clone(&farewell),
    };
    let connected = client::connect_stream(Arc::new(config(setup)), stream, client).await;
    let handle = connected.map_err(|error| sorted(error, setup))?;
    let mut session = Session { handle, farewell };
    match &setup.identity {
        Identity::Key(key) => with_key(&mut session, key, setup).await?,
        Identity::Agent(socket) => with_agent(&mut session, socket, setup).await?,
    }
    Ok(session)
}

fn config(setup: &Setup) -> client::Config {
    client::Config {
        client_id: SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-volkeep_", env!("CARGO_PKG_VERSION")))),
        channel_buffer_size: WAITING,
        keepalive_interval: Some(KEEPALIVE),
        preferred: Preferred {
            key: Cow::Owned(order(&setup.known.algorithms(&setup.host, setup.port))),
            ..Preferred::DEFAULT
        },
        ..client::Config::default()
    }
}

/// The kinds of keys that the host is known by, then all others: a host that shows one of those is told by its key.
fn order(known: &[Algorithm]) -> Vec<Algorithm> {
    // RSA with SHA-1 is no proof any more.
    let all = || Preferred::DEFAULT.key.iter().filter(|kind| **kind != Algorithm::Rsa { hash: None });
    let rsa = |kind: &Algorithm| matches!(kind, Algorithm::Rsa { .. });
    let is_known = |kind: &&Algorithm| known.iter().any(|known| known == *kind || (rsa(known) && rsa(kind)));
    all().filter(is_known).chain(all().filter(|kind| !is_known(kind))).cloned().collect()
}

fn sorted(error: Trouble, setup: &Setup) -> RepositoryError {
    let location = &setup.terms.location;
    match error {
        Trouble::HostKey { trouble, fingerprint } => {
            RepositoryError::HostKey { host: setup.shown_host(), trouble, fingerprint }
        }
        Trouble::Ssh(russh::Error::NoCommonAlgo { kind, .. }) => {
            let what = match kind {
                AlgorithmKind::Key => "the kind of the host's key",
                AlgorithmKind::Kex => "the key exchange",
                _ => "the encryption",
            };
            trouble::protocol(location, format!("there is no way of {what} that both sides find safe"))
        }
        Trouble::Ssh(
            error @ (russh::Error::IO(_)
            | russh::Error::HUP
            | russh::Error::Disconnect
            | russh::Error::SendError
            | russh::Error::RecvError),
        ) => trouble::temporary(location, format!("the ssh connection broke: {error}")),
        Trouble::Ssh(error) => trouble::protocol(location, format!("ssh: {error}")),
    }
}

async fn with_key(
    session: &mut Session,
    key: &Arc<PrivateKey>,
    setup: &Setup,
) -> Result<(), RepositoryError> {
    let mut partly = false;
    for hash in hashes(&key.algorithm()) {
        let offered = PrivateKeyWithHashAlg::new(Arc::clone(key), *hash);
        let answer = session.handle.authenticate_publickey(&setup.user, offered).await;
        match answer.map_err(|error| sorted(error.into(), setup))? {
            AuthResult::Success => return Ok(()),
            AuthResult::Failure { partial_success, .. } => partly |= partial_success,
        }
        if session.handle.is_closed() {
            break;
        }
    }
    let shown = key.public_key().fingerprint(HashAlg::Sha256);
    Err(not_let_in(session, setup, &format!("the key {shown}"), partly))
}

fn not_let_in(session: &Session, setup: &Setup, shown: &str, partly: bool) -> RepositoryError {
    let location = &setup.terms.location;
    if session.handle.is_closed() {
        let said = session.farewell.lock().ok().and_then(|farewell| farewell.clone()).unwrap_or_default();
        // As OpenSSH says after too many keys.
        if !said.to_lowercase().contains("auth") {
            return session.broken(location);
        }
    }
    let reason = match partly {
        true => format!("the server wants more than {shown} from `{}`", setup.user),
        false => format!("the server does not let `{}` in with {shown}", setup.user),
    };
    trouble::denied(location, reason, Denial::Credentials)
}

async fn with_agent(
    session: &mut Session,
    socket: &std::path::Path,
    setup: &Setup,
) -> Result<(), RepositoryError> {
    let location = &setup.terms.location;
    let silent = |reason: String| {
        let reason = format!("the ssh agent at {} does not help: {reason}", socket.display());
        trouble::denied(location, reason, Denial::NoCredentials)
    };
    let mut agent = AgentClient::connect_uds(socket).await.map_err(|error| silent(error.to_string()))?;
    if let Some(binding) = session.handle.agent_session_binding() {
        // Only keys that are bound to certain hosts need it, and old agents do not know it.
        let _ = agent.bind_session(binding, false).await;
    }
    let found = agent.request_identities().await.map_err(|error| silent(error.to_string()))?;
    let keys: Vec<PublicKey> = found
        .into_iter()
        .filter_map(|identity| match identity {
            AgentIdentity::PublicKey { key, .. } => Some(key),
            AgentIdentity::Certificate { .. } => None,
        })
        .collect();
    if keys.is_empty() {
        return Err(silent("it has no keys".to_owned()));
    }
    let count = keys.len();
    for key in keys {
        for hash in hashes(&key.algorithm()) {
            match session
                .handle
                .authenticate_publickey_with(&setup.user, key.clone(), *hash, &mut agent)
                .await
            {
                Ok(AuthResult::Success) => return Ok(()),
                Ok(AuthResult::Failure { .. }) => {}
                // The agent may want to be asked, and be told no: the next key may do.
                Err(error) => tracing::debug!(%error, "the ssh agent did not sign"),
            }
            if session.handle.is_closed() {
                return Err(not_let_in(session, setup, &format!("any of the agent's {count} keys"), false));
            }
        }
    }
    Err(not_let_in(session, setup, &format!("any of the agent's {count} keys"), false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use russh::keys::EcdsaCurve;

    #[test]
    fn the_kinds_of_known_keys_come_first() {
        let kinds =
            |known: &[Algorithm]| -> Vec<String> { order(known).iter().map(ToString::to_string).collect() };
        assert_eq!(kinds(&[]).first().unwrap(), "ssh-ed25519");
        let rsa = kinds(&[Algorithm::Rsa { hash: None }]);
        assert_eq!(rsa[..3], ["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"]);
        let curve = Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 };
        assert_eq!(kinds(&[curve]).first().unwrap(), "ecdsa-sha2-nistp256");
        assert!(rsa.len() == 6 && !rsa.contains(&"ssh-rsa".to_owned()));
    }
}
