//! The ways to tell people something, as they are configured.

use std::fmt;

use crate::base::text::Text;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    Webhook(Webhook),
    Slack(Slack),
    Mail(Mail),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    pub url: Text,
    pub method: String,
    /// Names and values.
    pub headers: Vec<(String, Text)>,
    /// A template; `None`: an object with everything that is known.
    pub body: Option<String>,
}

/// Any service that takes what Slack's incoming webhooks take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slack {
    pub url: Text,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    pub host: String,
    pub port: u16,
    pub security: Security,
    /// User and password.
    pub login: Option<(String, Text)>,
    pub from: String,
    pub to: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Begins in the open and refuses to go on without TLS.
    StartTls,
    Tls,
    None,
}

/// For logs.
impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Webhook(_) => "webhook",
            Self::Slack(_) => "slack",
            Self::Mail(_) => "mail",
        })
    }
}
