//! What is asked, and what is made of answers, with a conversation that was written before.

use super::super::script::{Script, encoded};
use super::*;

const A: &str = "1111111111111111111111111111111111111111";
const B: &str = "2222222222222222222222222222222222222222";

fn oid(text: &str) -> Oid {
    text.parse().unwrap()
}

fn server(capabilities: &str) -> Advertisement {
    let capabilities = capabilities.split_whitespace().map(str::to_owned).collect();
    Advertisement { capabilities, ..Advertisement::default() }
}

const USUAL: &str = "side-band-64k ofs-delta no-progress shallow filter agent=git/2.39";

fn asked(capabilities: &str, request: &Fetch, answer: &[u8]) -> (String, Result<Fetched, String>, Vec<u8>) {
    let (script, heard) = Script::answering(answer);
    let mut pack = Vec::new();
    let fetched = fetch(script, &server(capabilities), request, &mut pack).map_err(|error| error.to_string());
    (String::from_utf8(heard.take()).unwrap(), fetched, pack)
}

#[test]
fn a_pack_is_asked_for_and_kept() {
    let request = Fetch {
        wants: vec![oid(A), oid(B)],
        haves: vec![oid(B)],
        shallow: vec![oid(A)],
        depth: Some(3),
        filter: Some(Filter::NoBlobs),
    };
    let shallow = format!("shallow {A}");
    let acknowledged = format!("ACK {B}\n");
    let answer = encoded(&[&shallow, "", &acknowledged, "\x01PACK", "\x02hello\n", "\x01", "\x01...", ""]);
    let (question, fetched, pack) = asked(USUAL, &request, &answer);
    let agent = concat!("agent=volkeep/", env!("CARGO_PKG_VERSION"));
    let first = format!("want {A} side-band-64k ofs-delta no-progress filter {agent}\n");
    let expected = format!(
        "{:04x}{first}0032want {B}\n0034shallow {A}000cdeepen 30014filter blob:none00000032have {B}\n0009done\n",
        first.len() + 4
    );
    assert_eq!(question, expected);
    assert_eq!(fetched.unwrap().shallow, [oid(A)]);
    assert_eq!(pack, b"PACK...");
}

#[test]
fn what_the_server_cannot_do_is_not_asked() {
    let request =
        Fetch { wants: vec![oid(A)], depth: Some(1), filter: Some(Filter::NoTrees), ..Fetch::default() };
    let (question, fetched, pack) = asked("", &request, b"0008NAK\nPACK and the rest");
    assert_eq!(question, format!("0032want {A}\n00000009done\n"));
    assert_eq!(fetched.unwrap(), Fetched::default());
    assert_eq!(pack, b"PACK and the rest");
}

#[test]
fn nothing_wanted_is_nothing_asked() {
    let (question, fetched, pack) = asked(USUAL, &Fetch::default(), b"");
    assert!(question.is_empty() && pack.is_empty());
    assert_eq!(fetched, Ok(Fetched::default()));
}

#[test]
fn an_answer_that_ends_early_or_is_a_refusal_is_an_error() {
    let request = Fetch { wants: vec![oid(A)], ..Fetch::default() };
    for (lines, part) in [
        (&[][..], "ended before the pack did"),
        (&["NAK\n", "\x02out of room\n", "\x01PACK"], "ended before the pack did, and said: out of room"),
        (&["NAK\n", ""], "sent no pack"),
        (&["NAK\n", "\x03oops"], "the git server says: oops"),
        (&["ERR upload-pack: not our ref\n"], "not our ref"),
        (&["NAK\n", "what?"], "`what?`"),
    ] {
        let answer = &encoded(lines);
        let (_, fetched, _) = asked(USUAL, &request, answer);
        let error = fetched.unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    let (_, fetched, _) = asked(USUAL, &request, b"0008NAK\n0009\x01PA");
    assert!(fetched.unwrap_err().contains("ended in the middle"));
}

#[test]
fn the_trouble_of_the_sink_is_its_own() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let request = Fetch { wants: vec![oid(A)], ..Fetch::default() };
    let (script, _) = Script::answering(&encoded(&["NAK\n", "\x01PACK", ""]));
    let error = fetch(script, &server(USUAL), &request, &mut Full).unwrap_err();
    assert!(matches!(error, RepositoryError::Local { .. }), "{error}");
}

#[test]
fn capabilities_tell_what_a_server_gives() {
    assert!(takes_any_commit(&server("allow-tip-sha1-in-want allow-reachable-sha1-in-want")));
    assert!(!takes_any_commit(&server("allow-tip-sha1-in-want")));
    assert!(supports_filter(&server(USUAL)) && !supports_filter(&server("")));
}
