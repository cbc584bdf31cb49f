//! Git servers over https, in two requests: what there is, and what is to be done. Secrets go to the host that was
//! configured and nowhere else, so redirects are not followed. Hosts answer 404 to whoever may not know that a
//! repository exists, and some 401. Must not know git's protocol.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use data_encoding::BASE64;
use hyper::body::{Frame, SizeHint};
use tokio::time::timeout;

use super::attempts::Attempts;
use super::line::{Duct, Ended, Line, Movement, Outgoing, Terms};
use super::packet::Packets;
use super::said::clean;
use super::{Advertisement, Body, Connected, Conversation, Service, Transport, advertisement, trouble};
use crate::base::http::{self, HttpError, Request, Streamed};
use crate::base::secret::SecretSource;
use crate::repository::RepositoryError;
use crate::repository::git::options::{GitOptions, HttpsOptions};
use crate::store::{Denial, Obstacle, StoreError};

/// As much of a page that says what is wrong as a message shows, in bytes.
const PAGE: usize = 600;

#[derive(Clone, Debug)]
pub(super) struct Https {
    options: HttpsOptions,
    terms: Terms,
    attempts: Attempts,
}

/// One request, and how its answer must look.
struct Setup {
    request: Request,
    expected: String,
    has_credentials: bool,
    terms: Terms,
}

struct Talk {
    https: Https,
    service: Service,
}

impl Https {
    pub(super) fn new(options: &GitOptions, https: &HttpsOptions) -> Self {
        Self { options: https.clone(), terms: Terms::of(options), attempts: Attempts::of(options) }
    }

    fn setup(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        service: Service,
    ) -> Result<Setup, RepositoryError> {
        let HttpsOptions { host, port, path: repository, ca_file, .. } = &self.options;
        let location = &self.terms.location;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let port = if *port == 443 { String::new() } else { format!(":{port}") };
        let address = format!("https://{host}{port}{}/{path}", encoded(repository));
        let url = address.parse().map_err(|error: String| trouble::protocol(location, error))?;
        let word = service.word();
        let expected = format!("application/x-{word}-{kind}");
        // Some hosts speak the protocol only with clients whose name begins so.
        let name = concat!("git/volkeep-", env!("CARGO_PKG_VERSION")).to_owned();
        let mut headers = vec![("User-Agent".to_owned(), name), ("Accept".to_owned(), expected.clone())];
        if method == "POST" {
            headers.push(("Content-Type".to_owned(), format!("application/x-{word}-request")));
        }
        let credentials = self.credentials()?;
        let has_credentials = credentials.is_some();
        headers.extend(credentials.map(|value| ("Authorization".to_owned(), value)));
        let request = Request {
            method: method.to_owned(),
            headers,
            ca_file: ca_file.clone(),
            timeout: self.terms.connect_timeout,
            ..Request::get(url)
        };
        Ok(Setup { request, expected, has_credentials, terms: self.terms.clone() })
    }

    /// Read anew for each request.
    fn credentials(&self) -> Result<Option<String>, RepositoryError> {
        let user = self.secret(self.options.user.as_ref(), "the user")?;
        let token = self.secret(self.options.token.as_ref(), "the token")?;
        if user.is_empty() && token.is_empty() {
            return Ok(None);
        }
        // Hosts take any name beside a token.
        let user = if user.is_empty() { "git".to_owned() } else { user };
        Ok(Some(format!("Basic {}", BASE64.encode(format!("{user}:{token}").as_bytes()))))
    }

    fn secret(&self, source: Option<&SecretSource>, what: &str) -> Result<String, RepositoryError> {
        let Some(source) = source else { return Ok(String::new()) };
        let secret = source.read().map_err(|error| {
            let place = match source {
                SecretSource::Value(_) => String::new(),
                SecretSource::File(path) => format!(" in {}", path.display()),
            };
            let reason = format!("{what}{place} cannot be read: {error}");
            trouble::denied(&self.terms.location, reason, Denial::NoCredentials)
        })?;
        Ok(secret.reveal().trim().to_owned())
    }

    fn connect_once(&self, service: Service) -> Result<Option<Advertisement>, RepositoryError> {
        let location = &self.terms.location;
        let path = format!("info/refs?service={}", service.word());
        let setup = self.setup("GET", &path, "advertisement", service)?;
        let mut line = Line::open(&self.terms, move |duct| Box::pin(talk(setup, duct)))?;
        line.send(Body { head: Vec::new(), file: None });
        match advertisement::read_over_http(&mut Packets::new(&mut line.incoming, location), service) {
            Ok(found) => Ok(found),
            Err(error) => match line.end()? {
                Ended { absent: true, .. } => Ok(None),
                ended => Err(ended.explain(error, location)),
            },
        }
    }

    /// A line on which the request can be sent.
    fn line(&self, service: Service) -> Result<Line, RepositoryError> {
        let setup = self.setup("POST", service.word(), "result", service)?;
        let line = Line::open(&self.terms, move |duct| Box::pin(talk(setup, duct)))?;
        if line.is_ready() {
            return Ok(line);
        }
        match line.end() {
            Err(error) => Err(error),
            Ok(_) => Err(trouble::temporary(&self.terms.location, "the connection was not made")),
        }
    }
}

impl Transport for Https {
    fn location(&self) -> String {
        self.terms.location.clone()
    }

    fn connect(&self, service: Service) -> Result<Connected, RepositoryError> {
        let found = self.attempts.run(service.word(), || self.connect_once(service))?;
        Ok(found.map(|advertisement| {
            let talk = Talk { https: self.clone(), service };
            (advertisement, Box::new(talk) as Box<dyn Conversation>)
        }))
    }
}

impl Conversation for Talk {
    fn location(&self) -> &str {
        &self.https.terms.location
    }

    fn exchange(
        self: Box<Self>,
        body: Body,
        answer: &mut dyn FnMut(&mut dyn Read) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let Self { https, service } = *self;
        // As long as nothing was sent, nothing was done.
        let line = https.attempts.run(service.word(), || https.line(service))?;
        line.exchange(body, &https.terms.location, answer)
    }
}

/// What may not stand in an address as it is, as two digits.
fn encoded(path: &str) -> String {
    let mut encoded = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => encoded.push(char::from(byte)),
            b'/' | b'-' | b'.' | b'_' | b'~' | b'+' | b'@' | b':' | b',' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

async fn talk(setup: Setup, duct: Duct) -> Result<Ended, RepositoryError> {
    let Duct { body, sends } = duct;
    let limit = setup.terms.connect_timeout;
    let connection = match timeout(limit, http::connect(&setup.request)).await {
        Ok(connection) => connection.map_err(|error| setup.sorted(error))?,
        Err(_) => {
            let reason = format!("no connection within {} s", limit.as_secs_f32());
            return Err(trouble::unreachable(&setup.terms.location, reason, Obstacle::Silence));
        }
    };
    sends.ready();
    // The caller may have thought better of it.
    let Ok(body) = body.await else { return Ok(Ended::default()) };
    let outgoing =
        Outgoing::of(body).map_err(|error| RepositoryError::local("read", "the pack to be sent")(error))?;
    let upload = Upload { outgoing, movement: Arc::clone(&sends.movement) };
    let sent = connection.send(&setup.request, upload).await;
    let mut answer = sent.map_err(|error| setup.sorted(error))?;
    sends.movement.moved();
    if let Some(ended) = setup.judge(&mut answer).await? {
        return Ok(ended);
    }
    while let Some(piece) = answer.piece().await.map_err(|error| setup.sorted(error))? {
        if !sends.put(piece).await {
            break;
        }
    }
    Ok(Ended::default())
}

impl Setup {
    fn sorted(&self, error: HttpError) -> RepositoryError {
        let location = &self.terms.location;
        let reason = error.to_string();
        match error {
            HttpError::Unresolvable { source, .. } => {
                trouble::unreachable(location, source.to_string(), Obstacle::Name)
            }
            HttpError::Refused { source, .. } => trouble::not_connected(location, &source),
            HttpError::Tls { reason, .. } => trouble::unreachable(location, reason, Obstacle::Certificate),
            HttpError::CaFile { .. } => trouble::unreachable(location, reason, Obstacle::Certificate),
            HttpError::TimedOut { .. } => trouble::unreachable(location, reason, Obstacle::Silence),
            HttpError::Cut { reason, .. } => {
                trouble::temporary(location, format!("the connection broke: {reason}"))
            }
            HttpError::Cancelled { .. } => RepositoryError::Cancelled,
            HttpError::Runtime { source, .. } => RepositoryError::Worker(source.to_string()),
            HttpError::Request { .. } => trouble::protocol(location, reason),
        }
    }

    /// Something when there is no answer of a git service to be read.
    async fn judge(&self, answer: &mut Streamed) -> Result<Option<Ended>, RepositoryError> {
        let location = &self.terms.location;
        let status = answer.status();
        let kind = answer.header("content-type").unwrap_or_default().to_owned();
        let target = answer.header("location").map(without_secrets);
        if status == 200 {
            if kind.split(';').next().unwrap_or_default().trim() == self.expected {
                return Ok(None);
            }
            let what = format!("it answers with `{}`, so it is no git server", clean(kind.as_bytes()));
            return Err(trouble::protocol(location, what));
        }
        let words = match kind.starts_with("text/plain") {
            true => format!(": {}", page(answer).await),
            false => String::new(),
        };
        let reason = format!("it answers with status {status}{words}");
        Err(match status {
            404 | 410 => return Ok(Some(Ended { absent: true, words: String::new() })),
            401 if self.has_credentials => trouble::denied(location, reason, Denial::Credentials),
            401 => trouble::denied(location, reason, Denial::NoCredentials),
            403 => trouble::denied(location, reason, Denial::Permission(None)),
            300..=399 => {
                let target = target.unwrap_or_else(|| "an address it does not name".to_owned());
                trouble::protocol(location, format!("it has moved to {target}; enter that address"))
            }
            413 => {
                let reason = format!("{reason}: it takes no request of that size");
                RepositoryError::Rejected { location: location.clone(), reason }
            }
            408 | 429 | 500..=599 => StoreError::Temporary { location: location.clone(), reason }.into(),
            _ => trouble::protocol(location, reason),
        })
    }
}

/// The first line of a page for people.
async fn page(answer: &mut Streamed) -> String {
    let mut text = Vec::new();
    while let Ok(Some(piece)) = answer.piece().await {
        text.extend(piece.iter().take(PAGE.saturating_sub(text.len())));
        if text.len() >= PAGE {
            break;
        }
    }
    let line = text.split(|byte| *byte == b'\n').map(clean).find(|line| !line.is_empty());
    line.unwrap_or_default()
}

/// Scheme, host and path: what follows may be a ticket, and what precedes the host a password.
fn without_secrets(address: &str) -> String {
    let address = address.split(['?', '#']).next().unwrap_or_default();
    let address = address.strip_suffix("/info/refs").unwrap_or(address);
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = host.rsplit('@').next().unwrap_or_default();
    let separator = if scheme.is_empty() { "" } else { "://" };
    clean(format!("{scheme}{separator}{host}{path}").as_bytes())
}

/// The request on its way; its length is known before.
struct Upload {
    outgoing: Outgoing,
    movement: Arc<Movement>,
}

impl hyper::body::Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.movement.moved();
        Poll::Ready(self.outgoing.next().transpose().map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.outgoing.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.outgoing.left())
    }
}

#[cfg(test)]
#[path = "https_tests.rs"]
mod tests;
