//! How a run ends: the exit codes, and the failure that people read on stderr. Only here do errors become codes
//! and hints.

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;

use serde_json::json;

use crate::base::timestamp::Timestamp;
use crate::config::ConfigErrors;
use crate::config::model::LogFormat;

/// Scripts and orchestrators rely on these numbers: they do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Partial = 3,
    NoSnapshot = 10,
    InUse = 11,
    Damaged = 12,
    Unreachable = 13,
    Denied = 14,
    Identity = 15,
    Refused = 16,
    Configuration = 78,
}

impl Exit {
    pub const ALL: [Self; 12] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Partial,
        Self::NoSnapshot,
        Self::InUse,
        Self::Damaged,
        Self::Unreachable,
        Self::Denied,
        Self::Identity,
        Self::Refused,
        Self::Configuration,
    ];

    pub fn code(self) -> u8 {
        self as u8
    }

    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Usage => "wrong usage",
            Self::Partial => "done in part; what is missing is named",
            Self::NoSnapshot => "no repository or no snapshot",
            Self::InUse => "locked or in use",
            Self::Damaged => "wrong key, or a damaged repository",
            Self::Unreachable => "repository unreachable",
            Self::Denied => "access denied",
            Self::Identity => "the identity does not match",
            Self::Refused => "refused to protect data",
            Self::Configuration => "configuration not usable",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The table at the end of every `--help`.
pub fn table() -> String {
    let mut text = String::from("Exit codes:\n");
    for exit in Exit::ALL {
        let _ = writeln!(text, "  {:<3} {}", exit.code(), exit.meaning());
    }
    text.trim_end().to_owned()
}

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
    /// From the nearest to the first cause.
    pub causes: Vec<String>,
    /// What to do about it.
    pub hint: Option<String>,
    quiet: bool,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), causes: Vec::new(), hint: None, quiet: false }
    }

    /// `error` is the message, what it comes from are the causes.
    pub fn of(exit: Exit, error: &dyn Error) -> Self {
        let mut failure = Self::new(exit, error.to_string());
        if let Some(source) = error.source() {
            failure.add_chain(source);
        }
        failure
    }

    /// Adds `error` and what it comes from as causes.
    pub fn because(mut self, error: &dyn Error) -> Self {
        self.add_chain(error);
        self
    }

    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    /// For a run that was told to end: that a store did not answer until then says nothing about the store.
    pub fn stopped(self) -> Self {
        match self.exit {
            Exit::Unreachable => {
                let message =
                    format!("stopped before it was done; the last that was heard: {}", self.message);
                Self { exit: Exit::Failed, message, hint: None, ..self }
            }
            _ => self,
        }
    }

    /// For a result that cannot be written. A reader that went away (`volkeep ls … | head`) has what it wanted.
    pub fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self { quiet: true, ..Self::new(Exit::Done, "") },
            _ => Self::new(Exit::Failed, "cannot write the result to stdout").because(error),
        }
    }

    /// As it goes to stderr; empty when there is nothing to say.
    pub fn render(&self, format: LogFormat, now: Timestamp) -> String {
        if self.quiet {
            return String::new();
        }
        match format {
            LogFormat::Text => self.to_text(),
            LogFormat::Json => {
                let line = json!({
                    "timestamp": now.to_rfc3339(),
                    "level": "ERROR",
                    "message": self.message,
                    "causes": self.causes,
                    "hint": self.hint,
                    "exit": self.exit.code(),
                });
                format!("{line}\n")
            }
        }
    }

    pub fn to_text(&self) -> String {
        let mut text = format!("volkeep: {}\n", self.message);
        for cause in &self.causes {
            let _ = writeln!(text, "  cause: {cause}");
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "  hint: {hint}");
        }
        text
    }

    fn add_chain(&mut self, error: &dyn Error) {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            // Many messages end in the one of their source: saying it once is enough.
            let said = self.causes.last().unwrap_or(&self.message);
            if !said.contains(&text) {
                self.causes.push(text);
            }
            next = error.source();
        }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self {
            causes: errors.0.iter().map(ToString::to_string).collect(),
            ..Self::new(Exit::Configuration, "the configuration is not usable")
        }
        .hint(
            "`volkeep config schema` prints every key, `volkeep config show --origin` where values come from",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thiserror::Error;

    #[derive(Debug, Error)]
    #[error("cannot open the pack: {source}")]
    struct Outer {
        #[source]
        source: Inner,
    }

    #[derive(Debug, Error)]
    #[error("the disk said no")]
    struct Inner;

    #[test]
    fn a_failure_says_what_why_and_what_to_do() {
        let failure = Failure::new(Exit::Failed, "the backup failed")
            .because(&Outer { source: Inner })
            .hint("try another disk");
        assert_eq!(
            failure.to_text(),
            "volkeep: the backup failed\n  cause: cannot open the pack: the disk said no\n  hint: try another disk\n"
        );
        assert_eq!(Failure::of(Exit::Failed, &Outer { source: Inner }).causes, Vec::<String>::new());
    }

    #[test]
    fn a_failure_is_one_line_of_json_when_the_log_is() {
        let text = Failure::new(Exit::Refused, "no\nway").render(LogFormat::Json, Timestamp::default());
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((line["exit"].as_u64(), line["message"].as_str()), (Some(16), Some("no\nway")));
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let failure = Failure::output(&io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.exit, Exit::Done);
        assert_eq!(failure.render(LogFormat::Text, Timestamp::default()), "");
    }
}
