//! What is sent, and how reports are understood, with a conversation that was written before.

use super::super::script::{Script, encoded};
use super::*;
use std::io::Write;

const A: &str = "1111111111111111111111111111111111111111";
const B: &str = "2222222222222222222222222222222222222222";
const MAIN: &str = "refs/heads/main";
const USUAL: &str = "report-status delete-refs side-band-64k quiet agent=git/2.39";

fn server(capabilities: &str, main: Option<&str>) -> Advertisement {
    let references = main.map(|oid| (MAIN.to_owned(), oid.parse().unwrap())).into_iter().collect();
    Advertisement { capabilities: capabilities.split_whitespace().map(str::to_owned).collect(), references }
}

fn update(old: &str, new: &str) -> Update {
    Update { reference: MAIN.to_owned(), old: old.parse().unwrap(), new: new.parse().unwrap() }
}

/// Lines in the first band, then the end of all bands.
fn report(lines: &[&str]) -> Vec<u8> {
    let inner = encoded(&[lines, &[""]].concat());
    let mut outer = Vec::new();
    packet::line(&mut outer, "\x02remote: hello\n", "there").unwrap();
    // Servers cut it where they like.
    for piece in inner.chunks(7) {
        packet::line(&mut outer, &format!("\x01{}", String::from_utf8_lossy(piece)), "there").unwrap();
    }
    packet::flush(&mut outer);
    outer
}

fn pushed(
    advertisement: &Advertisement,
    update: &Update,
    answer: &[u8],
) -> (Vec<u8>, Result<(), RepositoryError>) {
    let (script, heard) = Script::answering(answer);
    let outcome = push(script, advertisement, update, None);
    (heard.take(), outcome)
}

#[test]
fn a_reference_is_moved_with_a_pack_or_without() {
    let done = report(&["unpack ok\n", "ok refs/heads/main\n"]);
    let (sent, outcome) = pushed(&server(USUAL, Some(A)), &update(A, B), &done);
    outcome.unwrap();
    let agent = concat!("agent=volkeep/", env!("CARGO_PKG_VERSION"));
    let line = format!("{A} {B} {MAIN}\0 report-status side-band-64k quiet {agent}");
    let begin = format!("{:04x}{line}0000PACK", line.len() + 4);
    assert!(sent.starts_with(begin.as_bytes()), "{}", String::from_utf8_lossy(&sent));
    // As `git pack-objects </dev/null` writes it.
    assert!(
        sent.ends_with(
            b"\0\0\0\x02\0\0\0\0\x02\x9d\x08\x82;\xd8\xa8\xea\xb5\x10\xadj\xc7\\\x82<\xfd>\xd3\x1e"
        )
    );

    let mut pack = tempfile::tempfile().unwrap();
    pack.write_all(b"PACK of ours").unwrap();
    let (script, heard) = Script::answering(&done);
    push(script, &server(USUAL, None), &update(&Oid::ZERO.to_string(), B), Some(pack)).unwrap();
    assert!(heard.take().ends_with(b"0000PACK of ours"));

    let (sent, outcome) = pushed(&server(USUAL, Some(A)), &update(A, &Oid::ZERO.to_string()), &done);
    outcome.unwrap();
    assert!(sent.ends_with(b"0000"));

    let plain = encoded(&["unpack ok\n", "ok refs/heads/main\n", ""]);
    pushed(&server("report-status", Some(A)), &update(A, B), &plain).1.unwrap();
}

#[test]
fn nothing_is_sent_when_the_reference_is_elsewhere() {
    for (there, expected) in [(Some(B), A), (None, A), (Some(A), "0000000000000000000000000000000000000000")]
    {
        let (sent, outcome) = pushed(&server(USUAL, there), &update(expected, B), b"");
        let error = outcome.unwrap_err();
        assert!(matches!(error, RepositoryError::Rejected { .. }) && sent.is_empty(), "{error}");
    }
}

#[test]
fn a_refusal_has_the_words_of_the_server() {
    for (lines, part) in [
        (&["unpack ok\n", "ng refs/heads/main pre-receive hook declined\n"][..], "pre-receive hook declined"),
        (
            &["unpack index-pack abnormal exit\n", "ng refs/heads/main unpacker error\n"],
            "index-pack abnormal exit",
        ),
        (&["unpack disk full\n"], "disk full"),
    ] {
        let error = pushed(&server(USUAL, Some(A)), &update(A, B), &report(lines)).1.unwrap_err();
        assert!(matches!(error, RepositoryError::Rejected { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(part) && text.contains("(remote: hello)"), "{text}");
    }
}

#[test]
fn without_a_whole_report_it_may_have_been_done() {
    let half = &report(&["unpack ok\n", "ok refs/heads/main\n"])[..30];
    let silent = report(&["unpack ok\n"]);
    for answer in [&b""[..], half, &silent, &encoded(&["\x02remote: hello"])] {
        let error = pushed(&server(USUAL, Some(A)), &update(A, B), answer).1.unwrap_err();
        assert!(matches!(error, RepositoryError::Store(StoreError::Temporary { .. })), "{error}");
        assert!(error.to_string().contains("may have been done"), "{error}");
    }
    let fatal = pushed(&server(USUAL, Some(A)), &update(A, B), &encoded(&["\x03disk is bad"])).1.unwrap_err();
    assert!(fatal.to_string().contains("disk is bad"), "{fatal}");
}
