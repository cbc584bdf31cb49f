//! Who is told of failures, recoveries and silences, as it stands in the file, and the way from there to the
//! targets of notices. Secrets are shown nowhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::http::Url;
use crate::base::secret::{REDACTED, Secret};
use crate::base::text::Text;
use crate::notice::{Channel, Mail, Security, Slack, Webhook, check_address, template};
use crate::sidecar::notify::{Events, FIELDS, Ping, Target, TargetKind};

/// Whom to tell: exactly one of `webhook`, `slack`, `ping` and `mail`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NotifyConfig {
    /// A request of any kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "WebhookConfig")]
    pub webhook: Option<WebhookConfig>,
    /// An incoming webhook of Slack, or of a service that takes the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SlackConfig")]
    pub slack: Option<SlackConfig>,
    /// A service that expects to hear of every run, in the manner of healthchecks.io.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PingConfig")]
    pub ping: Option<PingConfig>,
    /// A mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "MailConfig")]
    pub mail: Option<MailConfig>,
    /// Of what to tell: `failure`, `recovery`, `silence`, `success`. Default: the first three. Pings follow every run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<NotifyEvent>")]
    pub events: Option<Vec<NotifyEvent>>,
    /// Of which jobs. Default: of all; for pings of `backup`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotifyEvent {
    Failure,
    Recovery,
    Silence,
    Success,
}

/// A request of any kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct WebhookConfig {
    /// The address, `https://` or `http://`. It is not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Secret>,
    /// A file with the address, read when it is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
    /// Default: POST.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Headers of the request. Values are not shown.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret>,
    /// Headers whose values are read from files.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers_file: BTreeMap<String, PathBuf>,
    /// What is sent, with places to fill in such as `{{job}}`. Default: a JSON object with everything there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// An incoming webhook of Slack.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SlackConfig {
    /// The address. It is not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Secret>,
    /// A file with the address, read when it is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
}

/// A service that expects to hear of every run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PingConfig {
    /// The address that a success goes to. It is not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Secret>,
    /// A file with the address, read when it is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
    /// Whether the begin of a run is told too, at `/start` behind the address.
    pub start: bool,
    /// Whether a failure goes to `/<exit code>` behind the address and not to `/fail`.
    pub exit_codes: bool,
}

/// A mail, by way of a server that takes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MailConfig {
    /// The name of the server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Default: 587 for starttls, 465 for tls, 25 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How the connection is protected: `starttls`, `tls` or `none`.
    pub security: MailSecurity,
    /// The name to log in with; the password has to be given too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password. It is not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A file with the password, read when it is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The address of the sender.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// The addresses of those who get it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MailSecurity {
    /// Begins in the open, and goes on only with TLS.
    #[default]
    Starttls,
    /// TLS from the beginning.
    Tls,
    /// Neither password nor content are protected.
    None,
}

impl Default for PingConfig {
    fn default() -> Self {
        Self { url: None, url_file: None, start: true, exit_codes: false }
    }
}

/// The jobs of a ping when nothing is said.
const PINGED: &str = "backup";

/// For configurations without faults.
pub fn targets(notify: &[NotifyConfig]) -> Vec<Target> {
    notify.iter().filter_map(NotifyConfig::target).collect()
}

/// What `sidecar.ping_url` and `sidecar.ping_url_file` stand for.
pub fn ping_target(url: Option<&Secret>, file: Option<&Path>) -> Option<Target> {
    let url = secret(url, file)?;
    let kind = TargetKind::Ping(Ping { url, start: true, exit_codes: false });
    Some(Target { kind, events: Events::default(), jobs: vec![PINGED.to_owned()] })
}

/// What is wrong with `sidecar.ping_url` and its twin: the key, and why.
pub fn ping_faults(url: Option<&Secret>, file: Option<&Path>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if url.is_some() || file.is_some() {
        address("ping_url", url, file, &mut found);
    }
    found
}

/// What is wrong with one item of `sidecar.notify`: the key below it, and why. `known_jobs`: the names there are.
pub fn faults(notify: &NotifyConfig, known_jobs: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut refuse = |key: &str, message: &str| found.push((key.to_owned(), message.to_owned()));
    let given =
        [notify.webhook.is_some(), notify.slack.is_some(), notify.ping.is_some(), notify.mail.is_some()];
    if given.iter().filter(|given| **given).count() != 1 {
        refuse("", "whom to tell is exactly one of webhook, slack, ping, mail");
    }
    if notify.events.as_ref().is_some_and(Vec::is_empty) {
        refuse("events", "of nothing to tell is no notice at all; leave the key out or name an event");
    }
    if notify.events.is_some() && notify.ping.is_some() {
        refuse("events", "a ping follows every run; it has no choice of events");
    }
    for job in notify.jobs.iter().filter(|job| !known_jobs.contains(&job.as_str())) {
        refuse("jobs", &format!("there is no job `{job}`; there are: {}", known_jobs.join(", ")));
    }
    if let Some(ping) = &notify.ping {
        address("ping.url", ping.url.as_ref(), ping.url_file.as_deref(), &mut found);
    }
    let (webhook, slack, mail) = (notify.webhook.as_ref(), notify.slack.as_ref(), notify.mail.as_ref());
    channel_faults(webhook, slack, mail, &FIELDS, &mut found);
    found
}

/// `fields`: the names that a template can use.
pub(super) fn channel_faults(
    webhook: Option<&WebhookConfig>,
    slack: Option<&SlackConfig>,
    mail: Option<&MailConfig>,
    fields: &[&str],
    found: &mut Vec<(String, String)>,
) {
    if let Some(hook) = webhook {
        hook_faults(hook, fields, found);
    }
    if let Some(slack) = slack {
        address("slack.url", slack.url.as_ref(), slack.url_file.as_deref(), found);
    }
    if let Some(mail) = mail {
        letters(mail, found);
    }
}

impl NotifyConfig {
    fn target(&self) -> Option<Target> {
        let kind = self.kind()?;
        let mut jobs = self.jobs.clone();
        if jobs.is_empty() && self.ping.is_some() {
            jobs.push(PINGED.to_owned());
        }
        let events = self.events.as_ref().map_or_else(Events::default, |named| {
            let has = |event| named.contains(&event);
            Events {
                failure: has(NotifyEvent::Failure),
                recovery: has(NotifyEvent::Recovery),
                success: has(NotifyEvent::Success),
                silence: has(NotifyEvent::Silence),
            }
        });
        Some(Target { kind, events, jobs })
    }

    fn kind(&self) -> Option<TargetKind> {
        if let Some(ping) = &self.ping {
            let url = secret(ping.url.as_ref(), ping.url_file.as_deref())?;
            return Some(TargetKind::Ping(Ping { url, start: ping.start, exit_codes: ping.exit_codes }));
        }
        channel(self.webhook.as_ref(), self.slack.as_ref(), self.mail.as_ref()).map(TargetKind::People)
    }
}

/// The first that is given.
pub(super) fn channel(
    webhook: Option<&WebhookConfig>,
    slack: Option<&SlackConfig>,
    mail: Option<&MailConfig>,
) -> Option<Channel> {
    if let Some(hook) = webhook {
        let values = hook.headers.iter().map(|(name, value)| (name, Text::Value(value.clone())));
        let files = hook.headers_file.iter().map(|(name, file)| (name, Text::File(file.clone())));
        return Some(Channel::Webhook(Webhook {
            url: secret(hook.url.as_ref(), hook.url_file.as_deref())?,
            method: hook.method.clone().unwrap_or_else(|| "POST".to_owned()),
            headers: values.chain(files).map(|(name, value)| (name.clone(), value)).collect(),
            body: hook.body.clone(),
        }));
    }
    if let Some(slack) = slack {
        let url = secret(slack.url.as_ref(), slack.url_file.as_deref())?;
        return Some(Channel::Slack(Slack { url }));
    }
    let mail = mail?;
    let (security, port) = match mail.security {
        MailSecurity::Starttls => (Security::StartTls, 587),
        MailSecurity::Tls => (Security::Tls, 465),
        MailSecurity::None => (Security::None, 25),
    };
    Some(Channel::Mail(Mail {
        host: mail.host.clone(),
        port: mail.port.unwrap_or(port),
        security,
        login: mail.user.clone().zip(secret(mail.password.as_ref(), mail.password_file.as_deref())),
        from: mail.from.clone(),
        to: mail.to.clone(),
    }))
}

fn hook_faults(hook: &WebhookConfig, fields: &[&str], found: &mut Vec<(String, String)>) {
    address("webhook.url", hook.url.as_ref(), hook.url_file.as_deref(), found);
    let mut refuse = |key: String, message: String| found.push((format!("webhook.{key}"), message));
    let is_method = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase());
    if let Some(method) = hook.method.as_ref().filter(|method| !is_method(method)) {
        refuse("method".to_owned(), format!("`{method}` is not a method such as POST"));
    }
    for (name, value) in &hook.headers {
        if value.reveal() == REDACTED {
            refuse(format!("headers.{name}"), SHOWN.to_owned());
        } else if hook.headers_file.contains_key(name) {
            refuse(
                format!("headers.{name}"),
                "`headers_file` has it as well; one of them has to go".to_owned(),
            );
        }
    }
    for (name, file) in hook.headers_file.iter().filter(|(_, file)| !file.is_absolute()) {
        refuse(format!("headers_file.{name}"), format!("{} is not an absolute path", file.display()));
    }
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    for name in hook.headers.keys().chain(hook.headers_file.keys()).filter(|name| !is_name(name)) {
        refuse("headers".to_owned(), format!("`{name}` is not the name of a header"));
    }
    if let Some(Err(message)) = hook.body.as_deref().map(|body| template::check(body, fields)) {
        refuse("body".to_owned(), message);
    }
}

fn letters(mail: &MailConfig, found: &mut Vec<(String, String)>) {
    let mut refuse = |key: &str, message: String| found.push((format!("mail.{key}"), message));
    if mail.host.trim().is_empty() {
        refuse("host", "the name of the server is missing".to_owned());
    }
    if mail.port == Some(0) {
        refuse("port", "0 is not a port".to_owned());
    }
    if let Err(message) = check_address(&mail.from) {
        refuse("from", message);
    }
    if mail.to.is_empty() {
        refuse("to", "nobody is named".to_owned());
    }
    for message in mail.to.iter().filter_map(|to| check_address(to).err()) {
        refuse("to", message);
    }
    let password = mail.password.is_some() || mail.password_file.is_some();
    match (&mail.user, password) {
        (Some(_), false) => refuse("user", "its password is missing".to_owned()),
        (None, true) => refuse("password", "its user is missing".to_owned()),
        _ => {}
    }
    given_once("mail.password", mail.password.as_ref(), mail.password_file.as_deref(), found);
}

const SHOWN: &str = "it is what `config show` prints in place of a secret";

/// An address is needed, by itself or in a file.
fn address(key: &str, url: Option<&Secret>, file: Option<&Path>, found: &mut Vec<(String, String)>) {
    if url.is_none() && file.is_none() {
        let name = key.rsplit('.').next().unwrap_or(key);
        found.push((key.to_owned(), format!("an address is missing: set `{name}` or `{name}_file`")));
    } else if given_once(key, url, file, found)
        && let Some(Err(message)) = url.map(|url| url.reveal().parse::<Url>())
    {
        found.push((key.to_owned(), message));
    }
}

fn given_once(
    key: &str,
    value: Option<&Secret>,
    file: Option<&Path>,
    found: &mut Vec<(String, String)>,
) -> bool {
    let name = key.rsplit('.').next().unwrap_or(key);
    let before = found.len();
    if value.is_some() && file.is_some() {
        let message = format!("`{name}` and `{name}_file` are both set; one of them has to go");
        found.push((key.to_owned(), message));
    }
    if value.is_some_and(|value| value.reveal() == REDACTED) {
        found.push((key.to_owned(), SHOWN.to_owned()));
    }
    if let Some(file) = file.filter(|file| !file.is_absolute()) {
        found.push((format!("{key}_file"), format!("{} is not an absolute path", file.display())));
    }
    found.len() == before
}

fn secret(value: Option<&Secret>, file: Option<&Path>) -> Option<Text> {
    let file = || file.map(|path| Text::File(path.to_owned()));
    value.map(|value| Text::Value(value.clone())).or_else(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> NotifyConfig {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn wrong(yaml: &str) -> Vec<String> {
        let found = faults(&parse(yaml), &["backup", "check"]);
        found.into_iter().map(|(key, message)| format!("{key}: {message}")).collect()
    }

    #[test]
    fn each_kind_becomes_a_target() {
        let hook = parse(
            "{webhook: {url: 'https://h/secret', headers: {X-Key: k}, headers_file: {Authorization: /run/t},\
             body: '{{title}}'}, events: [failure, success], jobs: [backup]}",
        );
        let slack = parse("{slack: {url_file: /run/slack}}");
        let ping = parse("{ping: {url: 'https://h/id', exit_codes: true}}");
        let mail = parse("{mail: {host: m, user: u, password_file: /run/p, from: a@b.c, to: [d@e.f]}}");
        let all = [hook, slack, ping, mail];
        for notify in &all {
            assert_eq!(faults(notify, &["backup"]), [], "{notify:?}");
        }
        let [hook, slack, ping, mail] = targets(&all).try_into().unwrap();
        let TargetKind::People(Channel::Webhook(sent)) = &hook.kind else { panic!("{hook:?}") };
        assert_eq!((sent.method.as_str(), sent.headers.len()), ("POST", 2));
        assert!(hook.events.success && hook.events.failure && !hook.events.silence);
        assert_eq!((slack.events, slack.jobs.len()), (Events::default(), 0));
        let TargetKind::Ping(sent) = &ping.kind else { panic!("{ping:?}") };
        assert!(sent.start && sent.exit_codes && ping.jobs == ["backup"]);
        let TargetKind::People(Channel::Mail(sent)) = &mail.kind else { panic!("{mail:?}") };
        assert_eq!((sent.port, sent.security, sent.login.is_some()), (587, Security::StartTls, true));
    }

    #[test]
    fn mistakes_are_named_without_secrets() {
        for (yaml, expected) in [
            ("{}", ": whom to tell is exactly one of webhook, slack, ping, mail"),
            ("{slack: {url: 'https://h/'}, ping: {url: 'https://h/'}}", ": whom to tell is exactly one"),
            ("{slack: {}}", "slack.url: an address is missing: set `url` or `url_file`"),
            ("{slack: {url: 'hunter2.example.org'}}", "slack.url: it begins with neither"),
            ("{slack: {url: '***'}}", "slack.url: it is what `config show` prints"),
            ("{slack: {url: 'https://h/', url_file: /f}}", "slack.url: `url` and `url_file` are both set"),
            ("{slack: {url_file: f}}", "slack.url_file: f is not an absolute path"),
            ("{slack: {url: 'https://h/'}, events: []}", "events: of nothing"),
            ("{ping: {url: 'https://h/'}, events: [failure]}", "events: a ping follows every run"),
            (
                "{ping: {url: 'https://h/'}, jobs: [bakup]}",
                "jobs: there is no job `bakup`; there are: backup, check",
            ),
            ("{webhook: {url: 'https://h/', method: post}}", "webhook.method: `post`"),
            ("{webhook: {url: 'https://h/', body: '{{jobb}}'}}", "webhook.body: there is no `jobb`"),
            ("{webhook: {url: 'https://h/', headers: {'a b': hunter2}}}", "webhook.headers: `a b`"),
            ("{mail: {host: m, from: nobody, to: [a@b.c]}}", "mail.from: `nobody` is not a mail address"),
            ("{mail: {host: m, from: a@b.c}}", "mail.to: nobody is named"),
            ("{mail: {host: m, from: a@b.c, to: [d@e.f], user: u}}", "mail.user: its password is missing"),
            (
                "{mail: {host: m, from: a@b.c, to: [d@e.f], password: hunter2}}",
                "mail.password: its user is missing",
            ),
        ] {
            let found = wrong(yaml);
            assert!(found.len() == 1 && found[0].starts_with(expected), "{yaml}: {found:?}");
            assert!(!found[0].contains("hunter2"), "{found:?}");
        }
    }

    #[test]
    fn the_short_form_pings_for_backups() {
        let url = Secret::new("https://hc.example.org/id");
        let target = ping_target(Some(&url), None).unwrap();
        assert_eq!(target.jobs, ["backup"]);
        assert!(ping_target(None, None).is_none() && ping_faults(None, None).is_empty());
        assert_eq!(ping_faults(Some(&Secret::new("x")), None)[0].0, "ping_url");
    }

    #[test]
    fn what_is_shown_holds_no_secret() {
        let hook = parse("{webhook: {url: 'https://h/secret', headers: {X: secret}}}");
        let shown = serde_json::to_string(&hook).unwrap();
        assert!(!shown.contains("secret") && shown.contains("***"), "{shown}");
    }
}
