//! What a sidecar shows of itself: one value, made anew whenever something changed, that the web pages, the
//! metrics and the notices read. Plain data.

use serde::Serialize;

use crate::base::timestamp::{self, Timestamp};
use crate::ops::status::Drills;
use crate::sidecar::options::JobOptions;
use crate::sidecar::record::{Begun, Record};

#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub version: &'static str,
    pub identity: String,
    pub volume: String,
    /// When this sidecar started.
    #[serde(with = "timestamp::rfc3339")]
    pub started: Timestamp,
    pub stage: Stage,
    /// Why the sidecar is not ready, in words; empty when it is. What `/readyz` answers by.
    pub not_ready: Vec<String>,
    /// One of the states that `volkeep status` shows, as last seen.
    pub state: &'static str,
    pub leases: Vec<LeaseStatus>,
    pub jobs: Vec<JobStatus>,
    /// How the last init ended, and the ones before it.
    pub init: Record,
    /// What drills have proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drill: Option<Drills>,
    /// Jobs whose freeze has not been undone, and since when.
    pub frozen: Vec<Frozen>,
    /// When the configuration in force was read, and what was wrong with the one that was refused after it.
    #[serde(with = "timestamp::rfc3339")]
    pub configured: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_configuration: Option<String>,
    pub notices: NoticeCounts,
}

/// Notices of this sidecar, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NoticeCounts {
    pub sent: u64,
    /// Given up after some attempts.
    pub failed: u64,
    /// Not even tried, because too many were waiting already.
    pub dropped: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Another sidecar works on the volume; this one takes over when that one ends.
    StandingBy,
    Working,
    /// It was told to end: no job is begun, those under way are waited for.
    Draining,
}

/// The right to write to one repository.
#[derive(Clone, Debug, Serialize)]
pub struct LeaseStatus {
    pub repository: String,
    pub held: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Why it is not held, or could not be refreshed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When this was last known for sure.
    #[serde(skip_serializing_if = "Option::is_none", with = "timestamp::optional_rfc3339")]
    pub seen: Option<Timestamp>,
}

#[derive(Clone, Debug, Serialize)]
pub struct JobStatus {
    pub name: String,
    /// `backup`, `prune`, `check`, `verify`, `drill`, `scrub`, `command`, `http`.
    pub kind: &'static str,
    /// As it is written; `None` for a job that runs on request only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Jitter included.
    #[serde(skip_serializing_if = "Option::is_none", with = "timestamp::optional_rfc3339")]
    pub next: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<Begun>,
    /// Waits for another job, or for its own run before.
    pub queued: bool,
    /// How old its last success may become before something is wrong; `None` where nothing is expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<u64>,
    #[serde(flatten)]
    pub record: Record,
    /// The record could not be written to the volume; it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsaved: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Frozen {
    pub job: String,
    #[serde(with = "timestamp::rfc3339")]
    pub since: Timestamp,
}

impl Stage {
    pub const ALL: [Self; 3] = [Self::StandingBy, Self::Working, Self::Draining];

    pub fn name(self) -> &'static str {
        match self {
            Self::StandingBy => "standing_by",
            Self::Working => "working",
            Self::Draining => "draining",
        }
    }
}

impl JobStatus {
    /// As far as it follows from these: nothing waits and nothing is amiss.
    pub fn new(job: &JobOptions, record: Record, next: Option<Timestamp>) -> Self {
        Self {
            name: job.name.clone(),
            kind: job.work.name(),
            schedule: job.schedule.as_ref().map(ToString::to_string),
            time_zone: job.schedule.as_ref().map(|schedule| schedule.zone().to_string()),
            next,
            running: record.running.clone(),
            queued: false,
            max_age_seconds: None,
            record,
            unsaved: None,
        }
    }
}

impl Status {
    pub fn job(&self, name: &str) -> Option<&JobStatus> {
        self.jobs.iter().find(|job| job.name == name)
    }
}
