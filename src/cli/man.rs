//! `volkeep man`: the manual, one page a command.

use std::path::PathBuf;

use clap::Args;

use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};

/// Print the manual page, or write those of all commands to a directory
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Write volkeep.1, volkeep-init.1 and so on to this directory
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

pub fn run(arguments: &Arguments, context: &mut Context) -> Result<Exit, Failure> {
    let command = crate::cli::command();
    match &arguments.directory {
        Some(directory) => {
            let failed = |error: &std::io::Error| {
                Failure::new(Exit::Failed, format!("cannot write the manual to {}", directory.display()))
                    .because(error)
            };
            std::fs::create_dir_all(directory).map_err(|error| failed(&error))?;
            clap_mangen::generate_to(command, directory).map_err(|error| failed(&error))?;
        }
        None => {
            clap_mangen::Man::new(command)
                .render(&mut context.out())
                .map_err(|error| Failure::output(&error))?;
        }
    }
    Ok(Exit::Done)
}
