//! `volkeep completions`: prints what a shell needs to complete commands and flags.

use clap::Args;
use clap_complete::Shell;

use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};

/// Print the completions for a shell
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    pub shell: Shell,
}

pub fn run(arguments: &Arguments, context: &mut Context) -> Result<Exit, Failure> {
    // The generator panics when it cannot write, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut crate::cli::command(), "volkeep", &mut script);
    context.print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
