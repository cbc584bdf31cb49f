//! The command line: arguments in, text and an exit code out. Each command has a file that reads its arguments,
//! calls the layers below and prints what they report; no decision about data is made here.

pub mod arguments;
pub mod backup;
pub mod check;
pub mod completions;
pub mod config;
pub mod context;
pub mod demo;
pub mod diff;
pub mod drill;
pub mod exit;
pub mod export;
pub mod failures;
mod git_hints;
pub mod health;
mod hints;
pub mod init;
pub mod logging;
pub mod ls;
pub mod man;
pub mod means;
pub mod progress;
pub mod prune;
pub mod render;
pub mod repository;
pub mod repository_copy;
pub mod restore;
pub mod run;
pub mod scope;
pub mod scrub;
pub mod sidecar;
pub mod signals;
pub mod snapshots;
pub mod status;
pub mod task;
pub mod termination;
pub mod wait;

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::base::clock::{Clock, SystemClock};
use crate::base::environment::Environment;
use crate::cli::arguments::GlobalArguments;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};

/// Keeps a data volume: brings the data back before the app starts, and backs it up.
///
/// Everything can be set by a file, by environment variables or by flags; a flag wins over a variable, which
/// wins over the file. VOLKEEP_VOLUME=/data VOLKEEP_REPOSITORY=file:///backups/wiki is a complete configuration.
#[derive(Debug, Parser)]
#[command(name = "volkeep", version)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalArguments,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Arguments),
    Sidecar(sidecar::Arguments),
    Backup(backup::Arguments),
    Restore(restore::Arguments),
    Snapshots(snapshots::Arguments),
    Ls(ls::Arguments),
    Diff(diff::Arguments),
    Check(check::Arguments),
    Prune(prune::Arguments),
    Drill(drill::Arguments),
    Scrub(scrub::Arguments),
    Status(status::Arguments),
    Health(health::Arguments),
    Run(run::Arguments),
    Wait(wait::Arguments),
    Export(export::Arguments),
    Repository(repository::Arguments),
    Config(config::Arguments),
    Demo(demo::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
    #[command(hide = true)]
    Task(task::Arguments),
}

impl Command {
    /// Those that look at the wish to end; all others are ended by the signal itself, having begun nothing.
    fn ends_in_order(&self) -> bool {
        match self {
            Self::Init(_) | Self::Backup(_) | Self::Restore(_) => true,
            Self::Check(_) | Self::Prune(_) | Self::Drill(_) | Self::Wait(_) => true,
            Self::Scrub(_) => true,
            Self::Sidecar(_) | Self::Run(_) | Self::Task(_) => true,
            Self::Repository(arguments) => arguments.ends_in_order(),
            _ => false,
        }
    }
}

fn dispatch(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    match command {
        Command::Config(arguments) => config::run(&arguments, context),
        Command::Completions(arguments) => completions::run(&arguments, context),
        Command::Man(arguments) => man::run(&arguments, context),
        Command::Init(arguments) => init::run(&arguments, context),
        Command::Backup(arguments) => backup::run(&arguments, context),
        Command::Restore(arguments) => restore::run(&arguments, context),
        Command::Snapshots(arguments) => snapshots::run(&arguments, context),
        Command::Ls(arguments) => ls::run(&arguments, context),
        Command::Diff(arguments) => diff::run(&arguments, context),
        Command::Check(arguments) => check::run(&arguments, context),
        Command::Prune(arguments) => prune::run(&arguments, context),
        Command::Drill(arguments) => drill::run(&arguments, context),
        Command::Scrub(arguments) => scrub::run(&arguments, context),
        Command::Status(arguments) => status::run(&arguments, context),
        Command::Sidecar(arguments) => sidecar::run(&arguments, context),
        Command::Health(arguments) => health::run(&arguments, context),
        Command::Run(arguments) => run::run(&arguments, context),
        Command::Wait(arguments) => wait::run(&arguments, context),
        Command::Export(arguments) => export::run(&arguments, context),
        Command::Repository(arguments) => repository::run(&arguments, context),
        Command::Demo(arguments) => demo::run(&arguments, context),
        Command::Task(arguments) => task::run(&arguments, context),
    }
}

/// The whole run of the program.
pub fn run(arguments: impl IntoIterator<Item = OsString>, environment: &Environment) -> Exit {
    let parsed =
        command().try_get_matches_from(arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, and go to stdout. A closed stdout is nobody's concern here.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut context = Context::new(&cli.global, environment, &mut out);
    if cli.command.ends_in_order() {
        signals::end_in_order(&context.cancel);
    }
    let is_init = matches!(cli.command, Command::Init(_));
    let result = dispatch(cli.command, &mut context).and_then(|exit| context.flush().map(|()| exit));
    match result {
        Ok(exit) => exit,
        Err(failure) => {
            let failure = match context.cancel.is_cancelled() {
                true => failure.stopped(),
                false => failure,
            };
            // What was found before the failure is still worth reading.
            let _ = context.flush();
            let text = failure.render(context.log_format(), SystemClock::default().now());
            let _ = io::stderr().write_all(text.as_bytes());
            if is_init {
                termination::record(environment, &failure);
            }
            failure.exit
        }
    }
}

/// With the exit codes at the end of every help.
pub fn command() -> clap::Command {
    fn with_exit_codes(command: clap::Command) -> clap::Command {
        command.mut_subcommands(with_exit_codes).after_help(exit::table())
    }
    with_exit_codes(Cli::command())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }
}
