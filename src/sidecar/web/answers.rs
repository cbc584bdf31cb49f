//! One function for each address. None of them keeps anything between two requests.

use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::header::{WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Json, Response};

use crate::base::secret::Secret;
use crate::sidecar::control::OrderError;
use crate::sidecar::metrics::{self, Format};
use crate::sidecar::web::{Access, Shown, page as html};

/// The loop only passes messages on; when it has not done so for this long, it hangs.
const LOOP_ANSWERS_WITHIN: Duration = Duration::from_secs(5);

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

pub(super) async fn page(State(shown): State<Shown>) -> Response {
    let body = html::render(&shown.control.status(), shown.clock.now());
    // Whatever finds its way into the page, no browser runs it.
    let policy = (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'");
    ([policy], answer(StatusCode::OK, HTML, body)).into_response()
}

/// 200 as long as the loop of the sidecar answers, also while it ends: whoever restarts what is not alive must not
/// cut off the last backup.
pub(super) async fn healthz(State(shown): State<Shown>) -> Response {
    match tokio::time::timeout(LOOP_ANSWERS_WITHIN, shown.control.answers()).await {
        Ok(()) => answer(StatusCode::OK, TEXT, "ok\n".to_owned()),
        Err(_) => answer(
            StatusCode::SERVICE_UNAVAILABLE,
            TEXT,
            format!("the sidecar did not answer within {} s\n", LOOP_ANSWERS_WITHIN.as_secs()),
        ),
    }
}

pub(super) async fn readyz(State(shown): State<Shown>) -> Response {
    let status = shown.control.status();
    match status.not_ready.as_slice() {
        [] => answer(StatusCode::OK, TEXT, "ok\n".to_owned()),
        reasons => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{}\n", reasons.join("\n"))),
    }
}

/// For an app that waits for its data. What backups are like does not count here.
pub(super) async fn volume(State(shown): State<Shown>) -> Response {
    match shown.gate.look().await {
        Ok(()) => answer(StatusCode::OK, TEXT, "ready\n".to_owned()),
        Err(reason) => {
            answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("the volume is not ready: {reason}\n"))
        }
    }
}

pub(super) async fn metrics(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    match metrics::render(shown.control.status(), format) {
        Ok(text) => answer(StatusCode::OK, format.content_type(), text),
        Err(error) => {
            answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("cannot write the metrics: {error}\n"))
        }
    }
}

pub(super) async fn status(State(shown): State<Shown>) -> Response {
    (plain_headers(), Json(&*shown.control.status())).into_response()
}

pub(super) async fn run(
    State(shown): State<Shown>,
    Path(job): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    if let Err(refused) = allowed(&shown.access, &headers, &job) {
        return *refused;
    }
    let wait =
        query.unwrap_or_default().split('&').any(|pair| matches!(pair, "wait" | "wait=true" | "wait=1"));
    let end = match shown.control.run(&job).await {
        Ok(end) => end,
        Err(error) => {
            let status = match &error {
                OrderError::Unknown { .. } => StatusCode::NOT_FOUND,
                OrderError::Ending | OrderError::StandingBy => StatusCode::SERVICE_UNAVAILABLE,
            };
            return answer(status, TEXT, format!("{error}\n"));
        }
    };
    if !wait {
        return answer(StatusCode::ACCEPTED, TEXT, format!("`{job}` runs as soon as possible\n"));
    }
    match end.await {
        Ok(run) => (plain_headers(), Json(run)).into_response(),
        Err(_) => answer(
            StatusCode::SERVICE_UNAVAILABLE,
            TEXT,
            format!("the sidecar ended before `{job}` did; its next start tells how far it came\n"),
        ),
    }
}

fn allowed(access: &Access, headers: &HeaderMap, job: &str) -> Result<(), Box<Response>> {
    let Access::Token(token) = access else { return Ok(()) };
    let Some(token) = token.borrow().clone() else {
        let message = format!(
            "no token is configured: set `sidecar.token` or `sidecar.token_file`, or run `volkeep run {job}` beside \
             the sidecar\n"
        );
        return Err(Box::new(answer(StatusCode::FORBIDDEN, TEXT, message)));
    };
    let given = headers.get(AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
    if given.is_some_and(|given| is_same(given, &token)) {
        return Ok(());
    }
    let message = "the header `Authorization: Bearer …` with the right token is missing\n".to_owned();
    let refused = ([(WWW_AUTHENTICATE, "Bearer")], answer(StatusCode::UNAUTHORIZED, TEXT, message));
    Err(Box::new(refused.into_response()))
}

/// The scheme may be written in any case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Takes as long for every wrong token: hashes are compared, and those in constant time.
fn is_same(given: &[u8], token: &Secret) -> bool {
    blake3::hash(given) == blake3::hash(token.reveal().as_bytes())
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response {
    (status, plain_headers(), [(CONTENT_TYPE, content_type)], body).into_response()
}

fn plain_headers() -> [(HeaderName, &'static str); 2] {
    [(CACHE_CONTROL, "no-store"), (X_CONTENT_TYPE_OPTIONS, "nosniff")]
}
