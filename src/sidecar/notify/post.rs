//! Notices as requests: to a webhook in the form that its owner wants, to Slack in its own.

use serde_json::json;

use crate::sidecar::notify::deliver::{Outgoing, Trouble};
use crate::sidecar::notify::message::{fields, text, title};
use crate::sidecar::notify::target::{Slack, Webhook};
use crate::sidecar::notify::{About, Event, Notice, template};

const JSON: &str = "application/json";

pub(super) fn to_webhook(hook: &Webhook, notice: &Notice, about: &About) -> Result<Outgoing, Trouble> {
    let known = fields(notice, about);
    let body = match &hook.body {
        Some(body) => template::render(body, &known).map_err(Trouble::Template)?,
        None => serde_json::Value::Object(known).to_string(),
    };
    let mut headers = Vec::new();
    for (name, value) in &hook.headers {
        headers.push((name.clone(), value.read()?.reveal().to_owned()));
    }
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        headers.push(("Content-Type".to_owned(), JSON.to_owned()));
    }
    Ok(Outgoing { method: hook.method.clone(), url: hook.url.read()?, headers, body: body.into_bytes() })
}

pub(super) fn to_slack(slack: &Slack, notice: &Notice, about: &About) -> Result<Outgoing, Trouble> {
    let sign = match notice.event {
        Event::Failure => ":x:",
        Event::Silence => ":hourglass:",
        Event::Recovery | Event::Success => ":white_check_mark:",
    };
    // What comes from elsewhere can neither mention people nor hide behind a link.
    let title = escaped(&title(notice, about));
    let text = escaped(&text(notice, about));
    let body = json!({ "text": format!("{sign} *{title}*\n{text}") }).to_string();
    Ok(Outgoing {
        method: "POST".to_owned(),
        url: slack.url.read()?,
        headers: vec![("Content-Type".to_owned(), JSON.to_owned())],
        body: body.into_bytes(),
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
