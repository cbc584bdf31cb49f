//! `volkeep health`: what a platform asks that can only run a program in the container.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::scope::open_scope;
use crate::config::Needs;
use crate::sidecar::web::ask::{AskError, Question, ask_how_it_is};

/// Say whether the sidecar of the volume works
///
/// For health checks of container platforms where no request can be sent over the network. Asks by way of the volume.
/// With 0 all is well.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Ask whether backups are as they should be, not only whether the sidecar works
    #[arg(long)]
    pub ready: bool,
}

pub fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let (scope, _) = open_scope(context, Needs::VOLUME)?;
    let question = if arguments.ready { Question::Ready } else { Question::Alive };
    match ask_how_it_is(scope.state_dir(), question) {
        Ok(None) => {
            context.print("ok\n")?;
            Ok(Exit::Done)
        }
        Ok(Some(reasons)) => Err(Failure::new(Exit::Failed, reasons)),
        Err(AskError::NotListening) => {
            Err(Failure::new(Exit::Failed, format!("no sidecar listens in {}", scope.state_dir().display())))
        }
        Err(error) => Err(Failure::of(Exit::Failed, &error)),
    }
}
