//! `volkeep config`: checks, shows and explains the configuration.

use clap::{Args, Subcommand};

use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::render::{Align, table};
use crate::config::{Needs, reference, schema, show};

/// Check, show or explain the configuration
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Say whether the configuration is usable, and everything that is wrong with it
    Check,
    /// Print the configuration that is in effect, as YAML
    Show {
        /// Print where each value comes from
        #[arg(long)]
        origin: bool,
    },
    /// Print the JSON schema, for editors
    Schema,
    /// Print what every key means, its default and its variable, as Markdown
    Reference,
}

pub fn run(arguments: &Arguments, context: &mut Context) -> Result<Exit, Failure> {
    match &arguments.action {
        Action::Check => {
            context.load(Needs::BOTH)?;
            context.print("ok\n")?;
        }
        Action::Show { origin: false } => {
            let loaded = context.load(Needs::NOTHING)?;
            let yaml = show::to_yaml(&loaded.config)
                .map_err(|error| Failure::new(Exit::Failed, format!("cannot write YAML: {error}")))?;
            context.print(&yaml)?;
        }
        Action::Show { origin: true } => {
            let loaded = context.load(Needs::NOTHING)?;
            let row = |line: show::Line| vec![line.key, line.value, line.origin.to_string()];
            let rows: Vec<Vec<String>> = show::lines(&loaded).into_iter().map(row).collect();
            let columns = [("KEY", Align::Left), ("VALUE", Align::Left), ("ORIGIN", Align::Left)];
            context.print(&table(&columns, &rows))?;
        }
        Action::Schema => context.print(&format!("{:#}\n", schema::json_schema()))?,
        Action::Reference => context.print(&reference::markdown(&schema::json_schema()))?,
    }
    Ok(Exit::Done)
}
