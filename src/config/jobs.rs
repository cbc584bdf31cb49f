//! The jobs of the sidecar as they stand in the file, and the way from there to those that are run. Which job is of
//! which kind is said by its name, or by what it holds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::units::{Percent, Span};
use crate::config::actions::{HiddenText, HttpFields};
use crate::config::hooks::{HookSpec, HooksConfig};
use crate::config::schema::nearest;
use crate::schedule::{Schedule, Zone};
use crate::sidecar::desk::{self, Overlap};
use crate::sidecar::options::{JobOptions, Work};

/// Those whose kind their name says.
const BUILT_IN: [&str; 6] = ["backup", "prune", "check", "verify", "drill", "scrub"];
/// What a job cannot be called: records of that name hold something else.
const TAKEN: &str = "init";
const LONGEST_NAME: usize = 64;
/// Spreads the work of a fleet over the night.
const UPKEEP_JITTER: Duration = Duration::from_secs(3600);
const DAILY: &str = "@daily";
/// For commands and requests, where nothing else is said.
const DEFAULT_ACTION_TIMEOUT: Duration = Duration::from_secs(3600);
const MOST_RETRIES: u32 = 100;

/// What the sidecar does, and when. A name other than those below stands for a job of your own, which is a
/// `command` or an `http` request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct JobsConfig {
    /// Stores the volume as a new snapshot.
    pub backup: JobConfig,
    /// Forgets snapshots by `retention` and deletes what nothing refers to. Once a day if only `backup` has a
    /// schedule.
    pub prune: JobConfig,
    /// Reads the structure of the repositories. Once a day if only `backup` has a schedule.
    pub check: JobConfig,
    /// Reads a part of the data each time, until all had its turn.
    pub verify: JobConfig,
    /// Brings the newest snapshot back beside the volume, compares and checks it, and removes it again.
    pub drill: JobConfig,
    /// Looks for files of the volume that have decayed: untouched, and not what the last snapshot says.
    pub scrub: JobConfig,
    /// Jobs of your own, by name.
    #[serde(flatten)]
    pub others: BTreeMap<String, JobConfig>,
}

/// One job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct JobConfig {
    /// When: cron with 5 fields, or 6 with the seconds first, `@hourly`, `@daily` and the like, `@every 15m`, `03:00`,
    /// or `never`. Without one it runs on request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The time zone of the schedule, such as `Europe/Berlin`. Default: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Each run is later than scheduled by up to so much, always the same for one job of one volume. Default: 0s; 1h
    /// for a prune and a check that nobody gave a schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Span>,
    /// What becomes of an instant at which the run before has not ended.
    pub overlap: OverlapConfig,
    /// After this time an attempt is ended, with all that it started. Default: none, for commands and requests 1h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How often a failed attempt is repeated, at most 100. What is refused or misconfigured is not. Default: 2; 0 for
    /// commands, requests, a drill and a scrub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// The pause before the first repetition; it doubles each time. Default: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Span>,
    /// Whether a run that was missed while no sidecar ran is made up for, once. Default: yes, for commands and
    /// requests no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<bool>,
    /// What is done around each attempt.
    #[serde(skip_serializing_if = "HooksConfig::is_default")]
    pub hooks: HooksConfig,
    /// `verify` and `scrub` only: which part is read each time. Default: 5%, for a scrub 100%.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<Percent>,
    /// `scrub` only: whether good content takes the place of what is damaged, although the app may have the file open.
    /// Default: no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repair: Option<bool>,
    /// Of a job of your own: a program and its arguments; no shell is involved. Exit code 0 is success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Variables for the command. Values are not shown.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, HiddenText>,
    /// Variables for the command whose values are read from files.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env_file: BTreeMap<String, PathBuf>,
    /// The working directory of the command. Default: the volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// As whom the command runs, when volkeep is root: `name`, `name:group` or `uid:gid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Of a job of your own, instead of a command: a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpFields>,
    /// Which lock of the volume a command or request holds. Default: shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessConfig>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OverlapConfig {
    /// It is passed over.
    #[default]
    Skip,
    /// One run follows, however many instants have come.
    Queue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessConfig {
    /// It does not touch the volume.
    None,
    /// It reads, beside backups and others that read.
    Shared,
    /// It changes files: nobody else works on the volume meanwhile.
    Exclusive,
}

impl JobsConfig {
    /// By name.
    pub fn all(&self) -> impl Iterator<Item = (&str, &JobConfig)> {
        let jobs = [&self.backup, &self.prune, &self.check, &self.verify, &self.drill, &self.scrub];
        let built_in = BUILT_IN.into_iter().zip(jobs);
        built_in.chain(self.others.iter().map(|(name, job)| (name.as_str(), job)))
    }

    /// A schedule for the backup alone is a whole configuration: then the repository is looked after once a day.
    pub fn complete(&mut self) {
        if self.backup.is_scheduled() {
            for job in [&mut self.prune, &mut self.check] {
                if job.schedule.is_none() {
                    job.schedule = Some(DAILY.to_owned());
                    job.jitter.get_or_insert(Span(UPKEEP_JITTER));
                }
            }
        }
    }

    /// Keys below `jobs`, and what is wrong with them.
    pub fn faults(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (name, job) in self.all() {
            job.faults(name, &mut |key, message| {
                let key = if key.is_empty() { name.to_owned() } else { format!("{name}.{key}") };
                found.push((key, message));
            });
        }
        found
    }

    /// For jobs without faults. The built-in ones are always there: they run on request.
    pub fn options(&self) -> Vec<JobOptions> {
        self.all().filter_map(|(name, job)| job.options(name)).collect()
    }
}

impl JobConfig {
    fn is_scheduled(&self) -> bool {
        self.schedule.as_deref().is_some_and(|text| text != NEVER)
    }

    fn schedule(&self) -> Result<Option<Schedule>, (&'static str, String)> {
        let zone: Zone = match &self.time_zone {
            Some(text) => text
                .parse()
                .map_err(|error: crate::schedule::ScheduleError| ("time_zone", error.to_string()))?,
            None => Zone::UTC,
        };
        match self.schedule.as_deref() {
            None | Some(NEVER) => Ok(None),
            Some(text) => {
                Schedule::parse(text, zone).map(Some).map_err(|error| ("schedule", error.to_string()))
            }
        }
    }

    fn faults(&self, name: &str, refuse: &mut dyn FnMut(&str, String)) {
        if let Err((key, message)) = self.schedule() {
            refuse(key, message);
        }
        for (key, message) in self.hooks.faults() {
            refuse(&format!("hooks.{key}"), message);
        }
        if self.retries.is_some_and(|retries| retries > MOST_RETRIES) {
            refuse("retries", format!("more than {MOST_RETRIES} are not believed"));
        }
        for (key, span) in [("timeout", self.timeout), ("backoff", self.backoff)] {
            if span.is_some_and(|span| span.0.is_zero()) {
                refuse(key, "it must be longer than 0".to_owned());
            }
        }
        if let Some(percent) = self.percent
            && (!matches!(name, "verify" | "scrub") || percent.0 == 0)
        {
            refuse("percent", "it belongs to `verify` and `scrub`, and is 1% to 100%".to_owned());
        }
        if self.repair.is_some() && name != "scrub" {
            refuse("repair", "it belongs to `scrub`".to_owned());
        }
        if BUILT_IN.contains(&name) {
            if let Some(key) = self.of_actions().first() {
                refuse(key, format!("`{name}` is built in; a command needs a job with a name of its own"));
            }
            return;
        }
        self.own_faults(name, refuse);
    }

    fn own_faults(&self, name: &str, refuse: &mut dyn FnMut(&str, String)) {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !(1..=LONGEST_NAME).contains(&name.len()) || !name.bytes().all(is_name) || name.starts_with('.') {
            refuse("", format!("a name of 1 to {LONGEST_NAME} letters, digits, `.`, `_` or `-` is expected"));
        } else if name == TAKEN {
            refuse("", format!("no job can be called `{TAKEN}`"));
        } else if self.command.is_none() && self.http.is_none() {
            let meant = nearest(name, BUILT_IN.into_iter());
            let meant = meant.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            refuse("", format!("it needs a `command` or an `http` request{meant}"));
        } else if let Err(message) = self.action() {
            refuse("", message);
        }
    }

    /// The keys that are set and that only a command or a request has.
    fn of_actions(&self) -> Vec<&'static str> {
        let all = [
            ("command", self.command.is_some()),
            ("http", self.http.is_some()),
            ("env", !self.env.is_empty()),
            ("env_file", !self.env_file.is_empty()),
            ("directory", self.directory.is_some()),
            ("user", self.user.is_some()),
            ("access", self.access.is_some()),
        ];
        all.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect()
    }

    fn action(&self) -> Result<HookSpec, String> {
        HookSpec::of_job(
            self.command.clone(),
            (self.env.clone(), self.env_file.clone()),
            self.directory.clone(),
            self.user.clone(),
            self.http.clone(),
            self.timeout.unwrap_or(Span(DEFAULT_ACTION_TIMEOUT)),
        )
    }

    fn options(&self, name: &str) -> Option<JobOptions> {
        let work = match name {
            "backup" => Work::Backup,
            "prune" => Work::Prune,
            "check" => Work::Check,
            "verify" => Work::Verify { percent: self.percent.map_or(5, |percent| percent.0) },
            "drill" => Work::Drill,
            "scrub" => Work::Scrub {
                percent: self.percent.map_or(100, |percent| percent.0),
                repair: self.repair.unwrap_or(false),
            },
            _ => Work::Action {
                action: self.action().ok()?.action(),
                access: match self.access {
                    Some(AccessConfig::None) => desk::Access::None,
                    Some(AccessConfig::Shared) | None => desk::Access::Shared,
                    Some(AccessConfig::Exclusive) => desk::Access::Exclusive,
                },
            },
        };
        let is_built_in = BUILT_IN.contains(&name);
        // They read all there is, and what they find does not pass.
        let is_thorough = matches!(name, "drill" | "scrub");
        Some(JobOptions {
            name: name.to_owned(),
            work,
            schedule: self.schedule().ok()?,
            jitter: self.jitter.map_or(Duration::ZERO, |jitter| jitter.0),
            catch_up: self.catch_up.unwrap_or(is_built_in),
            overlap: match self.overlap {
                OverlapConfig::Skip => Overlap::Skip,
                OverlapConfig::Queue => Overlap::Queue,
            },
            timeout: self.timeout.map(|timeout| timeout.0),
            retries: self.retries.unwrap_or(if is_built_in && !is_thorough { 2 } else { 0 }),
            backoff: self.backoff.map_or(Duration::from_secs(30), |backoff| backoff.0),
            hooks: self.hooks.options(),
        })
    }
}

/// Where a schedule is expected: none, also where there would be one by default.
const NEVER: &str = "never";
