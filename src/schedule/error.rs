//! What is wrong with a schedule or a time zone. Always the fault of who wrote it; trying again never helps.

use thiserror::Error;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScheduleError {
    #[error("the schedule is empty; write one such as `@hourly`, `03:00`, `*/15 * * * *` or `@every 15m`")]
    Empty,
    #[error(
        "schedule `{text}`: a cron expression has 5 fields (minute, hour, day of month, month, weekday) or 6 (seconds \
         first), and this has {count}; write one of those, or `03:00`, `@daily` or `@every 15m`"
    )]
    Count { text: String, count: usize },
    #[error("schedule `{text}`: {field} `{value}`: {cause}; {way_out}")]
    Field { text: String, field: &'static str, value: String, cause: String, way_out: String },
    #[error(
        "schedule `{text}`: day of month `{day}`: no date in month `{month}` is such a day, so this would never \
         run; name a day the month has, or `L` for its last"
    )]
    Never { text: String, day: String, month: String },
    #[error("schedule `{text}`: there is no such name; {way_out}")]
    Name { text: String, way_out: String },
    #[error("schedule `{text}`: interval: {cause}; write a duration of at least 1s, such as `@every 15m`")]
    Interval { text: String, cause: String },
    #[error(
        "schedule `{text}`: `{value}` is not a time of day; write it from 00:00 to 23:59, such as `03:00`"
    )]
    TimeOfDay { text: String, value: String },
    #[error("time zone `{text}` is not known; {way_out}")]
    Zone { text: String, way_out: String },
}
