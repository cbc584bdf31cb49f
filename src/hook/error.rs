//! Why an action of a hook did not succeed. Each message names the hook, as it is configured, and never an
//! argument, a header or the path of an address: these may hold secrets.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::base::action::ActionError;

#[derive(Debug, Error)]
pub enum HookError {
    #[error("hook {hook}: {source}")]
    Action { hook: String, source: ActionError },
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
