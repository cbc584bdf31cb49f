//! Whom a step tells that the app starts, as it stands in the file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::notify::{MailConfig, SlackConfig, WebhookConfig, channel, channel_faults};
use crate::notice::Channel;
use crate::step::{NOTIFY_FIELDS, Notify};

/// Exactly one of `webhook`, `slack` and `mail` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NotifyFields {
    /// A request of any kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    webhook: Option<WebhookConfig>,
    /// An incoming webhook of Slack, or of a service that takes the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slack: Option<SlackConfig>,
    /// A mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mail: Option<MailConfig>,
    /// What is told, in place of our own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl NotifyFields {
    pub(super) fn parse(&self) -> Result<Channel, String> {
        let (webhook, slack, mail) = (self.webhook.as_ref(), self.slack.as_ref(), self.mail.as_ref());
        let given = [webhook.is_some(), slack.is_some(), mail.is_some()];
        if given.iter().filter(|given| **given).count() != 1 {
            return Err("`notify`: exactly one of webhook, slack, mail is expected".to_owned());
        }
        let mut found = Vec::new();
        channel_faults(webhook, slack, mail, &NOTIFY_FIELDS, &mut found);
        if let Some((key, message)) = found.into_iter().next() {
            return Err(format!("`notify.{key}`: {message}"));
        }
        channel(webhook, slack, mail).ok_or_else(|| "`notify`: an address is missing".to_owned())
    }

    pub(super) fn notify(&self, channel: &Channel) -> Notify {
        Notify { channel: channel.clone(), text: self.text.clone() }
    }
}
