//! What runs beside the app: jobs by schedule and on request, under the volume's locks, with a state that lasts
//! on the volume and is shown to the outside. Must not know the command line or the configuration file.

pub mod alarm;
pub mod child;
pub mod control;
pub mod desk;
pub mod drain;
pub mod engine;
pub mod lookout;
pub mod means;
pub mod metrics;
pub mod notify;
pub mod once;
pub mod opening;
pub mod options;
pub mod outlook;
pub mod record;
mod run;
pub mod runner;
#[cfg(test)]
mod sample;
pub mod saver;
pub mod state;
pub mod status;
pub mod task;
pub mod tenure;
mod view;
pub mod web;

use std::io;
use std::net::SocketAddr;

use thiserror::Error;

use crate::ops::OpsError;
use crate::sidecar::alarm::AlarmError;

pub use means::{Means, Reload};
pub use run::run;

#[derive(Debug, Error)]
pub enum SidecarError {
    #[error(transparent)]
    Ops(#[from] OpsError),
    #[error(transparent)]
    Alarm(#[from] AlarmError),
    /// The address is in use, or not one of this machine.
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("{doing}: {source}")]
    Start { doing: &'static str, source: io::Error },
}
