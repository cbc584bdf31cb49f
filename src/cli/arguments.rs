//! The flags every command takes, and how arguments that several commands share are read.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Args, Command, Error};

use crate::base::secret::Secret;
use crate::base::timestamp::Timestamp;
use crate::config::Flags;
use crate::config::model::{LogFormat, LogLevel};
use crate::config::repository_url::RepositoryUrl;
use crate::snapshot::RelativePath;
use crate::snapshot::summary::Wanted;

#[derive(Clone, Debug, Default, Args)]
pub struct GlobalArguments {
    /// The configuration file [default: /etc/volkeep/config.yaml if it is there]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    config: Option<PathBuf>,
    /// The directory to protect
    #[arg(long, global = true, value_name = "PATH", help_heading = "Global options")]
    volume: Option<String>,
    /// The repository, in place of those of the configuration
    #[arg(long, global = true, value_name = "URL", help_heading = "Global options", value_parser = secret)]
    repository: Option<Secret>,
    /// How the log on stderr is written: text or json
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        help_heading = "Global options",
        value_parser = PossibleValuesParser::new(["text", "json"]).map(|name| log_format(&name))
    )]
    log_format: Option<LogFormat>,
    /// Log only warnings and errors, and show no progress
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    quiet: bool,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    verbose: u8,
}

impl GlobalArguments {
    pub fn flags(&self) -> Flags {
        // Relative to where the command is typed, as people mean it. What cannot be made absolute is left for
        // the check of the configuration to refuse.
        let absolute = |path: &String| {
            let absolute = std::path::absolute(path).ok().and_then(|path| path.to_str().map(str::to_owned));
            absolute.unwrap_or_else(|| path.clone())
        };
        Flags {
            config: self.config.clone(),
            volume: self.volume.as_ref().map(absolute),
            repository: self.repository.clone(),
            log_format: self.log_format,
            log_level: match (self.quiet, self.verbose) {
                (true, _) => Some(LogLevel::Warn),
                (false, 0) => None,
                (false, 1) => Some(LogLevel::Debug),
                (false, _) => Some(LogLevel::Trace),
            },
        }
    }

    pub fn is_quiet(&self) -> bool {
        self.quiet
    }
}

/// Those that mean `flags`, without the configuration file.
pub fn arguments_of(flags: &Flags) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut add = |name: &str, value: &str| arguments.extend([name.to_owned(), value.to_owned()]);
    if let Some(volume) = &flags.volume {
        add("--volume", volume);
    }
    if let Some(repository) = &flags.repository {
        add("--repository", repository.reveal());
    }
    if let Some(format) = flags.log_format {
        add("--log-format", if format == LogFormat::Json { "json" } else { "text" });
    }
    match flags.log_level {
        Some(LogLevel::Error | LogLevel::Warn) => arguments.push("-q".to_owned()),
        Some(LogLevel::Debug) => arguments.push("-v".to_owned()),
        Some(LogLevel::Trace) => arguments.push("-vv".to_owned()),
        Some(LogLevel::Info) | None => {}
    }
    arguments
}

/// Any text: it is checked with the rest of the configuration.
fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

/// An address. What is wrong with it is said without repeating it, as it may hold a key or a token.
#[derive(Clone, Copy, Debug)]
pub struct Address;

impl TypedValueParser for Address {
    type Value = RepositoryUrl;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<RepositoryUrl, Error> {
        let text = value.to_str().ok_or_else(|| "it is not UTF-8".to_owned());
        text.and_then(str::parse).map_err(|why| {
            let name = argument.map(ToString::to_string).unwrap_or_default();
            let message = format!("invalid value for '{name}': {why}\n");
            Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}

pub fn log_format(name: &str) -> LogFormat {
    if name == "json" { LogFormat::Json } else { LogFormat::Text }
}

/// `latest`, or the beginning of a snapshot's name.
pub fn wanted(text: &str) -> Wanted {
    match text {
        "latest" => Wanted::Latest,
        name => Wanted::Named(name.to_owned()),
    }
}

pub fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_human(text)
        .ok_or_else(|| format!("`{text}` is not a time such as 2026-11-20, 2026-11-20T23:30 or @1795217400"))
}

/// Relative to the top of the snapshot; slashes at either end do no harm.
pub fn snapshot_path(text: &str) -> Result<RelativePath, String> {
    let trimmed = text.trim_start_matches("./").trim_matches('/');
    RelativePath::new(if trimmed == "." { "" } else { trimmed }).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_a_snapshot_are_typed_in_several_ways() {
        for text in ["a/b", "/a/b", "a/b/", "./a/b"] {
            assert_eq!(snapshot_path(text), Ok(RelativePath::new("a/b").unwrap()), "{text}");
        }
        for text in [".", "/", "./", ""] {
            assert_eq!(snapshot_path(text), Ok(RelativePath::root()), "{text}");
        }
        assert!(snapshot_path("../a").is_err());
    }

    #[test]
    fn a_relative_volume_is_where_the_command_is_typed() {
        let arguments = GlobalArguments { volume: Some("data".into()), ..Default::default() };
        let expected = std::env::current_dir().unwrap().join("data");
        assert_eq!(arguments.flags().volume.as_deref(), expected.to_str());
    }
}
