//! Listings, page by page, and the removal of uploads that their writers left unfinished.

use std::time::Duration;

use aws_sdk_s3::types::{MultipartUpload, Object};

use crate::base::timestamp::Timestamp;
use crate::store::s3::calls::Calls;
use crate::store::s3::errors::{Refusal, stranger};
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

pub(super) async fn page(calls: &Calls, start: &str, next: Option<String>) -> Result<Page, StoreError> {
    let request =
        calls.client().list_objects_v2().bucket(calls.bucket()).prefix(start).set_continuation_token(next);
    let answer = match request.send().await.map_err(|error| calls.sort("s3:ListBucket", error)) {
        Ok(answer) => answer,
        Err(Refusal::NoObject) => return Err(stranger(calls.location())),
        Err(refusal) => return Err(calls.trouble(refusal)),
    };
    let root = calls.root();
    let objects = answer.contents().iter().filter_map(|object| info(object, &root)).collect();
    let more = answer.is_truncated().unwrap_or_default();
    let next = answer.next_continuation_token().filter(|_| more).map(str::to_owned);
    if more && next.is_none() {
        let location = calls.location().to_owned();
        let reason = "a listing breaks off and does not say where to go on".to_owned();
        return Err(StoreError::Temporary { location, reason });
    }
    Ok(Page { objects, next })
}

/// `None` for what we cannot have written.
fn info(object: &Object, root: &str) -> Option<ObjectInfo> {
    let key = Key::new(object.key()?.strip_prefix(root)?).ok()?;
    let size = object.size().and_then(|size| u64::try_from(size).ok())?;
    let modified = object.last_modified().map(|time| Timestamp::new(time.secs(), time.subsec_nanos()));
    Some(ObjectInfo { key, size, modified: modified.unwrap_or_default() })
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
