//! Ends exchanges in which nothing moves any more, on the way out as on the way in. A limit for a whole call
//! would be wrong for somebody: an upload over a slow line takes its time and is still alive.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, timeout};

/// A body goes out in pieces of this size, or one piece of many MiB would look like a standstill.
const PIECE: usize = 256 << 10;

/// An error is told in less than this; what a proxy sends beyond it, nobody reads.
const LONGEST_ERROR: u64 = 256 << 10;
/// A listing of a thousand objects with the longest names has about 7 MiB, if each character is escaped.
const LONGEST_DOCUMENT: u64 = 32 << 20;

/// How much of an answer is taken: the client holds all but objects in memory as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    /// Whoever reads it knows how much he wants.
    None,
    /// Ends there.
    Cut(u64),
    /// Fails there.
    Refuse(u64),
}

/// Nothing moved for this long.
#[derive(Clone, Copy, Debug)]
pub struct Stalled(pub Duration);

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nothing moved for {} s", self.0.as_secs_f32())
    }
}

impl std::error::Error for Stalled {}

/// A client whose calls fail with [`Stalled`] when nothing moves for `limit`.
#[derive(Debug)]
pub struct Watched {
    pub inner: SharedHttpClient,
    pub limit: Duration,
}

impl HttpClient for Watched {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(WatchedConnector { inner, limit: self.limit })
    }
}

#[derive(Debug)]
struct WatchedConnector {
    inner: SharedHttpConnector,
    limit: Duration,
}

impl HttpConnector for WatchedConnector {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let sent = Arc::new(AtomicU64::new(0));
        let body = request.take_body();
        *request.body_mut() = SdkBody::from_body_1_x(Outgoing {
            left: body.content_length(),
            inner: body,
            piece: Bytes::new(),
            sent: Arc::clone(&sent),
        });
        let of_object = request.uri().split(['?', '&']).any(|part| part == "x-id=GetObject");
        let answer = self.inner.call(request);
        HttpConnectorFuture::new(watch(answer, sent, self.limit, of_object))
    }
}

/// Waits for the beginning of the answer for as long as the request makes progress, and then for `limit`.
async fn watch(
    answer: HttpConnectorFuture,
    sent: Arc<AtomicU64>,
    limit: Duration,
    of_object: bool,
) -> Result<HttpResponse, ConnectorError> {
    let mut answer = pin!(answer);
    let mut before = 0;
    loop {
        match timeout(limit, &mut answer).await {
            Ok(answered) => {
                return answered.map(|response| {
                    let bound = match response.status().is_success() {
                        false => Bound::Cut(LONGEST_ERROR),
                        true if of_object => Bound::None,
                        true => Bound::Refuse(LONGEST_DOCUMENT),
                    };
                    response.map(|body| watched(body, limit, bound))
                });
            }
            Err(_) => {
                let now = sent.load(Ordering::Relaxed);
                if std::mem::replace(&mut before, now) == now {
                    return Err(ConnectorError::timeout(Stalled(limit).into()));
                }
            }
        }
    }
}

fn watched(body: SdkBody, limit: Duration, bound: Bound) -> SdkBody {
    let deadline = Box::pin(tokio::time::sleep(limit));
    SdkBody::from_body_1_x(Incoming { inner: body, limit, deadline, bound, taken: 0 })
}

/// A request's body, which counts what was taken from it.
struct Outgoing {
    inner: SdkBody,
    /// What the present frame still holds.
    piece: Bytes,
    /// Bytes, if known.
    left: Option<u64>,
    sent: Arc<AtomicU64>,
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.piece.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.piece = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                other => return Poll::Ready(other),
            }
        }
        let length = self.piece.len().min(PIECE);
        let piece = self.piece.split_to(length);
        self.left = self.left.map(|left| left.saturating_sub(length as u64));
        self.sent.fetch_add(length as u64 + 1, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map(SizeHint::with_exact).unwrap_or_default()
    }
}

/// An answer's body, which fails when the next piece does not come, and ends when it is too long.
struct Incoming {
    inner: SdkBody,
    limit: Duration,
    deadline: Pin<Box<Sleep>>,
    bound: Bound,
    /// Bytes.
    taken: u64,
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let limit = self.limit;
        match self.bound {
            Bound::Cut(most) if self.taken > most => return Poll::Ready(None),
            Bound::Refuse(most) if self.taken > most => {
                return Poll::Ready(Some(Err(format!("the answer is longer than {most} bytes").into())));
            }
            _ => {}
        }
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(frame) => {
                self.deadline.as_mut().reset(Instant::now() + limit);
                if let Some(Ok(frame)) = &frame {
                    self.taken += frame.data_ref().map_or(0, |data| data.len() as u64);
                }
                Poll::Ready(frame)
            }
            Poll::Pending => {
                ready!(self.deadline.as_mut().poll(context));
                Poll::Ready(Some(Err(Stalled(limit).into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
