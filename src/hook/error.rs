//! Why an action of a hook did not succeed. Each message names the hook, as it is configured, and never an
//! argument, a header or the path of an address: these may hold secrets.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::base::http::HttpError;
use crate::base::process::ProcessError;

#[derive(Debug, Error)]
pub enum HookError {
    /// It could not be run, or did not end in time.
    #[error("hook {hook}: {source}")]
    Process { hook: String, source: ProcessError },
    /// The command says that it failed.
    #[error("hook {hook}: `{program}` ended with exit code {code}{}", after_colon(said))]
    Failed { hook: String, program: String, code: i32, said: String },
    #[error("hook {hook}: {source}")]
    Http { hook: String, source: HttpError },
    #[error("hook {hook}: the address cannot be used: {reason}")]
    Url { hook: String, reason: String },
    /// The other side answered, and not as is expected.
    #[error("hook {hook}: {place} answered with status {status}{}", after_colon(said))]
    Status { hook: String, place: String, status: u16, said: String },
    #[error("hook {hook}: cannot read {}: {source}", path.display())]
    Unreadable { hook: String, path: PathBuf, source: io::Error },
    #[error("hook {hook}: {reason}")]
    NoProcess { hook: String, reason: String },
    /// Not even begun.
    #[error("hook {hook} was left out, because the work it is part of was stopped")]
    LeftOut { hook: String },
    #[error("hook {hook}: cannot send {signal} to process {pid}: {source}")]
    Signal { hook: String, signal: &'static str, pid: i32, source: io::Error },
}

fn after_colon(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}
