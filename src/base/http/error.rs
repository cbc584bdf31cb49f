//! What can be in the way of an answer. Messages name the place, never a path, a header or a body.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

#[derive(Debug, Error)]
pub enum HttpError {
    /// For a person to mend.
    #[error("the request for {place} cannot be made: {what}")]
    Request { place: String, what: String },
    /// For a person to mend.
    #[error("the certificates in {} cannot be used: {reason}", path.display())]
    CaFile { path: PathBuf, reason: String },
    #[error("the host of {place} cannot be found: {source}")]
    Unresolvable { place: String, source: io::Error },
    /// Nobody listens there, or the way there is closed.
    #[error("cannot connect to {place}: {source}")]
    Refused { place: String, source: io::Error },
    /// The other side is not who it should be, or speaks no TLS.
    #[error("no secure connection to {place}: {reason}")]
    Tls { place: String, reason: String },
    #[error("{place} did not answer within {} s ({doing})", limit.as_secs_f32())]
    TimedOut { place: String, limit: Duration, doing: &'static str },
    /// The connection broke, or what came was no answer.
    #[error("{place} did not finish its answer: {reason}")]
    Cut { place: String, reason: String },
    #[error("the request to {place} was given up, because the work it is part of was stopped")]
    Cancelled { place: String },
    #[error("cannot prepare a connection to {place}: {source}")]
    Runtime { place: String, source: io::Error },
}

impl HttpError {
    /// Whether the same request may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unresolvable { .. }
            | Self::Refused { .. }
            | Self::TimedOut { .. }
            | Self::Cut { .. }
            | Self::Runtime { .. } => true,
            Self::Request { .. } | Self::CaFile { .. } | Self::Tls { .. } | Self::Cancelled { .. } => false,
        }
    }
}

/// The innermost cause: the outer ones only say that there was one.
pub(super) fn reason(error: &hyper::Error) -> String {
    let mut deepest = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        deepest = source.to_string();
        next = source.source();
    }
    deepest
}
