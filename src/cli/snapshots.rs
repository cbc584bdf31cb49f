//! `volkeep snapshots`: lists what is in the repository.

use clap::Args;
use serde::Serialize;

use crate::base::units::ByteSize;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::render::{Align, grouped, json, plural, printable, table};
use crate::cli::scope::open_scope;
use crate::config::Needs;
use crate::ops;
use crate::ops::drill::record::DrillRecord;
use crate::repository::Listing;
use crate::snapshot::Summary;

/// List the snapshots of the repository, oldest first
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    repository: &'a str,
    #[serde(flatten)]
    summary: &'a Summary,
    /// When a drill last brought it back whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    proved: Option<String>,
}

pub fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let (scope, _) = open_scope(context, Needs::BOTH)?;
    let (all, failure) = ops::compare::snapshots(&scope)?;
    let record = DrillRecord::load(scope.state_dir()).unwrap_or_else(|error| {
        tracing::warn!(%error, "what drills have proved is not known");
        DrillRecord::default()
    });
    let proved = |repository: &str, summary: &Summary| {
        record.proof_of(repository, &summary.id.0).map(|proof| proof.time.to_rfc3339())
    };
    if arguments.json {
        let rows: Vec<Row<'_>> = all
            .iter()
            .flat_map(|(repository, listing)| {
                listing.snapshots.iter().map(|summary| Row {
                    repository: repository.as_str(),
                    summary,
                    proved: proved(repository, summary),
                })
            })
            .collect();
        context.print(&json(&rows)?)?;
    } else {
        for (repository, listing) in &all {
            if scope.repositories.len() > 1 {
                context.print(&format!("{repository}\n"))?;
            }
            context.print(&describe(listing, |summary| proved(repository, summary)))?;
        }
    }
    if let Some(failure) = failure {
        return Err(failure.into());
    }
    let damaged: Vec<_> = all.iter().flat_map(|(_, listing)| &listing.damaged).collect();
    match damaged.first() {
        None => Ok(Exit::Done),
        Some(first) => Err(Failure::new(
            Exit::Damaged,
            format!("{} cannot be read", plural(damaged.len() as u64, "snapshot", "snapshots")),
        )
        .because(&std::io::Error::other(format!("{}: {}", first.object, first.reason)))),
    }
}

fn describe(listing: &Listing, proved: impl Fn(&Summary) -> Option<String>) -> String {
    let columns = [
        ("snapshot", Align::Left),
        ("time", Align::Left),
        ("host", Align::Left),
        ("files", Align::Right),
        ("size", Align::Right),
        ("added", Align::Right),
        ("problems", Align::Right),
        ("proved", Align::Left),
    ];
    let rows: Vec<Vec<String>> = listing
        .snapshots
        .iter()
        .map(|summary| {
            vec![
                summary.id.to_string(),
                summary.time.to_rfc3339(),
                printable(&summary.host).into_owned(),
                grouped(summary.files),
                ByteSize(summary.bytes).to_string(),
                ByteSize(summary.added_bytes).to_string(),
                grouped(summary.problem_count),
                proved(summary).unwrap_or_default(),
            ]
        })
        .collect();
    if rows.is_empty() { "no snapshot yet\n".to_owned() } else { table(&columns, &rows) }
}
