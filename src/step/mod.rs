//! What `init` does once the volume is ready and before the app starts: waiting for others, fetching and rendering files,
//! running commands, making requests, telling people. Holds what a step is, which of them are due, and how each is done; must not know what
//! makes a volume ready, or where the record of what was done is kept.

mod error;
mod fetch;
mod notify;
mod owner;
mod perform;
mod permissions;
mod place;
mod plan;
mod render;
mod source;
mod wait;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::action::{CommandAction, HttpAction};

pub use error::{FetchError, StepError, Trouble};
#[cfg(feature = "s3")]
pub use fetch::BucketSource;
pub use fetch::{Fetch, FileSource, Form, HttpSource};
pub use notify::{About, NOTIFY_FIELDS, Notify};
pub use perform::{Did, Host, Means, Outcome, perform, settled};
pub use permissions::Permissions;
pub use plan::{Began, Facts, Planned, Verdict, Why, plan, verdict};
pub use render::{Render, Template, Variable};
pub use source::{Content, Opened, Source, SourceError};
pub use wait::Wait;

#[derive(Clone, Debug)]
pub struct Step {
    /// The key of the record, so one with `once` has it.
    pub name: Option<String>,
    pub kind: Kind,
    /// For one attempt.
    pub timeout: Duration,
    /// How many attempts follow one that failed.
    pub retries: u32,
    /// The pause before the second attempt; each further one is twice as long.
    pub backoff: Duration,
    pub when: When,
    /// Done once for the data on the volume and a version, which is recorded.
    pub once: bool,
    pub version: u64,
}

#[derive(Clone, Debug)]
pub enum Kind {
    WaitFor(Wait),
    Fetch(Fetch),
    Render(Render),
    Run(CommandAction),
    Http {
        request: Box<HttpAction>,
        /// Statuses that mean that it was done before.
        already: Vec<u16>,
    },
    Notify(Notify),
    Permissions(Permissions),
}

/// In which starts a step has its turn. What is new on the volume stays new until all steps were done on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At every start.
    #[default]
    Always,
    /// The volume has just begun empty.
    Empty,
    /// A snapshot has just been brought back.
    Restored,
    /// The volume has just begun without a snapshot: empty, from an archive, or with data that was there.
    FirstBoot,
    /// The version recorded is lower than that of the step.
    Upgraded,
}

impl When {
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Empty => "empty",
            Self::Restored => "restored",
            Self::FirstBoot => "first_boot",
            Self::Upgraded => "upgraded",
        }
    }
}

impl Kind {
    pub fn name(&self) -> &'static str {
        match self {
            Self::WaitFor(_) => "wait_for",
            Self::Fetch(_) => "fetch",
            Self::Render(_) => "render",
            Self::Run(_) => "run",
            Self::Http { .. } => "http",
            Self::Notify(_) => "notify",
            Self::Permissions(_) => "permissions",
        }
    }
}

impl Step {
    /// How messages call it; `number` counts from 0.
    pub fn label(&self, number: usize) -> String {
        self.name.clone().unwrap_or_else(|| format!("{}-{}", self.kind.name(), number + 1))
    }

    /// Whether it may change the volume, or must not be done by two at once.
    pub fn needs_lock(&self) -> bool {
        let changes = match self.kind {
            Kind::Fetch(_) | Kind::Render(_) | Kind::Run(_) | Kind::Permissions(_) => true,
            Kind::WaitFor(_) | Kind::Http { .. } | Kind::Notify(_) => false,
        };
        self.once || changes
    }
}

/// Means for tests.
#[cfg(test)]
mod sample {
    use std::io;
    use std::path::{Path, PathBuf};

    use super::{About, Host, Means};
    use crate::base::cancel::Cancel;
    use crate::base::clock::Clock;

    #[derive(Debug)]
    struct Nobody;

    impl Host for Nobody {
        fn replace(&self, _: &Path, live: &Path) -> io::Result<PathBuf> {
            Err(io::Error::other(live.display().to_string()))
        }

        fn is_ready(&self, path: &Path, _: &Path) -> Result<(), String> {
            Err(format!("{} is not ready", path.display()))
        }
    }

    pub fn means<'a>(volume: &'a Path, clock: &'a dyn Clock, cancel: &'a Cancel) -> Means<'a> {
        Means {
            volume,
            told: Vec::new(),
            memory: volume.join("memory"),
            data: "data".to_owned(),
            about: About {
                identity: "wiki".to_owned(),
                host: "pod-0".to_owned(),
                version: "0.1.0",
                began: None,
                snapshot: None,
            },
            host: &Nobody,
            clock,
            cancel,
        }
    }
}
