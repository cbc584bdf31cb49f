//! Why an action did not succeed. No message shows an argument, a header or the path of an address: these may hold
//! secrets.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::base::http::HttpError;
use crate::base::process::ProcessError;

#[derive(Debug, Error)]
pub enum ActionError {
    /// It could not be run, or did not end in time.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The command says that it failed.
    #[error("`{program}` ended with exit code {code}{}", after_colon(said))]
    Failed { program: String, code: i32, said: String },
    #[error(transparent)]
    Http(#[from] HttpError),
    /// For a person to mend.
    #[error("the address cannot be used: {reason}")]
    Url { reason: String },
    /// For a person to mend.
    #[error("the user name of `basic_auth` has a colon in it, which no server would understand")]
    UserName,
    /// The other side answered, and not as is expected.
    #[error("{place} answered with status {status}{}", after_colon(said))]
    Status { place: String, status: u16, said: String },
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
}

fn after_colon(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}
