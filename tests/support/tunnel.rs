//! Trouble on the way to a server, whatever is spoken there: a tunnel for connections that passes bytes on until it is
//! told not to.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

const WITHOUT_LIMIT: u64 = u64::MAX;

/// Ends with the test process.
#[derive(Clone, Debug)]
pub struct Tunnel {
    pub port: u16,
    rules: Arc<Rules>,
}

#[derive(Debug, Default)]
struct Rules {
    /// So many bytes pass, of all connections together, before the connection that exceeds it is cut.
    up: AtomicU64,
    down: AtomicU64,
    refused: AtomicU64,
    connections: AtomicU64,
}

impl Tunnel {
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tunnel = Self { port: listener.local_addr().unwrap().port(), rules: Arc::default() };
        tunnel.cut_after(WITHOUT_LIMIT, WITHOUT_LIMIT);
        let rules = Arc::clone(&tunnel.rules);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let number = rules.connections.fetch_add(1, Ordering::SeqCst);
                if number >= rules.refused.load(Ordering::SeqCst) {
                    // What comes of one connection is nothing to the others.
                    let _ = stream.and_then(|stream| carry(stream, port, &rules));
                }
            }
        });
        tunnel
    }

    /// From now on, in bytes: what goes to the server and what comes back.
    pub fn cut_after(&self, up: u64, down: u64) {
        self.rules.up.store(up, Ordering::SeqCst);
        self.rules.down.store(down, Ordering::SeqCst);
    }

    /// The next connections are closed at once.
    pub fn refuse(&self, count: u64) {
        self.rules.refused.store(self.connections() + count, Ordering::SeqCst);
    }

    pub fn connections(&self) -> u64 {
        self.rules.connections.load(Ordering::SeqCst)
    }
}

fn carry(near: TcpStream, port: u16, rules: &Arc<Rules>) -> std::io::Result<()> {
    let far = TcpStream::connect(("127.0.0.1", port))?;
    let (up, down) = (Arc::clone(rules), Arc::clone(rules));
    let (near_in, far_in) = (near.try_clone()?, far.try_clone()?);
    thread::spawn(move || pass(near_in, far, &up.up));
    thread::spawn(move || pass(far_in, near, &down.down));
    Ok(())
}

fn pass(mut from: TcpStream, mut to: TcpStream, left: &AtomicU64) {
    let mut buffer = [0; 16 << 10];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) | Err(_) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(count) => count,
        };
        let took =
            |left: u64| if left == WITHOUT_LIMIT { Some(left) } else { left.checked_sub(count as u64) };
        if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, took).is_err()
            || to.write_all(&buffer[..count]).is_err()
        {
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
}
