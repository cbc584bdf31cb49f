//! The way to a git server over a network, in git's own protocol (version 0, which every server speaks). Knows
//! packs as streams of bytes and references by name; must not know snapshots.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::File;
use std::io::Read;

use crate::repository::RepositoryError;
use crate::repository::git::oid::Oid;

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

pub trait Transport: Send + Sync + Debug {
    /// For messages; holds no secret.
    fn location(&self) -> String;

    /// Begins a conversation and reads the advertisement. `None`: the server says there is no such repository.
    fn connect(
        &self,
        service: Service,
    ) -> Result<Option<(Advertisement, Box<dyn Conversation>)>, RepositoryError>;
}

/// Dropped without an `exchange` it ends politely.
pub trait Conversation: Send {
    /// Sends the request and gives the answer to `answer` as it comes. What `answer` leaves unread is lost.
    fn exchange(
        self: Box<Self>,
        body: Body,
        answer: &mut dyn FnMut(&mut dyn Read) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError>;
}
