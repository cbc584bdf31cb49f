//! Git servers over ssh: logs in, runs the service there, and passes on what it says. Paths are told as git does it,
//! in quotes; what begins with `~` or with no slash is for the server to find. Must not know git's protocol but for
//! how to end it.

mod client;
mod keys;
mod known_hosts;

use std::convert::Infallible;
use std::io::Read;
use std::time::Duration;

use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Disconnect};
use tokio::sync::oneshot;
use tokio::time::timeout;

use self::client::{Session, login};
use self::keys::{Identity, identity};
use self::known_hosts::KnownHosts;
use super::attempts::Attempts;
use super::line::{Duct, Ended, Line, Outgoing, Sends, Terms};
use super::packet::Packets;
use super::said::Said;
use super::trouble::{self, Meaning};
use super::{Advertisement, Body, Connected, Conversation, Service, Transport, advertisement};
use crate::repository::RepositoryError;
use crate::repository::git::options::{GitOptions, SshOptions};
use crate::store::{Denial, Obstacle, StoreError};

/// How long a server may take to close what is over.
const FAREWELL: Duration = Duration::from_secs(1);
/// As shells say it: the command cannot be run, or is not there.
const NO_COMMAND: [u32; 2] = [126, 127];

#[derive(Clone, Debug)]
pub(super) struct Ssh {
    options: SshOptions,
    terms: Terms,
    attempts: Attempts,
}

/// What a thread needs for one conversation.
struct Setup {
    host: String,
    port: u16,
    user: String,
    command: String,
    known: KnownHosts,
    identity: Identity,
    terms: Terms,
}

struct Talk {
    line: Line,
    location: String,
}

impl Ssh {
    pub(super) fn new(options: &GitOptions, ssh: &SshOptions) -> Self {
        Self { options: ssh.clone(), terms: Terms::of(options), attempts: Attempts::of(options) }
    }

    fn setup(&self, service: Service) -> Result<Setup, RepositoryError> {
        let SshOptions { host, port, user, path, known_hosts, .. } = &self.options;
        let known = KnownHosts::read(known_hosts)
            .map_err(|(path, error)| RepositoryError::local("read", path)(error))?;
        Ok(Setup {
            host: host.clone(),
            port: *port,
            user: user.clone(),
            command: format!("{} {}", service.word(), quoted(path)),
            known,
            identity: identity(&self.options, &self.terms.location)?,
            terms: self.terms.clone(),
        })
    }

    fn connect_once(&self, service: Service) -> Result<Option<(Advertisement, Talk)>, RepositoryError> {
        let location = &self.terms.location;
        let setup = self.setup(service)?;
        let mut line = Line::open(&self.terms, move |duct| talk(setup, duct))?;
        match advertisement::read(&mut Packets::new(&mut line.incoming, location)) {
            Ok(Some(found)) => Ok(Some((found, Talk { line, location: location.clone() }))),
            Ok(None) => Ok(None),
            Err(error) => {
                let ended = line.end()?;
                let early = matches!(error, RepositoryError::Store(StoreError::Temporary { .. }));
                if early && ended.absent { Ok(None) } else { Err(ended.explain(error, location)) }
            }
        }
    }
}

impl Transport for Ssh {
    fn location(&self) -> String {
        self.terms.location.clone()
    }

    fn connect(&self, service: Service) -> Result<Connected, RepositoryError> {
        let found = self.attempts.run(service.word(), || self.connect_once(service))?;
        Ok(found.map(|(advertisement, talk)| (advertisement, Box::new(talk) as Box<dyn Conversation>)))
    }
}

impl Conversation for Talk {
    fn location(&self) -> &str {
        &self.location
    }

    fn exchange(
        self: Box<Self>,
        body: Body,
        answer: &mut dyn FnMut(&mut dyn Read) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let Self { line, location } = *self;
        line.exchange(body, &location, answer)
    }
}

impl Setup {
    fn shown_host(&self) -> String {
        match self.port {
            22 => self.host.clone(),
            port => format!("[{}]:{port}", self.host),
        }
    }
}

/// One word for any shell, and for what stands for a shell on git servers.
fn quoted(path: &str) -> String {
    format!("'{}'", path.replace('\'', r"'\''").replace('!', r"'\!'"))
}

async fn talk(setup: Setup, duct: Duct) -> Result<Ended, RepositoryError> {
    let location = setup.terms.location.clone();
    let limit = setup.terms.connect_timeout;
    let begun = timeout(limit, Box::pin(begin(&setup))).await;
    let (session, reads, writes) = begun.map_err(|_| {
        let reason = format!("it did not let us in within {} s", limit.as_secs_f32());
        trouble::unreachable(&location, reason, Obstacle::Silence)
    })??;
    duct.sends.ready();
    let outcome = tokio::select! {
        biased;
        ended = hear(reads, &duct.sends, &session, &location) => ended,
        Err(error) = say(&writes, duct.body, &duct.sends) => Err(error),
    };
    let _ = timeout(FAREWELL, async {
        let _ = session.handle.disconnect(Disconnect::ByApplication, "", "").await;
        let _ = session.handle.await;
    })
    .await;
    outcome
}

async fn begin(setup: &Setup) -> Result<(Session, ChannelReadHalf, ChannelWriteHalf<Msg>), RepositoryError> {
    let location = &setup.terms.location;
    let session = login(setup).await?;
    let channel = match session.handle.channel_open_session().await {
        Ok(channel) => channel,
        Err(russh::Error::ChannelOpenFailure(_)) => {
            let reason = "the server opens no channel for commands";
            return Err(trouble::denied(location, reason, Denial::Permission(None)));
        }
        Err(_) => return Err(session.broken(location)),
    };
    let (reads, writes) = channel.split();
    // What git says for people to read is understood in one language only. Many servers ignore it.
    let asked = async {
        writes.set_env(false, "LC_ALL", "C").await?;
        writes.exec(true, setup.command.as_str()).await
    };
    if asked.await.is_err() {
        return Err(session.broken(location));
    }
    Ok((session, reads, writes))
}

/// Up to the end of the command.
async fn hear(
    mut reads: ChannelReadHalf,
    sends: &Sends,
    session: &Session,
    location: &str,
) -> Result<Ended, RepositoryError> {
    let mut said = Said::default();
    let mut status = None;
    let mut over = false;
    let mut answered = false;
    loop {
        let message = match over {
            // Its status usually follows the end of what it says.
            true => timeout(FAREWELL, reads.wait()).await.unwrap_or(Some(ChannelMsg::Close)),
            false => reads.wait().await,
        };
        sends.movement.moved();
        match message {
            Some(ChannelMsg::Data { data }) => {
                answered = true;
                // Nobody wants the rest, however much it is.
                if !sends.put(data).await {
                    break;
                }
            }
            Some(ChannelMsg::ExtendedData { data, .. }) => said.hear(&data),
            Some(ChannelMsg::ExitStatus { exit_status }) => status = Some(exit_status),
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                said.hear(format!("the command was ended by the signal {signal_name:?}\n").as_bytes());
            }
            Some(ChannelMsg::Failure) => {
                let reason = "the server runs no commands for us";
                return Err(trouble::denied(location, reason, Denial::Permission(None)));
            }
            Some(ChannelMsg::Eof) => over = true,
            Some(ChannelMsg::Close) => break,
            Some(_) => {}
            None if over || status.is_some() => break,
            None => return Err(session.broken(location)),
        }
    }
    let words = said.text();
    if !answered && status.is_some_and(|status| NO_COMMAND.contains(&status)) {
        return Err(trouble::protocol(location, format!("the server cannot run git: {words}")));
    }
    Ok(Ended { absent: trouble::meaning(&words) == Meaning::NoRepository, words })
}

/// Sends the request when there is one, or says that there will be none. Goes on forever, unless it fails.
async fn say(
    writes: &ChannelWriteHalf<Msg>,
    body: oneshot::Receiver<Body>,
    sends: &Sends,
) -> Result<Infallible, RepositoryError> {
    // Both services take an empty section for a farewell.
    let body = body.await.unwrap_or_else(|_| Body { head: b"0000".to_vec(), file: None });
    let unreadable = |error| RepositoryError::local("read", "the pack to be sent")(error);
    let mut outgoing = Outgoing::of(body).map_err(unreadable)?;
    while let Some(piece) = outgoing.next().map_err(unreadable)? {
        // A server that takes no more says why in its answer.
        if writes.data_bytes(piece).await.is_err() {
            return std::future::pending().await;
        }
        sends.movement.moved();
    }
    let _ = writes.eof().await;
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_one_word_for_a_shell() {
        assert_eq!(quoted("/srv/wiki.git"), "'/srv/wiki.git'");
        assert_eq!(quoted("~/a b;$(c)"), "'~/a b;$(c)'");
        assert_eq!(quoted("it's!"), r"'it'\''s'\!''");
    }
}
