//! Brings objects and parts of them. A transfer that breaks off goes on where it stopped, as long as it makes
//! progress; nothing that came twice or too little gets through.

use std::io;

use aws_sdk_s3::operation::get_object::GetObjectOutput;

use crate::store::s3::calls::Calls;
use crate::store::s3::errors::{Refusal, chain, temporary};
use crate::store::{Key, StoreError};

/// A transfer that broke off this often is given back to be tried as a whole.
const RESUMES: u32 = 16;

pub(super) async fn size(calls: &Calls, key: &Key) -> Result<u64, StoreError> {
    head(calls, key).await.map(|(size, _)| size)
}

/// Size and tag; where the store gives none, the time of the last change takes its place.
pub(super) async fn head(calls: &Calls, key: &Key) -> Result<(u64, String), StoreError> {
    let request = calls.client().head_object().bucket(calls.bucket()).key(calls.name(key));
    match request.send().await.map_err(|error| calls.sort("s3:GetObject", error)) {
        Ok(found) => match found.content_length().and_then(|length| u64::try_from(length).ok()) {
            Some(length) => {
                let time =
                    found.last_modified().map(|time| format!("{}.{}", time.secs(), time.subsec_nanos()));
                Ok((length, found.e_tag().map(str::to_owned).or(time).unwrap_or_default()))
            }
            None => Err(temporary(calls.location(), "the answer does not say how large the object is")),
        },
        Err(Refusal::NoObject) => Err(calls.missing(key).await),
        Err(Refusal::Other(denied @ StoreError::Denied { .. })) => Err(calls.denied(key, denied).await),
        Err(refusal) => Err(calls.trouble(refusal)),
    }
}

pub(super) async fn get(calls: &Calls, key: &Key) -> Result<Vec<u8>, StoreError> {
    get_tagged(calls, key).await.map(|(bytes, _)| bytes)
}

pub(super) async fn get_range(
    calls: &Calls,
    key: &Key,
    offset: u64,
    length: u64,
    bytes: &mut Vec<u8>,
) -> Result<(), StoreError> {
    bytes.clear();
    let end = offset.checked_add(length);
    if length == 0 || end.is_none() {
        let (found, expected) = (size(calls, key).await?, end.unwrap_or(u64::MAX));
        return match expected <= found {
            true => Ok(()),
            false => Err(StoreError::ShortRead { key: key.clone(), expected, found }),
        };
    }
    fetch(calls, key, Wanted { offset, length: Some(length) }, bytes).await.map(drop)
}

/// The whole object, and the tag by which the store knows this version of it.
pub(super) async fn get_tagged(calls: &Calls, key: &Key) -> Result<(Vec<u8>, Option<String>), StoreError> {
    let mut bytes = Vec::new();
    let tag = fetch(calls, key, Wanted { offset: 0, length: None }, &mut bytes).await?;
    Ok((bytes, tag))
}

#[derive(Clone, Copy)]
struct Wanted {
    offset: u64,
    /// `None`: to the end. Never 0.
    length: Option<u64>,
}

/// Into `bytes`, which is empty. Gives the tag.
async fn fetch(
    calls: &Calls,
    key: &Key,
    wanted: Wanted,
    bytes: &mut Vec<u8>,
) -> Result<Option<String>, StoreError> {
    let mut tag: Option<String> = None;
    let mut expected: Option<u64> = wanted.length;
    for resumed in 0.. {
        let had = bytes.len();
        let mut answer = begin(calls, key, wanted, had as u64).await?;
        let part = Part::of(&answer, wanted.offset + had as u64);
        if had == 0 {
            tag = answer.e_tag().map(str::to_owned);
            if let (Some(length), Some(found)) = (wanted.length, part.total) {
                // A part that is shorter than asked for is none: stores may give less at once.
                let expected = wanted.offset.saturating_add(length);
                if found < expected {
                    return Err(StoreError::ShortRead { key: key.clone(), expected, found });
                }
            }
            expected = wanted.length.or(part.length);
            reserve(calls, bytes, expected)?;
        } else if answer.e_tag() != tag.as_deref() {
            return Err(temporary(calls.location(), format!("{key} was replaced while it was read")));
        }
        let Some(skip) = part.skip else {
            return Err(temporary(
                calls.location(),
                format!("another part of {key} came than was asked for"),
            ));
        };
        let broken = receive(&mut answer, bytes, skip, expected).await;
        let whole = expected.is_none_or(|expected| bytes.len() as u64 >= expected);
        let reason = match broken {
            None if whole => return Ok(tag),
            None => "the answer ended early".to_owned(),
            Some(reason) => reason,
        };
        if bytes.len() == had || resumed >= RESUMES {
            return Err(temporary(calls.location(), format!("{key}: {reason}")));
        }
        tracing::debug!(%key, received = bytes.len(), reason, "the transfer broke off, going on from there");
    }
    Err(temporary(calls.location(), format!("{key} breaks off again and again")))
}

async fn begin(calls: &Calls, key: &Key, wanted: Wanted, had: u64) -> Result<GetObjectOutput, StoreError> {
    let from = wanted.offset + had;
    let range = match wanted.length {
        Some(length) => Some(format!("bytes={from}-{}", wanted.offset + length - 1)),
        None if from > 0 => Some(format!("bytes={from}-")),
        None => None,
    };
    let request = calls.client().get_object().bucket(calls.bucket()).key(calls.name(key)).set_range(range);
    match request.send().await.map_err(|error| calls.sort("s3:GetObject", error)) {
        Ok(answer) => Ok(answer),
        Err(Refusal::NoObject) => Err(calls.missing(key).await),
        Err(Refusal::Other(denied @ StoreError::Denied { .. })) => Err(calls.denied(key, denied).await),
        Err(Refusal::Range) => {
            let found = size(calls, key).await?;
            let expected = wanted.offset.saturating_add(wanted.length.unwrap_or(1));
            Err(StoreError::ShortRead { key: key.clone(), expected, found })
        }
        Err(refusal) => Err(calls.trouble(refusal)),
    }
}

/// What an answer says of itself.
struct Part {
    /// Bytes to come.
    length: Option<u64>,
    /// Of the object, where the answer is a part of it.
    total: Option<u64>,
    /// Bytes that come before those asked for; `None` if those do not come at all.
    skip: Option<u64>,
}

impl Part {
    /// A store that does not know ranges answers with everything.
    fn of(answer: &GetObjectOutput, from: u64) -> Self {
        let length = answer.content_length().and_then(|length| u64::try_from(length).ok());
        match answer.content_range().and_then(parse_range) {
            Some((first, total)) => Self { length, total, skip: from.checked_sub(first) },
            None => Self { length, total: None, skip: Some(from) },
        }
    }
}

/// `bytes 5-9/20`: the first byte's place and the object's size.
fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, total.trim().parse().ok()))
}

/// Appends what comes, without the first `skip` bytes and nothing beyond `expected`. `Some` is why it broke off.
async fn receive(
    answer: &mut GetObjectOutput,
    bytes: &mut Vec<u8>,
    mut skip: u64,
    expected: Option<u64>,
) -> Option<String> {
    let limit = expected.map_or(usize::MAX, |expected| usize::try_from(expected).unwrap_or(usize::MAX));
    while bytes.len() < limit || expected.is_none() {
        match answer.body.next().await {
            None => return None,
            Some(Err(error)) => return Some(chain(&error)),
            Some(Ok(piece)) => {
                let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
                skip -= skipped as u64;
                let piece = piece.get(skipped..).unwrap_or_default();
                let taken = piece.len().min(limit - bytes.len());
                bytes.extend_from_slice(piece.get(..taken).unwrap_or_default());
            }
        }
    }
    None
}

/// A size from afar must not bring the process down.
fn reserve(calls: &Calls, bytes: &mut Vec<u8>, expected: Option<u64>) -> Result<(), StoreError> {
    let length = usize::try_from(expected.unwrap_or_default()).unwrap_or(usize::MAX);
    bytes.try_reserve_exact(length).map_err(|_| StoreError::Io {
        location: calls.location().to_owned(),
        source: io::ErrorKind::OutOfMemory.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_understood() {
        assert_eq!(parse_range("bytes 5-9/20"), Some((5, Some(20))));
        assert_eq!(parse_range("bytes 0-0/*"), Some((0, None)));
        for text in ["", "bytes", "bytes */20", "items 0-1/2", "bytes x-9/20"] {
            assert_eq!(parse_range(text), None, "{text}");
        }
    }
}
