//! Waits until the volume is ready, for platforms that start everything at once: by looking at it, or by asking the
//! sidecar beside it.

use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::http::{Request, Url, send};
use crate::base::pause::pause;
use crate::ops::{OpsError, Scope};
use crate::volume::NotYet;

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// Between two requests.
const PAUSE: Duration = Duration::from_millis(500);
/// A sidecar that has to think for 5 seconds says so itself.
const LONGEST_REQUEST: Duration = Duration::from_secs(8);
const LONGEST_ANSWER: usize = 4 << 10;
const LONGEST_WORDS: usize = 300;

/// Returns when the marker says ready and the data is there, and not before steps were done on what is new on the
/// volume: those that are configured here (`steps`), or those that the last init had. What does not mend itself by
/// waiting is an error at once.
pub fn run(scope: &Scope, timeout: Duration, steps: bool) -> Result<(), OpsError> {
    let deadline = scope.clock.elapsed() + timeout;
    let mut pause = FIRST_PAUSE;
    loop {
        let not_yet = match scope.volume.readiness(steps) {
            Ok(()) => return Ok(()),
            Err(NotYet::Unknown(error)) => return Err(error.into()),
            Err(NotYet::Mismatch { found, expected }) => return Err(OpsError::Mismatch { found, expected }),
            Err(not_yet) => not_yet,
        };
        let left = deadline.saturating_sub(scope.clock.elapsed());
        if left.is_zero() || scope.cancel.is_cancelled() {
            let what = format!("preparing the volume ({not_yet})");
            return Err(OpsError::TimedOut { what, limit: timeout });
        }
        scope.clock.sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The same by the answer of a sidecar at `url`: status 200 is ready, and whatever else comes, or does not, may be the
/// sidecar's way of being started. What came last is told when the time is over.
pub fn run_by_url(url: &Url, timeout: Duration, clock: &dyn Clock, cancel: &Cancel) -> Result<(), OpsError> {
    let deadline = clock.elapsed() + timeout;
    loop {
        let left = deadline.saturating_sub(clock.elapsed());
        let request = Request {
            // At least one attempt, however short the time.
            timeout: left.clamp(Duration::from_secs(1), LONGEST_REQUEST),
            longest_answer: LONGEST_ANSWER,
            ..Request::get(url.clone())
        };
        let last = match send(&request, cancel) {
            Ok(answer) if answer.status == 200 => return Ok(()),
            Ok(answer) => {
                format!("{} answered with status {}{}", url.place(), answer.status, words(&answer.body))
            }
            Err(error) => error.to_string(),
        };
        let left = deadline.saturating_sub(clock.elapsed());
        if left.is_zero() || cancel.is_cancelled() {
            let what = format!("preparing the volume ({last})");
            return Err(OpsError::TimedOut { what, limit: timeout });
        }
        pause(clock, cancel, PAUSE.min(left));
    }
}

/// The first line of an answer, fit for a message.
fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line: String = text
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST_WORDS)
        .collect();
    if line.is_empty() { line } else { format!(": {line}") }
}
