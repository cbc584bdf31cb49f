//! Listings, page by page, and the removal of uploads that their writers left unfinished.

use std::time::Duration;

use aws_sdk_s3::types::MultipartUpload;

use crate::base::timestamp::Timestamp;
use crate::store::s3::calls::Calls;
use crate::store::s3::errors::{Refusal, stranger, temporary};
use crate::store::{Denial, Key, ObjectInfo, StoreError, key};

/// An unfinished upload this old has lost its writer.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// One page of objects, and where the next one begins.
pub(super) struct Page {
    pub objects: Vec<ObjectInfo>,
    pub next: Option<String>,
}

/// What names below `prefix` begin with.
pub(super) fn start(calls: &Calls, prefix: &str) -> Result<String, StoreError> {
    let directory = key::prefix(prefix)?.map_or(String::new(), |directory| format!("{directory}/"));
    Ok(calls.root() + &directory)
}

/// The page at the token `asked`, behind the object `before`. What contradicts itself is no listing: one that was
/// garbled on its way would otherwise pass for one with fewer objects.
pub(super) async fn page(
    calls: &Calls,
    start: &str,
    asked: Option<String>,
    before: Option<Key>,
) -> Result<Page, StoreError> {
    let request = calls
        .client()
        .list_objects_v2()
        .bucket(calls.bucket())
        .prefix(start)
        .set_continuation_token(asked.clone());
    let answer = match request.send().await.map_err(|error| calls.sort("s3:ListBucket", error)) {
        Ok(answer) => answer,
        Err(Refusal::NoObject) => return Err(stranger(calls.location())),
        Err(refusal) => return Err(calls.trouble(refusal)),
    };
    let odd = |what: &str| temporary(calls.location(), format!("a listing {what}"));
    let listed = answer.contents();
    if answer.key_count().is_some_and(|count| usize::try_from(count).ok() != Some(listed.len())) {
        return Err(odd("counts other objects than it names"));
    }
    let next = match (answer.is_truncated(), answer.next_continuation_token()) {
        (Some(false), _) => None,
        (Some(true), Some(token)) if asked.as_deref() != Some(token) => Some(token.to_owned()),
        (Some(true), Some(_)) => return Err(odd("goes round in a circle")),
        (Some(true), None) => return Err(odd("breaks off and does not say where to go on")),
        (None, _) => return Err(odd("does not say whether it is the whole")),
    };
    let mut objects = Vec::with_capacity(listed.len());
    let mut before = before;
    for object in listed {
        let (Some(name), Some(size)) = (object.key(), object.size().and_then(|size| size.try_into().ok()))
        else {
            return Err(odd("has an object without a name or a size"));
        };
        if !name.starts_with(start) {
            return Err(odd("has an object that was not asked for"));
        }
        // What we cannot have written is nobody's concern.
        let Some(key) = name.get(calls.root().len()..).and_then(|name| Key::new(name).ok()) else { continue };
        // Whoever goes on after an error skips what he has seen by this order.
        if before.as_ref().is_some_and(|before| *before >= key) {
            return Err(odd("is not sorted"));
        }
        before = Some(key.clone());
        let modified = object.last_modified().map(|time| Timestamp::new(time.secs(), time.subsec_nanos()));
        objects.push(ObjectInfo { key, size, modified: modified.unwrap_or_default() });
    }
    Ok(Page { objects, next })
}

/// Ends uploads in parts that nobody will finish, and gives their number. Who may not do that, or whose store
/// does not know such uploads, has nothing to tidy.
pub(super) async fn tidy(calls: &Calls, now: Timestamp) -> Result<u64, StoreError> {
    let request = calls.client().list_multipart_uploads().bucket(calls.bucket()).prefix(calls.root());
    let answer =
        match request.send().await.map_err(|error| calls.sort("s3:ListBucketMultipartUploads", error)) {
            Ok(answer) => answer,
            Err(
                Refusal::NotImplemented
                | Refusal::Other(StoreError::Denied { denial: Denial::Permission(_), .. }),
            ) => {
                tracing::debug!("unfinished uploads, if there are any, are left to the bucket's own rules");
                return Ok(0);
            }
            Err(refusal) => return Err(calls.trouble(refusal)),
        };
    let mut ended = 0;
    for upload in answer.uploads().iter().filter(|upload| is_abandoned(upload, now)) {
        let request = calls
            .client()
            .abort_multipart_upload()
            .bucket(calls.bucket())
            .set_key(upload.key().map(str::to_owned))
            .set_upload_id(upload.upload_id().map(str::to_owned));
        match request.send().await.map_err(|error| calls.sort("s3:AbortMultipartUpload", error)) {
            Ok(_) => ended += 1,
            // Its writer was alive after all, or somebody else ended it.
            Err(Refusal::NoObject) => {}
            Err(refusal) => return Err(calls.trouble(refusal)),
        }
    }
    Ok(ended)
}

fn is_abandoned(upload: &MultipartUpload, now: Timestamp) -> bool {
    let begun = upload.initiated().map(|time| Timestamp::new(time.secs(), time.subsec_nanos()));
    begun.is_some_and(|begun| now.since(begun) >= ABANDONED)
}
