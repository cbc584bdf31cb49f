//! Out of a web server. Redirects are followed, since downloads often lead to another host, but never out of TLS; and
//! another host is told nothing that was meant for the first.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::base::action::{ActionError, Answered, HttpAction};
use crate::base::cancel::Cancel;
use crate::base::http::{Download, Request, Url, download};
use crate::base::text::Text;
use crate::step::source::{Content, Opened, Source, SourceError};

/// As much of an answer that is none as may hold a message.
const LONGEST_COMPLAINT: u64 = 4 << 10;
const MOST_REDIRECTS: u32 = 5;

/// What a tag begins with says what the server is asked by.
const BY_TAG: &str = "etag ";
const BY_DATE: &str = "date ";

#[derive(Debug)]
pub struct HttpSource {
    pub request: HttpAction,
}

impl Source for HttpSource {
    fn place(&self) -> String {
        match &self.request.url {
            Text::Value(url) => {
                url.reveal().parse().map_or_else(|_| "the server".to_owned(), |url: Url| url.place())
            }
            Text::File(path) => format!("the address in {}", path.display()),
        }
    }

    fn identity(&self) -> String {
        match self.request.url.read() {
            Ok(url) => format!("http {url}"),
            Err((path, _)) => format!("http file {}", path.display()),
        }
    }

    fn open(&self, known: Option<&str>, limit: Duration, cancel: &Cancel) -> Result<Opened, SourceError> {
        let started = Instant::now();
        let mut request = self.request.request(Vec::new(), limit)?;
        for (by, header) in [(BY_TAG, "If-None-Match"), (BY_DATE, "If-Modified-Since")] {
            if let Some(value) = known.and_then(|known| known.strip_prefix(by)) {
                request.headers.push((header.to_owned(), value.to_owned()));
            }
        }
        for _ in 0..=MOST_REDIRECTS {
            request.timeout = limit.saturating_sub(started.elapsed());
            let answer = download(&request, cancel).map_err(ActionError::from)?;
            match answer.status() {
                301 | 302 | 303 | 307 | 308 => request = redirected(&request, &answer)?,
                // Who was not asked whether it has changed cannot say that it has not.
                304 if known.is_some() => return Ok(Opened::Same),
                status if self.request.expects(status) => return Ok(Opened::Content(content(answer))),
                status => return Err(complaint(&request, status, answer).into()),
            }
        }
        let reason = format!("more than {MOST_REDIRECTS} times");
        Err(SourceError::Redirect { place: self.place(), reason })
    }
}

fn redirected(request: &Request, answer: &Download) -> Result<Request, SourceError> {
    let refused = |reason: String| SourceError::Redirect { place: request.place(), reason };
    let location = answer.header("location").ok_or_else(|| refused("it does not say where".to_owned()))?;
    let url = request.url.redirected(location).map_err(refused)?;
    if request.url.is_tls() && !url.is_tls() {
        return Err(refused(format!("{} is not protected by TLS", url.place())));
    }
    let mut next = Request { url, ..request.clone() };
    if !next.url.is_same_origin(&request.url) {
        // What was configured is for the first host: passwords, tokens, a socket.
        next.headers.retain(|(name, _)| matches!(name.as_str(), "If-None-Match" | "If-Modified-Since"));
        next.unix_socket = None;
    }
    Ok(next)
}

fn content(answer: Download) -> Content {
    let by = |prefix: &str, header: &str| answer.header(header).map(|value| format!("{prefix}{value}"));
    let tag = by(BY_TAG, "etag").or_else(|| by(BY_DATE, "last-modified"));
    let size = answer.header("content-length").and_then(|value| value.parse().ok());
    Content { size, tag, reader: Box::new(answer) }
}

fn complaint(request: &Request, status: u16, answer: Download) -> ActionError {
    let mut said = Vec::new();
    // The status says enough where the rest does not come.
    let _ = answer.take(LONGEST_COMPLAINT).read_to_end(&mut said);
    Answered::of(request, status, &said).into()
}
