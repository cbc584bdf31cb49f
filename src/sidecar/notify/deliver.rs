//! Takes one message to one target: makes the request or the mail, waits for the answer for a limited time, and
//! says whether another attempt makes sense. No message of it shows a secret.

use std::fmt;
use std::io;
use std::time::Duration;

use thiserror::Error;

use crate::base::cancel::Cancel;
use crate::base::http::{self, HttpError, Request, Url};
use crate::base::secret::Secret;
use crate::sidecar::notify::target::{Target, TargetKind};
use crate::sidecar::notify::{About, Message, mail, ping, post};

/// For one attempt, from the name of the host to the end of the answer.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(15);
/// Enough of an answer to know that there is one.
const LONGEST_ANSWER: usize = 4 << 10;

/// The way out; tests have another one.
pub trait Deliver: Send + Sync + fmt::Debug {
    fn deliver(
        &self,
        target: &Target,
        message: &Message,
        about: &About,
        cancel: &Cancel,
    ) -> Result<(), Trouble>;
}

#[derive(Debug, Error)]
pub enum Trouble {
    #[error("{0}")]
    Http(#[from] HttpError),
    #[error("{place} answered with the status {status}")]
    Status { place: String, status: u16 },
    /// For a person to mend.
    #[error("the address cannot be used: {0}")]
    Address(String),
    /// For a person to mend.
    #[error("a secret cannot be read: {0}")]
    Secret(#[from] io::Error),
    /// For a person to mend.
    #[error("the template cannot be filled in: {0}")]
    Template(String),
    #[error("{reason}")]
    Mail { reason: String, retryable: bool },
    #[error("there was no time left")]
    Cancelled,
}

impl Trouble {
    /// Whether the same message may arrive later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Http(error) => error.retryable(),
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..),
            Self::Mail { retryable, .. } => *retryable,
            Self::Address(_) | Self::Secret(_) | Self::Template(_) | Self::Cancelled => false,
        }
    }
}

/// A request before it is known where it goes.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) method: String,
    pub(super) url: Secret,
    /// Values may be secrets: not to be shown.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Delivery;

impl Deliver for Delivery {
    fn deliver(
        &self,
        target: &Target,
        message: &Message,
        about: &About,
        cancel: &Cancel,
    ) -> Result<(), Trouble> {
        match (&target.kind, message) {
            (TargetKind::Webhook(hook), Message::Notice(notice)) => {
                send(post::to_webhook(hook, notice, about)?, cancel)
            }
            (TargetKind::Slack(slack), Message::Notice(notice)) => {
                send(post::to_slack(slack, notice, about)?, cancel)
            }
            (TargetKind::Mail(mail), Message::Notice(notice)) => mail::send(mail, notice, about, cancel),
            (TargetKind::Ping(service), message) => match ping::to_service(service, message)? {
                Some(request) => send(request, cancel),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

fn send(outgoing: Outgoing, cancel: &Cancel) -> Result<(), Trouble> {
    let url: Url = outgoing.url.reveal().parse().map_err(Trouble::Address)?;
    let request = Request {
        method: outgoing.method,
        headers: outgoing.headers,
        body: outgoing.body,
        timeout: TIME_LIMIT,
        longest_answer: LONGEST_ANSWER,
        ..Request::get(url)
    };
    let status = http::send(&request, cancel)?.status;
    match status {
        200..300 => Ok(()),
        _ => Err(Trouble::Status { place: request.place(), status }),
    }
}
