//! What runs beside the app: jobs by schedule and on request, under the volume's locks, with a state that lasts
//! on the volume and is shown to the outside. Must not know the command line or the configuration file.

pub mod alarm;
pub mod child;
pub mod control;
pub mod desk;
pub mod metrics;
pub mod notify;
pub mod record;
#[cfg(test)]
mod sample;
pub mod state;
pub mod status;
pub mod task;
pub mod web;
