//! A store in memory, for tests of races and faults. Nothing in it outlives the process.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::base::clock::Clock;
use crate::base::timestamp::Timestamp;
use crate::store::{
    Container, Key, ObjectInfo, ObjectStore, Obstacle, Presence, Put, Replace, StoreError, Visit, key,
};

#[derive(Debug)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    /// `None` until it is created.
    objects: Mutex<Option<BTreeMap<Key, Object>>>,
}

#[derive(Debug)]
struct Object {
    bytes: Bytes,
    modified: Timestamp,
}

impl MemoryStore {
    /// Absent until `create`. The clock gives objects their time.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, objects: Mutex::new(None) }
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&mut BTreeMap<Key, Object>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.lock().as_mut() {
            Some(objects) => work(objects),
            None => Err(StoreError::Unreachable {
                location: self.location(),
                reason: "it was not created".to_owned(),
                obstacle: Obstacle::Container,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<BTreeMap<Key, Object>>> {
        // Every change is a single insert or remove: a panic elsewhere leaves nothing half done.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(&self, bytes: &Bytes) -> Object {
        Object { bytes: bytes.clone(), modified: self.clock.now() }
    }

    fn bytes(&self, key: &Key) -> Result<Bytes, StoreError> {
        self.with(|objects| match objects.get(key) {
            Some(object) => Ok(object.bytes.clone()),
            None => Err(StoreError::NotFound { key: key.clone() }),
        })
    }
}

impl ObjectStore for MemoryStore {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn container(&self) -> Container {
        Container::Directory
    }

    fn presence(&self) -> Result<Presence, StoreError> {
        Ok(if self.lock().is_some() { Presence::Present } else { Presence::Absent })
    }

    fn create(&self) -> Result<(), StoreError> {
        self.lock().get_or_insert_default();
        Ok(())
    }

    fn list(&self, prefix: &str, each: Visit<'_>) -> Result<(), StoreError> {
        let start = key::prefix(prefix)?.map_or(String::new(), |directory| format!("{directory}/"));
        // Collected first: `each` may call this store.
        let found: Vec<ObjectInfo> = self.with(|objects| {
            Ok(objects
                .range::<str, _>((Bound::Included(start.as_str()), Bound::Unbounded))
                .take_while(|(key, _)| key.as_str().starts_with(&start))
                .map(|(key, object)| ObjectInfo {
                    key: key.clone(),
                    size: object.bytes.len() as u64,
                    modified: object.modified,
                })
                .collect())
        })?;
        found.into_iter().try_for_each(each)
    }

    fn size(&self, key: &Key) -> Result<u64, StoreError> {
        Ok(self.bytes(key)?.len() as u64)
    }

    fn get(&self, key: &Key) -> Result<Vec<u8>, StoreError> {
        Ok(self.bytes(key)?.to_vec())
    }

    fn get_range(&self, key: &Key, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        let bytes = self.bytes(key)?;
        let range = || {
            let start = usize::try_from(offset).ok()?;
            bytes.get(start..start.checked_add(usize::try_from(length).ok()?)?)
        };
        range().map(<[u8]>::to_vec).ok_or_else(|| StoreError::ShortRead {
            key: key.clone(),
            expected: offset.saturating_add(length),
            found: bytes.len() as u64,
        })
    }

    fn put(&self, key: &Key, bytes: &Bytes) -> Result<(), StoreError> {
        let object = self.object(bytes);
        self.with(|objects| {
            objects.insert(key.clone(), object);
            Ok(())
        })
    }

    fn put_if_absent(&self, key: &Key, bytes: &Bytes) -> Result<Put, StoreError> {
        let object = self.object(bytes);
        self.with(|objects| {
            if objects.contains_key(key) {
                return Ok(Put::Exists);
            }
            objects.insert(key.clone(), object);
            Ok(Put::Created)
        })
    }

    fn replace(&self, key: &Key, expected: &Bytes, bytes: &Bytes) -> Result<Replace, StoreError> {
        let object = self.object(bytes);
        self.with(|objects| match objects.get_mut(key) {
            Some(present) if present.bytes == *expected => {
                *present = object;
                Ok(Replace::Done)
            }
            _ => Ok(Replace::Changed),
        })
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.with(|objects| {
            objects.remove(key);
            Ok(())
        })
    }
}
