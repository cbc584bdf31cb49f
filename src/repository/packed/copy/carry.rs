//! What the threads of a copy do: fetch frames of the source, verify each, encode it for the target where the
//! codecs differ; and upload packs. Knows no order and no manifest.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};

use crate::repository::RepositoryError;
use crate::repository::packed::backup::upload::Upload;
use crate::repository::packed::copy::fetch::{Fetch, Wanted};
use crate::repository::packed::frame::{Frame, PackId};
use crate::repository::packed::keys;
use crate::repository::packed::objects::Objects;

#[derive(Debug)]
pub struct Job {
    pub fetch: Fetch,
    pub reply: Sender<Vec<Carried>>,
}

/// A frame as the target stores it, or why it cannot be had.
#[derive(Debug)]
pub struct Carried {
    pub wanted: Wanted,
    pub stored: Result<Bytes, RepositoryError>,
}

pub fn work(from: &Objects, to: &Objects, jobs: &Receiver<Job>) {
    for Job { fetch, reply } in jobs {
        // The receiver is gone only when the run has failed already.
        drop(reply.send(carry(from, to, &fetch)));
    }
}

fn carry(from: &Objects, to: &Objects, fetch: &Fetch) -> Vec<Carried> {
    let fetched = match from.fetch(fetch.pack, fetch.offset, fetch.length) {
        Ok(bytes) => Bytes::from(bytes),
        // A pack that was cut short still has the frames before the cut.
        Err(error) if error.is_damage() && fetch.frames.len() > 1 => {
            return fetch.frames.iter().flat_map(|wanted| carry(from, to, &alone(*wanted))).collect();
        }
        Err(error) => {
            let first = fetch.frames.first().copied();
            return first.map(|wanted| Carried { wanted, stored: Err(error) }).into_iter().collect();
        }
    };
    let carried = |wanted: &Wanted| {
        let start = usize::try_from(wanted.frame.offset - fetch.offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(wanted.frame.stored as usize);
        let stored = fetched.get(start..end).unwrap_or_default();
        let stored =
            from.decode_frame(&wanted.frame, stored).and_then(|plain| match from.codec == to.codec {
                true => Ok(fetched.slice_ref(stored)),
                // An encoder's buffer may have room for twice as much, which would wait in the queue as well.
                false => Ok(to.encode(&plain)?.into_boxed_slice().into()),
            });
        Carried { wanted: *wanted, stored }
    };
    fetch.frames.iter().map(carried).collect()
}

fn alone(wanted: Wanted) -> Fetch {
    let Frame { pack, offset, stored, .. } = wanted.frame;
    Fetch { pack, offset, length: u64::from(stored), frames: vec![wanted], cost: 0 }
}

/// A pack that is safe in the target: name, size, frames.
pub type SafePack = (PackId, u64, Vec<Frame>);

/// Uploads until there is nothing more or something failed; the first failure is kept in `failure`.
pub fn upload(
    objects: &Objects,
    uploads: &Receiver<Upload>,
    safe: &Mutex<Vec<SafePack>>,
    failure: &Mutex<Option<RepositoryError>>,
) {
    for upload in uploads {
        // What stops the run is that no uploader is left to receive, so all of them go when one has failed.
        if failure.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return;
        }
        // Segments are written by the run itself.
        let Upload::Pack { pack, .. } = upload else { continue };
        let put = keys::pack(pack.id).and_then(|key| objects.store.put(&key, &pack.bytes));
        if let Err(error) = put {
            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.into());
            return;
        }
        let size = pack.bytes.len() as u64;
        safe.lock().unwrap_or_else(PoisonError::into_inner).push((pack.id, size, pack.frames));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::*;
    use crate::base::clock::ManualClock;
    use crate::base::timestamp::Timestamp;
    use crate::repository::packed::codec::Codec;
    use crate::repository::packed::pack::PackBuilder;
    use crate::store::{MemoryStore, ObjectStore};

    #[test]
    fn when_one_pack_failed_no_other_is_uploaded() {
        let store = Arc::new(MemoryStore::new(Arc::new(ManualClock::at(Timestamp::default()))));
        store.create().unwrap();
        let objects = Objects { store: store.clone(), codec: Codec::None, level: 0 };
        let (sender, uploads) = crossbeam_channel::bounded(1);
        let pack = PackBuilder::new(1 << 10).unwrap().finish(Codec::None).unwrap();
        sender.send(Upload::Pack { pack, files: HashMap::new() }).unwrap();
        drop(sender);
        // By another of the threads that upload.
        let failure = Mutex::new(Some(RepositoryError::Cancelled));
        upload(&objects, &uploads, &Mutex::default(), &failure);
        store.list("", &mut |object| panic!("{}", object.key)).unwrap();
    }
}
