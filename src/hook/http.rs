//! Makes a request for a hook and judges the status of its answer.

use std::time::Duration;

use super::action::HttpAction;
use super::command::last_words;
use super::error::HookError;
use super::perform::Call;
use crate::base::http::{Request, Url, send};

/// As much of an answer as may hold a message.
const LONGEST_ANSWER: usize = 4 << 10;
/// Said to commands alone: the one may hold anything, the other is of no use elsewhere.
const NOT_TOLD: [&str; 2] = ["VOLKEEP_ERROR", "VOLKEEP_VOLUME"];

pub(super) fn run(action: &HttpAction, limit: Duration, call: &Call<'_>) -> Result<(), HookError> {
    let hook = || call.hook.clone();
    let url: Url =
        call.text(&action.url)?.parse().map_err(|reason| HookError::Url { hook: hook(), reason })?;
    let mut headers: Vec<(String, String)> = call
        .env
        .iter()
        .filter(|(name, value)| !NOT_TOLD.contains(&name.as_str()) && value.is_ascii())
        .map(|(name, value)| (header_name(name), value.clone()))
        .collect();
    for (name, text) in &action.headers {
        headers.push((name.clone(), call.text(text)?));
    }
    let request = Request {
        method: action.method.clone(),
        headers,
        body: action.body.as_ref().map(|body| call.text(body)).transpose()?.unwrap_or_default().into_bytes(),
        unix_socket: action.unix_socket.clone(),
        ca_file: action.ca_file.clone(),
        timeout: limit,
        longest_answer: LONGEST_ANSWER,
        ..Request::get(url)
    };
    let answer = send(&request, call.cancel).map_err(|source| HookError::Http { hook: hook(), source })?;
    let expected = match action.expect.as_slice() {
        [] => (200..300).contains(&answer.status),
        expected => expected.contains(&answer.status),
    };
    tracing::debug!(job = call.job, hook = call.hook, status = answer.status, "answered");
    match expected {
        true => Ok(()),
        false => Err(HookError::Status {
            hook: hook(),
            place: request.place(),
            status: answer.status,
            said: last_words(&String::from_utf8_lossy(&answer.body)),
        }),
    }
}

/// `VOLKEEP_JOB` → `Volkeep-Job`.
fn header_name(variable: &str) -> String {
    let words = variable.split('_').map(|word| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_string() + &letters.as_str().to_ascii_lowercase())
    });
    words.flatten().collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_become_headers() {
        assert_eq!(header_name("VOLKEEP_JOB"), "Volkeep-Job");
    }
}
