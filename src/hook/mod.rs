//! What is done around a job: commands, requests and signals, before it, after it, and to freeze the app while it
//! runs. A freeze is followed by a thaw whatever happens. Must not know what the job is.

mod action;
mod around;
mod command;
mod error;
mod frozen;
mod http;
mod perform;
mod process;
mod signal;

pub use action::{Action, Kind, SignalAction};
pub use around::{Ran, Trouble, around};
pub use error::HookError;
pub use frozen::{FrozenError, Left, left_behind, thaw_left_behind};
pub use perform::{Concluded, Hooks, Surroundings, conclude, perform, prepare};
pub use signal::SignalName;

#[cfg(test)]
mod around_tests;
