//! A web server with files, as downloads come from: it knows what has changed, and can be told to misbehave.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use super::{Heard, read};

/// What there is at one place.
#[derive(Clone)]
pub enum Item {
    /// With a tag that changes with the content.
    File(Vec<u8>),
    /// With the time of its last change instead.
    Dated(Vec<u8>, &'static str),
    /// Nothing to know it by.
    Plain(Vec<u8>),
    Redirect(String),
    Status(u16),
    /// The connection ends before all of it has come.
    Cut(Vec<u8>),
}

#[derive(Default)]
struct Shelf {
    items: BTreeMap<String, Item>,
    heard: Vec<Heard>,
}

/// Serves until the test is over.
pub struct Downloads {
    pub address: String,
    shelf: Arc<Mutex<Shelf>>,
}

impl Downloads {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shelf = Arc::new(Mutex::new(Shelf::default()));
        let served = Arc::clone(&shelf);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(request) = read(&mut stream) else { continue };
                let answer = served.lock().unwrap().answer(request);
                // Whoever has seen enough hangs up.
                let _ = stream.write_all(&answer);
            }
        });
        Self { address, shelf }
    }

    pub fn put(&self, path: &str, item: Item) {
        self.shelf.lock().unwrap().items.insert(path.to_owned(), item);
    }

    pub fn file(&self, path: &str, content: &[u8]) {
        self.put(path, Item::File(content.to_vec()));
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What was asked since the last time.
    pub fn heard(&self) -> Vec<Heard> {
        std::mem::take(&mut self.shelf.lock().unwrap().heard)
    }
}

impl Shelf {
    fn answer(&mut self, request: Heard) -> Vec<u8> {
        let path = request.first_line.split(' ').nth(1).unwrap_or_default().to_owned();
        let asked = |header: &str| {
            let head = request.head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case(header).then(|| value.to_owned())
            });
            head.unwrap_or_default()
        };
        let tag = |content: &[u8]| {
            format!("\"{}-{:?}\"", content.len(), content.iter().map(|b| u64::from(*b)).sum::<u64>())
        };
        let body = |more: &str, content: &[u8]| {
            let head = format!("HTTP/1.1 200 OK\r\n{more}Content-Length: {}\r\n\r\n", content.len());
            [head.as_bytes(), content].concat()
        };
        let same = || b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec();
        let answer = match self.items.get(&path) {
            None => b"HTTP/1.1 404 Not Found\r\nContent-Length: 13\r\n\r\nnothing here\n".to_vec(),
            Some(Item::File(content)) if asked("If-None-Match") == tag(content) => same(),
            Some(Item::File(content)) => body(&format!("ETag: {}\r\n", tag(content)), content),
            Some(Item::Dated(_, date)) if asked("If-Modified-Since") == *date => same(),
            Some(Item::Dated(content, date)) => body(&format!("Last-Modified: {date}\r\n"), content),
            Some(Item::Plain(content)) => body("", content),
            Some(Item::Redirect(to)) => {
                format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes()
            }
            Some(Item::Status(status)) => {
                format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\nno...").into_bytes()
            }
            Some(Item::Cut(content)) => {
                let mut whole = body("", content);
                whole.truncate(whole.len() - 1);
                whole
            }
        };
        self.heard.push(request);
        answer
    }
}
