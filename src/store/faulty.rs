//! A store that fails by script, for tests of everything above it: errors, lost responses, damaged bytes, slow
//! answers, and a hook that lets a test interleave. Also counts what was asked of it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::base::clock::Clock;
use crate::base::timestamp::Timestamp;
use crate::store::{
    Container, Denial, Key, ObjectStore, Obstacle, Presence, Put, Replace, StoreError, Visit,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Presence,
    Create,
    List,
    Size,
    Get,
    GetRange,
    Put,
    PutIfAbsent,
    Replace,
    /// Of `delete_many` too, once a key.
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not done, and the error says why.
    Fail(Failure),
    /// Done, but the caller is told `Temporary`.
    LostResponse,
    /// The second half of the bytes is missing: of what is stored, for a write; of the object, for a read. A
    /// range that reaches into it is a `ShortRead`. No effect elsewhere.
    Truncated,
    /// One bit in the middle is wrong: of what is stored, for a write; of what is read, for a read.
    FlippedBit,
    /// Takes that long by the injected clock. Other rules apply as well.
    Slow(Duration),
}

/// The kinds of [`StoreError`] that a store makes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    NotFound,
    Unreachable,
    Denied,
    Temporary,
    Full,
    ReadOnly,
    Io,
}

/// When a fault happens: at calls of an operation whose key (for `list`: prefix) matches, so many times.
#[derive(Clone, Debug)]
pub struct Rule {
    operation: Option<Operation>,
    pattern: String,
    skip: u64,
    times: u64,
    fault: Fault,
}

impl Rule {
    /// Once, at the first call. `pattern` is a key in which `*` stands for any characters, slashes as well.
    pub fn new(operation: Operation, pattern: &str, fault: Fault) -> Self {
        Self { operation: Some(operation), ..Self::any(pattern, fault) }
    }

    /// As `new`, for every operation.
    pub fn any(pattern: &str, fault: Fault) -> Self {
        Self { operation: None, pattern: pattern.to_owned(), skip: 0, times: 1, fault }
    }

    pub fn times(self, times: u64) -> Self {
        Self { times, ..self }
    }

    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    /// Lets the first `calls` that match pass.
    pub fn after(self, calls: u64) -> Self {
        Self { skip: calls, ..self }
    }

    fn fires(&mut self, operation: Operation, subject: &str) -> bool {
        let meant = self.operation.is_none_or(|own| own == operation);
        if self.times == 0 || !meant || !matches(&self.pattern, subject) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.times != u64::MAX {
            self.times -= 1;
        }
        true
    }
}

/// What was asked so far, failed calls included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    operations: BTreeMap<Operation, u64>,
    /// Bytes of all puts.
    pub uploaded: u64,
    /// Bytes of all gets that were answered.
    pub downloaded: u64,
}

impl Counts {
    pub fn of(&self, operation: Operation) -> u64 {
        self.operations.get(&operation).copied().unwrap_or(0)
    }

    pub fn total(&self) -> u64 {
        self.operations.values().sum()
    }
}

type Hook = Arc<dyn Fn(Operation, &str) + Send + Sync>;

pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    clock: Arc<dyn Clock>,
    rules: Mutex<Vec<Rule>>,
    counts: Mutex<Counts>,
    hook: Mutex<Option<Hook>>,
}

impl FaultyStore {
    /// Without rules it does what `inner` does. `Slow` sleeps by `clock`.
    pub fn new(inner: Arc<dyn ObjectStore>, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock, rules: Mutex::default(), counts: Mutex::default(), hook: Mutex::default() }
    }

    /// Earlier rules go first; one rule a call takes effect, besides `Slow`.
    pub fn inject(&self, rule: Rule) {
        lock(&self.rules).push(rule);
    }

    /// Forgets all rules: the trouble is over.
    pub fn heal(&self) {
        lock(&self.rules).clear();
    }

    /// Calls `hook` with the operation and its key or prefix before each call is done. The hook may use this
    /// store; it is called for that as well.
    pub fn before_each(&self, hook: impl Fn(Operation, &str) + Send + Sync + 'static) {
        *lock(&self.hook) = Some(Arc::new(hook));
    }

    pub fn counts(&self) -> Counts {
        lock(&self.counts).clone()
    }

    pub fn reset_counts(&self) {
        *lock(&self.counts) = Counts::default();
    }

    /// Counts, calls the hook, and finds the fault that is due. No lock is held while foreign code runs.
    fn begin(&self, operation: Operation, subject: &str) -> Option<Fault> {
        *lock(&self.counts).operations.entry(operation).or_default() += 1;
        let hook = lock(&self.hook).clone();
        if let Some(hook) = hook {
            hook(operation, subject);
        }
        let mut slow = Duration::ZERO;
        let mut due = None;
        for rule in lock(&self.rules).iter_mut() {
            let is_slow = matches!(rule.fault, Fault::Slow(_));
            if (due.is_none() || is_slow) && rule.fires(operation, subject) {
                match rule.fault {
                    Fault::Slow(duration) => slow += duration,
                    fault => due = Some(fault),
                }
            }
        }
        if !slow.is_zero() {
            self.clock.sleep(slow);
        }
        due
    }

    fn run<T>(
        &self,
        fault: Option<Fault>,
        key: Option<&Key>,
        work: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match fault {
            Some(Fault::Fail(failure)) => Err(self.error(failure, key)),
            Some(Fault::LostResponse) => {
                work()?;
                Err(self.error(Failure::Temporary, key))
            }
            _ => work(),
        }
    }

    fn read(&self, fault: Option<Fault>, mut bytes: Vec<u8>) -> Vec<u8> {
        damage(fault, &mut bytes);
        lock(&self.counts).downloaded += bytes.len() as u64;
        bytes
    }

    fn written(&self, fault: Option<Fault>, bytes: &[u8]) -> Bytes {
        lock(&self.counts).uploaded += bytes.len() as u64;
        let mut bytes = bytes.to_vec();
        damage(fault, &mut bytes);
        bytes.into()
    }

    fn error(&self, failure: Failure, key: Option<&Key>) -> StoreError {
        let location = self.location();
        let reason = "by script".to_owned();
        match (failure, key) {
            (Failure::NotFound, Some(key)) => StoreError::NotFound { key: key.clone() },
            (Failure::NotFound | Failure::Unreachable, _) => {
                StoreError::Unreachable { location, reason, obstacle: Obstacle::Network }
            }
            (Failure::Denied, _) => StoreError::Denied { location, reason, denial: Denial::Permission(None) },
            (Failure::Temporary, _) => StoreError::Temporary { location, reason },
            (Failure::Full, _) => StoreError::Full { location, reason },
            (Failure::ReadOnly, _) => StoreError::ReadOnly { location },
            (Failure::Io, _) => StoreError::Io { location, source: io::Error::other(reason) },
        }
    }
}

impl ObjectStore for FaultyStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn container(&self) -> Container {
        self.inner.container()
    }

    fn presence(&self) -> Result<Presence, StoreError> {
        let fault = self.begin(Operation::Presence, "");
        self.run(fault, None, || self.inner.presence())
    }

    fn create(&self) -> Result<(), StoreError> {
        let fault = self.begin(Operation::Create, "");
        self.run(fault, None, || self.inner.create())
    }

    fn list(&self, prefix: &str, each: Visit<'_>) -> Result<(), StoreError> {
        let fault = self.begin(Operation::List, prefix);
        self.run(fault, None, || self.inner.list(prefix, each))
    }

    fn size(&self, key: &Key) -> Result<u64, StoreError> {
        let fault = self.begin(Operation::Size, key.as_str());
        let size = self.run(fault, Some(key), || self.inner.size(key))?;
        Ok(if fault == Some(Fault::Truncated) { size / 2 } else { size })
    }

    fn get(&self, key: &Key) -> Result<Vec<u8>, StoreError> {
        let fault = self.begin(Operation::Get, key.as_str());
        let bytes = self.run(fault, Some(key), || self.inner.get(key))?;
        Ok(self.read(fault, bytes))
    }

    fn get_range(&self, key: &Key, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        let fault = self.begin(Operation::GetRange, key.as_str());
        if fault == Some(Fault::Truncated) {
            let (expected, found) = (offset.saturating_add(length), self.inner.size(key)? / 2);
            if expected > found {
                return Err(StoreError::ShortRead { key: key.clone(), expected, found });
            }
        }
        let bytes = self.run(fault, Some(key), || self.inner.get_range(key, offset, length))?;
        Ok(self.read(fault.filter(|fault| *fault != Fault::Truncated), bytes))
    }

    fn put(&self, key: &Key, bytes: &Bytes) -> Result<(), StoreError> {
        let fault = self.begin(Operation::Put, key.as_str());
        let bytes = self.written(fault, bytes);
        self.run(fault, Some(key), || self.inner.put(key, &bytes))
    }

    fn put_if_absent(&self, key: &Key, bytes: &Bytes) -> Result<Put, StoreError> {
        let fault = self.begin(Operation::PutIfAbsent, key.as_str());
        let bytes = self.written(fault, bytes);
        self.run(fault, Some(key), || self.inner.put_if_absent(key, &bytes))
    }

    fn replace(&self, key: &Key, expected: &Bytes, bytes: &Bytes) -> Result<Replace, StoreError> {
        let fault = self.begin(Operation::Replace, key.as_str());
        let bytes = self.written(fault, bytes);
        self.run(fault, Some(key), || self.inner.replace(key, expected, &bytes))
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let fault = self.begin(Operation::Delete, key.as_str());
        self.run(fault, Some(key), || self.inner.delete(key))
    }

    fn tidy(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.inner.tidy(now)
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

fn damage(fault: Option<Fault>, bytes: &mut Vec<u8>) {
    let middle = bytes.len() / 2;
    match fault {
        Some(Fault::Truncated) => bytes.truncate(middle),
        Some(Fault::FlippedBit) => {
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 0x10;
            }
        }
        _ => {}
    }
}

fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|tail| {
            // Keys are short; trying every place is quick enough.
            rest.is_empty() || tail.char_indices().any(|(at, _)| matches(rest, tail.split_at(at).1))
        }),
    }
}

/// A hook that panics fails its test, and must not fail the others with a poisoned lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "faulty_tests.rs"]
mod tests;
