//! A store in an S3 bucket, by Amazon's client. Owns the runtime that the client needs: callers block.
//! Every request is one attempt; trying again is for the wrapper.

mod calls;
mod client;
mod errors;
mod list;
pub mod options;
mod read;
mod transport;
mod whole;
mod write;

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};

pub use options::{S3Credentials, S3Encryption, S3Options};

use crate::base::cancel::Cancel;
use crate::base::timestamp::Timestamp;
use crate::store::s3::calls::Calls;
use crate::store::s3::errors::temporary;
use crate::store::{Container, Key, ObjectStore, Presence, Put, Replace, StoreError, Visit};

/// They move bytes between sockets and callers; the work on the bytes is the callers'.
const THREADS: usize = 2;

/// How long a request may go on when somebody wants to stop: what is about to be done is done, what hangs is not
/// waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// How late a wish to stop may be noticed.
const SLICE: Duration = Duration::from_millis(100);

pub struct S3Store {
    options: S3Options,
    cancel: Cancel,
    /// Made by the first call: to have a store costs nothing.
    open: Mutex<Option<Arc<Open>>>,
}

struct Open {
    calls: Calls,
    /// `None` only while this is dropped.
    runtime: Option<Runtime>,
}

impl S3Store {
    /// Touches nothing yet.
    pub fn new(options: S3Options) -> Self {
        Self { options, cancel: Cancel::new(), open: Mutex::new(None) }
    }

    /// With a wish to stop, soon after which requests under way fail.
    pub fn ended_by(self, cancel: Cancel) -> Self {
        Self { cancel, ..self }
    }

    /// Its size, and what tells this version of the object from others.
    pub fn head(&self, key: &Key) -> Result<(u64, String), StoreError> {
        self.run(async |calls| read::head(calls, key).await)
    }

    /// Blocks until `work` is done. Not for threads that run asynchronous tasks.
    fn run<T>(&self, work: impl AsyncFnOnce(&Calls) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let open = self.open()?;
        match &open.runtime {
            Some(runtime) => runtime.block_on(self.unless_stopped(Box::pin(work(&open.calls)))),
            None => Err(self.broken(std::io::ErrorKind::NotConnected.into())),
        }
    }

    async fn unless_stopped<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let (mut work, mut stopped) = (pin!(work), pin!(self.stopped()));
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => stopped
                .as_mut()
                .poll(context)
                .map(|()| Err(temporary(&self.location(), "stopped before there was an answer"))),
        })
        .await
    }

    async fn stopped(&self) {
        while !self.cancel.is_cancelled() {
            tokio::time::sleep(SLICE).await;
        }
        tokio::time::sleep(PATIENCE).await;
    }

    fn open(&self) -> Result<Arc<Open>, StoreError> {
        let mut present = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = present.as_ref() {
            return Ok(Arc::clone(open));
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("s3")
            .enable_all()
            .build()
            .map_err(|error| self.broken(error))?;
        let calls = runtime.block_on(Box::pin(Calls::open(self.options.clone())))?;
        Ok(Arc::clone(present.insert(Arc::new(Open { calls, runtime: Some(runtime) }))))
    }

    fn broken(&self, source: std::io::Error) -> StoreError {
        StoreError::Io { location: self.location(), source }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // A name that is being looked up cannot be called off, and nobody waits for it any more.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl ObjectStore for S3Store {
    fn location(&self) -> String {
        self.options.location()
    }

    fn container(&self) -> Container {
        Container::Bucket
    }

    fn presence(&self) -> Result<Presence, StoreError> {
        self.run(async |calls| calls.presence().await)
    }

    fn create(&self) -> Result<(), StoreError> {
        self.run(async |calls| write::create(calls).await)
    }

    fn list(&self, prefix: &str, each: Visit<'_>) -> Result<(), StoreError> {
        let (mut next, mut last) = (None, None);
        loop {
            let page = self.run(async |calls| {
                let start = list::start(calls, prefix)?;
                list::page(calls, &start, next.take(), last.take()).await
            })?;
            last = page.objects.last().map(|object| object.key.clone());
            // Outside of the runtime: `each` may call this store.
            page.objects.into_iter().try_for_each(&mut *each)?;
            match page.next {
                Some(token) => next = Some(token),
                None => return Ok(()),
            }
        }
    }

    fn size(&self, key: &Key) -> Result<u64, StoreError> {
        self.run(async |calls| read::size(calls, key).await)
    }

    fn get(&self, key: &Key) -> Result<Vec<u8>, StoreError> {
        self.run(async |calls| read::get(calls, key).await)
    }

    fn get_range(&self, key: &Key, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        self.get_range_into(key, offset, length, &mut bytes)?;
        Ok(bytes)
    }

    fn get_range_into(
        &self,
        key: &Key,
        offset: u64,
        length: u64,
        bytes: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        self.run(async |calls| read::get_range(calls, key, offset, length, bytes).await)
    }

    fn put(&self, key: &Key, bytes: &Bytes) -> Result<(), StoreError> {
        self.run(async |calls| write::put(calls, key, bytes).await)
    }

    fn put_if_absent(&self, key: &Key, bytes: &Bytes) -> Result<Put, StoreError> {
        self.run(async |calls| write::put_if_absent(calls, key, bytes).await)
    }

    fn replace(&self, key: &Key, expected: &Bytes, bytes: &Bytes) -> Result<Replace, StoreError> {
        self.run(async |calls| write::replace(calls, key, expected, bytes).await)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.run(async |calls| write::delete(calls, key).await)
    }

    fn delete_many(&self, keys: &[Key]) -> Result<(), StoreError> {
        self.run(async |calls| write::delete_many(calls, keys).await)
    }

    fn tidy(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.run(async |calls| list::tidy(calls, now).await)
    }
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("location", &self.location()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "answers_tests.rs"]
mod tests;
