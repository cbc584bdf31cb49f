//! The shape of the configuration and its defaults. The comments here are the descriptions in the JSON schema.
//! Must not know where a value comes from.

use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::units::{ByteSize, Percent, Span};
use crate::config::checks::CheckSpec;
use crate::config::drill::DrillConfig;
use crate::config::git::{self, HttpsConfig, SshConfig};
use crate::config::hooks::InitHooksConfig;
use crate::config::jobs::JobsConfig;
use crate::config::repair::RepairConfig;
use crate::config::repository_url::RepositoryUrl;
use crate::config::retention::{PruneConfig, RetentionConfig};
use crate::config::s3::S3Config;
use crate::config::sidecar::SidecarConfig;
use crate::config::steps::StepSpec;
use crate::config::surroundings::Surroundings;

/// The configuration of volkeep.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// The directory to protect.
    pub volume: VolumeConfig,
    /// Where snapshots live. Backups go to all of them; a restore tries them in order.
    pub repositories: Vec<RepositoryConfig>,
    /// What happens before the app starts.
    pub init: InitConfig,
    /// How backups are made, and when one is refused.
    pub backup: BackupConfig,
    /// Which snapshots stay when a prune runs. Without any rule nothing is forgotten.
    pub retention: RetentionConfig,
    /// How what nothing refers to any more is deleted.
    pub prune: PruneConfig,
    /// How a snapshot is brought back to be proved.
    pub drill: DrillConfig,
    /// What runs beside the app.
    pub sidecar: SidecarConfig,
    /// What the sidecar does, and when. Besides these there may be others, of your own.
    pub jobs: JobsConfig,
    /// How much of the machine may be used.
    pub limits: LimitsConfig,
    /// The log on stderr.
    pub log: LogConfig,
    #[serde(skip)]
    pub surroundings: Surroundings,
}

/// The directory to protect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct VolumeConfig {
    /// The directory with the data, as an absolute path. Has to be given. Neither `/` nor a symbolic link.
    #[serde(skip_serializing_if = "is_empty")]
    pub path: PathBuf,
    /// Where lock, marker, staging, quarantine and cache are kept: on the same file system as the data, either
    /// directly below `path` or outside of it. Default: `.volkeep` below `path`.
    #[serde(skip_serializing_if = "is_empty")]
    pub state_dir: PathBuf,
    /// The name of what lives on the volume. A backup of one identity is never restored to a volume of another.
    /// 1 to 64 letters, digits, dots, dashes and underscores.
    pub identity: String,
    /// What is left out of backups, written as in a `.gitignore`. A leading slash means the top of the volume.
    pub exclude: Vec<String>,
    /// What becomes of directories that are marked by a `CACHEDIR.TAG`: whether they are left out of backups.
    pub caches: Caches,
    /// How long to wait for another volkeep that uses the volume.
    pub lock_wait: Span,
    /// Files that are changed in place, such as databases, as globs: they are cut at fixed places, so that a
    /// changed page costs one chunk.
    pub fixed_chunks: Vec<String>,
    /// What becomes of data that a restore replaced.
    pub quarantine: QuarantineConfig,
}

/// What becomes of data that a restore replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct QuarantineConfig {
    /// How long it is kept.
    pub keep: Span,
    /// The oldest goes earlier when less than this part of the file system is free; the newest never for that.
    pub min_free: Percent,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Caches {
    #[default]
    Skip,
    Keep,
}

/// A place where snapshots live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("required" = ["url"]))]
pub struct RepositoryConfig {
    /// The address: `file:///absolute/path`, `s3://bucket/prefix?endpoint=…&region=…&path_style=…&profile=…`,
    /// `git+ssh://git@host/wiki.git?branch=…`, `git+https://host/wiki.git` or `git+file:///absolute/wiki.git`.
    #[schemars(extend("default" = null))]
    pub url: RepositoryUrl,
    /// How new data is compressed. Data that does not shrink is stored as it is. Git compresses by itself.
    pub compression: Compression,
    /// How hard to compress: 1 to 19 for zstd, 1 to 9 for gzip. Higher is smaller and slower.
    pub level: i32,
    /// As whom, and on which terms, the bucket of an `s3://` address is used.
    #[serde(skip_serializing_if = "S3Config::is_default")]
    pub s3: S3Config,
    /// The branch of a git repository whose commits are the snapshots; `main` unless the address names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The largest file that the host of a git repository takes. A backup with a larger one fails before anything is
    /// sent; 0 is without a limit.
    #[serde(skip_serializing_if = "git::is_usual")]
    #[schemars(extend("type" = ["string", "integer"]))]
    pub largest_file: ByteSize,
    /// As whom a `git+ssh://` address is used, and which hosts are known.
    #[serde(skip_serializing_if = "SshConfig::is_default")]
    pub ssh: SshConfig,
    /// As whom a `git+https://` address is used.
    #[serde(skip_serializing_if = "HttpsConfig::is_default")]
    pub https: HttpsConfig,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    #[default]
    Zstd,
    Gzip,
    None,
}

/// What happens before the app starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InitConfig {
    /// How long to try to reach a repository when the volume needs one.
    pub timeout: Span,
    /// Consent to a first boot: where there is no repository, one is made and the app starts empty. Without it
    /// "nothing there" is taken for a mistyped address.
    pub create_repository: bool,
    /// What to do when the repository has a newer snapshot, written by another volume.
    pub on_stale: OnStale,
    /// What to do with data of unknown origin while a backup exists.
    pub on_foreign: OnForeign,
    /// How long a healthy volume waits for the repository to say whether there is something newer.
    pub stale_timeout: Span,
    /// How to tell whether the data is whole.
    pub checks: Vec<CheckSpec>,
    /// What to run on damaged data before a restore is thought of.
    pub repair: RepairConfig,
    /// What is done around it when it has to change the volume.
    pub hooks: InitHooksConfig,
    /// What is done in turn once the volume is ready, before the app starts.
    pub steps: Vec<StepSpec>,
    /// An archive (`.tar`, `.tar.gz`, `.tar.zst`) with the first content of the volume, used when the repository
    /// has no snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnStale {
    /// Stop: a person decides.
    #[default]
    Fail,
    /// Start with the data on the volume.
    Keep,
    /// Quarantine the data on the volume and restore the newer snapshot.
    Restore,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnForeign {
    /// Stop: a person decides.
    #[default]
    Fail,
    /// Take the data on the volume for ours if the checks pass.
    Adopt,
    /// Quarantine the data on the volume and restore the newest snapshot.
    Restore,
}

/// How backups are made, and when one is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BackupConfig {
    /// A backup is refused when the volume lost more than this part of its bytes or files since the last one.
    pub max_shrink: Percent,
    /// Whether an empty volume may be backed up.
    pub allow_empty: bool,
    /// How often a file that changes while it is read is read again, at most 100.
    pub read_retries: u32,
}

/// How much of the machine may be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LimitsConfig {
    /// The memory for data on its way, at least 16MiB.
    pub memory: ByteSize,
    /// How many requests to a repository run at once, 1 to 256.
    pub connections: u32,
    /// Bytes a second that go to a repository; 0 is without a limit.
    #[schemars(extend("type" = ["string", "integer"]))]
    pub upload: ByteSize,
    /// Bytes a second that come from a repository; 0 is without a limit.
    #[schemars(extend("type" = ["string", "integer"]))]
    pub download: ByteSize,
    /// How long a failing request is tried again.
    pub retry: Span,
}

/// The log on stderr.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LogConfig {
    /// Lines for people, or JSON.
    pub format: LogFormat,
    /// The least important messages that are shown.
    pub level: LogLevel,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl Default for VolumeConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            state_dir: PathBuf::new(),
            identity: "default".to_owned(),
            exclude: Vec::new(),
            caches: Caches::Skip,
            lock_wait: minutes(1),
            fixed_chunks: ["*.db", "*.sqlite", "*.sqlite3", "*.mdb"].map(str::to_owned).to_vec(),
            quarantine: QuarantineConfig::default(),
        }
    }
}

impl Default for QuarantineConfig {
    fn default() -> Self {
        Self { keep: minutes(7 * 24 * 60), min_free: Percent(10) }
    }
}

impl Default for RepositoryConfig {
    fn default() -> Self {
        Self {
            url: RepositoryUrl::default(),
            compression: Compression::Zstd,
            level: 1,
            s3: S3Config::default(),
            branch: None,
            largest_file: git::USUAL_LARGEST_FILE,
            ssh: SshConfig::default(),
            https: HttpsConfig::default(),
        }
    }
}

impl Default for InitConfig {
    fn default() -> Self {
        Self {
            timeout: minutes(10),
            create_repository: false,
            on_stale: OnStale::Fail,
            on_foreign: OnForeign::Fail,
            stale_timeout: Span(Duration::from_secs(3)),
            checks: Vec::new(),
            repair: RepairConfig::default(),
            hooks: InitHooksConfig::default(),
            steps: Vec::new(),
            archive: None,
        }
    }
}

impl Default for BackupConfig {
    fn default() -> Self {
        Self { max_shrink: Percent(50), allow_empty: false, read_retries: 3 }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            memory: ByteSize(64 << 20),
            connections: 16,
            upload: ByteSize(0),
            download: ByteSize(0),
            retry: minutes(2),
        }
    }
}

fn minutes(count: u64) -> Span {
    Span(Duration::from_secs(60 * count))
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}
