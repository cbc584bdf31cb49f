//! Keeps a store from being overrun: so many requests at once, so many bytes a second. Must not know what is
//! transferred or why.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::pause::pause;
use crate::base::timestamp::Timestamp;
use crate::store::{Container, Key, ObjectInfo, ObjectStore, Presence, Put, Replace, StoreError, Visit};

/// How many listed objects are handed on together.
const LISTED_AT_ONCE: usize = 1000;

/// Zero means no limit.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Requests under way at once.
    pub connections: usize,
    /// Bytes a second on average. One object goes in one piece, after a wait that pays for it.
    pub upload: u64,
    pub download: u64,
    /// Ends waiting for the byte limits.
    pub cancel: Cancel,
}

#[derive(Debug)]
pub struct LimitStore {
    inner: Arc<dyn ObjectStore>,
    connections: Connections,
    upload: Bucket,
    download: Bucket,
    clock: Arc<dyn Clock>,
    cancel: Cancel,
}

impl LimitStore {
    pub fn new(inner: Arc<dyn ObjectStore>, limits: Limits, clock: Arc<dyn Clock>) -> Self {
        let started = clock.elapsed();
        Self {
            inner,
            connections: Connections::new(limits.connections),
            upload: Bucket::new(limits.upload, started),
            download: Bucket::new(limits.download, started),
            clock,
            cancel: limits.cancel,
        }
    }

    /// Without a connection in hand: who waits for bytes keeps nobody else from a small request.
    fn pay(&self, bucket: &Bucket, bytes: u64) {
        pause(self.clock.as_ref(), &self.cancel, bucket.take(bytes, self.clock.elapsed()));
    }
}

impl ObjectStore for LimitStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn container(&self) -> Container {
        self.inner.container()
    }

    fn presence(&self) -> Result<Presence, StoreError> {
        let _connection = self.connections.enter();
        self.inner.presence()
    }

    fn create(&self) -> Result<(), StoreError> {
        let _connection = self.connections.enter();
        self.inner.create()
    }

    fn list(&self, prefix: &str, each: Visit<'_>) -> Result<(), StoreError> {
        let mut connection = Some(self.connections.enter());
        let mut waiting: Vec<ObjectInfo> = Vec::new();
        self.inner.list(prefix, &mut |info| {
            waiting.push(info);
            if waiting.len() < LISTED_AT_ONCE {
                return Ok(());
            }
            // `each` may call this store: if it held the last connection, it would wait for itself.
            drop(connection.take());
            let handed = waiting.drain(..).try_for_each(&mut *each);
            connection = Some(self.connections.enter());
            handed
        })?;
        drop(connection.take());
        waiting.into_iter().try_for_each(each)
    }

    fn size(&self, key: &Key) -> Result<u64, StoreError> {
        let _connection = self.connections.enter();
        self.inner.size(key)
    }

    fn get(&self, key: &Key) -> Result<Vec<u8>, StoreError> {
        let bytes = {
            let _connection = self.connections.enter();
            self.inner.get(key)?
        };
        // The size is known only now; the next one waits for it.
        self.pay(&self.download, bytes.len() as u64);
        Ok(bytes)
    }

    fn get_range(&self, key: &Key, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        let bytes = {
            let _connection = self.connections.enter();
            self.inner.get_range(key, offset, length)?
        };
        self.pay(&self.download, length);
        Ok(bytes)
    }

    fn get_range_into(
        &self,
        key: &Key,
        offset: u64,
        length: u64,
        bytes: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        {
            let _connection = self.connections.enter();
            self.inner.get_range_into(key, offset, length, bytes)?;
        }
        self.pay(&self.download, length);
        Ok(())
    }

    fn put(&self, key: &Key, bytes: &Bytes) -> Result<(), StoreError> {
        self.pay(&self.upload, bytes.len() as u64);
        let _connection = self.connections.enter();
        self.inner.put(key, bytes)
    }

    fn put_if_absent(&self, key: &Key, bytes: &Bytes) -> Result<Put, StoreError> {
        self.pay(&self.upload, bytes.len() as u64);
        let _connection = self.connections.enter();
        self.inner.put_if_absent(key, bytes)
    }

    fn replace(&self, key: &Key, expected: &Bytes, bytes: &Bytes) -> Result<Replace, StoreError> {
        self.pay(&self.upload, bytes.len() as u64);
        let _connection = self.connections.enter();
        self.inner.replace(key, expected, bytes)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let _connection = self.connections.enter();
        self.inner.delete(key)
    }

    fn delete_many(&self, keys: &[Key]) -> Result<(), StoreError> {
        let _connection = self.connections.enter();
        self.inner.delete_many(keys)
    }

    fn tidy(&self, now: Timestamp) -> Result<u64, StoreError> {
        let _connection = self.connections.enter();
        self.inner.tidy(now)
    }
}

#[derive(Debug)]
struct Connections {
    most: usize,
    open: Mutex<usize>,
    closed: Condvar,
}

struct Connection<'a>(&'a Connections);

impl Connections {
    fn new(most: usize) -> Self {
        Self { most: if most == 0 { usize::MAX } else { most }, open: Mutex::new(0), closed: Condvar::new() }
    }

    fn enter(&self) -> Connection<'_> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open =
            self.closed.wait_while(open, |open| *open >= self.most).unwrap_or_else(PoisonError::into_inner);
        *open += 1;
        Connection(self)
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        *self.0.open.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.closed.notify_one();
    }
}

/// A token bucket that goes into debt: who takes more than is there waits until the debt is paid, and those
/// who come later wait behind. It holds at most one second's worth.
#[derive(Debug)]
struct Bucket {
    /// Bytes a second; 0 for no limit.
    rate: u64,
    /// When, by the clock, the bucket will be (or was) empty of debt and of tokens.
    empty_at: Mutex<Duration>,
}

impl Bucket {
    fn new(rate: u64, now: Duration) -> Self {
        Self { rate, empty_at: Mutex::new(now) }
    }

    /// How long to wait for `bytes`.
    fn take(&self, bytes: u64, now: Duration) -> Duration {
        if self.rate == 0 {
            return Duration::ZERO;
        }
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate);
        let price = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let mut empty_at = self.empty_at.lock().unwrap_or_else(PoisonError::into_inner);
        *empty_at = (*empty_at).max(now.saturating_sub(Duration::from_secs(1))).saturating_add(price);
        empty_at.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Barrier, Mutex};

    use super::*;
    use crate::base::clock::ManualClock;
    use crate::base::timestamp::Timestamp;
    use crate::store::{FaultyStore, MemoryStore};

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    fn limited(limits: Limits) -> (Arc<ManualClock>, Arc<FaultyStore>, LimitStore) {
        let clock = Arc::new(ManualClock::at(Timestamp::default()));
        let memory = Arc::new(MemoryStore::new(clock.clone()));
        memory.create().unwrap();
        let faulty = Arc::new(FaultyStore::new(memory, clock.clone()));
        let store = LimitStore::new(faulty.clone(), limits, clock.clone());
        (clock, faulty, store)
    }

    #[test]
    fn bytes_are_paid_for_in_time() {
        let (clock, _, store) = limited(Limits { upload: 1000, download: 500, ..Limits::default() });
        for number in 0..10 {
            store.put(&key(&format!("a{number}")), &vec![0; 1000].into()).unwrap();
        }
        assert_eq!(clock.elapsed(), Duration::from_secs(10));
        store.get(&key("a1")).unwrap();
        store.get_range(&key("a1"), 0, 500).unwrap();
        // One of the three seconds was saved up while nothing was downloaded.
        assert_eq!(clock.elapsed(), Duration::from_secs(12));
        clock.advance(Duration::from_secs(3600));
        store.put(&key("b"), &vec![0; 2000].into()).unwrap();
        assert_eq!(clock.elapsed(), Duration::from_secs(3613), "no more than a second is saved up");
    }

    #[test]
    fn no_limit_is_no_wait() {
        let (clock, _, store) = limited(Limits::default());
        store.put(&key("a"), &vec![0; 1 << 20].into()).unwrap();
        assert_eq!(clock.elapsed(), Duration::ZERO);
    }

    #[test]
    fn so_many_requests_at_once_and_no_more() {
        const MOST: usize = 3;
        let (_, faulty, store) = limited(Limits { connections: MOST, ..Limits::default() });
        let (running, highest) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        // Nobody passes before as many as may are inside: a limit too low would hang, one too high is seen.
        let full = Barrier::new(MOST);
        let seen = (running.clone(), highest.clone());
        faulty.before_each(move |_, _| {
            let now = seen.0.fetch_add(1, Ordering::SeqCst) + 1;
            seen.1.fetch_max(now, Ordering::SeqCst);
            full.wait();
            seen.0.fetch_sub(1, Ordering::SeqCst);
        });
        std::thread::scope(|scope| {
            for number in 0..MOST * 4 {
                let store = &store;
                scope.spawn(move || {
                    store.put(&key(&format!("a{number}")), &Bytes::from_static(b"x")).unwrap();
                });
            }
        });
        assert_eq!(highest.load(Ordering::SeqCst), MOST);
        assert_eq!(running.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_listing_may_use_the_only_connection() {
        let (_, _, store) = limited(Limits { connections: 1, ..Limits::default() });
        for number in 0..LISTED_AT_ONCE + 5 {
            store.put(&key(&format!("a/{number:05}")), &Bytes::from_static(b"x")).unwrap();
        }
        let seen = Mutex::new(Vec::new());
        store
            .list("a", &mut |info| {
                assert_eq!(store.get(&info.key)?, b"x");
                seen.lock().unwrap().push(info.key);
                Ok(())
            })
            .unwrap();
        let seen = seen.into_inner().unwrap();
        assert_eq!(seen.len(), LISTED_AT_ONCE + 5);
        assert!(seen.is_sorted());
    }
}
