//! Stores, replaces and removes objects. Large ones go in parts, which the store joins at once: readers see the
//! old object or the new one.

use std::sync::atomic::Ordering;

use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketLocationConstraint, CompletedMultipartUpload, CompletedPart, CreateBucketConfiguration, Delete,
    ObjectIdentifier, ServerSideEncryption, StorageClass,
};
use bytes::Bytes;
use data_encoding::BASE64;
use md5::{Digest, Md5};

use crate::store::s3::calls::Calls;
use crate::store::s3::errors::{Refusal, temporary};
use crate::store::s3::options::S3Encryption;
use crate::store::s3::read;
use crate::store::{Denial, Key, Presence, Put, Replace, StoreError};

/// Smaller objects would be billed as if they had this size in the cheaper classes, and a minimum time as well.
const WORTH_A_CLASS: usize = 128 << 10;
/// Keys in one request: the bound of S3.
const DELETED_AT_ONCE: usize = 1000;

/// On what terms an object may be stored.
enum Condition {
    None,
    Absent,
    Tag(String),
}

pub(super) async fn create(calls: &Calls) -> Result<(), StoreError> {
    if calls.presence().await? == Presence::Present {
        return Ok(());
    }
    let region = calls.client().config().region().map(|region| region.as_ref().to_owned());
    // Amazon wants to be told any region but its first one; other servers refuse what they do not know.
    let place =
        region.filter(|region| !calls.connection().own_endpoint && region != "us-east-1").map(|region| {
            let place = BucketLocationConstraint::from(region.as_str());
            CreateBucketConfiguration::builder().location_constraint(place).build()
        });
    let request =
        calls.client().create_bucket().bucket(calls.bucket()).set_create_bucket_configuration(place);
    match request.send().await.map_err(|error| calls.sort("s3:CreateBucket", error)) {
        Ok(_) | Err(Refusal::BucketExists) => Ok(()),
        Err(refusal) => Err(calls.trouble(refusal)),
    }
}

pub(super) async fn put(calls: &Calls, key: &Key, bytes: &Bytes) -> Result<(), StoreError> {
    if bytes.len() > calls.options.part_size {
        return in_parts(calls, key, bytes).await;
    }
    put_whole(calls, key, bytes, &Condition::None).await.map_err(|refusal| calls.trouble(refusal))
}

pub(super) async fn put_if_absent(calls: &Calls, key: &Key, bytes: &Bytes) -> Result<Put, StoreError> {
    match put_whole(calls, key, bytes, &Condition::Absent).await {
        Ok(()) => Ok(Put::Created),
        Err(Refusal::Precondition) => Ok(Put::Exists),
        // As other stores that know no conditions do, but those do not say so.
        Err(Refusal::NotImplemented) => put(calls, key, bytes).await.map(|()| Put::Created),
        Err(refusal) => Err(calls.trouble(refusal)),
    }
}

pub(super) async fn replace(
    calls: &Calls,
    key: &Key,
    expected: &Bytes,
    bytes: &Bytes,
) -> Result<Replace, StoreError> {
    let tag = match read::get_tagged(calls, key).await {
        Ok((present, Some(tag))) if present == *expected => tag,
        Ok((present, None)) if present == *expected => return Ok(Replace::Unsupported),
        Ok(_) | Err(StoreError::NotFound { .. }) => return Ok(Replace::Changed),
        Err(error) => return Err(error),
    };
    match put_whole(calls, key, bytes, &Condition::Tag(tag)).await {
        Ok(()) => Ok(Replace::Done),
        Err(Refusal::NotImplemented) => Ok(Replace::Unsupported),
        // Some stores refuse the right tag as they do a wrong one.
        Err(Refusal::Precondition) => match read::get(calls, key).await {
            Ok(present) if present == *expected => Ok(Replace::Unsupported),
            Ok(_) | Err(StoreError::NotFound { .. }) => Ok(Replace::Changed),
            Err(error) => Err(error),
        },
        Err(Refusal::NoObject) => Ok(Replace::Changed),
        Err(refusal) => Err(calls.trouble(refusal)),
    }
}

async fn put_whole(calls: &Calls, key: &Key, bytes: &Bytes, condition: &Condition) -> Result<(), Refusal> {
    match put_once(calls, key, bytes, condition).await {
        Err(Refusal::WantsMd5) if !calls.md5_wanted.swap(true, Ordering::Relaxed) => {
            put_once(calls, key, bytes, condition).await
        }
        done => done,
    }
}

async fn put_once(calls: &Calls, key: &Key, bytes: &Bytes, condition: &Condition) -> Result<(), Refusal> {
    let (encryption, key_id) = encryption(calls);
    let request = calls
        .client()
        .put_object()
        .bucket(calls.bucket())
        .key(calls.name(key))
        .set_content_md5(md5(calls, bytes))
        .set_storage_class(storage_class(calls, bytes.len()))
        .set_server_side_encryption(encryption)
        .set_ssekms_key_id(key_id)
        .body(ByteStream::from(bytes.clone()));
    let request = match condition {
        Condition::None => request,
        Condition::Absent => request.if_none_match("*"),
        Condition::Tag(tag) => request.if_match(tag),
    };
    send(calls, request).await
}

async fn send(calls: &Calls, request: PutObjectFluentBuilder) -> Result<(), Refusal> {
    let request = request.customize();
    // Hashing for the signature what TLS protects already would cost as much as compressing it.
    let request = if calls.connection().plain { request } else { request.disable_payload_signing() };
    request.send().await.map(drop).map_err(|error| calls.sort("s3:PutObject", error))
}

/// One part after another: packs are uploaded several at a time, which fills the line as well.
async fn in_parts(calls: &Calls, key: &Key, bytes: &Bytes) -> Result<(), StoreError> {
    let (encryption, key_id) = encryption(calls);
    let request = calls
        .client()
        .create_multipart_upload()
        .bucket(calls.bucket())
        .key(calls.name(key))
        .set_storage_class(storage_class(calls, bytes.len()))
        .set_server_side_encryption(encryption)
        .set_ssekms_key_id(key_id);
    let begun = request.send().await.map_err(|error| calls.trouble(calls.sort("s3:PutObject", error)))?;
    let Some(upload) = begun.upload_id() else {
        return Err(temporary(calls.location(), "an upload was begun and has no name"));
    };
    let done = match parts(calls, key, bytes, upload).await {
        Ok(parts) => complete(calls, key, upload, parts).await,
        Err(refusal) => Err(calls.trouble(refusal)),
    };
    if done.is_err() {
        // What is left over costs money until somebody tidies; that it could not be ended is no further error.
        let request = calls
            .client()
            .abort_multipart_upload()
            .bucket(calls.bucket())
            .key(calls.name(key))
            .upload_id(upload);
        let _ = request.send().await;
    }
    done
}

async fn parts(calls: &Calls, key: &Key, bytes: &Bytes, upload: &str) -> Result<Vec<CompletedPart>, Refusal> {
    let mut done = Vec::new();
    let mut rest = bytes.clone();
    let mut number = 0;
    while !rest.is_empty() {
        number += 1;
        let part = rest.split_to(rest.len().min(calls.options.part_size.max(1)));
        let tag = match put_part(calls, key, &part, upload, number).await {
            Err(Refusal::WantsMd5) if !calls.md5_wanted.swap(true, Ordering::Relaxed) => {
                put_part(calls, key, &part, upload, number).await?
            }
            tag => tag?,
        };
        done.push(CompletedPart::builder().part_number(number).set_e_tag(tag).build());
    }
    Ok(done)
}

async fn put_part(
    calls: &Calls,
    key: &Key,
    part: &Bytes,
    upload: &str,
    number: i32,
) -> Result<Option<String>, Refusal> {
    let request = calls
        .client()
        .upload_part()
        .bucket(calls.bucket())
        .key(calls.name(key))
        .upload_id(upload)
        .part_number(number)
        .set_content_md5(md5(calls, part))
        .body(ByteStream::from(part.clone()))
        .customize();
    let request = if calls.connection().plain { request } else { request.disable_payload_signing() };
    let answer = request.send().await.map_err(|error| calls.sort("s3:PutObject", error))?;
    Ok(answer.e_tag().map(str::to_owned))
}

async fn complete(
    calls: &Calls,
    key: &Key,
    upload: &str,
    parts: Vec<CompletedPart>,
) -> Result<(), StoreError> {
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let request = calls
        .client()
        .complete_multipart_upload()
        .bucket(calls.bucket())
        .key(calls.name(key))
        .upload_id(upload)
        .multipart_upload(parts);
    match request.send().await.map_err(|error| calls.sort("s3:PutObject", error)) {
        Ok(_) => Ok(()),
        // Ended by somebody who tidied, or done already and the answer was lost: begin again.
        Err(Refusal::NoObject) => Err(temporary(calls.location(), "the upload is not known any more")),
        Err(refusal) => Err(calls.trouble(refusal)),
    }
}

pub(super) async fn delete(calls: &Calls, key: &Key) -> Result<(), StoreError> {
    let request = calls.client().delete_object().bucket(calls.bucket()).key(calls.name(key));
    match request.send().await.map_err(|error| calls.sort("s3:DeleteObject", error)) {
        Ok(_) => Ok(()),
        Err(Refusal::NoObject) => match calls.missing(key).await {
            StoreError::NotFound { .. } => Ok(()),
            error => Err(error),
        },
        Err(refusal) => Err(calls.trouble(refusal)),
    }
}

pub(super) async fn delete_many(calls: &Calls, keys: &[Key]) -> Result<(), StoreError> {
    for batch in keys.chunks(DELETED_AT_ONCE) {
        match delete_batch(calls, batch).await {
            // Some servers ask for this permission on the whole bucket when several are deleted at once (Ceph 16
            // does), where a policy grants it below one prefix.
            Err(StoreError::Denied { denial: Denial::Permission(_), .. }) => {
                for key in batch {
                    delete(calls, key).await?;
                }
            }
            other => other?,
        }
    }
    Ok(())
}

async fn delete_batch(calls: &Calls, keys: &[Key]) -> Result<(), StoreError> {
    let broken = |error| StoreError::Io {
        location: calls.location().to_owned(),
        source: std::io::Error::other(error),
    };
    let objects = keys
        .iter()
        .map(|key| ObjectIdentifier::builder().key(calls.name(key)).build())
        .collect::<Result<Vec<_>, _>>()
        .map_err(broken)?;
    let batch = Delete::builder().set_objects(Some(objects)).quiet(true).build().map_err(broken)?;
    let request = calls.client().delete_objects().bucket(calls.bucket()).delete(batch);
    let answer = request.send().await.map_err(|error| calls.trouble(calls.sort("s3:DeleteObject", error)))?;
    // Each key has an answer of its own; with `quiet` only the refusals come.
    let refused = answer.errors().iter().find(|error| error.code() != Some("NoSuchKey"));
    match refused {
        None => Ok(()),
        Some(error) => {
            let (code, message) = (error.code(), error.message());
            let refusal =
                crate::store::s3::errors::of_service(calls.location(), "s3:DeleteObject", 200, code, message);
            Err(calls.trouble(refusal))
        }
    }
}

/// What the server is asked to do to new objects, and by which key.
fn encryption(calls: &Calls) -> (Option<ServerSideEncryption>, Option<String>) {
    match &calls.options.encryption {
        S3Encryption::Default => (None, None),
        S3Encryption::S3 => (Some(ServerSideEncryption::Aes256), None),
        S3Encryption::Kms(key_id) => (Some(ServerSideEncryption::AwsKms), key_id.clone()),
    }
}

fn storage_class(calls: &Calls, length: usize) -> Option<StorageClass> {
    let class = calls.options.storage_class.as_deref().filter(|_| length >= WORTH_A_CLASS)?;
    Some(StorageClass::from(class))
}

/// Only where it is wanted: it is slow.
fn md5(calls: &Calls, bytes: &Bytes) -> Option<String> {
    let wanted = calls.md5_wanted.load(Ordering::Relaxed);
    wanted.then(|| BASE64.encode(Md5::digest(bytes).as_slice()))
}
