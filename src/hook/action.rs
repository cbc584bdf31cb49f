//! One action of a hook as it was configured. Its serialized form, which is that of the frozen marker, holds
//! secrets as they are.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::signal::SignalName;
use crate::base::action::{CommandAction, HttpAction};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    pub kind: Kind,
    /// After this a command is ended with its group, and a request is given up.
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Command(CommandAction),
    /// What is said about the job goes along as headers: `VOLKEEP_JOB` is `Volkeep-Job`.
    Http(Box<HttpAction>),
    Signal(SignalAction),
}

impl Kind {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Command(_) => "command",
            Self::Http(_) => "http",
            Self::Signal(_) => "signal",
        }
    }
}

/// A signal to processes in our PID namespace. At least one of the last two is given; with both, the process of the
/// file must have the name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalAction {
    pub signal: SignalName,
    /// The name of the executable. Children of processes with the same name are left alone.
    pub process: Option<String>,
    /// Its first line is the number of the process.
    pub pid_file: Option<PathBuf>,
}
