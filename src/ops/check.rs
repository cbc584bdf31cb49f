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

/// How much of the data is read beside the structure.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckOptions {
    /// Of the packs, in full; 0 is structure only.
    pub verify_percent: u8,
    /// Which part, for those who come again: see `CheckRequest::verify_turn`.
    pub verify_turn: Option<u64>,
}

pub fn run(scope: &Scope, options: CheckOptions) -> Result<Vec<Checked>, OpsError> {
    scope.first_repository()?;
    let request = CheckRequest {
        verify_percent: options.verify_percent,
        verify_turn: options.verify_turn,
        cache: Some(scope.volume.cache_dir()),
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
