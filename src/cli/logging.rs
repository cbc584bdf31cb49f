//! The log on stderr, as text or JSON, and how it shares the terminal with a progress bar.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex};

use indicatif::ProgressBar;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::base::environment::Environment;
use crate::config::model::{LogConfig, LogFormat, LogLevel};

/// Only the first call has an effect: there is one log in a process.
pub fn set_up(config: &LogConfig, environment: &Environment, target: LogTarget) {
    let colours = io::stderr().is_terminal() && environment.get("NO_COLOR").is_none_or(str::is_empty);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter(config.level)))
        .with_writer(target)
        .with_ansi(colours && config.format == LogFormat::Text)
        // A log that cannot be written must not end the work: by default the library would print, and panic.
        .log_internal_errors(false)
        .with_target(false);
    let _ = match config.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// The libraries are heard from warnings on only: in its details the client of S3 shows keys and tokens.
fn filter(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "warn,volkeep=info",
        LogLevel::Debug => "warn,volkeep=debug",
        LogLevel::Trace => "warn,volkeep=trace",
    }
}

/// Stderr; while a progress bar is drawn there, the bar steps aside for each line.
#[derive(Clone, Debug, Default)]
pub struct LogTarget(Arc<Mutex<Option<ProgressBar>>>);

impl LogTarget {
    pub fn set_bar(&self, bar: Option<ProgressBar>) {
        if let Ok(mut current) = self.0.lock() {
            *current = bar;
        }
    }
}

impl<'a> MakeWriter<'a> for LogTarget {
    type Writer = BesideBar;

    fn make_writer(&'a self) -> BesideBar {
        BesideBar(self.0.lock().ok().and_then(|bar| bar.clone()))
    }
}

#[derive(Debug)]
pub struct BesideBar(Option<ProgressBar>);

impl Write for BesideBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Some(bar) => bar.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
