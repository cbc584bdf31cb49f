//! The way to the other side: a unix socket or a connection to a host, and TLS on top. Knows nothing of requests but
//! where they go.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::{HttpError, Request, tls};
use crate::base::dial::{DialError, dial};

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
    dial(url.host(), url.port(), request.timeout).await.map_err(|error| match error {
        DialError::Unresolvable(source) => HttpError::Unresolvable { place: request.place(), source },
        DialError::Refused(source) => HttpError::Refused { place: request.place(), source },
    })
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
