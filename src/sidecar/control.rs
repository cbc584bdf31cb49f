//! The handle on a working sidecar for whoever serves requests: reads its status, asks it to run a job. Must not
//! know who asks.

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use crate::sidecar::record::Run;
use crate::sidecar::status::Status;

#[derive(Clone, Debug)]
pub struct Control {
    status: watch::Receiver<Arc<Status>>,
    orders: mpsc::Sender<Order>,
}

/// What the sidecar's loop is asked for.
#[derive(Debug)]
pub struct Order {
    pub job: String,
    /// Told once whether the run was accepted, and through the inner channel how it ended.
    pub reply: oneshot::Sender<Result<oneshot::Receiver<Run>, OrderError>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OrderError {
    #[error("there is no job `{job}`; there are: {}", known.join(", "))]
    Unknown { job: String, known: Vec<String> },
    #[error("the sidecar is ending")]
    Ending,
    #[error("this sidecar stands by: another one works on the volume, or nothing has made it ready yet")]
    StandingBy,
}

impl Control {
    pub fn new(status: watch::Receiver<Arc<Status>>, orders: mpsc::Sender<Order>) -> Self {
        Self { status, orders }
    }

    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status.borrow())
    }

    /// Resolves when the status is another one than at the last call on this handle.
    pub async fn changed(&mut self) -> bool {
        self.status.changed().await.is_ok()
    }

    /// Resolves as soon as the sidecar's loop takes notice, or has ended: it is asked for the job without a name, which
    /// there never is.
    pub async fn answers(&self) {
        let _ = self.run("").await;
    }

    /// Has the job run as soon as possible; who asks while a run waits already is told of that one. The receiver tells how the run ended.
    pub async fn run(&self, job: &str) -> Result<oneshot::Receiver<Run>, OrderError> {
        let (reply, answer) = oneshot::channel();
        let order = Order { job: job.to_owned(), reply };
        self.orders.send(order).await.map_err(|_| OrderError::Ending)?;
        answer.await.map_err(|_| OrderError::Ending)?
    }
}
