//! Notices on their way: what is sent over http and by mail, what happens when it cannot be sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::target::{Events, Ping, Target, TargetKind};
use super::*;
use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, ManualClock};
use crate::base::secret::Secret;
use crate::base::text::Text;
use crate::notice::{Channel, Mail, NoticeError, Security, Slack, Webhook};
use crate::sidecar::record::{Outcome, Record};
use crate::sidecar::sample;

/// Takes one request, answers with this status, and gives the request.
fn server(status: &'static str) -> (String, JoinHandle<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/secret-path", listener.local_addr().unwrap());
    let served = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        write!(reader.get_mut(), "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").unwrap();
        (head, String::from_utf8(body).unwrap())
    });
    (address, served)
}

fn value(text: &str) -> Text {
    Text::Value(Secret::new(text))
}

fn target(kind: TargetKind) -> Target {
    Target { kind, events: Events { success: true, ..Events::default() }, jobs: Vec::new() }
}

fn webhook(url: &str) -> Webhook {
    Webhook { url: value(url), method: "POST".to_owned(), headers: Vec::new(), body: None }
}

fn deliver(kind: TargetKind, event: Event) -> Result<(), NoticeError> {
    let mut notice = sample::notice(event, "backup");
    if matches!(event, Event::Success | Event::Recovery) {
        notice.run = Some(sample::run(Outcome::Done));
    }
    Delivery.deliver(&target(kind), &Message::Notice(notice), &sample::about(), &Cancel::new())
}

#[test]
fn a_webhook_gets_everything_as_json() {
    let (url, served) = server("200 OK");
    deliver(TargetKind::People(Channel::Webhook(webhook(&url))), Event::Failure).unwrap();
    let (head, body) = served.join().unwrap();
    assert!(head.starts_with("POST /secret-path HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("content-type: application/json"), "{head}");
    let value: serde_json::Value = serde_json::from_str(&body).unwrap();
    for (name, expected) in [
        ("event", "failure"),
        ("title", "wiki: backup failed"),
        ("reason", "the <disk> \"said\" no"),
        ("host", "pod-0"),
    ] {
        assert_eq!(value[name], expected, "{name}");
    }
    assert_eq!((&value["code"], &value["failures"]), (&1.into(), &3.into()));
}

#[test]
fn a_webhook_is_asked_in_its_own_words() {
    let (url, served) = server("204 No Content");
    let hook = Webhook {
        method: "PUT".to_owned(),
        headers: vec![
            ("Content-Type".to_owned(), value("text/plain")),
            ("Authorization".to_owned(), value("Bearer hunter2")),
        ],
        body: Some("{{job}} says {{{reason}}} / {{reason}}".to_owned()),
        ..webhook(&url)
    };
    deliver(TargetKind::People(Channel::Webhook(hook)), Event::Failure).unwrap();
    let (head, body) = served.join().unwrap();
    assert!(head.starts_with("PUT ") && head.contains("Bearer hunter2"), "{head}");
    assert!(head.contains("text/plain") && !head.contains("json"), "{head}");
    assert_eq!(body, r#"backup says the <disk> "said" no / the <disk> \"said\" no"#);
}

#[test]
fn slack_gets_text_that_mentions_nobody() {
    let (url, served) = server("200 OK");
    deliver(TargetKind::People(Channel::Slack(Slack { url: value(&url) })), Event::Failure).unwrap();
    let (_, body) = served.join().unwrap();
    let value: serde_json::Value = serde_json::from_str(&body).unwrap();
    let text = value["text"].as_str().unwrap();
    assert!(text.starts_with(":x: *wiki: backup failed*\nthe &lt;disk&gt; \"said\" no\n"), "{text}");
    assert!(text.contains("What helps: run `volkeep backup --allow-shrink`"), "{text}");
}

#[test]
fn a_refusal_is_told_without_the_address() {
    for (status, again) in
        [("500 Oh", true), ("429 Slowly", true), ("404 Where", false), ("302 There", false)]
    {
        let (url, served) = server(status);
        let trouble =
            deliver(TargetKind::People(Channel::Webhook(webhook(&url))), Event::Silence).unwrap_err();
        served.join().unwrap();
        assert_eq!(trouble.is_retryable(), again, "{status}");
        let text = format!("{trouble} {trouble:?}");
        assert!(text.contains("127.0.0.1") && !text.contains("secret-path"), "{text}");
    }
    let trouble = deliver(TargetKind::People(Channel::Webhook(webhook("gopher://secret"))), Event::Silence)
        .unwrap_err();
    assert!(!trouble.is_retryable() && !format!("{trouble} {trouble:?}").contains("secret"), "{trouble:?}");
}

/// Speaks SMTP to one client, says `verdict` to the end of its letter, and gives all that it was told.
fn mail_server(verdict: &'static str) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let say = |reader: &mut BufReader<TcpStream>, text: &str| {
            write!(reader.get_mut(), "{text}\r\n").unwrap();
        };
        say(&mut reader, "220 ready");
        let (mut heard, mut in_letter) = (String::new(), false);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return heard;
            }
            heard.push_str(&line);
            let word = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            match word.as_str() {
                "." if in_letter => {
                    in_letter = false;
                    say(&mut reader, verdict);
                }
                _ if in_letter => {}
                "EHLO" => say(&mut reader, "250-here\r\n250 AUTH PLAIN"),
                "AUTH" => say(&mut reader, "235 welcome"),
                "DATA" => {
                    in_letter = true;
                    say(&mut reader, "354 go on");
                }
                "QUIT" => {
                    say(&mut reader, "221 bye");
                    return heard;
                }
                _ => say(&mut reader, "250 ok"),
            }
        }
    });
    (port, served)
}

fn mail(port: u16) -> Mail {
    Mail {
        host: "127.0.0.1".to_owned(),
        port,
        security: Security::None,
        login: Some(("keeper".to_owned(), value("hunter2"))),
        from: "Volkeep <volkeep@example.org>".to_owned(),
        to: vec!["a@example.org".to_owned(), "b@example.org".to_owned()],
    }
}

#[test]
fn a_mail_goes_to_all_who_are_named() {
    let (port, served) = mail_server("250 taken");
    deliver(TargetKind::People(Channel::Mail(mail(port))), Event::Failure).unwrap();
    let heard = served.join().unwrap();
    for part in [
        "AUTH PLAIN",
        "MAIL FROM:<volkeep@example.org>",
        "RCPT TO:<a@example.org>",
        "RCPT TO:<b@example.org>",
        "Subject: [volkeep] wiki: backup failed",
        "Auto-Submitted: auto-generated",
        "Message-ID: <",
        "Date: ",
        "the <disk> \"said\" no",
        "3 runs without success in a row",
    ] {
        assert!(heard.contains(part), "no `{part}` in\n{heard}");
    }
}

#[test]
fn a_mail_that_is_refused_is_tried_again_if_that_may_help() {
    for (verdict, again) in [("451 later hunter2", true), ("550 never hunter2", false)] {
        let (port, served) = mail_server(verdict);
        let trouble = deliver(TargetKind::People(Channel::Mail(mail(port))), Event::Failure).unwrap_err();
        served.join().unwrap();
        assert_eq!(trouble.is_retryable(), again, "{verdict}");
        let text = format!("{trouble} {trouble:?}");
        assert!(text.contains("127.0.0.1") && text.contains("***") && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_mail_server_without_tls_gets_no_password() {
    for security in [Security::StartTls, Security::Tls] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = Vec::new();
            let _ = stream.write_all(b"220 ready\r\n250 no more\r\n");
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut heard);
            heard
        });
        deliver(TargetKind::People(Channel::Mail(Mail { security, ..mail(port) })), Event::Failure)
            .unwrap_err();
        let heard = served.join().unwrap();
        assert!(!String::from_utf8_lossy(&heard).contains("AUTH"), "{security:?}");
    }
}

/// Answers by a script, and tells what was asked of it.
#[derive(Debug)]
struct Scripted {
    answers: Mutex<Receiver<Result<(), NoticeError>>>,
    seen: Sender<String>,
}

impl Deliver for Scripted {
    fn deliver(&self, _: &Target, message: &Message, _: &About, _: &Cancel) -> Result<(), NoticeError> {
        let what = match message {
            Message::Notice(notice) => notice.event.name(),
            Message::Begun { .. } => "begun",
            Message::Ended { .. } => "ended",
        };
        self.seen.send(what.to_owned()).unwrap();
        // Without an answer it waits until the test ends.
        self.answers.lock().unwrap().recv().unwrap_or(Ok(()))
    }
}

struct Scene {
    notifier: Notifier,
    clock: Arc<ManualClock>,
    answers: Sender<Result<(), NoticeError>>,
    seen: Receiver<String>,
}

fn scene(kinds: Vec<TargetKind>) -> Scene {
    let clock = Arc::new(ManualClock::at(sample::NOON));
    let (answers, scripted) = channel();
    let (sender, seen) = channel();
    let deliver = Scripted { answers: Mutex::new(scripted), seen: sender };
    let targets = kinds.into_iter().map(target).collect();
    let notifier =
        Notifier::start(targets, sample::about(), Arc::<ManualClock>::clone(&clock), Arc::new(deliver))
            .unwrap();
    Scene { notifier, clock, answers, seen }
}

fn slack() -> TargetKind {
    TargetKind::People(Channel::Slack(Slack { url: value("http://127.0.0.1:1/") }))
}

fn ping() -> TargetKind {
    TargetKind::Ping(Ping { url: value("http://127.0.0.1:1/"), start: true, exit_codes: false })
}

fn trouble(retryable: bool) -> Result<(), NoticeError> {
    Err(NoticeError::Mail { reason: "no".to_owned(), retryable })
}

#[test]
fn a_run_is_pinged_and_told_once() {
    let Scene { notifier, answers, seen, .. } = scene(vec![ping(), slack()]);
    for _ in 0..8 {
        answers.send(Ok(())).unwrap();
    }
    let mut record = Record::default();
    let mut run = |outcome| {
        notifier.begun("backup");
        let before = record.last_success.as_ref().map(|run| run.started);
        record.end(sample::run(outcome));
        notifier.ended("backup", &mut record, before);
    };
    run(Outcome::Failed);
    run(Outcome::Failed);
    run(Outcome::Done);
    let seen: Vec<String> = seen.iter().take(8).collect();
    assert_eq!(seen, ["begun", "ended", "failure", "begun", "ended", "begun", "ended", "recovery"]);
    notifier.finish(Duration::from_secs(60));
}

#[test]
fn a_silence_is_told_and_noted() {
    let Scene { notifier, clock, answers, seen } = scene(vec![slack()]);
    answers.send(Ok(())).unwrap();
    let mut record = Record::default();
    let hour = Duration::from_secs(3_600);
    assert!(!notifier.look("backup", &mut record, sample::NOON, hour));
    clock.advance(2 * hour);
    assert!(notifier.look("backup", &mut record, sample::NOON, hour));
    assert!(!notifier.look("backup", &mut record, sample::NOON, hour));
    assert_eq!(seen.recv().unwrap(), "silence");
    assert!(record.told.silence.is_some());
}

#[test]
fn what_may_help_is_tried_some_times_and_all_is_counted() {
    let Scene { notifier, clock, answers, seen } = scene(vec![ping()]);
    for answer in [trouble(true), trouble(true), Ok(()), trouble(false)] {
        answers.send(answer).unwrap();
    }
    for _ in 0..4 {
        answers.send(trouble(true)).unwrap();
    }
    for _ in 0..3 {
        notifier.begun("backup");
    }
    assert_eq!(seen.iter().take(8).count(), 8);
    // The thread counts before it takes the next one.
    answers.send(Ok(())).unwrap();
    notifier.begun("backup");
    seen.recv().unwrap();
    let counts = notifier.counts();
    assert_eq!((counts.failed, counts.dropped), (2, 0));
    assert!(counts.sent >= 1, "{counts:?}");
    let pauses = Duration::from_secs(2 + 10 + 2 + 10 + 30);
    assert_eq!(clock.elapsed(), pauses);
}

#[test]
fn nobody_waits_for_a_target_that_hangs() {
    let Scene { notifier, answers, seen, .. } = scene(vec![ping()]);
    notifier.begun("backup");
    seen.recv().unwrap();
    for _ in 0..70 {
        notifier.begun("backup");
    }
    assert_eq!(notifier.counts().dropped, 6, "64 wait");
    notifier.finish(Duration::from_millis(1));
    drop(answers);
}

#[test]
fn new_targets_take_the_place_of_the_old_ones() {
    let Scene { notifier, answers, seen, .. } = scene(vec![ping()]);
    notifier.retarget(Vec::new());
    notifier.begun("backup");
    notifier.retarget(vec![target(ping())]);
    notifier.begun("backup");
    answers.send(Ok(())).unwrap();
    seen.recv().unwrap();
    notifier.finish(Duration::from_secs(60));
    assert!(seen.recv().is_err(), "there was one only");
}
