//! What every operation works on: one volume, its repositories in order, and the means. Opened by the caller
//! from checked options.

use std::path::Path;
use std::sync::Arc;

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::progress::Progress;
use crate::ops::OpsError;
use crate::repository::{BackupRequest, Guard, Repository, RepositoryError, Workers, Writer};
use crate::snapshot::SnapshotId;
use crate::tree::{Excludes, WalkOptions};
use crate::volume::{Holder, LockGuard, LockKind, Marker, Volume};

#[derive(Clone, Debug)]
pub struct Scope {
    pub volume: Volume,
    /// Backups go to all, a restore tries them in order.
    pub repositories: Vec<Arc<dyn Repository>>,
    pub source: SourceOptions,
    pub workers: Workers,
    /// The name of the pod or container, and of the machine: for messages.
    pub pod: String,
    pub host: String,
    pub clock: Arc<dyn Clock>,
    pub progress: Progress,
    pub cancel: Cancel,
}

/// How the volume is read for a backup.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    pub excludes: Excludes,
    pub fixed_chunks: Excludes,
    pub honour_cache_tags: bool,
    pub read_retries: u32,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            excludes: Excludes::none(),
            fixed_chunks: Excludes::none(),
            honour_cache_tags: true,
            read_retries: 3,
        }
    }
}

impl Scope {
    /// Takes the volume's lock and says in the log whom it waits for.
    pub fn lock(&self, kind: LockKind, mode: &str) -> Result<LockGuard, OpsError> {
        let who = Holder {
            mode: mode.to_owned(),
            pod: self.pod.clone(),
            host: self.host.clone(),
            since: self.clock.now(),
        };
        let mut told = false;
        Ok(self.volume.lock(kind, &who, self.clock.as_ref(), &mut |holder| {
            if !std::mem::replace(&mut told, true) {
                tracing::info!(holder = Holder::describe(holder), "waiting for the volume");
            }
        })?)
    }

    pub fn writer(&self, marker: &Marker) -> Writer {
        Writer {
            volume_id: marker.volume_id.clone(),
            identity: self.volume.identity().to_owned(),
            host: if self.pod.is_empty() { self.host.clone() } else { self.pod.clone() },
        }
    }

    pub fn first_repository(&self) -> Result<&Arc<dyn Repository>, OpsError> {
        self.repositories.first().ok_or(OpsError::NoRepository)
    }

    /// What a backup of the volume looks like, and what of the volume a snapshot does not hold.
    pub fn walk_options(&self) -> WalkOptions {
        let mut skip_at_root = vec![b"lost+found".to_vec()];
        if let Ok(inside) = self.volume.state_dir().strip_prefix(self.volume.path())
            && let Some(name) = inside.iter().next()
        {
            skip_at_root.push(name.as_encoded_bytes().to_vec());
        }
        WalkOptions {
            skip_at_root,
            excludes: self.source.excludes.clone(),
            one_file_system: true,
            honour_cache_tags: self.source.honour_cache_tags,
        }
    }

    pub fn with_backup_request<T>(
        &self,
        writer: &Writer,
        guard: Guard<'_>,
        dry_run: bool,
        run: impl FnOnce(&BackupRequest<'_>) -> T,
    ) -> T {
        run(&BackupRequest {
            root: self.volume.path(),
            walk: self.walk_options(),
            cache: &self.volume.cache_dir(),
            writer,
            workers: &self.workers,
            fixed_chunks: &self.source.fixed_chunks,
            read_retries: self.source.read_retries,
            guard,
            dry_run,
            clock: &self.clock,
            progress: &self.progress,
            cancel: &self.cancel,
        })
    }

    /// Lets the next backup start from what was just restored. Failing costs time only.
    pub fn remember(&self, repository: &dyn Repository, id: &SnapshotId, marker: &Marker) {
        let writer = self.writer(marker);
        let remembered: Result<(), RepositoryError> =
            self.with_backup_request(&writer, &|_, _| Ok(()), true, |request| {
                repository.remember(id, request)
            });
        if let Err(error) = remembered {
            tracing::warn!(%error, "the next backup will read every file");
        }
    }

    pub fn state_dir(&self) -> &Path {
        self.volume.state_dir()
    }
}
