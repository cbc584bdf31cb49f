//! A small http client: one request, one bounded answer, one time limit for all of it; or step by step, for what is
//! too large for that. Over TCP, TLS or a unix socket. Redirects are answers like others and are not followed; proxies of the environment are not used.
//! Knows nothing of who asks, and no message of it shows more of an address than scheme, host and port.

mod connect;
mod download;
mod error;
mod streamed;
mod tls;
mod url;

use std::fmt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;

use tokio::runtime::Runtime;

use crate::base::cancel::Cancel;
pub use download::{Download, download};
pub use error::HttpError;
pub use streamed::{Connection, Streamed, connect};
pub use url::Url;

/// How late a wish to stop may be noticed.
const SLICE: Duration = Duration::from_millis(100);
/// As much of an answer as a message or a decision needs, where nothing else is said.
const LONGEST_ANSWER: usize = 64 << 10;

#[derive(Clone)]
pub struct Request {
    /// Such as `GET`; letters only.
    pub method: String,
    pub url: Url,
    /// Besides `Host`, `User-Agent`, `Connection` and `Content-Length`. Values may be secrets.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Connect to this socket, whatever host the address names; that one is still told to the server.
    pub unix_socket: Option<PathBuf>,
    /// Certificates in PEM that are trusted besides those of the machine.
    pub ca_file: Option<PathBuf>,
    /// For all of it: name, connection, TLS, answer.
    pub timeout: Duration,
    /// What is longer is cut off, in bytes.
    pub longest_answer: usize,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    /// There was more than `longest_answer`.
    pub cut: bool,
}

impl Request {
    /// A GET without a body, for ten seconds.
    pub fn get(url: Url) -> Self {
        Self {
            method: "GET".to_owned(),
            url,
            headers: Vec::new(),
            body: Vec::new(),
            unix_socket: None,
            ca_file: None,
            timeout: Duration::from_secs(10),
            longest_answer: LONGEST_ANSWER,
        }
    }

    /// Whom it is for, without secrets: `https://example.org:443`, `/run/app.sock`.
    pub fn place(&self) -> String {
        match &self.unix_socket {
            Some(path) => path.display().to_string(),
            None => self.url.place(),
        }
    }
}

/// For plain threads: everything it takes is made for the call and gone after it. Inside a runtime it is an error.
pub fn send(request: &Request, cancel: &Cancel) -> Result<Answer, HttpError> {
    let place = request.place();
    let runtime = new_runtime(&place)?;
    let answer = runtime.block_on(async {
        tokio::select! {
            biased;
            () = cancelled(cancel) => Err(HttpError::Cancelled { place }),
            answer = send_async(request) => answer,
        }
    });
    // The system may think about a name for longer than anybody waits for it.
    runtime.shutdown_background();
    answer
}

fn new_runtime(place: &str) -> Result<Runtime, HttpError> {
    let failed = |source| HttpError::Runtime { place: place.to_owned(), source };
    if tokio::runtime::Handle::try_current().is_ok() {
        // The library would panic.
        return Err(failed(std::io::Error::other("it would hold up a runtime")));
    }
    tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(failed)
}

/// Inside a runtime with time and input.
pub async fn send_async(request: &Request) -> Result<Answer, HttpError> {
    // Before anybody is bothered.
    streamed::prepare(request, Full::<Bytes>::default())?;
    let longest = request.longest_answer;
    // What was being done when the time was over.
    let (doing, did) = mpsc::channel();
    let exchange = async {
        let _ = doing.send("connecting");
        let connection = connect(request).await?;
        let _ = doing.send("waiting for the answer");
        whole(connection.send(request, Full::new(Bytes::from(request.body.clone()))).await?, longest).await
    };
    match tokio::time::timeout(request.timeout, exchange).await {
        Ok(answer) => answer,
        Err(_) => {
            let doing = did.try_iter().last().unwrap_or("waiting");
            Err(HttpError::TimedOut { place: request.place(), limit: request.timeout, doing })
        }
    }
}

async fn whole(mut answer: Streamed, longest: usize) -> Result<Answer, HttpError> {
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(data) = answer.piece().await? {
        let room = longest.saturating_sub(body.len());
        body.extend(data.iter().take(room));
        if data.len() > room {
            return Ok(Answer { status, body, cut: true });
        }
    }
    Ok(Answer { status, body, cut: false })
}

async fn cancelled(cancel: &Cancel) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(SLICE).await;
    }
}

/// Without what may be secret.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("place", &self.place())
            .field("headers", &headers)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).field("bytes", &self.body.len()).finish()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
