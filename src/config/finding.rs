//! The rules a configuration must keep that its types do not say. Looks at values only, never at a disk: a
//! configuration can be checked on a machine that does not have the volume.

use std::path::{Component, Path};

use ignore::gitignore::GitignoreBuilder;

use crate::config::error::ConfigError;
use crate::config::model::{Compression, Config, VolumeConfig};
use crate::config::origin::Origin;
use crate::config::repository_url::RepositoryUrl;
use crate::config::{git, s3, steps};

/// What a command cannot do without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub volume: bool,
    pub repository: bool,
}

impl Needs {
    pub const NOTHING: Self = Self { volume: false, repository: false };
    pub const VOLUME: Self = Self { volume: true, repository: false };
    pub const REPOSITORY: Self = Self { volume: false, repository: true };
    pub const BOTH: Self = Self { volume: true, repository: true };
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub key: String,
    message: Message,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Message {
    Missing(&'static str),
    Bad(String),
}

impl Finding {
    pub fn into_error(self, origin: Origin) -> ConfigError {
        let key = self.key;
        match self.message {
            Message::Missing(by) => ConfigError::Missing { key, by: by.to_owned() },
            Message::Bad(message) => ConfigError::Value { key, origin, message },
        }
    }
}

const STATE_DIR: &str = ".volkeep";
const LONGEST_IDENTITY: usize = 64;
const LEAST_MEMORY: u64 = 16 << 20;
const MOST_CONNECTIONS: u32 = 256;
const MOST_RETRIES: u32 = 100;

/// Fills in the defaults that depend on other values.
pub fn complete(config: &mut Config) {
    let volume = &mut config.volume;
    // `/data/` and `/data` must be the same volume.
    volume.path = volume.path.components().collect();
    volume.state_dir = volume.state_dir.components().collect();
    if volume.state_dir.as_os_str().is_empty() && !volume.path.as_os_str().is_empty() {
        volume.state_dir = volume.path.join(STATE_DIR);
    }
    config.jobs.complete();
}

/// For a completed configuration.
pub fn findings(config: &Config, needs: Needs) -> Vec<Finding> {
    let mut found = Vec::new();
    volume(&config.volume, needs, &mut found);
    repositories(config, needs, &mut found);
    numbers(config, &mut found);
    let jobs: Vec<&str> = config.jobs.all().map(|(name, _)| name).collect();
    for (key, message) in config.sidecar.faults(&jobs) {
        refuse(&mut found, &format!("sidecar.{key}"), message);
    }
    for (key, message) in config.jobs.faults() {
        refuse(&mut found, &format!("jobs.{key}"), message);
    }
    found
}

fn volume(volume: &VolumeConfig, needs: Needs, found: &mut Vec<Finding>) {
    if volume.path.as_os_str().is_empty() {
        if needs.volume {
            let by = Message::Missing("--volume, VOLKEEP_VOLUME or the configuration file");
            found.push(Finding { key: "volume.path".to_owned(), message: by });
        }
    } else if let Some(message) = no_directory_path(&volume.path) {
        refuse(found, "volume.path", message);
    } else if let Some(message) = no_state_dir(&volume.state_dir, &volume.path) {
        refuse(found, "volume.state_dir", message);
    }
    if !is_identity(&volume.identity) {
        let message = format!("1 to {LONGEST_IDENTITY} letters, digits, `.`, `_` or `-` are expected");
        refuse(found, "volume.identity", message);
    }
    for (key, globs) in [("exclude", &volume.exclude), ("fixed_chunks", &volume.fixed_chunks)] {
        for (number, glob) in globs.iter().enumerate() {
            if let Err(error) = GitignoreBuilder::new("/").add_line(None, glob) {
                refuse(found, &format!("volume.{key}[{number}]"), error.to_string());
            }
        }
    }
}

fn repositories(config: &Config, needs: Needs, found: &mut Vec<Finding>) {
    if config.repositories.is_empty() && needs.repository {
        let by = Message::Missing("--repository, VOLKEEP_REPOSITORY or the configuration file");
        found.push(Finding { key: "repositories".to_owned(), message: by });
    }
    for (number, repository) in config.repositories.iter().enumerate() {
        let key = |name: &str| format!("repositories[{number}].{name}");
        if !repository.url.is_given() {
            let by = Message::Missing(
                "an address such as file:///backups/wiki, s3://bucket/wiki or git+ssh://git@host/wiki.git",
            );
            found.push(Finding { key: key("url"), message: by });
        } else if config
            .repositories
            .iter()
            .take(number)
            .any(|other| other.place().is_same_place(&repository.place()))
        {
            refuse(found, &key("url"), "this repository is named twice".to_owned());
        }
        if repository.url.is_given()
            && let Some(message) = entangled(&repository.url, &config.volume.path)
        {
            refuse(found, &key("url"), message);
        }
        for (name, message) in s3::faults(&repository.s3, &repository.url) {
            refuse(found, &key(&format!("s3.{name}")), message);
        }
        for (name, message) in git::faults::of(repository) {
            refuse(found, &key(&name), message);
        }
        let highest = match repository.compression {
            Compression::Zstd => 19,
            Compression::Gzip => 9,
            Compression::None => i32::MAX,
        };
        if !(1..=highest).contains(&repository.level) {
            refuse(found, &key("level"), format!("{} is not a level from 1 to {highest}", repository.level));
        }
    }
}

/// Either would be a backup that holds itself, and a restore that replaces its own source.
fn entangled(url: &RepositoryUrl, volume: &Path) -> Option<String> {
    let path = url.directory().filter(|_| volume.is_absolute() && volume.parent().is_some())?;
    if path.starts_with(volume) {
        Some(format!("it lies on the volume {} itself", volume.display()))
    } else if volume.starts_with(path) {
        Some(format!("the volume {} lies in it", volume.display()))
    } else {
        None
    }
}

fn numbers(config: &Config, found: &mut Vec<Finding>) {
    let init = &config.init;
    let mut spans = vec![
        ("init.timeout".to_owned(), init.timeout),
        ("init.stale_timeout".to_owned(), init.stale_timeout),
        ("init.repair.timeout".to_owned(), init.repair.timeout),
    ];
    for (number, check) in init.checks.iter().enumerate() {
        spans.extend(check.timeout().map(|span| (format!("init.checks[{number}].timeout"), span)));
    }
    for (key, span) in spans {
        if span.0.is_zero() {
            refuse(found, &key, "a time limit of 0 would never be kept".to_owned());
        }
    }
    if let Err(message) = init.repair.fault() {
        refuse(found, "init.repair", message);
    }
    for (key, message) in init.hooks.faults() {
        refuse(found, &format!("init.hooks.{key}"), message);
    }
    for (key, message) in steps::faults(&init.steps, &config.volume.path, &config.volume.state_dir) {
        refuse(found, &format!("init.steps{key}"), message);
    }
    let limits = &config.limits;
    if limits.memory.0 < LEAST_MEMORY {
        refuse(found, "limits.memory", format!("{} is less than 16MiB", limits.memory));
    }
    if !(1..=MOST_CONNECTIONS).contains(&limits.connections) {
        let message = format!("{} is not a number from 1 to {MOST_CONNECTIONS}", limits.connections);
        refuse(found, "limits.connections", message);
    }
    if config.backup.read_retries > MOST_RETRIES {
        let message = format!("{} is more than {MOST_RETRIES}", config.backup.read_retries);
        refuse(found, "backup.read_retries", message);
    }
    if let Some((key, message)) = config.drill.fault() {
        refuse(found, &format!("drill.{key}"), message);
    }
    for (key, message) in config.retention.faults() {
        refuse(found, &format!("retention.{key}"), message);
    }
    if let Some(archive) = &init.archive {
        let name = archive.to_string_lossy();
        if !archive.is_absolute() {
            refuse(found, "init.archive", format!("{name} is not an absolute path"));
        } else if ![".tar", ".tar.gz", ".tgz", ".tar.zst"].iter().any(|end| name.ends_with(end)) {
            refuse(found, "init.archive", format!("{name} is not a .tar, .tar.gz or .tar.zst"));
        }
    }
}

fn refuse(found: &mut Vec<Finding>, key: &str, message: String) {
    found.push(Finding { key: key.to_owned(), message: Message::Bad(message) });
}

fn no_state_dir(state_dir: &Path, volume: &Path) -> Option<String> {
    if let Some(message) = no_directory_path(state_dir) {
        Some(message)
    } else if volume.starts_with(state_dir) {
        Some("it must not be volume.path or hold it".to_owned())
    } else if state_dir.starts_with(volume) && state_dir.parent() != Some(volume) {
        // Deeper down it would lie in a directory of the app, which a restore moves as a whole.
        Some("inside the volume it must be directly below volume.path".to_owned())
    } else {
        None
    }
}

fn no_directory_path(path: &Path) -> Option<String> {
    if !path.is_absolute() {
        Some(format!("{} is not an absolute path", path.display()))
    } else if path.parent().is_none() {
        Some("it must not be the root of the file system".to_owned())
    } else if path.components().any(|part| part == Component::ParentDir) {
        Some(format!("{} has a `..` in it", path.display()))
    } else {
        None
    }
}

fn is_identity(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=LONGEST_IDENTITY).contains(&text.len()) && text.bytes().all(fits)
}
