//! Real sockets on both sides. What stands for a server answers as it is told.

use super::*;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

/// Serves one connection: reads up to the end of the body, answers, closes. Gives back what it read.
fn serve(mut stream: impl Read + Write, answer: &[u8]) -> String {
    let mut heard = Vec::new();
    let mut buffer = [0u8; 1024];
    loop {
        let text = String::from_utf8_lossy(&heard).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0);
            if body.len() >= length {
                break;
            }
        }
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            count => heard.extend_from_slice(&buffer[..count]),
        }
    }
    stream.write_all(answer).unwrap();
    String::from_utf8_lossy(&heard).into_owned()
}

fn server(answer: &'static [u8]) -> (Request, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/secret/path?q=secret", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || serve(listener.accept().unwrap().0, answer));
    (Request { timeout: Duration::from_secs(60), ..Request::get(url.parse().unwrap()) }, server)
}

fn send_it(request: &Request) -> Result<Answer, HttpError> {
    send(request, &Cancel::new())
}

#[test]
fn a_request_is_sent_and_its_answer_comes_back() {
    let (request, server) = server(b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello");
    let request = Request {
        method: "POST".to_owned(),
        headers: vec![("Authorization".to_owned(), "Bearer secret".to_owned())],
        body: b"{\"text\": 1}".to_vec(),
        ..request
    };
    assert!(!format!("{request:?}").contains("secret"));
    let answer = send_it(&request).unwrap();
    assert_eq!((answer.status, answer.body.as_slice(), answer.cut), (201, &b"hello"[..], false));
    let heard = server.join().unwrap();
    assert!(heard.starts_with("POST /secret/path?q=secret HTTP/1.1\r\n"), "{heard}");
    for part in ["authorization: Bearer secret", "content-length: 11", "{\"text\": 1}", "host: 127.0.0.1:"] {
        assert!(heard.contains(part), "{heard}");
    }
}

#[test]
fn a_unix_socket_takes_the_place_of_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || serve(listener.accept().unwrap().0, b"HTTP/1.1 204 \r\n\r\n"));
    let request = Request {
        unix_socket: Some(path),
        timeout: Duration::from_secs(60),
        ..Request::get("http://app/freeze".parse().unwrap())
    };
    assert_eq!(send_it(&request).unwrap().status, 204);
    assert!(server.join().unwrap().starts_with("GET /freeze HTTP/1.1\r\nhost: app\r\n"));
    // Nobody listens any more.
    let error = send_it(&request).unwrap_err();
    assert!(matches!(error, HttpError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("app.sock"), "{error}");
}

#[test]
fn redirects_are_answers() {
    let (request, _) =
        server(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(send_it(&request).unwrap().status, 302);
}

#[test]
fn a_long_answer_is_cut_off() {
    let (request, server) = server(b"HTTP/1.1 200 OK\r\n\r\n0123456789");
    let answer = send_it(&Request { longest_answer: 4, ..request }).unwrap();
    assert_eq!((answer.body.as_slice(), answer.cut), (&b"0123"[..], true));
    server.join().unwrap();
}

#[test]
fn what_is_in_the_way_is_told_apart_without_secrets() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let get =
        |url: String| Request { timeout: Duration::from_secs(60), ..Request::get(url.parse().unwrap()) };
    let refused = send_it(&get(format!("http://{closed}/secret"))).unwrap_err();
    assert!(matches!(refused, HttpError::Refused { .. }), "{refused}");
    assert!(refused.to_string().contains(&closed.to_string()), "{refused}");

    let (request, _server) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    let cut = send_it(&request).unwrap_err();
    assert!(matches!(cut, HttpError::Cut { .. }), "{cut}");

    let (request, _server) = server(b"SSH-2.0-OpenSSH_9.2\r\n");
    let other = send_it(&request).unwrap_err();
    assert!(matches!(other, HttpError::Cut { .. }), "{other}");

    // Accepts by its queue, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut request = get(format!("http://{}/secret", silent.local_addr().unwrap()));
    request.timeout = Duration::from_millis(100);
    let late = send_it(&request).unwrap_err();
    assert!(matches!(late, HttpError::TimedOut { doing: "waiting for the answer", .. }), "{late}");

    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/secret", plain.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut stream = plain.accept().unwrap().0;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let no_tls = send_it(&get(url)).unwrap_err();
    assert!(matches!(no_tls, HttpError::Tls { .. }), "{no_tls}");

    let mut request = get("http://127.0.0.1:1/".to_owned());
    request.headers = vec![("X-Token".to_owned(), "secret\r\nInjected: 1".to_owned())];
    let bad = send_it(&request).unwrap_err();
    assert!(matches!(bad, HttpError::Request { .. }), "{bad}");

    for error in [refused, cut, other, late, no_tls, bad] {
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn a_host_nobody_knows_is_told_from_one_that_refuses() {
    let request = Request {
        timeout: Duration::from_secs(60),
        ..Request::get("http://no-such-host.invalid/secret".parse().unwrap())
    };
    let error = send_it(&request).unwrap_err();
    assert!(matches!(error, HttpError::Unresolvable { .. } | HttpError::TimedOut { .. }), "{error}");
}

#[test]
fn a_wish_to_stop_ends_the_wait() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let cancel = Cancel::new();
    cancel.cancel();
    let request = Request { timeout: Duration::from_secs(3600), ..Request::get(url.parse().unwrap()) };
    assert!(matches!(send(&request, &cancel), Err(HttpError::Cancelled { .. })));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let inside = runtime.block_on(async { send(&request, &cancel) });
    assert!(matches!(inside, Err(HttpError::Runtime { .. })));
}

/// Made for these tests, and worth nothing elsewhere; valid for a hundred years. The authority's own key is gone.
const CERTIFICATE: &str = include_str!("fixtures/server.pem");
const KEY: &str = include_str!("fixtures/server.key");
const AUTHORITY: &str = include_str!("fixtures/ca.pem");

/// Serves one connection over TLS, and gives back whether the client went through with it.
fn tls_server() -> (u16, JoinHandle<bool>) {
    use tokio::io::AsyncRead;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let stream = listener.accept().unwrap().0;
        stream.set_nonblocking(true).unwrap();
        let ring = std::sync::Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
        let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { return false };
            let mut heard = [0u8; 4096];
            let mut buffer = tokio::io::ReadBuf::new(&mut heard);
            std::future::poll_fn(|context| std::pin::Pin::new(&mut stream).poll_read(context, &mut buffer))
                .await
                .unwrap();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsafe";
            std::future::poll_fn(|context| {
                tokio::io::AsyncWrite::poll_write(std::pin::Pin::new(&mut stream), context, answer)
            })
            .await
            .unwrap();
            let flush = |context: &mut std::task::Context<'_>| {
                tokio::io::AsyncWrite::poll_flush(std::pin::Pin::new(&mut stream), context)
            };
            std::future::poll_fn(flush).await.is_ok()
        })
    });
    (port, server)
}

#[test]
fn a_server_is_believed_by_its_certificate_alone() {
    let dir = tempfile::tempdir().unwrap();
    let authority = dir.path().join("ca.pem");
    std::fs::write(&authority, AUTHORITY).unwrap();
    let to = |port: u16, ca_file: Option<PathBuf>| Request {
        ca_file,
        timeout: Duration::from_secs(60),
        ..Request::get(format!("https://localhost:{port}/").parse().unwrap())
    };

    let (port, server) = tls_server();
    let answer = send_it(&to(port, Some(authority.clone()))).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"safe"[..]));
    assert!(server.join().unwrap());

    let (port, server) = tls_server();
    let error = send_it(&to(port, None)).unwrap_err();
    assert!(matches!(error, HttpError::Tls { .. }) && error.to_string().contains("localhost"), "{error}");
    assert!(!server.join().unwrap());

    std::fs::write(&authority, "no certificate").unwrap();
    let (port, _server) = tls_server();
    let error = send_it(&to(port, Some(authority))).unwrap_err();
    assert!(matches!(error, HttpError::CaFile { .. }), "{error}");
}
