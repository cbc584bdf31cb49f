//! A thread that talks to a server for a caller that blocks: it takes a request, hands over the answer piece by
//! piece in bounded memory, and ends when nothing moves for too long or the work is to stop. Knows nothing of ssh or
//! http.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::Body;
use super::trouble::{self, Meaning};
use crate::base::cancel::Cancel;
use crate::repository::RepositoryError;
use crate::repository::git::options::GitOptions;
use crate::store::{Obstacle, StoreError};

/// How late a wish to stop or a silence may be noticed.
const SLICE: Duration = Duration::from_millis(100);
/// How long an end may take when nobody listens any more.
const FAREWELL: Duration = Duration::from_secs(2);
/// Bytes of an answer that wait to be read.
const AHEAD: usize = 1 << 20;
/// Of a file, in bytes.
const PIECE: usize = 64 << 10;

/// What a line is to heed.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// For messages.
    pub(super) location: String,
    pub(super) connect_timeout: Duration,
    pub(super) stall_timeout: Duration,
    pub(super) cancel: Cancel,
}

impl Terms {
    pub(super) fn of(options: &GitOptions) -> Self {
        Self {
            location: options.location(),
            connect_timeout: options.connect_timeout,
            stall_timeout: options.stall_timeout,
            cancel: options.cancel.clone(),
        }
    }
}

/// How a conversation ended that was not cut off.
#[derive(Clone, Debug, Default)]
pub(super) struct Ended {
    /// What the server said beside its answer.
    pub(super) words: String,
    /// There is no such repository.
    pub(super) absent: bool,
}

/// The caller's end.
pub(super) struct Line {
    body: Option<oneshot::Sender<Body>>,
    ready: Receiver<()>,
    pub(super) incoming: Incoming,
    thread: Option<JoinHandle<Result<Ended, RepositoryError>>>,
}

/// The thread's end.
pub(super) struct Duct {
    /// What is to be sent; an error when the caller has no request after all.
    pub(super) body: oneshot::Receiver<Body>,
    pub(super) sends: Sends,
}

/// Gives the caller what comes.
pub(super) struct Sends {
    ready: Sender<()>,
    pieces: Sender<Piece>,
    room: Arc<Semaphore>,
    pub(super) movement: Arc<Movement>,
}

/// Some bytes and the room they take until they were read.
type Piece = (Bytes, OwnedSemaphorePermit);

/// Ends where the answer does, or the line: `Line::end` says which.
pub(super) struct Incoming {
    arrived: Receiver<Piece>,
    current: Option<Piece>,
    movement: Arc<Movement>,
}

impl Line {
    /// `work` is done on a thread of its own, in a runtime of its own.
    pub(super) fn open<F>(
        terms: &Terms,
        work: impl FnOnce(Duct) -> F + Send + 'static,
    ) -> Result<Self, RepositoryError>
    where
        F: Future<Output = Result<Ended, RepositoryError>>,
    {
        let (body, gets_body) = oneshot::channel();
        let (ready, is_ready) = bounded(1);
        let (pieces, arrived) = unbounded();
        let movement = Arc::new(Movement::new());
        let incoming = Incoming { arrived, current: None, movement: Arc::clone(&movement) };
        let room = Arc::new(Semaphore::new(AHEAD));
        let sends = Sends { ready, pieces, room, movement: Arc::clone(&movement) };
        let heeded = terms.clone();
        let talk = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
            let runtime = runtime.map_err(|error| RepositoryError::Worker(error.to_string()))?;
            let outcome = runtime.block_on(async {
                tokio::select! {
                    biased;
                    outcome = work(Duct { body: gets_body, sends }) => outcome,
                    interrupted = watch(&movement, &heeded) => interrupted,
                }
            });
            // The system may think about a name for longer than anybody waits for it.
            runtime.shutdown_background();
            outcome
        };
        let thread = std::thread::Builder::new()
            .name("git".to_owned())
            .spawn(talk)
            .map_err(|error| RepositoryError::Worker(error.to_string()))?;
        Ok(Self { body: Some(body), ready: is_ready, incoming, thread: Some(thread) })
    }

    /// Waits until the server is there. `end` says why it is not.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.recv().is_ok()
    }

    pub(super) fn send(&mut self, body: Body) {
        if let Some(sender) = self.body.take() {
            // A thread that has ended says so by its end.
            let _ = sender.send(body);
        }
    }

    /// As that of a conversation.
    pub(super) fn exchange(
        mut self,
        body: Body,
        location: &str,
        answer: &mut dyn FnMut(&mut dyn Read) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        self.incoming.movement.exchanging.store(true, Ordering::Relaxed);
        self.send(body);
        match (answer(&mut self.incoming), self.end()) {
            (Ok(()), _) => Ok(()),
            (Err(_), Err(failure)) => Err(failure),
            (Err(error), Ok(ended)) => Err(ended.explain(error, location)),
        }
    }

    /// Reads no more, and says what came of the conversation.
    pub(super) fn end(mut self) -> Result<Ended, RepositoryError> {
        self.hang_up()
    }

    fn hang_up(&mut self) -> Result<Ended, RepositoryError> {
        self.body = None;
        self.incoming.close();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => {
                Err(RepositoryError::Worker("the talk with a git server ended in a panic".to_owned()))
            }
            None => Ok(Ended::default()),
        }
    }
}

/// Ends politely, which takes a moment and never long.
impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.hang_up();
    }
}

impl Ended {
    /// An answer that ended too early, in the words of the server if it had any.
    pub(super) fn explain(&self, error: RepositoryError, location: &str) -> RepositoryError {
        let RepositoryError::Store(StoreError::Temporary { reason, .. }) = &error else { return error };
        if self.absent {
            return trouble::protocol(location, "the repository is not there any more");
        }
        match self.words.as_str() {
            "" => error,
            words if trouble::meaning(words) == Meaning::Denied => trouble::refused(location, words),
            words => trouble::temporary(location, format!("{reason}, and the server said: {words}")),
        }
    }
}

impl Sends {
    /// The server is there: from now on its silence counts.
    pub(super) fn ready(&self) {
        self.movement.moved();
        self.movement.begun.store(true, Ordering::Relaxed);
        let _ = self.ready.try_send(());
    }

    /// Waits for room. False when nobody reads any more.
    pub(super) async fn put(&self, mut bytes: Bytes) -> bool {
        self.movement.moved();
        while !bytes.is_empty() {
            let part = bytes.split_to(bytes.len().min(AHEAD));
            let Ok(count) = u32::try_from(part.len()) else { return false };
            let Ok(permit) = Arc::clone(&self.room).acquire_many_owned(count).await else { return false };
            if self.pieces.send((part, permit)).is_err() {
                return false;
            }
        }
        true
    }
}

impl Incoming {
    fn close(&mut self) {
        self.current = None;
        self.arrived = unbounded().1;
        self.movement.leave();
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.is_none() {
            self.movement.wait(true);
            self.current = self.arrived.recv().ok();
            self.movement.wait(false);
        }
        let Some((bytes, _)) = &mut self.current else { return Ok(0) };
        let count = bytes.len().min(buffer.len());
        let part = bytes.split_to(count);
        if let Some(to) = buffer.get_mut(..count) {
            to.copy_from_slice(&part);
        }
        if bytes.is_empty() {
            self.current = None;
        }
        Ok(count)
    }
}

/// When something last moved, and whether the caller waits for more.
#[derive(Debug)]
pub(super) struct Movement {
    start: Instant,
    /// In milliseconds since the start.
    last: AtomicU64,
    begun: AtomicBool,
    waits: AtomicBool,
    left: AtomicBool,
    exchanging: AtomicBool,
}

impl Movement {
    fn new() -> Self {
        let no = || AtomicBool::new(false);
        let start = Instant::now();
        Self { start, last: AtomicU64::new(0), begun: no(), waits: no(), left: no(), exchanging: no() }
    }

    pub(super) fn moved(&self) {
        let passed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(passed, Ordering::Relaxed);
    }

    fn still_for(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }

    /// A caller that is busy with what came is not kept waiting by the server.
    fn wait(&self, waits: bool) {
        self.moved();
        self.waits.store(waits, Ordering::Relaxed);
    }

    fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }
}

/// Ends when there is a reason to stop.
async fn watch(movement: &Movement, terms: &Terms) -> Result<Ended, RepositoryError> {
    let mut left: Option<Instant> = None;
    loop {
        tokio::time::sleep(SLICE).await;
        if terms.cancel.is_cancelled() {
            return Err(RepositoryError::Cancelled);
        }
        if movement.left.load(Ordering::Relaxed) {
            if left.get_or_insert_with(Instant::now).elapsed() > FAREWELL {
                return Ok(Ended::default());
            }
            continue;
        }
        let listens = movement.begun.load(Ordering::Relaxed) && movement.waits.load(Ordering::Relaxed);
        if listens && movement.still_for() > terms.stall_timeout {
            let reason = format!("nothing came for {} s", terms.stall_timeout.as_secs_f32());
            // Of what was asked, something may have been done.
            return Err(match movement.exchanging.load(Ordering::Relaxed) {
                true => trouble::temporary(&terms.location, reason),
                false => trouble::unreachable(&terms.location, reason, Obstacle::Silence),
            });
        }
    }
}

/// What is sent, piece by piece.
#[derive(Debug)]
pub(super) struct Outgoing {
    head: Bytes,
    file: Option<File>,
    /// Of the file, in bytes.
    left: u64,
}

impl Outgoing {
    pub(super) fn of(body: Body) -> io::Result<Self> {
        let mut file = body.file;
        let left = match &mut file {
            Some(file) => {
                file.rewind()?;
                file.metadata()?.len()
            }
            None => 0,
        };
        Ok(Self { head: Bytes::from(body.head), file, left })
    }

    pub(super) fn left(&self) -> u64 {
        self.left.saturating_add(u64::try_from(self.head.len()).unwrap_or(u64::MAX))
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Bytes>> {
        if !self.head.is_empty() {
            return Ok(Some(self.head.split_to(self.head.len().min(PIECE))));
        }
        let wanted = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
        let Some(file) = self.file.as_mut().filter(|_| wanted > 0) else { return Ok(None) };
        let mut piece = vec![0; wanted];
        // A file that became shorter is an error: its length was promised.
        file.read_exact(&mut piece)?;
        self.left = self.left.saturating_sub(u64::try_from(wanted).unwrap_or(u64::MAX));
        Ok(Some(Bytes::from(piece)))
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
