//! When a job runs: expressions, time zones, the spread of a fleet, and what is due. Pure: every instant comes in
//! as a [`Timestamp`](crate::base::timestamp::Timestamp). Must not read a clock, wait, or know what a job does.

pub mod error;
pub mod expression;
mod fields;
pub mod jitter;
mod repeat;
pub mod timetable;
pub mod zone;

pub use error::ScheduleError;
pub use expression::Schedule;
pub use timetable::{Event, Job, Next, Record, Timetable, Trigger};
pub use zone::Zone;
