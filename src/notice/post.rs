//! Notices as requests: to a webhook in the form that its owner wants, to Slack in its own.

use serde_json::{Value, json};

use crate::notice::channel::{Slack, Webhook};
use crate::notice::request::{Outgoing, read};
use crate::notice::{Letter, Mood, NoticeError, template};

const JSON: &str = "application/json";

pub(super) fn to_webhook(hook: &Webhook, letter: &Letter) -> Result<Outgoing, NoticeError> {
    let body = match &hook.body {
        Some(body) => template::render(body, &letter.fields).map_err(NoticeError::Template)?,
        None => Value::Object(letter.fields.clone()).to_string(),
    };
    let mut headers = Vec::new();
    for (name, value) in &hook.headers {
        headers.push((name.clone(), read(value)?.reveal().to_owned()));
    }
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        headers.push(("Content-Type".to_owned(), JSON.to_owned()));
    }
    Ok(Outgoing { method: hook.method.clone(), url: read(&hook.url)?, headers, body: body.into_bytes() })
}

pub(super) fn to_slack(slack: &Slack, letter: &Letter) -> Result<Outgoing, NoticeError> {
    let sign = match letter.mood {
        Mood::Bad => ":x:",
        Mood::Late => ":hourglass:",
        Mood::Good => ":white_check_mark:",
    };
    // What comes from elsewhere can neither mention people nor hide behind a link.
    let title = escaped(&letter.title);
    let text = escaped(&letter.text);
    let body = json!({ "text": format!("{sign} *{title}*\n{text}") }).to_string();
    Ok(Outgoing {
        method: "POST".to_owned(),
        url: read(&slack.url)?,
        headers: vec![("Content-Type".to_owned(), JSON.to_owned())],
        body: body.into_bytes(),
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
