//! Notices in words: a line that says it all, and some lines that say more. What can be named in templates is
//! listed here as well.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::base::timestamp::Timestamp;
use crate::base::units::Span;
use crate::notice::{Letter, Mood};
use crate::sidecar::notify::{About, Event, Notice};
use crate::sidecar::record::Outcome;

/// The names of [`fields`].
pub const FIELDS: [&str; 20] = [
    "attempts",
    "code",
    "event",
    "failures",
    "hint",
    "host",
    "identity",
    "job",
    "last_success",
    "max_age",
    "outcome",
    "reason",
    "seconds",
    "snapshot",
    "started",
    "text",
    "time",
    "title",
    "version",
    "volume",
];

pub(super) fn letter(notice: &Notice, about: &About) -> Letter {
    Letter {
        mood: match notice.event {
            Event::Failure => Mood::Bad,
            Event::Silence => Mood::Late,
            Event::Recovery | Event::Success => Mood::Good,
        },
        title: title(notice, about),
        text: text(notice, about),
        fields: fields(notice, about),
    }
}

fn title(notice: &Notice, about: &About) -> String {
    let (identity, job) = (&about.identity, &notice.job);
    match (notice.event, &notice.run) {
        (Event::Silence, _) => match notice.max_age {
            Some(age) => format!("{identity}: no successful {job} for more than {}", span(age)),
            None => format!("{identity}: no successful {job} for too long"),
        },
        (Event::Recovery, _) => format!("{identity}: {job} works again"),
        (Event::Success, _) => format!("{identity}: {job} is done"),
        (Event::Failure, run) => {
            let what = match run.as_ref().map(|run| run.outcome) {
                Some(Outcome::Refused) => "was refused",
                Some(Outcome::TimedOut) => "took too long",
                Some(Outcome::Interrupted) => "was interrupted",
                _ => "failed",
            };
            format!("{identity}: {job} {what}")
        }
    }
}

/// A line for each thing that is known.
fn text(notice: &Notice, about: &About) -> String {
    let mut lines = Vec::new();
    if let Some(run) = &notice.run {
        lines.extend(run.reason.clone());
        lines.extend(run.hint.as_ref().map(|hint| format!("What helps: {hint}")));
        let attempts = match run.attempts {
            0 | 1 => String::new(),
            count => format!(", {count} attempts"),
        };
        let took = Duration::try_from_secs_f64(run.seconds).unwrap_or_default();
        lines.push(format!("Began {}, took {}{attempts}", run.started.to_rfc3339(), span(took)));
    }
    if notice.consecutive_failures > 1 {
        lines.push(format!("{} runs without success in a row", notice.consecutive_failures));
    }
    if notice.event != Event::Success {
        lines.push(match notice.last_success {
            Some(time) => format!("Last success: {}", time.to_rfc3339()),
            None => "There was no success yet".to_owned(),
        });
    }
    lines.push(format!("Volume {} of {}, volkeep {}", about.volume, about.host, about.version));
    lines.join("\n")
}

/// Everything that is known, by name. What is not known is there as `null`.
fn fields(notice: &Notice, about: &About) -> Map<String, Value> {
    let run = notice.run.as_ref();
    let value = |name: &str| match name {
        "attempts" => run.map(|run| run.attempts).into(),
        "code" => run.map(|run| run.code).into(),
        "event" => notice.event.name().into(),
        "failures" => notice.consecutive_failures.into(),
        "hint" => run.and_then(|run| run.hint.clone()).into(),
        "host" => about.host.clone().into(),
        "identity" => about.identity.clone().into(),
        "job" => notice.job.clone().into(),
        "last_success" => notice.last_success.map(Timestamp::to_rfc3339).into(),
        "max_age" => notice.max_age.map(span).into(),
        "outcome" => run.map(|run| run.outcome.name()).into(),
        "reason" => run.and_then(|run| run.reason.clone()).into(),
        "seconds" => run.map(|run| run.seconds).into(),
        "snapshot" => run.and_then(|run| run.figures.snapshot.clone()).into(),
        "started" => run.map(|run| run.started.to_rfc3339()).into(),
        "text" => text(notice, about).into(),
        "time" => notice.time.to_rfc3339().into(),
        "title" => title(notice, about).into(),
        "version" => about.version.into(),
        "volume" => about.volume.clone().into(),
        _ => Value::Null,
    };
    FIELDS.iter().map(|name| ((*name).to_owned(), value(name))).collect()
}

fn span(duration: Duration) -> String {
    let rounded = match duration.as_secs() {
        0 => Duration::from_millis(u64::from(duration.subsec_millis())),
        seconds => Duration::from_secs(seconds),
    };
    Span(rounded).to_string()
}
