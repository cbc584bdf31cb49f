//! The way to the other side: a unix socket, or the addresses of a host one after another, and TLS on top. Knows
//! nothing of requests but where they go.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_rustls::client::TlsStream;

use super::{HttpError, Request, tls};

#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
    TlsOverUnix(Box<TlsStream<UnixStream>>),
}

pub(super) async fn to(request: &Request) -> Result<Stream, HttpError> {
    let url = &request.url;
    if let Some(path) = &request.unix_socket {
        let refused = |source| HttpError::Refused { place: request.place(), source };
        let socket = UnixStream::connect(path).await.map_err(refused)?;
        return Ok(match url.is_tls() {
            false => Stream::Unix(socket),
            true => Stream::TlsOverUnix(Box::new(tls::over(socket, request).await?)),
        });
    }
    let socket = connect(request).await?;
    Ok(match url.is_tls() {
        false => Stream::Tcp(socket),
        true => Stream::Tls(Box::new(tls::over(socket, request).await?)),
    })
}

async fn connect(request: &Request) -> Result<TcpStream, HttpError> {
    let url = &request.url;
    let unresolvable = |source| HttpError::Unresolvable { place: request.place(), source };
    let addresses: Vec<SocketAddr> =
        lookup_host((url.host(), url.port())).await.map_err(unresolvable)?.collect();
    let started = Instant::now();
    let mut last: io::Error = io::ErrorKind::AddrNotAvailable.into();
    for (number, address) in addresses.iter().enumerate() {
        // An address where nobody answers leaves the others their share of the time.
        let left = request.timeout.saturating_sub(started.elapsed());
        let share = left / u32::try_from(addresses.len() - number).unwrap_or(u32::MAX);
        last = match tokio::time::timeout(share.max(Duration::from_millis(1)), TcpStream::connect(address))
            .await
        {
            Ok(Ok(socket)) => {
                let _ = socket.set_nodelay(true);
                return Ok(socket);
            }
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
    }
    Err(HttpError::Refused { place: request.place(), source: last })
}

macro_rules! each {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream.get_mut() {
            Stream::Tcp($inner) => $call,
            Stream::Unix($inner) => $call,
            Stream::Tls($inner) => $call,
            Stream::TlsOverUnix($inner) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, inner => Pin::new(inner).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_shutdown(context))
    }
}
