//! Out of an S3 bucket: an object, in pieces that fit into little memory, each tried again when the store fails for the
//! moment.

use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, SystemClock};
use crate::step::source::{Content, Opened, Source, SourceError};
use crate::store::retry::{RetryPolicy, retry};
use crate::store::{Key, ObjectStore, S3Options, S3Store, StoreError};

/// Of one request, in bytes.
const PIECE: u64 = 4 << 20;

/// An object, and the way to it.
#[derive(Debug)]
pub struct BucketSource {
    /// Its prefix is the whole name of the object.
    pub options: S3Options,
    /// How long one request is tried again.
    pub retry_deadline: Duration,
}

impl Source for BucketSource {
    fn place(&self) -> String {
        self.options.location()
    }

    fn identity(&self) -> String {
        self.place()
    }

    fn open(&self, known: Option<&str>, limit: Duration, cancel: &Cancel) -> Result<Opened, SourceError> {
        let policy = RetryPolicy {
            deadline: self.retry_deadline.min(limit),
            cancel: cancel.clone(),
            ..RetryPolicy::default()
        };
        let (directory, name) = self.options.prefix.rsplit_once('/').unwrap_or(("", &self.options.prefix));
        let key = Key::new(name)?;
        let options = S3Options { prefix: directory.to_owned(), ..self.options.clone() };
        let pieces = Pieces {
            store: S3Store::new(options).ended_by(cancel.clone()),
            key,
            policy,
            clock: SystemClock::default(),
            place: self.place(),
            size: 0,
            tag: String::new(),
            at: 0,
            piece: Vec::new(),
            given: 0,
        };
        let (size, tag) = pieces.head()?;
        if known == Some(tag.as_str()) {
            return Ok(Opened::Same);
        }
        let reader = Box::new(Pieces { size, tag: tag.clone(), ..pieces });
        Ok(Opened::Content(Content { reader, size: Some(size), tag: Some(tag) }))
    }
}

struct Pieces {
    store: S3Store,
    key: Key,
    policy: RetryPolicy,
    clock: SystemClock,
    place: String,
    size: u64,
    tag: String,
    /// Where the next piece begins.
    at: u64,
    piece: Vec<u8>,
    /// How much of the piece was given away.
    given: usize,
}

impl Pieces {
    fn head(&self) -> Result<(u64, String), StoreError> {
        self.again("look at", || self.store.head(&self.key))
    }

    fn again<T>(
        &self,
        doing: &'static str,
        attempt: impl FnMut() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let clock: &dyn Clock = &self.clock;
        retry(&self.policy, clock, (doing, self.key.as_str()), StoreError::retryable, attempt)
    }

    /// Whether there is one.
    fn next(&mut self) -> Result<bool, SourceError> {
        self.piece.clear();
        self.given = 0;
        if self.at == self.size {
            // Pieces of two objects that had the name one after the other are neither of them.
            if self.head()?.1 != self.tag {
                let reason = format!("{} was replaced while it was read", self.place);
                return Err(SourceError::Other { reason, passing: true });
            }
            return Ok(false);
        }
        let length = PIECE.min(self.size - self.at);
        let mut piece = std::mem::take(&mut self.piece);
        self.again("read", || self.store.get_range_into(&self.key, self.at, length, &mut piece))?;
        self.piece = piece;
        self.at += length;
        Ok(true)
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.piece.len() && !self.next().map_err(io::Error::other)? {
            return Ok(0);
        }
        let rest = self.piece.get(self.given..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..length), rest.get(..length)) {
            to.copy_from_slice(from);
        }
        self.given += length;
        Ok(length)
    }
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces").field("place", &self.place).field("at", &self.at).finish_non_exhaustive()
    }
}
