//! Volumes that share one repository in memory, each with a clock and a connection of its own.

#![allow(dead_code, reason = "each test file uses a part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use volkeep::base::cancel::Cancel;
use volkeep::base::clock::{Clock, ManualClock};
use volkeep::base::progress::Progress;
use volkeep::base::timestamp::Timestamp;
use volkeep::repository::packed::codec::Codec;
use volkeep::repository::packed::{Packed, PackedOptions};
use volkeep::repository::{
    BackupReport, BackupRequest, CheckRequest, Epoch, Repository, RepositoryError, RestoreRequest, Workers,
    Writer,
};
use volkeep::snapshot::SnapshotId;
use volkeep::snapshot::selector::Selector;
use volkeep::store::retry::RetryPolicy;
use volkeep::store::{FaultyStore, MemoryStore, ObjectStore, RetryStore};
use volkeep::tree::{Excludes, WalkOptions};

pub const IDENTITY: &str = "app";
pub const START: Timestamp = Timestamp::new(1_790_000_000, 0);

/// The server that all share.
pub fn server() -> Arc<dyn ObjectStore> {
    Arc::new(MemoryStore::new(Arc::new(ManualClock::at(START))))
}

pub fn workers() -> Workers {
    Workers { threads: 1, connections: 1, memory: 8 << 20 }
}

/// A volume with the program beside it.
pub struct Pod {
    pub dir: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    pub store: Arc<FaultyStore>,
    pub repository: Arc<dyn Repository>,
    pub writer: Writer,
}

impl Pod {
    /// `ahead` is by how much its clock is ahead of the others'.
    pub fn new(name: &str, server: &Arc<dyn ObjectStore>, ahead: Duration) -> Self {
        // In memory where there is such a place: this is about races, and waiting for a disk would only take time.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let dir = dir.unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        let clock = Arc::new(ManualClock::at(START.plus(ahead)));
        let store = Arc::new(FaultyStore::new(Arc::clone(server), clock.clone()));
        // What the program puts around every store.
        let policy = RetryPolicy { seed: Some(1), ..RetryPolicy::default() };
        let retrying = Arc::new(RetryStore::new(store.clone(), policy, clock.clone()));
        let options = PackedOptions { codec: Codec::None, level: None };
        let repository = Arc::new(Packed::new(retrying, options, clock.clone()));
        let writer = Writer { volume_id: name.into(), identity: IDENTITY.into(), host: name.into() };
        Self { dir, clock, store, repository, writer }
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn write(&self, content: impl AsRef<[u8]>) {
        fs::write(self.data().join("file"), content).unwrap();
    }

    pub fn content(&self) -> String {
        fs::read_to_string(self.data().join("file")).unwrap()
    }

    /// `held` is the last lease the volume is known to have had.
    pub fn backup(&self, held: Option<Epoch>) -> Result<BackupReport, RepositoryError> {
        let clock: Arc<dyn Clock> = self.clock.clone();
        self.repository.backup(&BackupRequest {
            root: &self.data(),
            walk: WalkOptions::default(),
            cache: &self.dir.path().join("cache"),
            writer: &self.writer,
            epoch: held,
            take_over: false,
            workers: &workers(),
            fixed_chunks: &Excludes::none(),
            read_retries: 1,
            guard: &|_, _| Ok(()),
            dry_run: false,
            clock: &clock,
            progress: &Progress::default(),
            cancel: &Cancel::new(),
        })
    }

    pub fn restore(&self, id: &SnapshotId) -> Result<(), RepositoryError> {
        let request = RestoreRequest {
            target: &self.data(),
            selector: &Selector::everything(),
            cache: None,
            workers: &workers(),
            progress: &Progress::default(),
            cancel: &Cancel::new(),
        };
        self.repository.restore(id, &request).map(|_| ())
    }

    /// Reads everything; damage by object.
    pub fn check(&self) -> Vec<String> {
        let request = CheckRequest {
            verify_percent: 100,
            verify_turn: None,
            cache: None,
            workers: workers(),
            cancel: Cancel::new(),
            progress: Progress::default(),
        };
        let report = self.repository.check(&request).unwrap();
        report.findings.into_iter().map(|finding| format!("{}: {}", finding.object, finding.reason)).collect()
    }
}
