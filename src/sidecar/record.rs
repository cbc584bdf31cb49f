//! How runs of a job ended: what lasts on the volume, in a small sealed file for each job. Holds the format and
//! the arithmetic of counting; when to run is decided elsewhere.

use serde::{Deserialize, Serialize};

use crate::base::timestamp::{self, Timestamp};
use crate::schedule;

/// What is known of a job, over all sidecars that this volume ever had.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// How far it has come in its schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timing: Option<schedule::Record>,
    /// Under way when this was written: whoever finds it at the start of a sidecar knows that it was cut off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<Begun>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Run>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Run>,
    /// Runs that ended, whatever way; how many of them were no success; and how many of these came last.
    pub runs: u64,
    pub failures: u64,
    pub consecutive_failures: u64,
    /// Instants that were passed over because the run before had not ended.
    pub skipped: u64,
    /// What people were told of the state it is in.
    #[serde(skip_serializing_if = "Told::is_nothing")]
    pub told: Told,
}

/// When notices of a job were last given, so that a sidecar that starts again does not repeat them. Empty as long
/// as there is nothing to worry about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Told {
    #[serde(skip_serializing_if = "Option::is_none", with = "timestamp::optional_rfc3339")]
    pub failure: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", with = "timestamp::optional_rfc3339")]
    pub silence: Option<Timestamp>,
}

/// A run that has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    pub trigger: Trigger,
    #[serde(with = "timestamp::rfc3339")]
    pub started: Timestamp,
}

/// Why a run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// Its instant has come.
    Schedule,
    /// Its instant came while no sidecar ran.
    CatchUp,
    /// Somebody asked for it.
    Request,
    /// The sidecar ends.
    Shutdown,
    /// The app is about to start: for init.
    Start,
}

/// A run that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub trigger: Trigger,
    #[serde(with = "timestamp::rfc3339")]
    pub started: Timestamp,
    /// How long it took, by a clock that nobody sets.
    pub seconds: f64,
    pub outcome: Outcome,
    /// 1, and one more for each retry.
    pub attempts: u32,
    /// As the commands' exit codes: 0 done, 3 done in part, 16 refused to protect data, …
    pub code: u8,
    /// Why it was no success, and what a person can do, such as the command that allows a refused backup once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    #[serde(default)]
    pub figures: Figures,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done,
    /// Done, with some files or repositories left out; the reason names them.
    Partial,
    Failed,
    /// Going on could have destroyed data.
    Refused,
    TimedOut,
    /// Ended on purpose before it was done: by a shutdown.
    Cancelled,
    /// Found unfinished by the next sidecar: the one before was killed.
    Interrupted,
}

/// What a run did, as far as it is of that kind. `None`: not a figure of this job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// The snapshot that was made, or brought back by a drill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Of the volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<u64>,
    /// Written to all repositories together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<u64>,
    /// Files that were not stored as they should have been.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problems: Option<u64>,
    /// Of a scrub: files that were read and compared, their bytes, and those of which nothing could be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrubbed_files: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrubbed_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passed_over_files: Option<u64>,
    /// Damaged files that a scrub replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repaired: Option<u64>,
    /// Damaged objects that a check found, or damaged files that a scrub found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub findings: Option<u64>,
    /// Of a drill: what was brought back and compared, of all repositories together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored_files: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forgotten_snapshots: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_bytes: Option<u64>,
    /// Of the first repository: all that is stored there, and how many snapshots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository_snapshots: Option<u64>,
    /// How long the app was held by a freeze.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen_seconds: Option<f64>,
}

impl Told {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Outcome {
    pub const ALL: [Self; 7] = [
        Self::Done,
        Self::Partial,
        Self::Failed,
        Self::Refused,
        Self::TimedOut,
        Self::Cancelled,
        Self::Interrupted,
    ];

    pub fn is_success(self) -> bool {
        matches!(self, Self::Done | Self::Partial)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }
}

impl Record {
    /// Counts a run that has ended.
    pub fn end(&mut self, run: Run) {
        self.running = None;
        self.runs += 1;
        if run.outcome.is_success() {
            self.consecutive_failures = 0;
            self.last_success = Some(run.clone());
        } else {
            self.failures += 1;
            self.consecutive_failures += 1;
        }
        self.last = Some(run);
    }
}
