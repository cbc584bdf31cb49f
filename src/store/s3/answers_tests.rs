//! Answers that real servers never give and that something on the way may: none of them is believed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::*;
use crate::base::secret::{Secret, SecretSource};

/// A store at an endpoint where `answer` writes what it likes to each request.
fn store(answer: impl Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> S3Store {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, mut stream) = (Arc::clone(&answer), stream.unwrap());
            thread::spawn(move || {
                let request = request(&mut stream)?;
                answer(&request, &mut stream)
            });
        }
    });
    let secret = || SecretSource::Value(Secret::new("key"));
    S3Store::new(S3Options {
        endpoint: Some(endpoint),
        region: Some("us-east-1".to_owned()),
        credentials: S3Credentials::Keys {
            access_key_id: secret(),
            secret_access_key: secret(),
            session_token: None,
        },
        stall_timeout: Duration::from_secs(5),
        ..S3Options::new("bucket", "")
    })
}

/// The first line and the fields.
fn request(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while !text.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => break,
            read => text.extend_from_slice(&buffer[..read]),
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn give(stream: &mut TcpStream, status: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

fn listing(body: &str) -> S3Store {
    let text = format!("<?xml version=\"1.0\"?><ListBucketResult>{body}</ListBucketResult>");
    store(move |_, stream| give(stream, "200 OK", &text))
}

fn listed(store: &S3Store) -> Result<usize, StoreError> {
    let mut count = 0;
    store.list("a", &mut |_| {
        count += 1;
        // One that goes on for ever is a failure, not a test that hangs.
        assert!(count < 100, "the listing goes round in a circle");
        Ok(())
    })?;
    Ok(count)
}

const ONE: &str = "<Contents><Key>a/1</Key><Size>1</Size></Contents>";
const ANOTHER: &str = "<Contents><Key>a/2</Key><Size>1</Size></Contents>";
const LAST: &str = "<IsTruncated>false</IsTruncated>";

#[test]
fn whole_listings_are_believed() {
    assert_eq!(listed(&listing(&format!("{ONE}{ANOTHER}{LAST}"))).unwrap(), 2);
    assert_eq!(listed(&listing(&format!("<KeyCount>1</KeyCount>{ONE}{LAST}"))).unwrap(), 1);
    assert_eq!(listed(&listing(LAST)).unwrap(), 0);
    // What a console makes of a folder is no object of ours.
    let folder = "<Contents><Key>a/</Key><Size>0</Size></Contents>";
    assert_eq!(listed(&listing(&format!("{folder}{ONE}{LAST}"))).unwrap(), 1);
}

#[test]
fn listings_that_contradict_themselves_are_refused() {
    for (body, what) in [
        (format!("<KeyCount>2</KeyCount>{ONE}{LAST}"), "fewer than are counted"),
        (ONE.to_owned(), "no word whether there is more"),
        (format!("<Contents><Key>a/1</Key></Contents>{LAST}"), "no size"),
        (format!("<Contents><Size>1</Size></Contents>{LAST}"), "no key"),
        (format!("<Contents><Key>b/1</Key><Size>1</Size></Contents>{LAST}"), "another prefix"),
        (format!("{ONE}{ONE}{LAST}"), "the same twice"),
        (format!("{ANOTHER}{ONE}{LAST}"), "not sorted"),
        (format!("{ONE}<IsTruncated>true</IsTruncated>"), "more, but not where"),
        (
            "<IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>".to_owned(),
            "always the same page, without anything in it",
        ),
        (
            format!("{ONE}<IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>"),
            "always the same page",
        ),
    ] {
        let outcome = listed(&listing(&body));
        assert!(matches!(outcome, Err(StoreError::Temporary { .. })), "{what}: {outcome:?}");
    }
}

/// Gives an answer that never ends until the other side has had enough, and counts it.
fn endless(status: &'static str, given: &Arc<AtomicU64>) -> S3Store {
    let given = Arc::clone(given);
    store(move |_, stream| {
        write!(stream, "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>")?;
        let page = vec![b'x'; 1 << 16];
        while given.fetch_add(page.len() as u64, Ordering::SeqCst) < 1 << 30 {
            stream.write_all(&page)?;
        }
        Ok(())
    })
}

#[test]
fn answers_without_end_do_not_fill_the_memory() {
    const MOST: u64 = 64 << 20;
    let key = Key::new("a/1").unwrap();
    for (status, denied) in [("403 Forbidden", true), ("500 Internal Server Error", false)] {
        let given = Arc::new(AtomicU64::new(0));
        let error = endless(status, &given).get(&key).unwrap_err();
        assert!(given.load(Ordering::SeqCst) < MOST, "{status}: {given:?} bytes");
        // What the status says is known by then.
        assert_eq!(matches!(error, StoreError::Denied { .. }), denied, "{status}: {error:?}");
        assert!(denied || matches!(error, StoreError::Temporary { .. }), "{status}: {error:?}");
    }
    let given = Arc::new(AtomicU64::new(0));
    let outcome = listed(&endless("200 OK", &given));
    assert!(given.load(Ordering::SeqCst) < MOST, "{given:?} bytes");
    assert!(matches!(outcome, Err(StoreError::Temporary { .. })), "{outcome:?}");
}

const CONTENT: &str = "abcdefghijklmnopqrstuvwxyz";

/// The first place and the one behind the last that a request asks for.
fn wanted(request: &str) -> (usize, usize) {
    let range =
        request.lines().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let Some((first, last)) = range.as_deref().and_then(|range| range.split_once('-')) else {
        return (0, CONTENT.len());
    };
    let end = last.trim().parse().map_or(CONTENT.len(), |last: usize| last + 1);
    (first.parse().unwrap(), end)
}

/// Announces `first..end` and gives `cut` bytes of it.
fn part(stream: &mut TcpStream, tag: &str, first: usize, end: usize, cut: usize) -> std::io::Result<()> {
    let (all, last, length) = (CONTENT.len(), end - 1, end - first);
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nETag: \"{tag}\"\r\nContent-Range: bytes {first}-{last}/{all}\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{}",
        &CONTENT[first..end.min(first + cut)]
    )
}

#[test]
fn parts_of_an_object_are_put_together_and_nothing_comes_twice() {
    let key = Key::new("a/1").unwrap();
    let read = |store: &S3Store| store.get_range(&key, 3, 20).map(|bytes| String::from_utf8(bytes).unwrap());
    // Cut after some bytes each time.
    let cut = store(|request, stream| {
        let (first, end) = wanted(request);
        part(stream, "x", first, end, 7)
    });
    assert_eq!(read(&cut).unwrap(), CONTENT[3..23]);
    // Fewer at once than were asked for, and said so: the object is not shorter for that.
    let thrifty = store(|request, stream| {
        let (first, end) = wanted(request);
        part(stream, "x", first, end.min(first + 7), 7)
    });
    assert_eq!(read(&thrifty).unwrap(), CONTENT[3..23]);
    // More than was asked for.
    let lavish = store(|request, stream| part(stream, "x", wanted(request).0 - 2, 26, 26));
    assert_eq!(read(&lavish).unwrap(), CONTENT[3..23]);
    // Always everything, cut while it lasts.
    let given = AtomicU64::new(0);
    let whole = store(move |_, stream| {
        let cut = 10 * (given.fetch_add(1, Ordering::SeqCst) as usize + 1);
        let length = CONTENT.len();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
        stream.write_all(&CONTENT.as_bytes()[..cut.min(length)])
    });
    assert_eq!(read(&whole).unwrap(), CONTENT[3..23]);
}

#[test]
fn parts_of_another_object_are_refused() {
    let key = Key::new("a/1").unwrap();
    let given = AtomicU64::new(0);
    let replaced = store(move |request, stream| {
        let (first, end) = wanted(request);
        part(stream, &given.fetch_add(1, Ordering::SeqCst).to_string(), first, end, 7)
    });
    let elsewhere = store(|request, stream| part(stream, "x", wanted(request).0 + 1, 26, 26));
    for (store, what) in [(replaced, "replaced"), (elsewhere, "another part")] {
        let outcome = store.get_range(&key, 3, 20);
        assert!(matches!(outcome, Err(StoreError::Temporary { .. })), "{what}: {outcome:?}");
    }
    let short = store(|request, stream| part(stream, "x", wanted(request).0, 26, 26));
    assert!(matches!(short.get_range(&key, 3, 40), Err(StoreError::ShortRead { found: 26, .. })));
}
