//! Bytes on their way from a source: counted, hashed, and ended when there are too many or when the time is over. What
//! goes wrong is remembered as what it is, whatever those in between make of it.

use std::cell::RefCell;
use std::io::{self, Read};
use std::rc::Rc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::memory::hex;
use crate::base::cancel::Cancel;
use crate::step::error::FetchError;
use crate::step::source::{Content, SourceError};

pub(super) struct Arriving<'a> {
    reader: Box<dyn Read + Send>,
    hasher: Sha256,
    place: String,
    received: u64,
    /// In bytes.
    largest: u64,
    started: Instant,
    limit: Duration,
    cancel: &'a Cancel,
    trouble: Trouble,
}

/// What went wrong first.
#[derive(Clone, Default)]
pub(super) struct Trouble(Rc<RefCell<Option<FetchError>>>);

impl Trouble {
    pub(super) fn take(&self) -> Option<FetchError> {
        self.0.take()
    }
}

impl<'a> Arriving<'a> {
    pub(super) fn new(
        content: Content,
        place: String,
        largest: u64,
        (started, limit): (Instant, Duration),
        cancel: &'a Cancel,
    ) -> Self {
        Self {
            reader: content.reader,
            hasher: Sha256::new(),
            place,
            received: 0,
            largest,
            started,
            limit,
            cancel,
            trouble: Trouble::default(),
        }
    }

    pub(super) fn trouble(&self) -> Trouble {
        self.trouble.clone()
    }

    /// Of all that was read.
    pub(super) fn sha256(&self) -> String {
        hex(&self.hasher.clone().finalize())
    }

    fn piece(&mut self, buffer: &mut [u8]) -> Result<usize, FetchError> {
        if self.cancel.is_cancelled() {
            return Err(SourceError::Stopped.into());
        }
        if self.started.elapsed() > self.limit {
            return Err(SourceError::Slow { limit: self.limit }.into());
        }
        let length = loop {
            match self.reader.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(SourceError::from_io(error, &self.place).into()),
                Ok(length) => break length,
            }
        };
        self.received = self.received.saturating_add(length as u64);
        if self.received > self.largest {
            return Err(FetchError::TooLarge { place: self.place.clone(), limit: self.largest });
        }
        self.hasher.update(buffer.get(..length).unwrap_or_default());
        Ok(length)
    }
}

impl Read for Arriving<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.piece(buffer).map_err(|error| {
            let text = error.to_string();
            self.trouble.0.borrow_mut().get_or_insert(error);
            io::Error::other(text)
        })
    }
}
