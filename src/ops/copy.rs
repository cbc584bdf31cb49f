//! Copies snapshots from one repository to another: makes sure that both are what they should be, chooses, plans
//! or copies, and reports.

use crate::base::cancel::Cancel;
use crate::base::progress::Progress;
use crate::ops::OpsError;
use crate::ops::reach::pick;
use crate::repository::{
    Absent, Chosen, CopyPlan, CopyReport, CopyRequest, Presence, Repository, RepositoryError, Route, Workers,
};
use crate::snapshot::summary::{PickError, Wanted};

#[derive(Clone, Debug, Default)]
pub struct CopyOptions {
    pub selection: Selection,
    /// Make the target if it is absent, with the identity of the source.
    pub create: bool,
    pub dry_run: bool,
}

#[derive(Clone, Debug, Default)]
pub enum Selection {
    #[default]
    All,
    /// So many of the newest.
    Last(usize),
    Named(Vec<Wanted>),
}

#[derive(Clone, Debug)]
pub struct CopyMeans {
    pub workers: Workers,
    pub progress: Progress,
    pub cancel: Cancel,
}

#[derive(Debug)]
pub enum Copied {
    /// Nothing was done.
    Plan(CopyPlan),
    Done(CopyReport),
}

pub fn run(route: &dyn Route, means: &CopyMeans, options: &CopyOptions) -> Result<Copied, OpsError> {
    let identity = source_identity(route.from())?;
    prepare_target(route.to(), &identity, options)?;
    let request = CopyRequest {
        chosen: &chosen(route.from(), &options.selection)?,
        workers: &means.workers,
        progress: &means.progress,
        cancel: &means.cancel,
    };
    Ok(match options.dry_run {
        true => Copied::Plan(route.plan(&request)?),
        false => Copied::Done(route.copy(&request)?),
    })
}

fn source_identity(source: &dyn Repository) -> Result<String, OpsError> {
    match source.identity() {
        Err(RepositoryError::Absent(absent)) => Err(OpsError::SourceAbsent(absent)),
        other => Ok(other?),
    }
}

/// Nothing is made before it is certain that there is something to copy from.
fn prepare_target(target: &dyn Repository, identity: &str, options: &CopyOptions) -> Result<(), OpsError> {
    match target.probe()? {
        Presence::Empty | Presence::Ready => {
            let (found, expected) = (target.identity()?, identity.to_owned());
            match found == expected {
                true => Ok(()),
                false => {
                    Err(RepositoryError::Identity { location: target.location(), found, expected }.into())
                }
            }
        }
        Presence::Absent(missing) if !options.create => {
            Err(OpsError::TargetAbsent(Absent { location: target.location(), missing }))
        }
        Presence::Absent(_) if options.dry_run => Ok(()),
        Presence::Absent(_) => Ok(target.create(identity)?),
    }
}

fn chosen(source: &dyn Repository, selection: &Selection) -> Result<Chosen, OpsError> {
    let wanted = match selection {
        Selection::All => return Ok(Chosen::All),
        Selection::Last(count) => return Ok(Chosen::Last(*count)),
        Selection::Named(wanted) => wanted,
    };
    let names = source.names()?;
    let failed =
        |source_error: PickError| OpsError::Pick { location: source.location(), source: source_error };
    let mut named = Vec::with_capacity(wanted.len());
    for one in wanted {
        named.push(match one {
            // The name is all that is needed: a damaged one is found out in its turn.
            Wanted::Named(_) => {
                let found = one.candidates(&names).map_err(failed)?;
                found.first().map(|id| (*id).clone()).ok_or_else(|| failed(one.missing()))?
            }
            Wanted::Latest | Wanted::At(_) => pick(source, one)?.id,
        });
    }
    Ok(Chosen::Named(named))
}
