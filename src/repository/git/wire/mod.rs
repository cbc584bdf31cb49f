//! The way to a git server over a network, in git's own protocol (version 0, which every server speaks). Knows
//! packs as streams of bytes and references by name; must not know snapshots.

mod advertisement;
mod attempts;
mod fetch;
mod https;
mod line;
mod packet;
mod push;
mod said;
#[cfg(test)]
mod script;
mod ssh;
mod trouble;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use crate::repository::RepositoryError;
use crate::repository::git::oid::Oid;
use crate::repository::git::options::{GitOptions, Place};

pub use fetch::{Fetch, Fetched, Filter, fetch, supports_filter, takes_any_commit};
pub use push::{Update, push};

/// What a server is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// `git-upload-pack`
    Fetch,
    /// `git-receive-pack`
    Push,
}

/// What a service says of itself first.
#[derive(Clone, Debug, Default)]
pub struct Advertisement {
    /// By full name; without entries for peeled tags.
    pub references: BTreeMap<String, Oid>,
    /// Such as `side-band-64k` or `agent=git/2.39`.
    pub capabilities: Vec<String>,
}

/// What goes to the service: some bytes, then maybe a file from its start to its end.
#[derive(Debug)]
pub struct Body {
    pub head: Vec<u8>,
    pub file: Option<File>,
}

/// What comes of connecting. `None`: the server says there is no such repository. Hosts say so of a repository that is
/// hidden from whoever asks, too.
pub type Connected = Option<(Advertisement, Box<dyn Conversation>)>;

pub trait Transport: Send + Sync + Debug {
    /// For messages; holds no secret.
    fn location(&self) -> String;

    /// Begins a conversation and reads the advertisement. Tried again for a while when the server is away.
    fn connect(&self, service: Service) -> Result<Connected, RepositoryError>;
}

/// Dropped without an `exchange` it ends politely.
pub trait Conversation: Send {
    /// For messages, as that of the transport.
    fn location(&self) -> &str;

    /// Sends the request and gives the answer to `answer` as it comes, both at the same time. What `answer` leaves
    /// unread is lost. An error of the way there is returned in place of what `answer` made of it.
    fn exchange(
        self: Box<Self>,
        body: Body,
        answer: &mut dyn FnMut(&mut dyn Read) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError>;
}

/// `None` for a directory, to which no way leads over a network.
pub fn open(options: &GitOptions) -> Option<Arc<dyn Transport>> {
    match &options.place {
        Place::Directory(_) => None,
        Place::Ssh(ssh) => Some(Arc::new(ssh::Ssh::new(options, ssh))),
        Place::Https(https) => Some(Arc::new(https::Https::new(options, https))),
    }
}

impl Service {
    /// As servers call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fetch => "git-upload-pack",
            Self::Push => "git-receive-pack",
        }
    }
}

impl Advertisement {
    /// Whether there is this capability, alone or with a value.
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|known| {
            known.strip_prefix(capability).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        })
    }
}
