//! Answers connections on a listener until told to stop. A client that sends or takes nothing loses its
//! connection, and only so many are open at once: a slow one can neither hold the sidecar nor fill its memory.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::sidecar::web::stall::Stall;

/// A request that is not there after this time, or an answer of which nothing is taken for so long, ends the
/// connection; so does being idle.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long connections may go on with the answer they are at when all is to end.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// Each takes some 20 KiB.
const MOST_CONNECTIONS: usize = 32;
/// A request has no more than a name, a token and what browsers send.
const LARGEST_HEAD: usize = 16 << 10;
/// When the system has no connection to give, such as for lack of descriptors.
const BREATH: Duration = Duration::from_millis(500);

/// How long what may take. Its own type so that tests need not wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) patience: Duration,
    pub(super) last_answers: Duration,
    pub(super) connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { patience: PATIENCE, last_answers: LAST_ANSWERS, connections: MOST_CONNECTIONS }
    }
}

/// Returns some seconds at most after `stop` has become true, or its sender has gone.
pub async fn serve_tcp(listener: TcpListener, router: Router, stop: watch::Receiver<bool>) {
    serve_tcp_within(listener, router, stop, Limits::default()).await;
}

/// As [`serve_tcp`].
pub async fn serve_unix(listener: UnixListener, router: Router, stop: watch::Receiver<bool>) {
    serve(listener, router, stop, Limits::default()).await;
}

pub(super) async fn serve_tcp_within(
    listener: TcpListener,
    router: Router,
    stop: watch::Receiver<bool>,
    limits: Limits,
) {
    serve(listener, router, stop, limits).await;
}

async fn serve<L: Listener>(listener: L, router: Router, mut stop: watch::Receiver<bool>, limits: Limits) {
    let room = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            // Those who come while all places are taken wait in the queue of the listener.
            let place = Arc::clone(&room).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
            next = next => next,
        };
        match accepted {
            Ok(connection) => {
                let answered = answer(TokioIo::new(connection), router.clone(), stop.clone(), limits);
                connections.spawn(async move {
                    answered.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.last_answers, all).await.is_err() {
        tracing::debug!("connections are cut off");
    }
    // What is left ends with the set.
}

trait Listener: Send + Sync {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        Ok(self.accept().await?.0)
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

async fn answer<C>(connection: C, router: Router, mut stop: watch::Receiver<bool>, limits: Limits)
where
    C: Read + Write + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.patience)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(Stall::new(connection, limits.patience), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error says that whoever could tell us has gone.
    let _ = stop.wait_for(|stop| *stop).await;
}
