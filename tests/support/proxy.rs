//! Trouble on the way to a server: a proxy that hands HTTP through and spoils what the test tells it to spoil. It
//! knows just as much of HTTP/1.1 as it takes to tell requests from each other. What they mean it does not know.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::http::{Body, Head, Reader};

/// Nothing that is waited for here takes so long, were it to happen.
pub const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Debug)]
pub enum Trouble {
    /// An error document with this status and code, instead of asking the server.
    Answer(u16, &'static str),
    /// The request is read and never answered.
    Silence,
    /// The connection ends after so many bytes of the answer's content.
    CutAnswer(u64),
    /// No more comes after so many bytes of the answer's content, and the connection stays.
    StallAnswer(u64),
    /// The connection ends after so many bytes of the request's content.
    CutRequest(u64),
    /// The server does what it is asked; its answer is lost with the connection.
    LoseAnswer,
    /// One byte of the content is another: that at this place, counted around the end.
    Flip(u64),
    /// The content ends half way, and its length says that this is all.
    Halve,
    /// There is no content.
    Empty,
    /// Content passes at so many bytes a second, both ways.
    Slow(u64),
}

/// Which requests have which trouble, and how often.
#[derive(Clone, Debug)]
pub struct Rule {
    method: &'static str,
    path: String,
    skip: usize,
    times: usize,
    trouble: Trouble,
}

impl Rule {
    /// Any request, always.
    pub fn all(trouble: Trouble) -> Self {
        Self { method: "", path: String::new(), skip: 0, times: usize::MAX, trouble }
    }

    /// Requests of one method whose path and query contain `path`.
    pub fn on(method: &'static str, path: impl Into<String>, trouble: Trouble) -> Self {
        Self { method, path: path.into(), ..Self::all(trouble) }
    }

    pub fn once(self) -> Self {
        self.times(1)
    }

    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// Only after so many others that it would have met.
    pub fn after(self, skip: usize) -> Self {
        Self { skip, ..self }
    }
}

pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    state: Mutex<State>,
    /// Told of each change of `state`.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    seen: Vec<Seen>,
    connections: Vec<TcpStream>,
    /// Bytes of content that went to the server.
    uploaded: u64,
    /// Goes up whenever the trouble is over, and wakes those that keep silent.
    healed: u64,
    closed: bool,
}

/// A request that came in.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The server has answered, and the answer was passed on whole.
    pub answered: bool,
}

impl Proxy {
    /// `endpoint` such as `http://127.0.0.1:9000`.
    pub fn to(endpoint: &str) -> Self {
        let server = endpoint.trim_start_matches("http://").parse().expect("an address of a server");
        let shared = Arc::new(Shared { server, state: Mutex::default(), changed: Condvar::new() });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        shared.clone().serve(listener);
        Self { address, shared }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn add(&self, rule: Rule) {
        self.shared.change(|state| state.rules.push(rule));
    }

    /// No trouble any more: everything passes, what was silent is cut off.
    pub fn heal(&self) {
        self.shared.change(|state| {
            state.rules.clear();
            state.healed += 1;
        });
    }

    /// As if the server had been stopped: open connections end, new ones are refused.
    pub fn close(&self) {
        self.shared.change(State::close);
        // The thread that accepts sees it when somebody comes.
        drop(TcpStream::connect(self.address));
        self.shared.wait("the port to be closed", |_| TcpStream::connect(self.address).is_err());
    }

    /// As if it had been started again, at the same address.
    pub fn open(&self) {
        let mut listener = None;
        self.shared.wait("the port to be free again", |_| {
            listener = TcpListener::bind(self.address).ok();
            listener.is_some()
        });
        self.shared.change(|state| state.closed = false);
        self.shared.clone().serve(listener.expect("it was waited for"));
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.state().seen.clone()
    }

    /// Counts from nothing again.
    pub fn forget_seen(&self) {
        self.shared.change(|state| {
            state.seen.clear();
            state.uploaded = 0;
        });
    }

    /// Waits until so many bytes of content went to the server.
    #[track_caller]
    pub fn await_upload(&self, bytes: u64) {
        self.shared.wait(&format!("{bytes} bytes"), |state| state.uploaded >= bytes);
    }

    /// How many requests of a method came in whose path and query contain `path`.
    pub fn count(&self, method: &str, path: &str) -> usize {
        self.seen().iter().filter(|seen| seen.is(method, path)).count()
    }

    /// Waits for so many of these requests.
    #[track_caller]
    pub fn await_requests(&self, method: &str, path: &str, count: usize) {
        self.shared.wait(&format!("{count} of {method} {path}"), |state| {
            state.seen.iter().filter(|seen| seen.is(method, path)).count() >= count
        });
    }

    /// Waits until so many of these requests were answered.
    #[track_caller]
    pub fn await_answers(&self, method: &str, path: &str, count: usize) {
        self.shared.wait(&format!("{count} answers to {method} {path}"), |state| {
            state.seen.iter().filter(|seen| seen.answered && seen.is(method, path)).count() >= count
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if !std::mem::replace(&mut self.shared.state().closed, true) {
            self.shared.change(State::close);
            drop(TcpStream::connect(self.address));
        }
    }
}

impl Seen {
    pub fn is(&self, method: &str, path: &str) -> bool {
        (method.is_empty() || self.method == method) && self.target.contains(path)
    }
}

impl State {
    fn close(&mut self) {
        self.closed = true;
        self.rules.clear();
        self.healed += 1;
        for connection in self.connections.drain(..) {
            let _gone_already = connection.shutdown(Shutdown::Both);
        }
    }

    /// The trouble for a request, which is used up by it.
    fn trouble(&mut self, head: &Head) -> Option<Trouble> {
        for rule in &mut self.rules {
            let meets = (rule.method.is_empty() || rule.method == head.method())
                && head.target().contains(&rule.path);
            if !meets || rule.times == 0 {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.times -= 1;
            return Some(rule.trouble.clone());
        }
        None
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    #[track_caller]
    fn wait(&self, what: &str, mut done: impl FnMut(&State) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.state();
        while !done(&state) {
            assert!(Instant::now() < deadline, "waited in vain for {what}; seen: {:#?}", state.seen);
            // What is outside of the state, such as a port, does not notify.
            state = self.changed.wait_timeout(state, Duration::from_millis(20)).unwrap().0;
        }
    }

    fn serve(self: Arc<Self>, listener: TcpListener) {
        thread::spawn(move || {
            for client in listener.incoming() {
                let mut state = self.state();
                if state.closed {
                    return;
                }
                let Ok(client) = client else { continue };
                state.connections.extend(client.try_clone());
                drop(state);
                let shared = Arc::clone(&self);
                // An error is the end of a connection, which is what happens to the client as well.
                thread::spawn(move || drop(shared.converse(client)));
            }
        });
    }

    /// One connection of a client, until one side or a trouble ends it.
    fn converse(&self, client: TcpStream) -> io::Result<()> {
        let server = TcpStream::connect(self.server)?;
        self.state().connections.push(server.try_clone()?);
        let ended = End(client.try_clone()?, server.try_clone()?);
        let (mut from_client, mut to_client) = (Reader::new(client.try_clone()?), client);
        let (mut from_server, mut to_server) = (Reader::new(server.try_clone()?), server);
        while let Some(request) = from_client.head()? {
            let (number, trouble) = {
                let mut state = self.state();
                let trouble = state.trouble(&request);
                state.seen.push(Seen {
                    method: request.method().to_owned(),
                    target: request.target().to_owned(),
                    answered: false,
                });
                (state.seen.len() - 1, trouble)
            };
            self.changed.notify_all();
            let waits_for_consent = request.has("expect", "100-continue");
            let mut ask = Pass { count: Some(self), ..self.pass(trouble.as_ref()) };
            match &trouble {
                Some(Trouble::Answer(status, code)) => {
                    if !waits_for_consent {
                        from_client.copy(request.body(), &mut io::sink(), &mut Pass::default())?;
                    }
                    error_document(&mut to_client, *status, code)?;
                    self.answered(number);
                    if waits_for_consent {
                        return Ok(());
                    }
                    continue;
                }
                Some(Trouble::Silence) => {
                    if !waits_for_consent {
                        from_client.copy(request.body(), &mut io::sink(), &mut Pass::default())?;
                    }
                    self.silence();
                    return Ok(());
                }
                Some(Trouble::CutRequest(bytes)) => ask.left = *bytes,
                _ => {}
            }
            to_server.write_all(request.bytes())?;
            let mut early = None;
            if waits_for_consent {
                let consent = from_server.answer_head()?;
                if consent.status() == 100 {
                    to_client.write_all(consent.bytes())?;
                } else {
                    early = Some(consent);
                }
            }
            if early.is_none() {
                from_client.copy(request.body(), &mut to_server, &mut ask)?;
            }
            let last = early.is_some();
            let mut answer = match early {
                Some(answer) => answer,
                None => from_server.answer_head()?,
            };
            let body = answer.body_of_answer_to(request.method());
            let mut tell = self.pass(trouble.as_ref());
            match &trouble {
                Some(Trouble::LoseAnswer) => return Ok(()),
                Some(Trouble::CutAnswer(bytes)) => tell.left = *bytes,
                Some(Trouble::StallAnswer(bytes)) => {
                    tell.left = *bytes;
                    to_client.write_all(answer.bytes())?;
                    if from_server.copy(body, &mut to_client, &mut tell).is_err() {
                        self.silence();
                    }
                    return Ok(());
                }
                Some(lie @ (Trouble::Flip(_) | Trouble::Halve | Trouble::Empty)) => {
                    let mut content = from_server.content(body)?;
                    let length = content.len();
                    match lie {
                        Trouble::Flip(at) if length > 0 => content[*at as usize % length] ^= 0x40,
                        Trouble::Halve => content.truncate(length / 2),
                        Trouble::Empty => content.clear(),
                        _ => {}
                    }
                    // A length without content is the answer to a question for the head alone.
                    if body != Body::Length(0) {
                        answer.set_length(content.len() as u64);
                    }
                    to_client.write_all(answer.bytes())?;
                    to_client.write_all(&content)?;
                    self.answered(number);
                    if last || body == Body::UntilTheEnd || answer.has("connection", "close") {
                        return Ok(());
                    }
                    continue;
                }
                _ => {}
            }
            to_client.write_all(answer.bytes())?;
            from_server.copy(body, &mut to_client, &mut tell)?;
            self.answered(number);
            if last || body == Body::UntilTheEnd || answer.has("connection", "close") {
                return Ok(());
            }
        }
        drop(ended);
        Ok(())
    }

    fn pass(&self, trouble: Option<&Trouble>) -> Pass<'_> {
        match trouble {
            Some(Trouble::Slow(speed)) => Pass { slow: Some((self, *speed)), ..Pass::default() },
            _ => Pass::default(),
        }
    }

    fn answered(&self, number: usize) {
        self.change(|state| {
            if let Some(seen) = state.seen.get_mut(number) {
                seen.answered = true;
            }
        });
    }

    /// Until the trouble is over.
    fn silence(&self) {
        let state = self.state();
        let before = state.healed;
        drop(self.changed.wait_while(state, |state| state.healed == before).unwrap());
    }

    /// Takes the time that so many bytes take at a speed, unless the trouble is over before.
    fn dawdle(&self, bytes: usize, speed: u64) {
        let state = self.state();
        let before = state.healed;
        let time = Duration::from_secs_f64(bytes as f64 / speed as f64);
        drop(self.changed.wait_timeout_while(state, time, |state| state.healed == before).unwrap());
    }
}

/// Ends both connections, whoever still reads from them.
struct End(TcpStream, TcpStream);

impl Drop for End {
    fn drop(&mut self) {
        let _gone_already = (self.0.shutdown(Shutdown::Both), self.1.shutdown(Shutdown::Both));
    }
}

/// What happens to content on its way.
pub struct Pass<'a> {
    /// Bytes before it ends with an error.
    left: u64,
    slow: Option<(&'a Shared, u64)>,
    /// Told what goes to the server.
    count: Option<&'a Shared>,
}

impl Default for Pass<'_> {
    fn default() -> Self {
        Self { left: u64::MAX, slow: None, count: None }
    }
}

impl Pass<'_> {
    /// Hands on a piece of content, as far as it gets.
    pub fn hand(&mut self, bytes: &[u8], to: &mut dyn Write) -> io::Result<()> {
        // In small pieces, so that an end or a slow pace falls into the content.
        for piece in bytes.chunks(16 << 10) {
            let allowed = piece.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            to.write_all(&piece[..allowed])?;
            self.left -= allowed as u64;
            if let Some(shared) = self.count {
                shared.change(|state| state.uploaded += allowed as u64);
            }
            if allowed < piece.len() {
                to.flush()?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if let Some((shared, speed)) = self.slow {
                shared.dawdle(piece.len(), speed);
            }
        }
        Ok(())
    }
}

fn error_document(client: &mut TcpStream, status: u16, code: &str) -> io::Result<()> {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code>\
         <Message>made by the test</Message><RequestId>0</RequestId></Error>"
    );
    write!(
        client,
        "HTTP/1.1 {status} Trouble\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
}
