//! A request in steps: connect, send, and read the answer piece by piece, for bodies that do not fit into memory.
//! Without a time limit: whoever asks knows how long each step may take.

use std::error::Error;
use std::fmt;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper_util::rt::TokioIo;

use super::connect::{self, Stream};
use super::{HttpError, Request, error};

/// A way to the host of a request, on which nothing was said yet.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    place: String,
}

/// An answer whose body is still on its way.
pub struct Streamed {
    status: u16,
    headers: HeaderMap,
    content: Incoming,
    place: String,
    _driver: Driver,
}

/// Name, connection and TLS. The time limit of the request is shared between the addresses of the host.
pub async fn connect(request: &Request) -> Result<Connection, HttpError> {
    Ok(Connection { stream: connect::to(request).await?, place: request.place() })
}

impl Connection {
    /// Sends `body` in place of that of the request, and waits for the head of the answer, which may come before all
    /// is sent.
    pub async fn send<B>(self, request: &Request, body: B) -> Result<Streamed, HttpError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let place = self.place;
        let cut =
            |error: hyper::Error| HttpError::Cut { place: place.clone(), reason: error::reason(&error) };
        let prepared = prepare(request, body)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(self.stream)).await.map_err(cut)?;
        // The connection is driven beside the request, and ends with it.
        let driver = Driver(tokio::spawn(async move { drop(connection.await) }));
        let (head, content) = sender.send_request(prepared).await.map_err(cut)?.into_parts();
        Ok(Streamed { status: head.status.as_u16(), headers: head.headers, content, place, _driver: driver })
    }
}

impl Streamed {
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The first of that name, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `None` at the end of the body.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, HttpError> {
        while let Some(frame) = self.content.frame().await {
            let frame = frame.map_err(|error| HttpError::Cut {
                place: self.place.clone(),
                reason: error::reason(&error),
            })?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

pub(super) fn prepare<B>(request: &Request, body: B) -> Result<hyper::Request<B>, HttpError> {
    let bad = |what: String| HttpError::Request { place: request.place(), what };
    let method = hyper::Method::from_bytes(request.method.as_bytes())
        .map_err(|_| bad(format!("`{}` is not a method", request.method)))?;
    let mut headers = HeaderMap::new();
    let ours = [
        (HOST, request.url.authority()),
        (USER_AGENT, concat!("volkeep/", env!("CARGO_PKG_VERSION"))),
        (CONNECTION, "close"),
    ];
    for (name, value) in ours {
        headers.insert(name, HeaderValue::from_str(value).map_err(|error| bad(error.to_string()))?);
    }
    for (name, value) in &request.headers {
        let known = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| bad(format!("`{name}` is not the name of a header")))?;
        // The value may be a secret.
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| bad(format!("the header `{name}` holds something else than printable text")))?;
        value.set_sensitive(true);
        headers.insert(known, value);
    }
    let mut prepared = hyper::Request::new(body);
    *prepared.method_mut() = method;
    *prepared.uri_mut() =
        request.url.target().parse().map_err(|_| bad("its path is not valid".to_owned()))?;
    *prepared.headers_mut() = headers;
    Ok(prepared)
}

/// Without what may be secret.
impl fmt::Debug for Streamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streamed").field("place", &self.place).field("status", &self.status).finish()
    }
}

struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}
