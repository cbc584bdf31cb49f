//! Tells people, or a service, that the app is about to start. A start does not fail because nobody could be told.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::base::cancel::Cancel;
use crate::base::timestamp::Timestamp;
use crate::notice::{self, Channel, Letter, Mood, NoticeError};
use crate::step::Began;

/// The names that a template can use.
pub const NOTIFY_FIELDS: [&str; 11] =
    ["began", "event", "host", "identity", "snapshot", "step", "text", "time", "title", "version", "volume"];

#[derive(Clone, Debug)]
pub struct Notify {
    pub channel: Channel,
    /// In place of our own words.
    pub text: Option<String>,
}

/// Who starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    pub identity: String,
    /// Of the pod, or of the machine.
    pub host: String,
    pub version: &'static str,
    /// How the data on the volume began, if that is news.
    pub began: Option<Began>,
    /// That was brought back.
    pub snapshot: Option<String>,
}

impl Notify {
    pub(super) fn tell(
        &self,
        about: &About,
        (step, volume, time): (&str, &str, Timestamp),
        limit: Duration,
        cancel: &Cancel,
    ) -> Result<(), NoticeError> {
        let identity = &about.identity;
        let title = match about.began {
            None => format!("{identity}: starting"),
            Some(began) => format!("{identity}: starting {}", with(began)),
        };
        let text = self.text.clone().unwrap_or_else(|| {
            let snapshot = about.snapshot.iter().map(|id| format!("Snapshot {id}\n"));
            let rest = format!("Volume {volume} of {}, volkeep {}", about.host, about.version);
            snapshot.chain([rest]).collect()
        });
        let value = |name: &str| match name {
            "began" => about.began.map(word).into(),
            "event" => "start".into(),
            "host" => about.host.clone().into(),
            "identity" => identity.clone().into(),
            "snapshot" => about.snapshot.clone().into(),
            "step" => step.into(),
            "text" => text.clone().into(),
            "time" => time.to_rfc3339().into(),
            "title" => title.clone().into(),
            "version" => about.version.into(),
            "volume" => volume.into(),
            _ => Value::Null,
        };
        let fields: Map<String, Value> =
            NOTIFY_FIELDS.iter().map(|name| ((*name).to_owned(), value(name))).collect();
        let letter = Letter { mood: Mood::Good, title: title.clone(), text: text.clone(), fields };
        notice::send(&self.channel, &letter, limit, cancel)
    }
}

fn with(began: Began) -> &'static str {
    match began {
        Began::Empty => "for the first time, with an empty volume",
        Began::Archive => "for the first time, with the content of an archive",
        Began::Snapshot => "with data that was restored",
        Began::Adopted => "with data that was there",
    }
}

fn word(began: Began) -> &'static str {
    match began {
        Began::Empty => "empty",
        Began::Archive => "archive",
        Began::Snapshot => "snapshot",
        Began::Adopted => "adopted",
    }
}
