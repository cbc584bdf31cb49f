//! Where something is fetched from: what every source promises, and what can be in the way. Sources themselves are
//! below `fetch`, or wherever what they need is.

use std::fmt::{self, Debug};
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::base::action::ActionError;
use crate::base::cancel::Cancel;
use crate::base::http::HttpError;
use crate::store::StoreError;

pub trait Source: Send + Sync + Debug {
    /// For messages, without secrets.
    fn place(&self) -> String;

    /// What tells it from other sources. It may hold secrets: only its hash is kept.
    fn identity(&self) -> String;

    /// The content, unless it is that of `known`, a tag that an earlier answer had. `limit` is for all of it, reading
    /// included, as far as the source has to do with it.
    fn open(&self, known: Option<&str>, limit: Duration, cancel: &Cancel) -> Result<Opened, SourceError>;
}

#[derive(Debug)]
pub enum Opened {
    /// Nothing has changed since `known`.
    Same,
    Content(Content),
}

/// What comes, from the first byte. An error while reading is a [`SourceError`] inside of an `io::Error`.
pub struct Content {
    pub reader: Box<dyn Read + Send>,
    /// If it is known beforehand.
    pub size: Option<u64>,
    /// What this content can be known by.
    pub tag: Option<String>,
}

impl Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("size", &self.size).field("tag", &self.tag).finish_non_exhaustive()
    }
}

#[derive(Debug, Error)]
pub enum SourceError {
    #[error(transparent)]
    Action(#[from] ActionError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A redirect that is not followed.
    #[error("{place} leads elsewhere: {reason}")]
    Redirect { place: String, reason: String },
    #[error("cannot read {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// Of another kind of source; `passing`: it may be another way later.
    #[error("{reason}")]
    Other { reason: String, passing: bool },
    #[error("it was not done within {} s", limit.as_secs_f32())]
    Slow { limit: Duration },
    #[error("it was stopped")]
    Stopped,
}

impl SourceError {
    /// Whether there is no answer, rather than a bad one.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Action(ActionError::Http(error)) => error.retryable(),
            Self::Action(ActionError::Status { status, .. }) => matches!(status, 408 | 425 | 429 | 500..),
            Self::Action(_) | Self::Redirect { .. } | Self::File { .. } | Self::Stopped => false,
            Self::Store(error) => error.retryable(),
            Self::Other { passing, .. } => *passing,
            Self::Slow { .. } => true,
        }
    }

    /// Whether another attempt can end otherwise.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Action(ActionError::Url { .. } | ActionError::UserName)
            | Self::Action(ActionError::Status { status: 401 | 403, .. })
            | Self::Redirect { .. }
            | Self::Stopped => false,
            Self::Action(ActionError::Http(error)) => error.retryable(),
            Self::Store(StoreError::Denied { .. } | StoreError::BadKey { .. }) => false,
            Self::Other { passing, .. } => *passing,
            Self::Action(_) | Self::Store(_) | Self::File { .. } | Self::Slow { .. } => true,
        }
    }

    /// Whether what is configured can never work here.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Action(error) => matches!(
                error,
                ActionError::Url { .. }
                    | ActionError::UserName
                    | ActionError::Http(HttpError::Request { .. } | HttpError::CaFile { .. })
            ),
            Self::Store(StoreError::BadKey { .. }) => true,
            _ => false,
        }
    }

    /// What a reader has wrapped.
    pub(super) fn from_io(error: io::Error, place: &str) -> Self {
        let text = error.to_string();
        match error.into_inner().map(|inner| inner.downcast::<Self>()) {
            Some(Ok(ours)) => *ours,
            Some(Err(other)) => match other.downcast::<HttpError>() {
                Ok(http) => Self::Action((*http).into()),
                Err(_) => Self::Other { reason: format!("{place}: {text}"), passing: true },
            },
            None => Self::Other { reason: format!("{place}: {text}"), passing: true },
        }
    }
}
