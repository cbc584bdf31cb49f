//! What every command is handed: arguments and environment, the checked configuration on request, stdout, and
//! how to show progress. Must not know single commands.

use std::fmt;
use std::io::{IsTerminal, Write};

use crate::base::cancel::Cancel;
use crate::base::environment::Environment;
use crate::base::progress::Progress;
use crate::cli::arguments::{GlobalArguments, log_format};
use crate::cli::exit::Failure;
use crate::cli::logging::{self, LogTarget};
use crate::cli::progress::{self, Style};
use crate::config::model::LogFormat;
use crate::config::{self, Flags, Loaded, Needs};

pub struct Context<'a> {
    pub environment: &'a Environment,
    pub cancel: Cancel,
    flags: Flags,
    out: &'a mut dyn Write,
    log: LogTarget,
    log_format: LogFormat,
    progress_style: Style,
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("flags", &self.flags).finish_non_exhaustive()
    }
}

impl<'a> Context<'a> {
    pub fn new(global: &GlobalArguments, environment: &'a Environment, out: &'a mut dyn Write) -> Self {
        let flags = global.flags();
        // The best guess until the configuration is read, for a configuration that cannot be.
        let guess = environment.get("VOLKEEP_LOG_FORMAT").map(log_format).unwrap_or_default();
        let progress_style = match (global.is_quiet(), std::io::stderr().is_terminal()) {
            (true, _) => Style::Nothing,
            (false, true) => Style::Bar,
            (false, false) => Style::Lines,
        };
        Self {
            environment,
            cancel: Cancel::new(),
            log_format: flags.log_format.unwrap_or(guess),
            flags,
            out,
            log: LogTarget::default(),
            progress_style,
        }
    }

    /// Reads and checks the configuration and sets up the log as it says.
    pub fn load(&mut self, needs: Needs) -> Result<Loaded, Failure> {
        let loaded = config::load(&self.flags, self.environment, needs)?;
        self.log_format = loaded.config.log.format;
        logging::set_up(&loaded.config.log, self.environment, self.log.clone());
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        Ok(loaded)
    }

    /// What the command line sets.
    pub fn flags(&self) -> &Flags {
        &self.flags
    }

    /// Writes a part of the result to stdout.
    pub fn print(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes()).map_err(|error| Failure::output(&error))
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|error| Failure::output(&error))
    }

    /// Stdout itself, for results that are streams.
    pub fn out(&mut self) -> &mut dyn Write {
        self.out
    }

    /// Shows `progress` while `work` runs. `what` is such as `restoring`.
    pub fn with_progress<T>(&self, what: &str, progress: &Progress, work: impl FnOnce() -> T) -> T {
        progress::show(what, progress, self.progress_style, &self.log, work)
    }

    pub fn log_format(&self) -> LogFormat {
        self.log_format
    }
}
