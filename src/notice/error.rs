//! Why something was not told, and whether the same may arrive later. No message shows a secret.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::base::http::HttpError;

#[derive(Debug, Error)]
pub enum NoticeError {
    #[error("{0}")]
    Http(#[from] HttpError),
    #[error("{place} answered with the status {status}")]
    Status { place: String, status: u16 },
    /// For a person to mend.
    #[error("the address cannot be used: {0}")]
    Address(String),
    /// For a person to mend.
    #[error("a secret cannot be read: {}: {source}", path.display())]
    Secret { path: PathBuf, source: io::Error },
    /// For a person to mend.
    #[error("the template cannot be filled in: {0}")]
    Template(String),
    #[error("{reason}")]
    Mail { reason: String, retryable: bool },
    #[error("there was no time left")]
    Cancelled,
}

impl NoticeError {
    /// Whether the same message may arrive later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Http(error) => error.retryable(),
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..),
            Self::Mail { retryable, .. } => *retryable,
            Self::Address(_) | Self::Secret { .. } | Self::Template(_) | Self::Cancelled => false,
        }
    }
}
