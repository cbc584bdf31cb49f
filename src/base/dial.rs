//! From the name of a host to a connection: its addresses one after another. Knows nothing of what is said on it.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::net::{TcpStream, lookup_host};

#[derive(Debug, Error)]
pub enum DialError {
    /// The name leads nowhere.
    #[error("the host cannot be found: {0}")]
    Unresolvable(io::Error),
    /// Nobody listens there, or the way there is closed; of several addresses, the last one says why.
    #[error("cannot connect: {0}")]
    Refused(io::Error),
}

/// Inside a runtime with time and input. `timeout` is shared between the addresses; it does not bound the search for
/// them.
pub async fn dial(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, DialError> {
    let addresses: Vec<SocketAddr> =
        lookup_host((host, port)).await.map_err(DialError::Unresolvable)?.collect();
    let started = Instant::now();
    let mut last: io::Error = io::ErrorKind::AddrNotAvailable.into();
    for (number, address) in addresses.iter().enumerate() {
        // An address where nobody answers leaves the others their share of the time.
        let left = timeout.saturating_sub(started.elapsed());
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
    Err(DialError::Refused(last))
}
