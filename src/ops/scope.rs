//! What every operation works on: one volume, its repositories in order, and the means. Opened by the caller
//! from checked options.

use std::path::Path;
use std::sync::Arc;

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::progress::Progress;
use crate::ops::OpsError;
use crate::repository::{BackupRequest, Epoch, Guard, Repository, RepositoryError, Workers, Writer};
use crate::snapshot::SnapshotId;
use crate::tree::{Excludes, WalkOptions};
use crate::volume::{Holder, Inspection, Layout, LockGuard, LockKind, Marker, State, Volume};

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

/// On which terms one backup is made.
pub struct Terms<'a> {
    pub guard: Guard<'a>,
    pub dry_run: bool,
    pub epoch: Option<Epoch>,
    pub take_over: bool,
}

impl Default for Terms<'_> {
    fn default() -> Self {
        Self { guard: &|_, _| Ok(()), dry_run: true, epoch: None, take_over: false }
    }
}

impl std::fmt::Debug for Terms<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terms").field("epoch", &self.epoch).finish_non_exhaustive()
    }
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
        let who = self.holder(mode);
        let mut told = false;
        Ok(self.volume.lock(kind, &who, self.clock.as_ref(), &mut |holder| {
            if !std::mem::replace(&mut told, true) {
                tracing::info!(holder = Holder::describe(holder), "waiting for the volume");
            }
        })?)
    }

    /// Called with the exclusive lock: a sidecar that began to work between the look at the volume and the lock, while an
    /// init before this one ended. Its app may be up. One that only stands by has not written the marker.
    pub(super) fn came_while_waiting(&self, before: Option<&Marker>) -> Result<Option<Holder>, OpsError> {
        let Some(holder) = self.volume.sidecar_running()? else { return Ok(None) };
        let is_as_before = self.volume.read_marker()?.as_ref() == before;
        Ok(if is_as_before { None } else { Some(holder) })
    }

    pub fn backup_lock(&self) -> Result<LockGuard, OpsError> {
        Ok(self.volume.hold_backup_lock(&self.holder("backup"), self.clock.as_ref())?)
    }

    /// For the life of whoever runs jobs: a sidecar, or one run without it.
    pub fn sidecar_lock(&self, mode: &str) -> Result<LockGuard, OpsError> {
        Ok(self.volume.hold_sidecar_lock(&self.holder(mode), self.clock.as_ref())?)
    }

    pub(super) fn holder(&self, mode: &str) -> Holder {
        Holder {
            mode: mode.to_owned(),
            pod: if self.pod.is_empty() { "a process".to_owned() } else { self.pod.clone() },
            host: self.host.clone(),
            since: self.clock.now(),
        }
    }

    pub fn writer(&self, marker: &Marker) -> Writer {
        Writer {
            volume_id: marker.volume_id.clone(),
            identity: self.volume.identity().to_owned(),
            host: self.name().to_owned(),
        }
    }

    /// As a writer that belongs to no volume: for a plan, which anybody may make.
    pub fn writer_or_nobody(&self, marker: Option<&Marker>) -> Writer {
        match marker {
            Some(marker) => self.writer(marker),
            None => Writer {
                volume_id: String::new(),
                identity: self.volume.identity().to_owned(),
                host: self.host.clone(),
            },
        }
    }

    /// What others know us by: the pod, or the machine.
    pub fn name(&self) -> &str {
        if self.pod.is_empty() { &self.host } else { &self.pod }
    }

    /// Does `work` on repositories while no backup of this volume runs, if `may` says that its state allows it. Only to
    /// plan takes no lock and needs no permission. Waits as long as the volume's locks are waited for.
    pub fn beside_no_backup<T>(
        &self,
        what: &str,
        only_plan: bool,
        may: impl FnOnce(&State, Option<Marker>) -> Result<Marker, OpsError>,
        work: impl FnOnce(Option<&Marker>) -> Result<T, OpsError>,
    ) -> Result<T, OpsError> {
        if only_plan {
            let marker = self.volume.read_marker()?;
            return work(marker.as_ref());
        }
        self.volume.prepare()?;
        // No backup of this volume runs from here on, and none was killed while it could still write.
        let _alone = self.backup_lock()?;
        let _lock = self.lock(LockKind::Shared, what)?;
        let Inspection { state, marker, .. } = self.volume.inspect()?;
        let marker = may(&state, marker)?;
        work(Some(&marker))
    }

    pub fn first_repository(&self) -> Result<&Arc<dyn Repository>, OpsError> {
        self.repositories.first().ok_or(OpsError::NoRepository)
    }

    /// What a backup of the volume looks like, and what of the volume a snapshot does not hold.
    pub fn walk_options(&self) -> WalkOptions {
        let mut skip_at_root = Vec::new();
        if self.volume.layout() == Layout::MountPoint {
            // What mkfs makes in the root of a file system; anywhere else it is data.
            skip_at_root.push(b"lost+found".to_vec());
        }
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

    /// Whether there is anything on the volume that a backup would hold, by its first entry.
    pub fn holds_data(&self) -> Result<bool, OpsError> {
        let path = self.volume.path();
        let entries = match std::fs::read_dir(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            other => other.map_err(OpsError::io("read", path))?,
        };
        let skipped = self.walk_options().skip_at_root;
        for entry in entries {
            let name = entry.map_err(OpsError::io("read", path))?.file_name();
            if !skipped.iter().any(|skipped| skipped == name.as_encoded_bytes()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub fn with_backup_request<T>(
        &self,
        writer: &Writer,
        terms: &Terms<'_>,
        run: impl FnOnce(&BackupRequest<'_>) -> T,
    ) -> T {
        run(&BackupRequest {
            root: self.volume.path(),
            walk: self.walk_options(),
            cache: &self.volume.cache_dir(),
            writer,
            epoch: terms.epoch,
            take_over: terms.take_over,
            workers: &self.workers,
            fixed_chunks: &self.source.fixed_chunks,
            read_retries: self.source.read_retries,
            guard: terms.guard,
            dry_run: terms.dry_run,
            clock: &self.clock,
            progress: &self.progress,
            cancel: &self.cancel,
        })
    }

    /// Lets the next backup start from what was just restored. Failing costs time only.
    pub fn remember(&self, repository: &dyn Repository, id: &SnapshotId, marker: &Marker) {
        let writer = self.writer(marker);
        let remembered: Result<(), RepositoryError> =
            self.with_backup_request(&writer, &Terms::default(), |request| repository.remember(id, request));
        if let Err(error) = remembered {
            tracing::warn!(%error, "the next backup will read every file");
        }
    }

    pub fn state_dir(&self) -> &Path {
        self.volume.state_dir()
    }
}
