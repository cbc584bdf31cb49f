//! An answer of any length for plain threads: read piece by piece, within one time limit for all of it. Holds the
//! runtime that it takes, and nothing of the body but one piece.

use std::fmt;
use std::io::{self, Read};
use std::time::Instant;

use http_body_util::Full;
use hyper::body::Bytes;
use tokio::runtime::Runtime;

use super::{Connection, HttpError, Request, Streamed, cancelled, connect, new_runtime, streamed};
use crate::base::cancel::Cancel;

/// The body comes out of `read`; an error there is an [`HttpError`] inside of an `io::Error`.
pub struct Download {
    answer: Streamed,
    /// Of the piece that came last.
    rest: Bytes,
    request: Request,
    deadline: Instant,
    cancel: Cancel,
    /// Last, so that what it drives is gone before.
    runtime: Runtime,
}

/// For plain threads; returns with the head of the answer. The time limit of the request is that of the whole body too.
pub fn download(request: &Request, cancel: &Cancel) -> Result<Download, HttpError> {
    // Before anybody is bothered.
    streamed::prepare(request, Full::<Bytes>::default())?;
    let runtime = new_runtime(&request.place())?;
    let deadline = Instant::now() + request.timeout;
    let answer = within(&runtime, request, deadline, cancel, "waiting for the answer", async {
        let connection: Connection = connect(request).await?;
        connection.send(request, Full::new(Bytes::from(request.body.clone()))).await
    })?;
    let request = Request { body: Vec::new(), headers: Vec::new(), ..request.clone() };
    Ok(Download { answer, rest: Bytes::new(), request, deadline, cancel: cancel.clone(), runtime })
}

impl Download {
    pub fn status(&self) -> u16 {
        self.answer.status()
    }

    /// The first of that name, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.answer.header(name)
    }

    fn next(&mut self) -> Result<Option<Bytes>, HttpError> {
        let Self { answer, request, deadline, cancel, runtime, .. } = self;
        within(runtime, request, *deadline, cancel, "receiving the answer", answer.piece())
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.next().map_err(io::Error::other)? {
                Some(piece) => self.rest = piece,
                None => return Ok(0),
            }
        }
        let length = self.rest.len().min(buffer.len());
        let piece = self.rest.split_to(length);
        if let Some(place) = buffer.get_mut(..length) {
            place.copy_from_slice(&piece);
        }
        Ok(length)
    }
}

fn within<T>(
    runtime: &Runtime,
    request: &Request,
    deadline: Instant,
    cancel: &Cancel,
    doing: &'static str,
    work: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    let place = request.place();
    runtime.block_on(async {
        tokio::select! {
            biased;
            () = cancelled(cancel) => Err(HttpError::Cancelled { place }),
            done = tokio::time::timeout_at(deadline.into(), work) => match done {
                Ok(done) => done,
                Err(_) => Err(HttpError::TimedOut { place, limit: request.timeout, doing }),
            },
        }
    })
}

/// Without what may be secret.
impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("answer", &self.answer).finish_non_exhaustive()
    }
}
