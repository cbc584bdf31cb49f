//! What goes out as a request: made, sent once within a time limit, and judged by its status.

use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::http::{self, Request, Url};
use crate::base::secret::Secret;
use crate::base::text::Text;
use crate::notice::NoticeError;

/// Enough of an answer to know that there is one.
const LONGEST_ANSWER: usize = 4 << 10;

/// A request before it is known where it goes.
#[derive(Debug)]
pub struct Outgoing {
    pub method: String,
    pub url: Secret,
    /// Values may be secrets: not to be shown.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A status from 200 to 299 is success. `limit` is from the name of the host to the end of the answer.
pub fn send(outgoing: Outgoing, limit: Duration, cancel: &Cancel) -> Result<(), NoticeError> {
    let url: Url = outgoing.url.reveal().parse().map_err(NoticeError::Address)?;
    let request = Request {
        method: outgoing.method,
        headers: outgoing.headers,
        body: outgoing.body,
        timeout: limit,
        longest_answer: LONGEST_ANSWER,
        ..Request::get(url)
    };
    let status = http::send(&request, cancel)?.status;
    match status {
        200..300 => Ok(()),
        _ => Err(NoticeError::Status { place: request.place(), status }),
    }
}

pub fn read(text: &Text) -> Result<Secret, NoticeError> {
    let read = text.read().map(Secret::new);
    read.map_err(|(path, source)| NoticeError::Secret { path: path.to_owned(), source })
}
