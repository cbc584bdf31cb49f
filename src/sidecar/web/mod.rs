//! What a sidecar shows over http, and the one thing that can be asked of it: to run a job. Reads the status, looks at
//! the volume and passes orders on; must not know how jobs are run.

mod answers;
pub mod ask;
mod gate;
mod page;
mod serve;
pub mod socket;
mod stall;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use tokio::sync::watch;

pub use gate::Gate;
pub use serve::{serve_tcp, serve_unix};

use crate::base::clock::Clock;
use crate::base::secret::Secret;
use crate::sidecar::control::Control;

/// Who may have a job run.
#[derive(Clone, Debug)]
pub enum Access {
    /// Whoever can open the socket: the mode of its file is the guard.
    Open,
    /// Whoever knows the token; nobody where there is none. A new configuration may bring another one.
    Token(watch::Receiver<Option<Secret>>),
}

#[derive(Clone, Debug)]
struct Shown {
    control: Control,
    access: Access,
    clock: Arc<dyn Clock>,
    gate: Gate,
}

pub fn router(control: Control, access: Access, clock: Arc<dyn Clock>, gate: Gate) -> Router {
    Router::new()
        .route("/", get(answers::page))
        .route("/healthz", get(answers::healthz))
        .route("/readyz", get(answers::readyz))
        .route("/volume", get(answers::volume))
        .route("/metrics", get(answers::metrics))
        .route("/status", get(answers::status))
        .route("/jobs/{name}/run", post(answers::run))
        .with_state(Shown { control, access, clock, gate })
}

#[cfg(test)]
mod tests;
