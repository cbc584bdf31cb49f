//! Whom to tell: what a target is and which messages are for it. Must not know how anything is sent.

use std::fmt;

use crate::base::text::Text;
use crate::notice::Channel;
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
    People(Channel),
    Ping(Ping),
}

/// A service that expects to hear of each run, and raises the alarm when it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ping {
    pub url: Text,
    /// Also when a run begins, at `…/start`.
    pub start: bool,
    /// A failure goes to `…/<exit code>` and not to `…/fail`.
    pub exit_codes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events {
    pub failure: bool,
    pub recovery: bool,
    pub success: bool,
    pub silence: bool,
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

/// For logs.
impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::People(channel) => channel.fmt(f),
            Self::Ping(_) => f.write_str("ping"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;
    use crate::notice::Slack;
    use crate::sidecar::sample;

    fn target(kind: TargetKind, jobs: &[&str]) -> Target {
        Target { kind, events: Events::default(), jobs: jobs.iter().map(|job| (*job).to_owned()).collect() }
    }

    fn url() -> Text {
        Text::Value(Secret::new("https://example.org/secret"))
    }

    #[test]
    fn each_gets_what_it_asked_for() {
        let people = target(TargetKind::People(Channel::Slack(Slack { url: url() })), &["backup"]);
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
}
