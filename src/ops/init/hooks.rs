//! The hooks of `init`: before it changes the volume, and after that or after a failure. On a volume that is good
//! as it is none of them runs, so that its start stays a matter of milliseconds.

use super::{InitOptions, InitReport};
use crate::base::cancel::Cancel;
use crate::hook::{Surroundings, conclude, prepare};
use crate::ops::{OpsError, Scope};

const NAME: &str = "init";

/// To be called when the volume is about to be changed. Only the first call does something.
pub(super) type Before<'a> = dyn FnMut() -> Result<(), OpsError> + 'a;

pub(super) fn with_hooks(
    scope: &Scope,
    options: &InitOptions,
    work: impl FnOnce(&mut Before<'_>) -> Result<InitReport, OpsError>,
) -> Result<InitReport, OpsError> {
    let volume = scope.volume.path();
    let surroundings = Surroundings {
        job: NAME,
        env: vec![("VOLKEEP_VOLUME".to_owned(), volume.display().to_string())],
        directory: Some(volume.to_owned()),
        state_dir: scope.state_dir(),
        clock: scope.clock.as_ref(),
        cancel: scope.cancel.clone(),
        // A second signal ends the process anyway.
        abandon: Cancel::new(),
    };
    let mut began = false;
    let result = work(&mut || match std::mem::replace(&mut began, true) {
        true => Ok(()),
        false => Ok(prepare(&options.hooks, &surroundings)?),
    });
    if !began && result.is_ok() {
        return result;
    }
    let error = result.as_ref().err().map(ToString::to_string);
    let brought = result.as_ref().ok().and_then(|report| report.brought.as_ref());
    let results: Vec<_> = brought
        .map(|brought| ("VOLKEEP_SNAPSHOT".to_owned(), brought.snapshot.clone()))
        .into_iter()
        .collect();
    match conclude(&options.hooks, &surroundings, error.as_deref(), &results).after {
        Some(error) => Err(error.into()),
        None => result,
    }
}
