//! Claims, refreshing, and stores that do not keep their word, without backups around them.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::*;
use crate::base::clock::ManualClock;
use crate::repository::packed::codec::Codec;
use crate::store::faulty::{Fault, Operation, Rule};
use crate::store::retry::RetryPolicy;
use crate::store::{
    Container, FaultyStore, Key, MemoryStore, ObjectStore, Presence, RetryStore, StoreError, Visit,
};

fn memory() -> Arc<dyn ObjectStore> {
    let store = Arc::new(MemoryStore::new(Arc::new(ManualClock::at(Timestamp::default()))));
    store.create().unwrap();
    store
}

fn over(store: Arc<dyn ObjectStore>) -> Objects {
    Objects { store, codec: Codec::None, level: 0 }
}

fn writer(volume: &str) -> Writer {
    Writer { volume_id: volume.into(), identity: "app".into(), host: "h".into() }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::new(seconds, 0)
}

/// A store as some servers are: it overwrites what it should only create, and cannot compare.
#[derive(Debug)]
struct Sloppy {
    inner: Arc<dyn ObjectStore>,
    /// What another claimant writes right after the first claim that is made here.
    rival: Mutex<Option<Bytes>>,
}

impl ObjectStore for Sloppy {
    fn container(&self) -> Container {
        self.inner.container()
    }
    fn location(&self) -> String {
        self.inner.location()
    }
    fn presence(&self) -> Result<Presence, StoreError> {
        self.inner.presence()
    }
    fn create(&self) -> Result<(), StoreError> {
        self.inner.create()
    }
    fn list(&self, prefix: &str, each: Visit<'_>) -> Result<(), StoreError> {
        self.inner.list(prefix, each)
    }
    fn size(&self, key: &Key) -> Result<u64, StoreError> {
        self.inner.size(key)
    }
    fn get(&self, key: &Key) -> Result<Vec<u8>, StoreError> {
        // The rival's claim arrives after the test of conditions, and before what is there is read again.
        if let Some(rival) = self.rival.lock().unwrap().take() {
            self.inner.put(key, &rival)?;
        }
        self.inner.get(key)
    }
    fn get_range(&self, key: &Key, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        self.inner.get_range(key, offset, length)
    }
    fn put(&self, key: &Key, bytes: &Bytes) -> Result<(), StoreError> {
        self.inner.put(key, bytes)
    }
    fn put_if_absent(&self, key: &Key, bytes: &Bytes) -> Result<Put, StoreError> {
        self.inner.put(key, bytes)?;
        Ok(Put::Created)
    }
    fn replace(&self, _: &Key, _: &Bytes, _: &Bytes) -> Result<Replace, StoreError> {
        Ok(Replace::Unsupported)
    }
    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.inner.delete(key)
    }
}

fn sloppy(rival: Option<Bytes>) -> Objects {
    over(Arc::new(Sloppy { inner: memory(), rival: Mutex::new(rival) }))
}

#[test]
fn behind_the_last_number_there_is_no_lease() {
    let objects = over(memory());
    let last = Lease {
        epoch: Epoch::MAX,
        volume_id: "other".into(),
        host: "h".into(),
        claim: String::new(),
        since: at(0),
        expires: None,
    };
    claim(&objects, &last).unwrap();
    let taken = take(&objects, &writer("v"), 0, at(0));
    assert!(matches!(taken, Err(RepositoryError::Damaged { .. })), "{taken:?}");
    assert_eq!(newest(&objects).unwrap(), Some(last));
}

#[test]
fn a_lease_of_an_earlier_version_is_joined_and_refreshed() {
    #[derive(Serialize)]
    struct Earlier {
        epoch: Epoch,
        volume_id: &'static str,
        host: &'static str,
        since: &'static str,
    }
    let objects = over(memory());
    let earlier = Earlier { epoch: 4, volume_id: "v", host: "h", since: "2026-11-21T00:00:00Z" };
    let bytes = sealed::seal(&earlier, FORMAT).unwrap();
    objects.put_new(&keys::lease(4).unwrap(), &bytes.into()).unwrap();
    let held = join_or_take(&objects, &writer("v"), None, false, at(7)).unwrap();
    assert_eq!(held.epoch, 4);
    assert_eq!(newest(&objects).unwrap().unwrap().expires, Some(at(607)));
    recheck(&objects, &held).unwrap();
}

#[test]
fn refreshing_moves_the_expiry_and_finds_out_who_took_over() {
    for objects in [over(memory()), sloppy(None)] {
        let first = take(&objects, &writer("v1"), 0, at(0)).unwrap();
        refresh(&objects, &first, at(100)).unwrap();
        let lease = newest(&objects).unwrap().unwrap();
        assert_eq!((lease.epoch, lease.since, lease.expires), (1, at(0), Some(at(700))));
        // However long ago it expired, a lease that nobody took over is good.
        refresh(&objects, &first, at(1_000_000)).unwrap();
        let second = take(&objects, &writer("v2"), 0, at(5)).unwrap();
        assert_eq!(second.epoch, 2);
        let before = read(&objects, 1).unwrap();
        for outcome in [refresh(&objects, &first, at(6)), recheck(&objects, &first)] {
            assert!(matches!(outcome, Err(RepositoryError::Fenced { epoch: 2, .. })), "{outcome:?}");
        }
        assert_eq!(read(&objects, 1).unwrap(), before, "nothing was written");
        refresh(&objects, &second, at(7)).unwrap();
    }
}

/// Between the look and the replacing, another writes the same object: on a store that ignores conditions, that is
/// another claimant of the same epoch.
#[test]
fn a_lease_that_changed_while_it_was_refreshed_is_looked_at_again() {
    for (volume, good) in [("v1", true), ("v2", false)] {
        let store = Arc::new(FaultyStore::new(memory(), Arc::new(ManualClock::at(at(0)))));
        let objects = over(store.clone());
        let held = take(&objects, &writer("v1"), 0, at(0)).unwrap();
        let (lease, _) = read(&objects, 1).unwrap();
        let other = seal(&Lease { volume_id: volume.into(), expires: Some(at(9)), ..lease }).unwrap();
        let inner = store.clone();
        store.before_each(move |operation, key| {
            if operation == Operation::Replace {
                inner.put(&Key::new(key).unwrap(), &other).unwrap();
            }
        });
        let outcome = refresh(&objects, &held, at(3));
        assert_eq!(outcome.is_ok(), good, "{outcome:?}");
        assert!(good || matches!(outcome, Err(RepositoryError::Fenced { epoch: 1, .. })));
    }
}

#[test]
fn every_claim_has_bytes_of_its_own_and_is_tested_once() {
    let store = Arc::new(FaultyStore::new(memory(), Arc::new(ManualClock::at(at(0)))));
    let objects = over(store.clone());
    take(&objects, &writer("v"), 0, at(0)).unwrap();
    // The claim, and the second one that must be refused.
    assert_eq!(store.counts().of(Operation::PutIfAbsent), 2);
    take(&objects, &writer("v"), 0, at(0)).unwrap();
    let (one, two) = (read(&objects, 1).unwrap().0, read(&objects, 2).unwrap().0);
    assert_ne!(one.claim, two.claim);
    assert_eq!(one.claim.len(), 2 * CLAIM_BYTES);
    // Whoever holds the lease does not claim again.
    store.reset_counts();
    join_or_take(&objects, &writer("v"), Some(2), false, at(1)).unwrap();
    assert_eq!(store.counts().of(Operation::PutIfAbsent), 0);
}

#[test]
fn a_claim_whose_response_was_lost_is_known_again() {
    let clock = Arc::new(ManualClock::at(at(0)));
    let faulty = Arc::new(FaultyStore::new(memory(), clock.clone()));
    let policy = RetryPolicy { seed: Some(3), ..RetryPolicy::default() };
    let objects = over(Arc::new(RetryStore::new(faulty.clone(), policy, clock)));
    faulty.inject(Rule::new(Operation::PutIfAbsent, "leases/*", Fault::LostResponse).times(2));
    assert_eq!(take(&objects, &writer("v"), 0, at(0)).unwrap().epoch, 1);
    faulty.inject(Rule::new(Operation::Replace, "leases/*", Fault::LostResponse).times(2));
    refresh(&objects, &Held::by(&writer("v"), 1), at(5)).unwrap();
    assert_eq!(newest(&objects).unwrap().unwrap().expires, Some(at(605)));
}

#[test]
fn a_store_that_ignores_conditions_is_found_out_and_works() {
    let objects = sloppy(None);
    let lease = |epoch| Lease {
        epoch,
        volume_id: "v".into(),
        host: "h".into(),
        claim: "c".into(),
        since: at(0),
        expires: None,
    };
    claim(&objects, &lease(1)).unwrap();
    assert!(!conditions_hold(&objects, &lease(1)));
    let honest = over(memory());
    claim(&honest, &lease(1)).unwrap();
    assert!(conditions_hold(&honest, &lease(1)));
    assert_eq!(take(&objects, &writer("v"), 0, at(0)).unwrap().epoch, 2);
}

#[test]
fn where_conditions_are_ignored_only_the_claim_that_is_there_counts() {
    let theirs = Lease {
        epoch: 1,
        volume_id: "v2".into(),
        host: "h2".into(),
        claim: "theirs".into(),
        since: at(0),
        expires: None,
    };
    let objects = sloppy(Some(seal(&theirs).unwrap()));
    let ours = take(&objects, &writer("v1"), 0, at(0)).unwrap();
    assert_eq!(ours.epoch, 2, "the first epoch was the rival's");
    let rival = recheck(&objects, &Held::of(&theirs));
    assert!(matches!(rival, Err(RepositoryError::Fenced { epoch: 2, .. })), "{rival:?}");
    // The rival may also come after we believed: then the last look finds it out.
    let key = keys::lease(2).unwrap();
    objects.store.put(&key, &seal(&Lease { epoch: 2, ..theirs }).unwrap()).unwrap();
    let outcome = recheck(&objects, &ours);
    assert!(matches!(outcome, Err(RepositoryError::Fenced { epoch: 2, .. })), "{outcome:?}");
}
