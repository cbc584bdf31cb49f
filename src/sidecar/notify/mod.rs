//! Tells people, and services that watch over jobs, how runs ended: whom it tells what is decided here, from the
//! records alone; sending is done beside everything else and stops nothing. Must not know how jobs are run.

pub mod decide;
mod deliver;
mod message;
mod ping;
mod queue;
pub mod target;

use std::time::Duration;

use serde::Serialize;

pub use deliver::{Deliver, Delivery};
pub use message::FIELDS;
pub use queue::Notifier;
pub use target::{Events, Ping, Target, TargetKind};

use crate::base::timestamp::Timestamp;
use crate::sidecar::record::Run;

/// Something that people want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Failure,
    /// The first success after a failure or a silence that was told.
    Recovery,
    Success,
    /// The last success is older than it should be.
    Silence,
}

/// What notices say besides what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    pub identity: String,
    pub volume: String,
    /// Of the pod or the machine.
    pub host: String,
    pub version: &'static str,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    Notice(Notice),
    /// For services that watch whether runs begin and end.
    Begun {
        job: String,
    },
    Ended {
        job: String,
        run: Run,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub event: Event,
    pub job: String,
    pub time: Timestamp,
    /// The run that this is about; with a silence there is none.
    pub run: Option<Run>,
    pub consecutive_failures: u64,
    /// When the last run began that went well, before this one.
    pub last_success: Option<Timestamp>,
    /// With a silence: how old the last success may become.
    pub max_age: Option<Duration>,
}

impl Message {
    pub fn job(&self) -> &str {
        match self {
            Self::Notice(Notice { job, .. }) | Self::Begun { job } | Self::Ended { job, .. } => job,
        }
    }
}

impl Event {
    pub fn name(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Recovery => "recovery",
            Self::Success => "success",
            Self::Silence => "silence",
        }
    }
}

#[cfg(test)]
mod tests;
