//! Asks the sidecar of this volume, through its socket: to run a job, whose end is waited for, or how it is. For
//! commands: it blocks.

use std::io;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::UnixStream;

use crate::sidecar::record::Run;
use crate::sidecar::web::socket;

/// A run with all its reasons is a few KiB.
const LONGEST_ANSWER: usize = 1 << 20;

#[derive(Debug, Error)]
pub enum AskError {
    /// Nothing was asked: the caller may run the job itself.
    #[error("no sidecar listens")]
    NotListening,
    /// There is a sidecar, but not for us. Trying again does not help.
    #[error("the sidecar's socket may not be used: {0}")]
    Denied(io::Error),
    /// Whether the job runs is not known.
    #[error("the sidecar does not answer as expected: {0}")]
    Broken(String),
    #[error("{0}")]
    Unknown(String),
    /// It is ending, or stands by for another one.
    #[error("{0}")]
    Unavailable(String),
}

/// What can be known of a sidecar without running anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether it works at all.
    Alive,
    /// Whether its backups are as they should be.
    Ready,
}

/// A sidecar says by itself when its loop hangs, which takes it 5 seconds; one that says nothing has more trouble.
const LONGEST_SILENCE: Duration = Duration::from_secs(8);

/// Returns when the run has ended, however long that takes.
pub fn ask_to_run(state_dir: &Path, job: &str) -> Result<Run, AskError> {
    let (status, body) =
        ask(state_dir, Method::POST, &format!("/jobs/{}/run?wait=true", in_path(job)), None)?;
    understand(status, &body)
}

/// `Some` is what is not well, in the words of the sidecar.
pub fn ask_how_it_is(state_dir: &Path, question: Question) -> Result<Option<String>, AskError> {
    let path = match question {
        Question::Alive => "/healthz",
        Question::Ready => "/readyz",
    };
    let (status, body) = ask(state_dir, Method::GET, path, Some(LONGEST_SILENCE))?;
    let said = String::from_utf8_lossy(&body).trim().to_owned();
    match status {
        StatusCode::OK => Ok(None),
        StatusCode::SERVICE_UNAVAILABLE => Ok(Some(said)),
        other => Err(AskError::Broken(format!("{other}: {said}"))),
    }
}

fn ask(
    state_dir: &Path,
    method: Method,
    path: &str,
    limit: Option<Duration>,
) -> Result<(StatusCode, Bytes), AskError> {
    let stream = socket::connect(state_dir).map_err(|error| match error.kind() {
        // The file is missing, or left over from one that was killed.
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NotListening,
        _ => AskError::Denied(error),
    })?;
    let broken = |error: io::Error| AskError::Broken(error.to_string());
    stream.set_nonblocking(true).map_err(broken)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(broken)?;
    runtime.block_on(async {
        let stream = UnixStream::from_std(stream).map_err(broken)?;
        let asked = request(stream, method, path);
        let answer = match limit {
            None => asked.await,
            Some(limit) => match tokio::time::timeout(limit, asked).await {
                Ok(answer) => answer,
                Err(_) => return Err(AskError::Broken(format!("no answer within {} s", limit.as_secs()))),
            },
        };
        answer.map_err(|error| AskError::Broken(error.to_string()))
    })
}

async fn request(
    stream: UnixStream,
    method: Method,
    path: &str,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request =
        Request::builder().method(method).uri(path).header(HOST, "sidecar").body(Empty::<Bytes>::new())?;
    let answer = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, LONGEST_ANSWER).collect().await?.to_bytes();
        Ok((head.status, body))
    };
    let mut answer = std::pin::pin!(answer);
    // The connection does the work while the answer waits for it; it may end first.
    tokio::select! {
        answer = answer.as_mut() => return answer,
        ended = connection => ended?,
    }
    answer.await
}

fn understand(status: StatusCode, body: &[u8]) -> Result<Run, AskError> {
    let said = || String::from_utf8_lossy(body).trim().to_owned();
    match status {
        StatusCode::OK => serde_json::from_slice(body).map_err(|error| AskError::Broken(error.to_string())),
        StatusCode::NOT_FOUND => Err(AskError::Unknown(said())),
        StatusCode::SERVICE_UNAVAILABLE => Err(AskError::Unavailable(said())),
        other => Err(AskError::Broken(format!("{other}: {}", said()))),
    }
}

/// Names of jobs need no escaping; what somebody typed may.
fn in_path(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
