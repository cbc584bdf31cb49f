//! From the checked configuration to the options that each module owns. The only place that knows both.

#[cfg(feature = "git")]
use std::path::PathBuf;
use std::sync::Arc;
#[cfg(any(feature = "git", feature = "s3"))]
use std::time::Duration;

use crate::config::drill::DrillRepositories;
use crate::config::model::{Caches, Compression, Config, OnForeign, OnStale, RepositoryConfig};
use crate::config::repository_url::RepositoryUrl;
use crate::config::steps::StepContext;
use crate::ops::backup::BackupOptions;
use crate::ops::drill::DrillOptions;
use crate::ops::init::InitOptions;
use crate::ops::init::decide::{self, Policy};
#[cfg(feature = "git")]
use crate::ops::init::git_file::GitFile;
use crate::ops::prune::PruneOptions;
use crate::ops::scope::SourceOptions;
use crate::ops::status::StatusOptions;
use crate::repository::packed::PackedOptions;
use crate::repository::packed::codec::Codec;
use crate::repository::{Location, RepositoryOptions, Workers};
use crate::snapshot::RelativePath;
#[cfg(feature = "s3")]
use crate::step::BucketSource;
use crate::step::{FileSource, Source, Step};
use crate::store::StoreOptions;
use crate::tree::{ExcludeError, Excludes};
use crate::volume::{CheckSpec, QuarantineOptions, VolumeOptions};

/// A server that is well may think for this long.
#[cfg(any(feature = "git", feature = "s3"))]
const SHORTEST_STALL: Duration = Duration::from_secs(5);

/// More threads than this only wait for each other.
const MOST_THREADS: usize = 16;

/// A thread has some 2.5 MiB of its own for compressing, whatever passes through it (measured with 2 to 16 of them), so
/// that a small pod on a large node needs few.
const MEMORY_OF_THREAD: u64 = 4 << 20;

fn threads(cores: usize, memory: u64) -> usize {
    let affordable = usize::try_from(memory / MEMORY_OF_THREAD).unwrap_or(MOST_THREADS).max(1);
    cores.min(MOST_THREADS).min(affordable)
}

impl Config {
    pub fn volume_options(&self) -> VolumeOptions {
        let volume = &self.volume;
        VolumeOptions {
            lock_wait: volume.lock_wait.0,
            quarantine: QuarantineOptions {
                keep: volume.quarantine.keep.0,
                min_free_percent: volume.quarantine.min_free.0,
            },
            ..VolumeOptions::new(&volume.path, &volume.state_dir, &volume.identity)
        }
    }

    pub fn repository_options(&self) -> Vec<RepositoryOptions> {
        self.repositories.iter().map(|repository| self.one_repository(repository)).collect()
    }

    /// For an address somebody typed: as it is configured, if it is, else with the defaults.
    pub fn repository_at(&self, url: &RepositoryUrl) -> RepositoryOptions {
        match self.repositories.iter().find(|repository| repository.place().is_same_place(url)) {
            Some(repository) => self.one_repository(repository),
            None => {
                self.one_repository(&RepositoryConfig { url: url.clone(), ..RepositoryConfig::default() })
            }
        }
    }

    fn one_repository(&self, repository: &RepositoryConfig) -> RepositoryOptions {
        let codec = match repository.compression {
            Compression::Zstd => Codec::Zstd,
            Compression::Gzip => Codec::Gzip,
            Compression::None => Codec::None,
        };
        RepositoryOptions {
            location: match &repository.url {
                RepositoryUrl::File(path) => Location::Directory(path.clone()),
                #[cfg(feature = "s3")]
                RepositoryUrl::S3(address) => {
                    let mut options = repository.s3.options(address);
                    options.stall_timeout = self.stall_timeout(options.stall_timeout);
                    Location::S3(Box::new(options))
                }
                #[cfg(feature = "git")]
                RepositoryUrl::Git(address) => {
                    let mut options = repository.git_options(address, &self.surroundings, self.git_cache());
                    options.stall_timeout = self.stall_timeout(options.stall_timeout);
                    options.retry_deadline = self.limits.retry.0;
                    Location::Git(Box::new(options))
                }
            },
            packed: PackedOptions { codec, level: Some(repository.level) },
            store: StoreOptions {
                retry_deadline: self.limits.retry.0,
                connections: self.limits.connections as usize,
                upload: self.limits.upload.0,
                download: self.limits.download.0,
                ..StoreOptions::default()
            },
        }
    }

    /// On the volume; where no volume is named, with what else this user can do without.
    #[cfg(feature = "git")]
    fn git_cache(&self) -> PathBuf {
        let state_dir = &self.volume.state_dir;
        match &self.surroundings.cache {
            _ if !state_dir.as_os_str().is_empty() => state_dir.join("cache/git"),
            Some(cache) => cache.join("volkeep/git"),
            None => std::env::temp_dir().join(format!("volkeep-{}/git", rustix::process::getuid().as_raw())),
        }
    }

    /// How long nothing may move in a request. Who wants to try for a short time does not want to wait much longer
    /// for a server that is silent; zero says that one attempt is enough, not how long it may take.
    #[cfg(any(feature = "git", feature = "s3"))]
    fn stall_timeout(&self, longest: Duration) -> Duration {
        match self.limits.retry.0 {
            Duration::ZERO => longest,
            retry => retry.clamp(SHORTEST_STALL.min(longest), longest),
        }
    }

    pub fn source_options(&self) -> Result<SourceOptions, ExcludeError> {
        Ok(SourceOptions {
            excludes: Excludes::new(&self.volume.exclude)?,
            fixed_chunks: Excludes::new(&self.volume.fixed_chunks)?,
            honour_cache_tags: self.volume.caches == Caches::Skip,
            read_retries: self.backup.read_retries,
        })
    }

    pub fn workers(&self) -> Workers {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Workers {
            threads: threads(cores, self.limits.memory.0),
            connections: self.limits.connections as usize,
            memory: self.limits.memory.0,
        }
    }

    pub fn init_options(&self, dry_run: bool) -> InitOptions {
        let init = &self.init;
        InitOptions {
            policy: Policy {
                create_repository: init.create_repository,
                on_foreign: match init.on_foreign {
                    OnForeign::Fail => decide::OnForeign::Fail,
                    OnForeign::Adopt => decide::OnForeign::Adopt,
                    OnForeign::Restore => decide::OnForeign::Restore,
                },
                on_stale: match init.on_stale {
                    OnStale::Fail => decide::OnStale::Fail,
                    OnStale::Keep => decide::OnStale::Keep,
                    OnStale::Restore => decide::OnStale::Restore,
                },
                archive: init.archive.is_some(),
            },
            timeout: init.timeout.0,
            stale_timeout: init.stale_timeout.0,
            checks: self.checks(),
            repair: init.repair.options(),
            archive: init.archive.clone(),
            hooks: init.hooks.options(),
            steps: self.steps(),
            dry_run,
        }
    }

    fn steps(&self) -> Vec<Step> {
        let context = StepContext {
            variables: &self.surroundings.variables,
            volume: &self.volume.path,
            state_dir: &self.volume.state_dir,
            source: &|repository, path| self.source(repository, path),
        };
        self.init.steps.iter().map(|step| step.step(&context)).collect()
    }

    /// What is at an address of S3, or by this name at one of git.
    fn source(&self, repository: &RepositoryConfig, _path: Option<&RelativePath>) -> Arc<dyn Source> {
        match self.one_repository(repository).location {
            Location::Directory(path) => Arc::new(FileSource { path }),
            #[cfg(feature = "s3")]
            Location::S3(options) => {
                Arc::new(BucketSource { options: *options, retry_deadline: self.limits.retry.0 })
            }
            #[cfg(feature = "git")]
            Location::Git(options) => {
                Arc::new(GitFile { options: *options, path: _path.cloned().unwrap_or_default() })
            }
        }
    }

    pub fn backup_options(&self, allow_shrink: bool, dry_run: bool) -> BackupOptions {
        BackupOptions {
            checks: self.checks(),
            max_shrink_percent: self.backup.max_shrink.0,
            allow_empty: self.backup.allow_empty,
            allow_shrink,
            create_repository: self.init.create_repository,
            keep_stale: self.init.on_stale == OnStale::Keep,
            dry_run,
        }
    }

    pub fn prune_options(&self, dry_run: bool) -> PruneOptions {
        PruneOptions { policy: self.retention.policy(), grace: self.prune.grace.0, dry_run }
    }

    pub fn drill_options(&self) -> DrillOptions {
        DrillOptions {
            directory: self.drill.directory.clone(),
            each: self.drill.repositories == DrillRepositories::Each,
            checks: self.checks(),
            keep: false,
        }
    }

    pub fn status_options(&self) -> StatusOptions {
        StatusOptions { checks: self.checks(), stale_timeout: self.init.stale_timeout.0 }
    }

    fn checks(&self) -> Vec<CheckSpec> {
        self.init.checks.iter().map(|spec| spec.check()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_pod_on_a_large_node_has_few_threads() {
        let mib = |count: u64| count << 20;
        assert_eq!(threads(64, mib(16)), 4);
        assert_eq!(threads(64, mib(64)), 16);
        assert_eq!(threads(64, mib(4096)), MOST_THREADS);
        assert_eq!(threads(2, mib(64)), 2);
        assert_eq!(threads(2, 0), 1);
    }
}
