//! Why a step was not done. Messages name the step, and never a value that was rendered, an argument, a header or the
//! path of an address: these may hold secrets.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::archive::ArchiveError;
use crate::base::action::ActionError;
use crate::base::http::HttpError;
use crate::base::process::ProcessError;
use crate::base::process::user::UserError;
use crate::notice::NoticeError;
use crate::snapshot::RelativePath;
use crate::step::source::SourceError;
use crate::tree::TreeError;

#[derive(Debug, Error)]
#[error("step {step}: {trouble}{}", after(*attempts))]
pub struct StepError {
    pub step: String,
    pub attempts: u32,
    pub trouble: Trouble,
}

#[derive(Debug, Error)]
pub enum Trouble {
    #[error(transparent)]
    Action(#[from] ActionError),
    /// What was waited for did not come.
    #[error("{what} was not there within {} s: {last}", limit.as_secs_f32())]
    NotThere { what: String, limit: Duration, last: String },
    /// The template is at fault.
    #[error("the template {template} cannot be rendered: {reason}")]
    Template { template: String, reason: String },
    #[error("the value {value} is to come from the variable {variable}, which is not set")]
    NoVariable { value: String, variable: String },
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("line {line} of {} is none such as app=\"wiki\"", path.display())]
    NotDownward { path: PathBuf, line: usize },
    #[error("the template and its values could not be read within {} s", limit.as_secs_f32())]
    Slow { limit: Duration },
    #[error("nothing can be given to another user: {0}")]
    Owner(UserError),
    /// Nothing but a file is replaced.
    #[error("{} is there and is no regular file", path.display())]
    NoFile { path: PathBuf },
    /// Nothing but a directory is replaced by what is in an archive.
    #[error("{} is there and is no directory", path.display())]
    NoDirectory { path: PathBuf },
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("nobody could be told: {0}")]
    Notice(#[from] NoticeError),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("it was stopped")]
    Stopped,
}

/// Why something was not fetched. What was there is as it was.
#[derive(Debug, Error)]
pub enum FetchError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("what came from {place} has the SHA-256 {found}, and {expected} is configured")]
    Checksum { place: String, expected: String, found: String },
    #[error("{place} has more than {limit} bytes, which is the limit")]
    TooLarge { place: String, limit: u64 },
    #[error("{place} has {size} bytes, and {free} are free")]
    NoSpace { place: String, size: u64, free: u64 },
    #[error("cannot look at {}: {source}", path.display())]
    Space { path: PathBuf, source: io::Error },
    #[error("from {place}: {source}")]
    Archive { place: String, source: ArchiveError },
    #[error("there is no directory {path} in the archive from {place}")]
    NotInArchive { place: String, path: RelativePath },
}

impl FetchError {
    fn may_pass(&self) -> bool {
        match self {
            Self::Source(error) => error.may_pass(),
            Self::Archive { source, .. } => {
                matches!(
                    source,
                    ArchiveError::Read(_) | ArchiveError::Truncated { .. } | ArchiveError::Tree(_)
                )
            }
            // Somebody may be about to put the right one there.
            Self::Checksum { .. } | Self::NoSpace { .. } | Self::Space { .. } => true,
            Self::TooLarge { .. } | Self::NotInArchive { .. } => false,
        }
    }
}

impl Trouble {
    /// Whether another attempt can end otherwise. A refused password stays refused, and the account may be locked.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Action(error) => match error {
                ActionError::Process(
                    ProcessError::Cancelled { .. } | ProcessError::User { .. } | ProcessError::Empty,
                )
                | ActionError::Url { .. }
                | ActionError::UserName
                | ActionError::Status { status: 401 | 403, .. } => false,
                ActionError::Http(error) => error.retryable(),
                _ => true,
            },
            Self::NotThere { .. } | Self::Unreadable { .. } | Self::Slow { .. } | Self::Tree(_) => true,
            Self::Fetch(error) => error.may_pass(),
            Self::Notice(error) => error.is_retryable(),
            Self::Template { .. }
            | Self::NoVariable { .. }
            | Self::NotDownward { .. }
            | Self::Owner(_)
            | Self::NoFile { .. }
            | Self::NoDirectory { .. }
            | Self::Stopped => false,
        }
    }

    /// Whether what is configured can never work here.
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Template { .. } | Self::NoVariable { .. } | Self::Owner(_) => true,
            Self::Action(error) => matches!(
                error,
                ActionError::Url { .. }
                    | ActionError::UserName
                    | ActionError::Process(ProcessError::User { .. })
                    | ActionError::Http(HttpError::Request { .. } | HttpError::CaFile { .. })
            ),
            Self::Fetch(FetchError::Source(error)) => error.is_configuration(),
            _ => false,
        }
    }
}

fn after(attempts: u32) -> String {
    if attempts > 1 { format!(" (after {attempts} attempts)") } else { String::new() }
}
