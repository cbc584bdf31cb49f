//! What is answered to whom, and that slow clients cannot hold the server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper::{Request, StatusCode};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::ask::{AskError, ask_to_run};
use super::serve::{Limits, serve_tcp_within};
use super::*;
use crate::base::clock::ManualClock;
use crate::sidecar::control::{Order, OrderError};
use crate::sidecar::record::{Outcome, Run};
use crate::sidecar::sample;
use crate::sidecar::status::Status;
use crate::volume::{Volume, VolumeOptions};

const TOKEN: &str = "open sesame";

/// A loop that knows `backup`, which runs at once, and `lost`, whose end nobody tells.
fn control(status: Status) -> Control {
    let (orders, mut ordered) = mpsc::channel::<Order>(4);
    tokio::spawn(async move {
        while let Some(Order { job, reply }) = ordered.recv().await {
            let (ended, end) = oneshot::channel::<Run>();
            let _ = reply.send(match job.as_str() {
                "backup" => {
                    let _ = ended.send(sample::run(Outcome::Done));
                    Ok(end)
                }
                "lost" => Ok(end),
                "ending" => Err(OrderError::Ending),
                _ => Err(OrderError::Unknown { job, known: vec!["backup".to_owned(), "lost".to_owned()] }),
            });
        }
    });
    Control::new(watch::channel(Arc::new(status)).1, orders)
}

fn with_token(token: Option<&str>) -> Access {
    Access::Token(watch::channel(token.map(Secret::new)).1)
}

fn shown(status: Status, access: Access) -> Router {
    router(control(status), access, Arc::new(ManualClock::at(sample::NOON)), gate(Path::new("/nowhere/data")))
}

fn gate(path: &Path) -> Gate {
    Gate::new(Volume::new(VolumeOptions::new(path, path.join(".volkeep"), "wiki")).unwrap(), false)
}

async fn ask(router: &Router, request: Request<Body>) -> (StatusCode, String) {
    let answer = TowerToHyperService::new(router.clone()).call(request).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn get_page(path: &str) -> (StatusCode, String) {
    let router = shown(sample::status(), with_token(None));
    ask(&router, Request::get(path).body(Body::empty()).unwrap()).await
}

async fn post_run(access: Access, path: &str, authorization: Option<&str>) -> (StatusCode, String) {
    let mut request = Request::post(path);
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    ask(&shown(sample::status(), access), request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn alive_as_long_as_the_loop_answers_or_has_ended() {
    assert_eq!(get_page("/healthz").await, (StatusCode::OK, "ok\n".to_owned()));
    let (orders, gone) = mpsc::channel(1);
    drop(gone);
    let control = Control::new(watch::channel(Arc::new(sample::status())).1, orders);
    let clock = Arc::new(ManualClock::at(sample::NOON));
    let router = router(control, with_token(None), clock, gate(Path::new("/nowhere/data")));
    let (status, _) = ask(&router, Request::get("/healthz").body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn ready_when_nothing_is_against_it() {
    let (status, reasons) = get_page("/readyz").await;
    assert_eq!((status, reasons.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "the last backup is too old\n"));
    let router = shown(Status { not_ready: Vec::new(), ..sample::status() }, with_token(None));
    let (status, _) = ask(&router, Request::get("/readyz").body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn status_is_json_and_metrics_are_text() {
    let (status, text) = get_page("/status").await;
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &value["jobs"][0]["name"]), (StatusCode::OK, &serde_json::json!("backup")));
    assert_eq!(value["jobs"][0]["last"]["outcome"], "done");
    let (status, text) = get_page("/metrics").await;
    assert!(status == StatusCode::OK && text.contains("volkeep_ready 0.0\n"), "{text}");
    assert_eq!(get_page("/nothing").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_page_escapes_what_it_shows() {
    let (status, html) = get_page("/").await;
    assert_eq!(status, StatusCode::OK);
    for text in [
        "&lt;vacuum&gt;",
        "the &lt;disk&gt; &quot;said&quot; no",
        "&lt;unreachable&gt; &amp; &quot;lost&quot;",
        "http-equiv=\"refresh\"",
        "is not ready",
    ] {
        assert!(html.contains(text), "no {text} in\n{html}");
    }
    for raw in ["<vacuum", "<disk", "<unreachable", "<script"] {
        assert!(!html.contains(raw), "{raw} in\n{html}");
    }
}

#[tokio::test]
async fn only_the_right_token_has_a_job_run() {
    let path = "/jobs/backup/run";
    let (status, hint) = post_run(with_token(None), path, Some("Bearer x")).await;
    assert!(status == StatusCode::FORBIDDEN && hint.contains("volkeep run backup"), "{hint}");
    let almost = format!("Bearer {TOKEN}x");
    for wrong in [None, Some("Bearer "), Some("Bearer"), Some("Basic b3Blbg=="), Some(TOKEN), Some(&almost)] {
        let (status, _) = post_run(with_token(Some(TOKEN)), path, wrong).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{wrong:?}");
    }
    for right in [format!("Bearer {TOKEN}"), format!("bearer  {TOKEN}")] {
        let (status, _) = post_run(with_token(Some(TOKEN)), path, Some(&right)).await;
        assert_eq!(status, StatusCode::ACCEPTED);
    }
    let (status, _) = get_page(path).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn what_comes_of_an_order_is_told() {
    let (status, body) = post_run(Access::Open, "/jobs/backup/run?wait=true", None).await;
    let run: Run = serde_json::from_str(&body).unwrap();
    assert_eq!((status, run.outcome), (StatusCode::OK, Outcome::Done));
    let (status, body) = post_run(Access::Open, "/jobs/bakup/run", None).await;
    assert!(status == StatusCode::NOT_FOUND && body.contains("there are: backup, lost"), "{body}");
    for (job, expected) in
        [("ending", StatusCode::SERVICE_UNAVAILABLE), ("lost", StatusCode::SERVICE_UNAVAILABLE)]
    {
        let (status, _) = post_run(Access::Open, &format!("/jobs/{job}/run?wait=true"), None).await;
        assert_eq!(status, expected, "{job}");
    }
}

#[tokio::test]
async fn a_command_asks_through_the_socket_until_the_server_ends() {
    let dir = tempfile::tempdir().unwrap();
    let asked = |job: &'static str| {
        let state_dir = dir.path().to_owned();
        spawn_blocking(move || ask_to_run(&state_dir, job))
    };
    assert!(matches!(asked("backup").await.unwrap(), Err(AskError::NotListening)));
    let (listener, socket) = socket::bind(dir.path()).unwrap();
    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(serve_unix(listener, shown(sample::status(), Access::Open), stopped));
    assert_eq!(asked("backup").await.unwrap().unwrap(), sample::run(Outcome::Done));
    assert!(matches!(asked("ending").await.unwrap(), Err(AskError::Unavailable(_))));
    let unknown = asked("a/b c").await.unwrap().unwrap_err();
    assert!(unknown.to_string().starts_with("there is no job `a/b c`; there are:"), "{unknown}");
    stop.send(true).unwrap();
    server.await.unwrap();
    // The file of one that was killed stays behind.
    assert!(matches!(asked("backup").await.unwrap(), Err(AskError::NotListening)));
    drop(socket);
}

/// One connection at a time, so that a second client is served only when the first one is gone.
const HASTY: Limits =
    Limits { patience: Duration::from_millis(100), last_answers: Duration::from_millis(100), connections: 1 };

async fn hasty_server(router: Router) -> (SocketAddr, watch::Sender<bool>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    (address, stop, tokio::spawn(serve_tcp_within(listener, router, stopped, HASTY)))
}

fn whole_answer(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A connection that is cut off may end with an error.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn clients_that_send_nothing_lose_their_place() {
    let (address, _stop, _server) = hasty_server(shown(sample::status(), with_token(None))).await;
    for begun in
        ["", "GET /healthz HTTP/1.1\r\nHost", "POST /jobs/backup/run HTTP/1.1\r\nContent-Length: 99\r\n\r\nx"]
    {
        let answers = spawn_blocking(move || {
            let mut slow = TcpStream::connect(address).unwrap();
            slow.write_all(begun.as_bytes()).unwrap();
            let mut next = TcpStream::connect(address).unwrap();
            next.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
            (whole_answer(next), whole_answer(slow))
        });
        let (next, _) = answers.await.unwrap();
        assert!(next.starts_with("HTTP/1.1 200"), "after {begun:?}: {next}");
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_loses_its_place() {
    const LARGE: usize = 64 << 20;
    let router = Router::new()
        .route("/large", get(|| async { vec![b'x'; LARGE] }))
        .route("/small", get(|| async { "small" }));
    let (address, _stop, _server) = hasty_server(router).await;
    let answers = spawn_blocking(move || {
        let mut slow = TcpStream::connect(address).unwrap();
        slow.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut next = TcpStream::connect(address).unwrap();
        next.write_all(b"GET /small HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        (whole_answer(next), whole_answer(slow))
    });
    let (next, slow) = answers.await.unwrap();
    assert!(next.ends_with("small") && slow.len() < LARGE, "{next} {}", slow.len());
}

/// Answers when it is told to, and tells when it was asked.
fn held(asked: &Arc<Notify>, release: &Arc<Notify>) -> Router {
    let (asked, release) = (Arc::clone(asked), Arc::clone(release));
    let answer = move || async move {
        asked.notify_one();
        release.notified().await;
        "released"
    };
    Router::new().route("/held", get(answer))
}

fn ask_for_held(address: SocketAddr) -> tokio::task::JoinHandle<String> {
    spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /held HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        whole_answer(stream)
    })
}

#[tokio::test]
async fn a_request_under_way_does_not_keep_the_server_from_ending() {
    let (asked, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (address, stop, server) = hasty_server(held(&asked, &release)).await;
    let answer = ask_for_held(address);
    asked.notified().await;
    stop.send(true).unwrap();
    server.await.unwrap();
    assert_eq!(answer.await.unwrap(), "");
}

#[tokio::test]
async fn an_answer_may_take_its_time() {
    let (asked, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (address, _stop, _server) = hasty_server(held(&asked, &release)).await;
    let answer = ask_for_held(address);
    asked.notified().await;
    // Another server's patience comes to its end meanwhile.
    let (other, _stop_other, _server_other) = hasty_server(Router::new()).await;
    spawn_blocking(move || whole_answer(TcpStream::connect(other).unwrap())).await.unwrap();
    release.notify_one();
    assert!(answer.await.unwrap().ends_with("released"));
}

#[tokio::test]
async fn too_long_a_head_is_refused() {
    let (address, _stop, _server) = hasty_server(shown(sample::status(), with_token(None))).await;
    let asked = spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(100 << 10));
        // The server may have hung up before all of it was sent.
        let _ = stream.write_all(head.as_bytes());
        whole_answer(stream)
    });
    assert!(!asked.await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_volume_is_looked_at_anew_for_each_request_and_nothing_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let gate = gate(&path);
    let told = gate.look().await.unwrap_err();
    assert!(told.contains("does not exist"), "{told}");
    std::fs::create_dir(&path).unwrap();
    let told = gate.look().await.unwrap_err();
    assert!(told.contains("empty"), "{told}");
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
    let volume = Volume::new(VolumeOptions::new(&path, path.join(".volkeep"), "wiki")).unwrap();
    volume.prepare().unwrap();
    volume.start_empty(None, &ManualClock::at(sample::NOON)).unwrap();
    let clock = Arc::new(ManualClock::at(sample::NOON));
    let router = router(control(sample::status()), with_token(None), clock, gate);
    let get = || Request::get("/volume").body(Body::empty()).unwrap();
    assert_eq!(ask(&router, get()).await, (StatusCode::OK, "ready\n".to_owned()));
    std::fs::write(path.join(".volkeep/marker.json"), "{").unwrap();
    let (status, told) = ask(&router, get()).await;
    assert!(status == StatusCode::SERVICE_UNAVAILABLE && told.contains("is damaged"), "{told}");
}

/// Whoever has the turn hangs. Those behind it are told so, and do not begin a look of their own.
#[tokio::test]
async fn a_volume_that_hangs_holds_up_one_look() {
    let gate = gate(Path::new("/nowhere/data"));
    let (turn, behind) = gate.behind_one_that_hangs();
    let told = looks_at(&behind, 40).await;
    assert_eq!(told.len(), 40);
    assert!(told.iter().all(|told| told == "it did not answer within 0.05 s"), "{told:?}");
    drop(turn);
    assert!(gate.look().await.unwrap_err().contains("does not exist"));
}

async fn looks_at(gate: &Gate, count: usize) -> Vec<String> {
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..count {
        let gate = gate.clone();
        asked.spawn(async move { gate.look().await.unwrap_err() });
    }
    asked.join_all().await
}
