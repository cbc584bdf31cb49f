//! Which notice is due, by what a job's record says before and after: pure, and remembered in the record itself,
//! so that a sidecar that starts again does not repeat what was told. A crash between remembering and telling
//! loses one notice; the next repetition makes up for it.

use std::time::Duration;

use crate::base::timestamp::Timestamp;
use crate::sidecar::notify::Event;
use crate::sidecar::record::{Outcome, Record};

/// A job that goes on failing is told again after this time, not after each run.
pub const REPEAT: Duration = Duration::from_secs(24 * 3_600);

/// What to tell of the run that has just ended, which `record` has counted already.
pub fn after_run(record: &mut Record, now: Timestamp, repeat: Duration) -> Option<Event> {
    let outcome = record.last.as_ref()?.outcome;
    if outcome.is_success() {
        let worried = record.told.failure.is_some() || record.told.silence.is_some();
        record.told = Default::default();
        return Some(if worried { Event::Recovery } else { Event::Success });
    }
    // Ended by a shutdown, on purpose. If it is never made up for, that will be a silence.
    if outcome == Outcome::Cancelled || !is_due(record.told.failure, now, repeat) {
        return None;
    }
    record.told.failure = Some(now);
    Some(Event::Failure)
}

/// Whether the last success is too old, and nobody knows yet. `since`: what counts for a job that never had one,
/// such as the start of the sidecar.
pub fn silent(record: &mut Record, since: Timestamp, max_age: Duration, now: Timestamp) -> Option<Event> {
    let last = record.last_success.as_ref().map_or(since, |run| run.started);
    if now.since(last) <= max_age || record.told.silence.is_some() {
        return None;
    }
    record.told.silence = Some(now);
    Some(Event::Silence)
}

/// A time in the future was written by a clock that has been set back since.
fn is_due(told: Option<Timestamp>, now: Timestamp, repeat: Duration) -> bool {
    told.is_none_or(|told| told > now || now.since(told) >= repeat)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sidecar::record::Run;
    use crate::sidecar::sample;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn at(hours: u32) -> Timestamp {
        sample::NOON.plus(HOUR * hours)
    }

    fn after(record: &mut Record, hours: u32, outcome: Outcome) -> Option<Event> {
        record.end(Run { started: at(hours), ..sample::run(outcome) });
        after_run(record, at(hours), REPEAT)
    }

    #[test]
    fn the_first_failure_of_a_row_is_told_then_one_a_day_then_the_recovery() {
        let mut record = Record::default();
        assert_eq!(after(&mut record, 0, Outcome::Done), Some(Event::Success));
        assert_eq!(after(&mut record, 1, Outcome::Failed), Some(Event::Failure));
        for hours in 2..25 {
            assert_eq!(after(&mut record, hours, Outcome::TimedOut), None, "{hours}");
        }
        assert_eq!(after(&mut record, 25, Outcome::Refused), Some(Event::Failure));
        assert_eq!(after(&mut record, 26, Outcome::Failed), None);
        assert_eq!(after(&mut record, 27, Outcome::Partial), Some(Event::Recovery));
        assert_eq!(after(&mut record, 28, Outcome::Done), Some(Event::Success));
        assert_eq!(after(&mut record, 29, Outcome::Interrupted), Some(Event::Failure));
    }

    #[test]
    fn a_run_ended_on_purpose_is_neither_told_nor_hides_a_failure() {
        let mut record = Record::default();
        assert_eq!(after(&mut record, 0, Outcome::Cancelled), None);
        assert_eq!(after(&mut record, 1, Outcome::Done), Some(Event::Success));
        assert_eq!(after(&mut record, 2, Outcome::Cancelled), None);
        assert_eq!(after(&mut record, 3, Outcome::Failed), Some(Event::Failure));
    }

    #[test]
    fn a_silence_is_told_once_and_ends_with_a_success() {
        let mut record = Record::default();
        assert_eq!(silent(&mut record, at(0), 2 * HOUR, at(2)), None, "it is young yet");
        assert_eq!(silent(&mut record, at(0), 2 * HOUR, at(3)), Some(Event::Silence));
        assert_eq!(silent(&mut record, at(0), 2 * HOUR, at(90)), None);
        assert_eq!(after(&mut record, 91, Outcome::Done), Some(Event::Recovery));
        assert_eq!(silent(&mut record, at(0), 2 * HOUR, at(92)), None);
        assert_eq!(silent(&mut record, at(0), 2 * HOUR, at(94)), Some(Event::Silence));
    }

    #[test]
    fn what_was_told_lasts_and_a_clock_set_back_hides_nothing() {
        let mut record = Record::default();
        assert_eq!(after(&mut record, 5, Outcome::Failed), Some(Event::Failure));
        let text = serde_json::to_string(&record).unwrap();
        let mut again: Record = serde_json::from_str(&text).unwrap();
        assert_eq!(after(&mut again, 6, Outcome::Failed), None);
        assert_eq!(after(&mut again, 1, Outcome::Failed), Some(Event::Failure));
    }
}
