//! Tells people something: by a webhook, by Slack, by mail. Holds the ways out and the form that each of them wants; must
//! not know what is told, or when.

mod channel;
mod error;
mod mail;
mod post;
mod request;
pub mod template;

use std::time::Duration;

use serde_json::{Map, Value};

pub use channel::{Channel, Mail, Security, Slack, Webhook};
pub use error::NoticeError;
pub use mail::check_address;
pub use request::{Outgoing, read, send as send_request};

use crate::base::cancel::Cancel;

/// What is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    pub mood: Mood,
    /// A line that says it all.
    pub title: String,
    /// Some lines that say more.
    pub text: String,
    /// Everything that is known, by name: the values of templates.
    pub fields: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Good,
    Bad,
    Late,
}

/// One attempt, for `limit`.
pub fn send(channel: &Channel, letter: &Letter, limit: Duration, cancel: &Cancel) -> Result<(), NoticeError> {
    match channel {
        Channel::Webhook(hook) => send_request(post::to_webhook(hook, letter)?, limit, cancel),
        Channel::Slack(slack) => send_request(post::to_slack(slack, letter)?, limit, cancel),
        Channel::Mail(mail) => mail::send(mail, letter, limit, cancel),
    }
}
