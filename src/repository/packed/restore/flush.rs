//! Has the disk take what was restored while more is written, so that the sync which makes the restore durable
//! finds little left to do. Knows nothing of what is written.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::repository::RepositoryError;
use crate::repository::packed::restore::write::Shared;

/// Written out at a time. Shorter steps write the same tables of inodes again and again, longer ones leave more to
/// the end.
const STEP: u64 = 48 << 20;
/// What a file costs beside its content, in bytes: ten thousand empty ones are a step as well.
const FILE_COST: u64 = 4 << 10;

/// A writer's way to say how much it wrote. Whoever flushes ends when all of them are gone.
#[derive(Clone, Debug)]
pub struct Noting<'a> {
    /// Since the last step, by all writers.
    unflushed: &'a AtomicU64,
    due: Sender<()>,
}

impl<'a> Noting<'a> {
    pub fn new(unflushed: &'a AtomicU64, due: Sender<()>) -> Self {
        Self { unflushed, due }
    }

    pub fn files(&self, count: usize) {
        self.bytes((count as u64).saturating_mul(FILE_COST));
    }

    pub fn bytes(&self, count: u64) {
        let sum = self.unflushed.fetch_add(count, Ordering::Relaxed).saturating_add(count);
        if sum >= STEP {
            // With one step waiting there is no need for another, and nobody waits here.
            match self.due.try_send(()) {
                Ok(()) => self.unflushed.store(0, Ordering::Relaxed),
                Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
            }
        }
    }
}

/// The kernel tells of an error in writing out only once to whoever syncs: one that is told here must fail the
/// restore, since the sync at its end would not hear of it. The handle was opened before the first byte was
/// written, and so hears of all.
pub fn flush(shared: &Shared<'_>, due: &Receiver<()>) {
    for () in due {
        if shared.is_over() {
            continue;
        }
        if let Err(error) = shared.writer.sync_file_system() {
            shared.fail(RepositoryError::from(error));
        }
    }
}
