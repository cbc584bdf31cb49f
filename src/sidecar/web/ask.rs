//! Asks the sidecar of this volume, through its socket, to run a job, and waits until the run has ended. For
//! commands: it blocks.

use std::io;
use std::path::Path;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
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

/// Returns when the run has ended, however long that takes.
pub fn ask_to_run(state_dir: &Path, job: &str) -> Result<Run, AskError> {
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
        let (status, body) =
            request(stream, job).await.map_err(|error| AskError::Broken(error.to_string()))?;
        understand(status, &body)
    })
}

async fn request(
    stream: UnixStream,
    job: &str,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::post(format!("/jobs/{}/run?wait=true", in_path(job)))
        .header(HOST, "sidecar")
        .body(Empty::<Bytes>::new())?;
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
