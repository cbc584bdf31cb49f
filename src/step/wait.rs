//! Waits until something is there that others bring: a port, an answer, a name, a file. Looks again and again, and
//! says at the end what it saw last.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::error::Trouble;
use super::perform::Means;
use crate::base::action::{ActionError, HttpAction};
use crate::base::http::{HttpError, Url};
use crate::base::pause::pause;
use crate::base::text::Text;
use crate::base::within::within_unless;

/// For one look: who does not answer within it is asked again.
const LOOK: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

#[derive(Clone, Debug)]
pub enum Wait {
    /// An answer with a status that is expected.
    Http(Box<HttpAction>),
    /// Somebody accepts connections.
    Tcp { host: String, port: u16 },
    /// The name leads to an address.
    Dns(String),
    /// Something is there by this name.
    File(PathBuf),
    /// The volume of another app is ready for it.
    Volume { path: PathBuf, state_dir: PathBuf },
}

/// What stands in the way.
enum Look {
    NotYet(String),
    Never(Trouble),
}

impl Wait {
    /// What is waited for, without secrets.
    pub fn what(&self) -> String {
        match self {
            Self::Http(request) => match &request.url {
                Text::Value(url) => {
                    url.reveal().parse().map_or_else(|_| "an answer".to_owned(), |url: Url| url.place())
                }
                Text::File(_) => "an answer".to_owned(),
            },
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Dns(host) => format!("the name {host}"),
            Self::File(path) => path.display().to_string(),
            Self::Volume { path, .. } => format!("the volume {}", path.display()),
        }
    }

    pub(super) fn until(&self, limit: Duration, means: &Means<'_>) -> Result<(), Trouble> {
        let started = means.clock.elapsed();
        let mut next = FIRST_PAUSE;
        let mut told = false;
        loop {
            let left = limit.saturating_sub(means.clock.elapsed().saturating_sub(started));
            let last = match self.look(left.min(LOOK), means) {
                Ok(()) => return Ok(()),
                Err(Look::Never(trouble)) => return Err(trouble),
                Err(Look::NotYet(reason)) => reason,
            };
            if means.cancel.is_cancelled() {
                return Err(Trouble::Stopped);
            }
            if !std::mem::replace(&mut told, true) {
                tracing::info!(what = self.what(), reason = last, "waiting");
            }
            let left = limit.saturating_sub(means.clock.elapsed().saturating_sub(started));
            if left.is_zero() {
                return Err(Trouble::NotThere { what: self.what(), limit, last });
            }
            pause(means.clock, means.cancel, next.min(left));
            next = (next * 2).min(LONGEST_PAUSE);
        }
    }

    fn look(&self, limit: Duration, means: &Means<'_>) -> Result<(), Look> {
        // The last look must not be without any time.
        let limit = limit.max(FIRST_PAUSE);
        let slow = || Look::NotYet(format!("no answer within {} s", limit.as_secs_f32()));
        let ask = |work: Box<dyn FnOnce() -> Result<(), String> + Send>| {
            within_unless(limit, means.cancel, work).ok_or_else(slow)?.map_err(Look::NotYet)
        };
        match self {
            Self::Http(request) => http(request, limit, means),
            Self::Tcp { host, port } => {
                let (host, port) = (host.clone(), *port);
                ask(Box::new(move || tcp(&host, port, limit)))
            }
            Self::Dns(host) => {
                let host = host.clone();
                ask(Box::new(move || addresses(&host, 0).map(drop)))
            }
            Self::Volume { path, state_dir } => means.host.is_ready(path, state_dir).map_err(Look::NotYet),
            Self::File(path) => {
                let path = path.clone();
                ask(Box::new(move || std::fs::metadata(path).map(drop).map_err(|error| error.to_string())))
            }
        }
    }
}

fn http(request: &HttpAction, limit: Duration, means: &Means<'_>) -> Result<(), Look> {
    match request.ask(Vec::new(), limit, means.cancel) {
        Ok(answered) if request.expects(answered.status) => Ok(()),
        Ok(answered) => Err(Look::NotYet(ActionError::from(answered).to_string())),
        Err(
            error @ (ActionError::Url { .. }
            | ActionError::Http(HttpError::Request { .. } | HttpError::CaFile { .. })),
        ) => Err(Look::Never(error.into())),
        Err(error) => Err(Look::NotYet(error.to_string())),
    }
}

fn addresses(host: &str, port: u16) -> Result<Vec<std::net::SocketAddr>, String> {
    let found: Vec<_> = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("the host cannot be found: {error}"))?
        .collect();
    if found.is_empty() { Err("the name has no address".to_owned()) } else { Ok(found) }
}

fn tcp(host: &str, port: u16, limit: Duration) -> Result<(), String> {
    let started = Instant::now();
    let mut last = String::new();
    for address in addresses(host, port)? {
        let left = limit.saturating_sub(started.elapsed()).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&address, left) {
            Ok(_) => return Ok(()),
            Err(error) => last = format!("cannot connect: {error}"),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::cancel::Cancel;
    use crate::base::clock::ManualClock;
    use crate::base::timestamp::Timestamp;
    use crate::step::sample;

    fn wait(wait: &Wait, limit: Duration) -> Result<(), Trouble> {
        let (clock, cancel) = (ManualClock::at(Timestamp::default()), Cancel::new());
        let volume = std::env::temp_dir();
        wait.until(limit, &sample::means(&volume, &clock, &cancel))
    }

    #[test]
    fn what_is_there_is_not_waited_for() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let minute = Duration::from_secs(60);
        wait(&Wait::Tcp { host: "127.0.0.1".into(), port }, minute).unwrap();
        wait(&Wait::Dns("localhost".into()), minute).unwrap();
        wait(&Wait::File("/proc/self".into()), minute).unwrap();
    }

    #[test]
    fn what_never_comes_is_given_up_and_says_why() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let hour = Duration::from_secs(3600);
        let error = wait(&Wait::Tcp { host: "127.0.0.1".into(), port }, hour).unwrap_err().to_string();
        assert!(error.contains(&format!("127.0.0.1:{port} was not there within 3600 s")), "{error}");
        assert!(error.contains("refused"), "{error}");
        let error = wait(&Wait::File("/nowhere/at/all".into()), hour).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all was not there within 3600 s: No such file"), "{error}");
    }
}
