//! The options every store shares, and the one order in which they are put around it.

use std::sync::Arc;
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::store::ObjectStore;
use crate::store::limit::{LimitStore, Limits};
use crate::store::retry::{RetryPolicy, RetryStore};

#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// How long one call may be tried again; zero for a single attempt.
    pub retry_deadline: Duration,
    /// Requests under way at once; 0 for any number.
    pub connections: usize,
    /// Bytes a second, on average; 0 for no limit.
    pub upload: u64,
    pub download: u64,
    /// Ends waiting, not requests: what is cancelled while it waits fails with its last error, or runs at once.
    pub cancel: Cancel,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            retry_deadline: Duration::from_secs(120),
            connections: 16,
            upload: 0,
            download: 0,
            cancel: Cancel::new(),
        }
    }
}

/// Retries go outside the limits: who waits for another try holds no connection, and each try pays for its
/// own bytes.
pub fn wrap(
    store: Arc<dyn ObjectStore>,
    options: &StoreOptions,
    clock: Arc<dyn Clock>,
) -> Arc<dyn ObjectStore> {
    let limits = Limits {
        connections: options.connections,
        upload: options.upload,
        download: options.download,
        cancel: options.cancel.clone(),
    };
    let limited = Arc::new(LimitStore::new(store, limits, clock.clone()));
    let policy = RetryPolicy {
        deadline: options.retry_deadline,
        cancel: options.cancel.clone(),
        ..RetryPolicy::default()
    };
    Arc::new(RetryStore::new(limited, policy, clock))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;
    use crate::base::timestamp::Timestamp;
    use crate::store::faulty::{Failure, Fault, Operation, Rule};
    use crate::store::{FaultyStore, Key, MemoryStore};

    #[test]
    fn each_try_pays_for_its_own_bytes() {
        let clock = Arc::new(ManualClock::at(Timestamp::default()));
        let memory = Arc::new(MemoryStore::new(clock.clone()));
        memory.create().unwrap();
        let faulty = Arc::new(FaultyStore::new(memory, clock.clone()));
        faulty.inject(Rule::new(Operation::Put, "a", Fault::Fail(Failure::Temporary)));
        let options = StoreOptions { connections: 1, upload: 1000, ..StoreOptions::default() };
        let store = wrap(faulty.clone(), &options, clock.clone());
        store.put(&Key::new("a").unwrap(), &vec![0; 5000].into()).unwrap();
        assert_eq!(faulty.counts().of(Operation::Put), 2);
        let waited = clock.elapsed();
        assert!(
            (Duration::from_millis(9_800)..=Duration::from_millis(10_200)).contains(&waited),
            "{waited:?}"
        );
    }
}
