//! Pings in the manner of healthchecks.io: the address itself for a success, words behind it for the rest. The
//! service raises the alarm when none comes, also when this machine is gone.

use crate::base::secret::Secret;
use crate::notice::{NoticeError, Outgoing, read};
use crate::sidecar::notify::Message;
use crate::sidecar::notify::target::Ping;
use crate::sidecar::record::Run;

/// `None` for what is no ping.
pub(super) fn to_service(ping: &Ping, message: &Message) -> Result<Option<Outgoing>, NoticeError> {
    let (word, body) = match message {
        Message::Notice(_) => return Ok(None),
        Message::Begun { .. } => (Some("start".to_owned()), String::new()),
        Message::Ended { run, .. } if run.outcome.is_success() => (None, said(run)),
        Message::Ended { run, .. } if ping.exit_codes => (Some(run.code.max(1).to_string()), said(run)),
        Message::Ended { run, .. } => (Some("fail".to_owned()), said(run)),
    };
    let url = read(&ping.url)?;
    Ok(Some(Outgoing {
        method: "POST".to_owned(),
        url: Secret::new(with_word(url.reveal(), word.as_deref())),
        headers: vec![("Content-Type".to_owned(), "text/plain; charset=utf-8".to_owned())],
        body: body.into_bytes(),
    }))
}

fn said(run: &Run) -> String {
    let lines = [Some(run.outcome.name()), run.reason.as_deref(), run.hint.as_deref()];
    lines.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

/// The word goes behind the path; what the address asks for stays behind it.
fn with_word(url: &str, word: Option<&str>) -> String {
    let Some(word) = word else { return url.to_owned() };
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let path = path.trim_end_matches('/');
    match query {
        Some(query) => format!("{path}/{word}?{query}"),
        None => format!("{path}/{word}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::text::Text;
    use crate::sidecar::record::Outcome;
    use crate::sidecar::sample;

    #[test]
    fn each_end_has_its_address() {
        let ping = |exit_codes, address: &str| Ping {
            url: Text::Value(Secret::new(address)),
            start: true,
            exit_codes,
        };
        let ended = |outcome| Message::Ended { job: "backup".to_owned(), run: sample::run(outcome) };
        let begun = Message::Begun { job: "backup".to_owned() };
        for (exit_codes, message, address, expected) in [
            (false, begun.clone(), "http://h/id", "http://h/id/start"),
            (false, begun, "http://h/id/?create=1", "http://h/id/start?create=1"),
            (false, ended(Outcome::Done), "http://h/id/", "http://h/id/"),
            (false, ended(Outcome::Partial), "http://h/id", "http://h/id"),
            (false, ended(Outcome::Refused), "http://h/id", "http://h/id/fail"),
            (true, ended(Outcome::Failed), "http://h/id", "http://h/id/1"),
        ] {
            let sent = to_service(&ping(exit_codes, address), &message).unwrap().unwrap();
            assert_eq!(sent.url.reveal(), expected);
        }
        let sent = to_service(&ping(false, "http://h/id"), &ended(Outcome::Failed)).unwrap().unwrap();
        assert!(String::from_utf8(sent.body).unwrap().starts_with("failed\nthe <disk>"));
    }
}
