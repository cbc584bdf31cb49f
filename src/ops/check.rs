//! Checks every repository: structure, and as much of the data as asked for.

use serde::Serialize;

use crate::ops::{OpsError, Scope};
use crate::repository::{CheckReport, CheckRequest};

#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    pub repository: String,
    #[serde(flatten)]
    pub report: CheckReport,
}

/// `verify_percent` of the packs are read in full; 0 is structure only.
pub fn run(scope: &Scope, verify_percent: u8) -> Result<Vec<Checked>, OpsError> {
    scope.first_repository()?;
    let request = CheckRequest {
        verify_percent,
        workers: scope.workers.clone(),
        cancel: scope.cancel.clone(),
        progress: scope.progress.clone(),
    };
    let mut all = Vec::new();
    for repository in &scope.repositories {
        all.push(Checked { repository: repository.location(), report: repository.check(&request)? });
    }
    Ok(all)
}
