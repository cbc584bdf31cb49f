//! Whom to tell: what a target is and which messages are for it. Must not know how anything is sent.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::base::secret::Secret;
use crate::sidecar::notify::{Event, Message};
use crate::sidecar::record::Outcome;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub kind: TargetKind,
    /// Not asked for pings, which follow every run.
    pub events: Events,
    /// Empty: all.
    pub jobs: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetKind {
    Webhook(Webhook),
    Slack(Slack),
    Ping(Ping),
    Mail(Mail),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    pub url: SecretText,
    pub method: String,
    /// Names and values.
    pub headers: Vec<(String, SecretText)>,
    /// A template; `None`: an object with everything that is known.
    pub body: Option<String>,
}

/// Any service that takes what Slack's incoming webhooks take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slack {
    pub url: SecretText,
}

/// A service that expects to hear of each run, and raises the alarm when it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ping {
    pub url: SecretText,
    /// Also when a run begins, at `…/start`.
    pub start: bool,
    /// A failure goes to `…/<exit code>` and not to `…/fail`.
    pub exit_codes: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    pub host: String,
    pub port: u16,
    pub security: Security,
    /// User and password.
    pub login: Option<(String, SecretText)>,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events {
    pub failure: bool,
    pub recovery: bool,
    pub success: bool,
    pub silence: bool,
}

/// A secret, or the file that it is in, which is read whenever it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretText {
    Value(Secret),
    File(PathBuf),
}

impl Default for Events {
    fn default() -> Self {
        Self { failure: true, recovery: true, success: false, silence: true }
    }
}

impl Target {
    pub fn wants(&self, message: &Message) -> bool {
        let of_interest = match (message, &self.kind) {
            (Message::Notice(_), TargetKind::Ping(_)) => false,
            (Message::Notice(notice), _) => self.events.has(notice.event),
            (Message::Begun { .. }, TargetKind::Ping(ping)) => ping.start,
            // One that was ended on purpose is neither: who waits for a success goes on waiting.
            (Message::Ended { run, .. }, TargetKind::Ping(_)) => run.outcome != Outcome::Cancelled,
            (Message::Begun { .. } | Message::Ended { .. }, _) => false,
        };
        of_interest && (self.jobs.is_empty() || self.jobs.iter().any(|job| job == message.job()))
    }
}

impl Events {
    fn has(self, event: Event) -> bool {
        match event {
            Event::Failure => self.failure,
            // Whoever wants to hear of every success wants to hear of this one.
            Event::Recovery => self.recovery || self.success,
            Event::Success => self.success,
            Event::Silence => self.silence,
        }
    }
}

impl SecretText {
    /// A line feed at the end of a file is no part of it.
    pub fn read(&self) -> Result<Secret, io::Error> {
        match self {
            Self::Value(secret) => Ok(secret.clone()),
            Self::File(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
                Ok(Secret::new(text.trim_end_matches(['\n', '\r'])))
            }
        }
    }
}

/// For logs.
impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Webhook(_) => "webhook",
            Self::Slack(_) => "slack",
            Self::Ping(_) => "ping",
            Self::Mail(_) => "mail",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sidecar::sample;

    fn target(kind: TargetKind, jobs: &[&str]) -> Target {
        Target { kind, events: Events::default(), jobs: jobs.iter().map(|job| (*job).to_owned()).collect() }
    }

    fn url() -> SecretText {
        SecretText::Value(Secret::new("https://example.org/secret"))
    }

    #[test]
    fn each_gets_what_it_asked_for() {
        let people = target(TargetKind::Slack(Slack { url: url() }), &["backup"]);
        let ping = target(TargetKind::Ping(Ping { url: url(), start: true, exit_codes: false }), &[]);
        let ended = |outcome| Message::Ended { job: "backup".to_owned(), run: sample::run(outcome) };
        let begun = Message::Begun { job: "backup".to_owned() };
        assert!(ping.wants(&begun) && ping.wants(&ended(Outcome::Failed)));
        assert!(!ping.wants(&ended(Outcome::Cancelled)));
        assert!(!people.wants(&begun) && !people.wants(&ended(Outcome::Failed)));
        let notice = |event, job| Message::Notice(sample::notice(event, job));
        assert!(people.wants(&notice(Event::Failure, "backup")));
        assert!(!people.wants(&notice(Event::Success, "backup")));
        assert!(!people.wants(&notice(Event::Failure, "check")));
        assert!(!ping.wants(&notice(Event::Failure, "backup")));
    }

    #[test]
    fn secrets_are_read_from_files_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "hunter2\n").unwrap();
        assert_eq!(SecretText::File(file).read().unwrap().reveal(), "hunter2");
        let missing = SecretText::File(dir.path().join("none")).read().unwrap_err();
        assert!(missing.to_string().contains("none"));
        assert!(!format!("{:?}", target(TargetKind::Slack(Slack { url: url() }), &[])).contains("secret"));
    }
}
