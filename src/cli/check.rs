//! `volkeep check`: looks for damage in the repository.

use clap::Args;

use crate::base::units::Percent;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::render::{grouped, json, plural, printable};
use crate::cli::scope::open_scope;
use crate::config::Needs;
use crate::ops;
use crate::ops::check::{CheckOptions, Checked};

/// Look for damage in the repository
///
/// Without --verify only the structure is read: everything a snapshot refers to is there and has the right size.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Read the data as well: all of it, or the given part of it, spread evenly
    #[arg(long, value_name = "PERCENT", num_args = 0..=1, require_equals = true, default_missing_value = "100%")]
    pub verify: Option<Percent>,

    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let (scope, _) = open_scope(context, Needs::BOTH)?;
    let verify_percent = arguments.verify.map_or(0, |percent| percent.0);
    let options = CheckOptions { verify_percent, verify_turn: None };
    let all = context.with_progress("checking", &scope.progress, || ops::check::run(&scope, options))?;
    if arguments.json {
        context.print(&json(&all)?)?;
    } else {
        for checked in &all {
            context.print(&describe(checked))?;
        }
    }
    let findings: u64 = all.iter().map(|checked| checked.report.findings.len() as u64).sum();
    if findings == 0 {
        return Ok(Exit::Done);
    }
    Err(Failure::new(Exit::Damaged, format!("{} damaged", plural(findings, "object is", "objects are")))
        .hint("snapshots that are not named can be restored: `volkeep restore SNAPSHOT`"))
}

fn describe(checked: &Checked) -> String {
    let report = &checked.report;
    let mut text = format!(
        "{}: {}, {}, {} ({} read in full)\n",
        checked.repository,
        plural(report.snapshots, "snapshot", "snapshots"),
        plural(report.segments, "segment", "segments"),
        plural(report.packs, "pack", "packs"),
        grouped(report.verified_packs),
    );
    for finding in &report.findings {
        text.push_str(&format!("damaged: {}: {}\n", finding.object, finding.reason));
        for snapshot in &finding.snapshots {
            text.push_str(&format!("  takes down snapshot {snapshot}\n"));
        }
        for path in &finding.paths {
            text.push_str(&format!("  takes down {}\n", printable(path)));
        }
    }
    text
}
