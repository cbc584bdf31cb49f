//! What a sidecar is told: its jobs and how it shows itself. Checked by whoever makes it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::base::secret::Secret;
use crate::hook::{Action, Hooks};
use crate::schedule::{Schedule, timetable};
use crate::sidecar::desk::{Access, Needs, Overlap};
use crate::sidecar::notify::Target;

#[derive(Clone, Debug)]
pub struct SidecarOptions {
    /// `None`: nothing is served over the network; the socket on the volume is.
    pub listen: Option<SocketAddr>,
    /// What a request over the network that begins a job has to bring. `None`: there are no such requests.
    pub token: Option<Secret>,
    /// How long an end in order may take.
    pub grace: Duration,
    pub backup_on_shutdown: bool,
    /// How old the last backup may be before the sidecar is not ready. `None`: two instants of its schedule.
    pub max_backup_age: Option<Duration>,
    pub jobs: Vec<JobOptions>,
    /// Whether `init` has steps in this configuration, for which an app waits on new data.
    pub has_steps: bool,
    /// Who is told how runs ended.
    pub notify: Vec<Target>,
}

#[derive(Clone, Debug)]
pub struct JobOptions {
    pub name: String,
    pub work: Work,
    /// `None`: on request only.
    pub schedule: Option<Schedule>,
    pub jitter: Duration,
    /// Whether a run that was missed while no sidecar ran is made up.
    pub catch_up: bool,
    pub overlap: Overlap,
    /// Of one attempt.
    pub timeout: Option<Duration>,
    /// How often a failed attempt is repeated, after a pause that doubles from `backoff`.
    pub retries: u32,
    pub backoff: Duration,
    /// Around each attempt.
    pub hooks: Hooks,
}

#[derive(Clone, Debug)]
pub enum Work {
    Backup,
    Prune,
    Check,
    /// So many percent of the packs each time, until all had their turn.
    Verify {
        percent: u8,
    },
    /// Brings the newest snapshot back beside the volume.
    Drill,
    /// Looks for files of the volume that have decayed, in so many percent of them each time.
    Scrub {
        percent: u8,
        repair: bool,
    },
    /// A command or a request of somebody's own.
    Action {
        action: Action,
        access: Access,
    },
}

impl Work {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Prune => "prune",
            Self::Check => "check",
            Self::Verify { .. } => "verify",
            Self::Drill => "drill",
            Self::Scrub { .. } => "scrub",
            Self::Action { action, .. } => action.kind.name(),
        }
    }

    pub fn needs(&self) -> Needs {
        match self {
            Self::Backup | Self::Prune => Needs { volume: Access::Shared, repository: true },
            Self::Check | Self::Verify { .. } => Needs { volume: Access::None, repository: true },
            // It takes as long as a restore does: backups go on meanwhile.
            Self::Drill => Needs { volume: Access::None, repository: false },
            // It reads the volume, and of the repository the manifest alone.
            Self::Scrub { .. } => Needs { volume: Access::Shared, repository: false },
            Self::Action { access, .. } => Needs { volume: *access, repository: false },
        }
    }
}

impl SidecarOptions {
    pub fn job(&self, name: &str) -> Option<&JobOptions> {
        self.jobs.iter().find(|job| job.name == name)
    }
}

impl JobOptions {
    /// As the timetable has it; nothing for a job that runs on request only.
    pub fn timed(&self) -> Option<timetable::Job> {
        Some(timetable::Job {
            name: self.name.clone(),
            schedule: self.schedule.clone()?,
            jitter: self.jitter,
            catch_up: self.catch_up,
        })
    }
}
