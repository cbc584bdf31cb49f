//! A copy from one packed repository to another: snapshot by snapshot, oldest first, each committed when all it
//! refers to is durable. Frames stay as they are, segments are written anew over their new places.

mod carry;
mod content;
mod fetch;
mod index;
mod origin;
mod plan;
mod session;
mod target;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::base::clock::Clock;
use crate::repository::packed::Packed;
use crate::repository::packed::copy::session::Session;
use crate::repository::packed::descriptor::Descriptor;
use crate::repository::packed::objects::Objects;
use crate::repository::{CopyPlan, CopyReport, CopyRequest, Repository, RepositoryError, Route};

/// From packed to packed.
#[derive(Debug)]
pub struct PackedRoute {
    from: Packed,
    to: Packed,
    clock: Arc<dyn Clock>,
}

impl PackedRoute {
    pub fn new(from: Packed, to: Packed, clock: Arc<dyn Clock>) -> Self {
        Self { from, to, clock }
    }

    fn open(&self) -> Result<[(Descriptor, Objects); 2], RepositoryError> {
        let (from, to) = (self.from.open()?, self.to.open()?);
        if from.0.id == to.0.id {
            return Err(RepositoryError::Refused(format!(
                "{} and {} are the same repository, or one is a raw copy of the other",
                from.1.location(),
                to.1.location()
            )));
        }
        if from.0.identity != to.0.identity {
            return Err(RepositoryError::Identity {
                location: to.1.location(),
                found: to.0.identity,
                expected: from.0.identity,
            });
        }
        Ok([from, to])
    }
}

impl Route for PackedRoute {
    fn from(&self) -> &dyn Repository {
        &self.from
    }

    fn to(&self) -> &dyn Repository {
        &self.to
    }

    fn plan(&self, request: &CopyRequest<'_>) -> Result<CopyPlan, RepositoryError> {
        match self.open() {
            Ok([from, to]) => plan::run(&from, Some(&to), request),
            // Whether it is the target that is absent shows when the source is opened.
            Err(RepositoryError::Absent(_)) => plan::run(&self.from.open()?, None, request),
            Err(error) => Err(error),
        }
    }

    fn copy(&self, request: &CopyRequest<'_>) -> Result<CopyReport, RepositoryError> {
        let [from, to] = self.open()?;
        let mut report = CopyReport::default();
        report.stopped = Session::new(&from, &to, request)?.run(&mut report).err();
        if !report.copied.is_empty()
            && let Err(error) = to.1.store.tidy(self.clock.now())
        {
            tracing::warn!(%error, "left-over temporary files stay in the repository");
        }
        Ok(report)
    }
}
