//! Tries again what failed for the moment: exponential backoff with full jitter, under one deadline for all
//! attempts of a call. Must not know why a store fails, only what its errors say of themselves.

use std::cell::Cell;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::hash::Hash;
use crate::base::id::random_hex;
use crate::base::pause::pause;
use crate::base::timestamp::Timestamp;
use crate::store::{Container, Key, ObjectStore, Presence, Put, Replace, StoreError, Visit};

#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// From the first attempt to the start of the last one.
    pub deadline: Duration,
    /// The bound of the first pause; it doubles with each attempt up to `longest`.
    pub first: Duration,
    pub longest: Duration,
    /// Fixes the jitter, for tests; `None` takes a random one, so that clients cut off together do not return
    /// together.
    pub seed: Option<u64>,
    /// Ends a pause; the last error is returned.
    pub cancel: Cancel,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(120),
            first: Duration::from_millis(200),
            longest: Duration::from_secs(20),
            seed: None,
            cancel: Cancel::new(),
        }
    }
}

thread_local! {
    /// When the calls of this thread are given up, however patient the policy is.
    static UNTIL: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Does `work`, in which this thread's calls to any store are tried again for `limit` at most. For whoever has a
/// deadline of his own and wants to hear the cause, not that it has passed.
pub fn retry_no_longer_than<T>(limit: Duration, work: impl FnOnce() -> T) -> T {
    let before = UNTIL.replace(Instant::now().checked_add(limit));
    let done = work();
    UNTIL.set(before);
    done
}

#[derive(Debug)]
pub struct RetryStore {
    inner: Arc<dyn ObjectStore>,
    policy: RetryPolicy,
    clock: Arc<dyn Clock>,
    jitter: AtomicU64,
}

impl RetryStore {
    pub fn new(inner: Arc<dyn ObjectStore>, policy: RetryPolicy, clock: Arc<dyn Clock>) -> Self {
        let jitter = AtomicU64::new(policy.first_jitter());
        Self { inner, policy, clock, jitter }
    }

    fn run<T>(
        &self,
        operation: &'static str,
        subject: &str,
        mut attempt: impl FnMut() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut attempts = Attempts::start(self.terms(), operation, subject);
        loop {
            match attempt() {
                Ok(done) => return Ok(done),
                Err(error) => attempts.failed(error, StoreError::retryable)?,
            }
        }
    }

    fn terms(&self) -> Terms<'_> {
        Terms { policy: &self.policy, clock: self.clock.as_ref(), jitter: &self.jitter }
    }
}

/// For calls that are not those of a store: does `attempt` until it succeeds, on the same terms.
pub fn retry<T, E: Display>(
    policy: &RetryPolicy,
    clock: &dyn Clock,
    (operation, subject): (&'static str, &str),
    retryable: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let jitter = AtomicU64::new(policy.first_jitter());
    let mut attempts = Attempts::start(Terms { policy, clock, jitter: &jitter }, operation, subject);
    loop {
        match attempt() {
            Ok(done) => return Ok(done),
            Err(error) => attempts.failed(error, &retryable)?,
        }
    }
}

impl RetryPolicy {
    fn first_jitter(&self) -> u64 {
        self.seed.unwrap_or_else(|| {
            let id = random_hex(8).unwrap_or_else(|_| std::process::id().to_string());
            Hash::of(id.as_bytes()).prefix()
        })
    }
}

/// On which terms calls are tried again.
#[derive(Clone, Copy)]
struct Terms<'a> {
    policy: &'a RetryPolicy,
    clock: &'a dyn Clock,
    jitter: &'a AtomicU64,
}

impl Terms<'_> {
    /// The next number of the splitmix64 sequence.
    fn random(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut bits = self.jitter.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

/// The attempts of one call.
struct Attempts<'a> {
    terms: Terms<'a>,
    operation: &'static str,
    subject: &'a str,
    started: Duration,
    failures: u32,
}

impl<'a> Attempts<'a> {
    fn start(terms: Terms<'a>, operation: &'static str, subject: &'a str) -> Self {
        Self { terms, operation, subject, started: terms.clock.elapsed(), failures: 0 }
    }

    /// Waits before the next attempt, or gives the error back when there is to be none.
    fn failed<E: Display>(&mut self, error: E, retryable: impl Fn(&E) -> bool) -> Result<(), E> {
        let Terms { policy, clock, .. } = self.terms;
        if !retryable(&error) {
            return Err(error);
        }
        let passed = clock.elapsed().saturating_sub(self.started);
        let left = policy.deadline.saturating_sub(passed);
        let left = match UNTIL.get() {
            Some(until) => left.min(until.saturating_duration_since(Instant::now())),
            None => left,
        };
        if left.is_zero() || policy.cancel.is_cancelled() {
            return Err(error);
        }
        let duration = self.next_pause().min(left);
        tracing::warn!(
            operation = self.operation,
            object = self.subject,
            attempt = self.failures,
            pause_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            %error,
            "store call failed, trying again"
        );
        pause(clock, &policy.cancel, duration);
        if policy.cancel.is_cancelled() { Err(error) } else { Ok(()) }
    }

    /// Anything from nothing to the bound of this attempt: spread over the whole range, clients that failed
    /// together come back one by one.
    fn next_pause(&mut self) -> Duration {
        let policy = self.terms.policy;
        let doubled = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let bound = policy.first.saturating_mul(doubled).min(policy.longest);
        let nanoseconds = (bound.as_nanos() * u128::from(self.terms.random())) >> 64;
        // Never nothing, so that the deadline is reached however small the policy's figures are.
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)).max(Duration::from_millis(1))
    }
}

impl ObjectStore for RetryStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn container(&self) -> Container {
        self.inner.container()
    }

    fn presence(&self) -> Result<Presence, StoreError> {
        self.run("presence", "", || self.inner.presence())
    }

    fn create(&self) -> Result<(), StoreError> {
        self.run("create", "", || self.inner.create())
    }

    /// A second attempt skips what `each` has seen. Progress starts the deadline anew: a long listing may take
    /// longer than one.
    fn list(&self, prefix: &str, each: Visit<'_>) -> Result<(), StoreError> {
        let mut last: Option<Key> = None;
        let mut attempts = Attempts::start(self.terms(), "list", prefix);
        loop {
            let mut progress = false;
            let mut refused = false;
            let outcome = self.inner.list(prefix, &mut |info| {
                if last.as_ref().is_some_and(|last| info.key <= *last) {
                    return Ok(());
                }
                let key = info.key.clone();
                each(info).inspect_err(|_| refused = true)?;
                last = Some(key);
                progress = true;
                Ok(())
            });
            match outcome {
                Err(error) if !refused => {
                    if progress {
                        attempts = Attempts::start(self.terms(), "list", prefix);
                    }
                    attempts.failed(error, StoreError::retryable)?;
                }
                // An error of the caller's own is not ours to try again, whatever its kind.
                outcome => return outcome,
            }
        }
    }

    fn size(&self, key: &Key) -> Result<u64, StoreError> {
        self.run("size", key.as_str(), || self.inner.size(key))
    }

    fn get(&self, key: &Key) -> Result<Vec<u8>, StoreError> {
        self.run("get", key.as_str(), || self.inner.get(key))
    }

    fn get_range(&self, key: &Key, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        self.run("get_range", key.as_str(), || self.inner.get_range(key, offset, length))
    }

    fn get_range_into(
        &self,
        key: &Key,
        offset: u64,
        length: u64,
        bytes: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        self.run("get_range", key.as_str(), || self.inner.get_range_into(key, offset, length, bytes))
    }

    fn put(&self, key: &Key, bytes: &Bytes) -> Result<(), StoreError> {
        self.run("put", key.as_str(), || self.inner.put(key, bytes))
    }

    /// Guards the lost response: an attempt may have been done though it failed, and then the next one finds
    /// our own object. Two writers of the very same bytes can therefore both be told `Created`; whoever races
    /// for a key must put something of its own into the object.
    fn put_if_absent(&self, key: &Key, bytes: &Bytes) -> Result<Put, StoreError> {
        let mut attempts = Attempts::start(self.terms(), "put_if_absent", key.as_str());
        let mut maybe_done = false;
        loop {
            let outcome = self.inner.put_if_absent(key, bytes).and_then(|put| match put {
                Put::Exists if maybe_done => holder(self.inner.as_ref(), key, bytes),
                put => Ok(put),
            });
            match outcome {
                Ok(put) => return Ok(put),
                Err(error) => {
                    attempts.failed(error, StoreError::retryable)?;
                    maybe_done = true;
                }
            }
        }
    }

    /// Guards the lost response as `put_if_absent` does.
    fn replace(&self, key: &Key, expected: &Bytes, bytes: &Bytes) -> Result<Replace, StoreError> {
        let mut attempts = Attempts::start(self.terms(), "replace", key.as_str());
        let mut maybe_done = false;
        loop {
            let outcome = self.inner.replace(key, expected, bytes).and_then(|replaced| match replaced {
                Replace::Changed if maybe_done => match holder(self.inner.as_ref(), key, bytes)? {
                    Put::Created => Ok(Replace::Done),
                    Put::Exists => Ok(Replace::Changed),
                },
                replaced => Ok(replaced),
            });
            match outcome {
                Ok(replaced) => return Ok(replaced),
                Err(error) => {
                    attempts.failed(error, StoreError::retryable)?;
                    maybe_done = true;
                }
            }
        }
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.run("delete", key.as_str(), || self.inner.delete(key))
    }

    fn delete_many(&self, keys: &[Key]) -> Result<(), StoreError> {
        let first = keys.first().map(Key::as_str).unwrap_or_default();
        self.run("delete_many", first, || self.inner.delete_many(keys))
    }

    fn tidy(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.inner.tidy(now)
    }
}

/// Whose object is under `key`: `Created` when it is ours.
fn holder(store: &dyn ObjectStore, key: &Key, ours: &[u8]) -> Result<Put, StoreError> {
    match store.get(key) {
        Ok(theirs) if theirs == ours => Ok(Put::Created),
        // Deleted in between: it did exist, and it is not there as ours.
        Ok(_) | Err(StoreError::NotFound { .. }) => Ok(Put::Exists),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
