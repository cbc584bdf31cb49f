//! `volkeep prune`: forgets snapshots by policy and deletes what nothing refers to any more.

use clap::Args;

use crate::base::units::ByteSize;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::render::{Align, json, plural, table};
use crate::cli::scope::open_scope;
use crate::config::Needs;
use crate::ops;
use crate::ops::prune::Pruned;
use crate::repository::{Amount, PruneReport};

/// Forget snapshots by policy and delete what nothing refers to
///
/// `retention` says which snapshots stay; without it none is forgotten. What no snapshot refers to any more is
/// condemned by one run and deleted by a later one, when `prune.grace` has passed. Only the volume that makes the
/// backups may do this.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Say which snapshots would go and why the others stay, and change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let (scope, config) = open_scope(context, Needs::BOTH)?;
    let options = config.prune_options(arguments.dry_run);
    let (pruned, failure) =
        context.with_progress("pruning", &scope.progress, || ops::prune::run(&scope, &options))?;
    match (arguments.json, pruned.as_slice()) {
        (true, [one]) => context.print(&json(one)?)?,
        (true, all) => context.print(&json(&all)?)?,
        (false, all) => {
            for one in all {
                context.print(&describe(one, arguments.dry_run))?;
            }
        }
    }
    for pin in pruned.iter().flat_map(|one| &one.report.unknown_pins) {
        tracing::warn!(pin, "retention.pinned: no snapshot is named so");
    }
    if let Some(failure) = failure {
        return Err(failure.into());
    }
    let damaged: u64 = pruned.iter().map(|one| one.report.damaged.len() as u64).sum();
    if damaged == 0 {
        return Ok(Exit::Done);
    }
    let mut message = format!("{} damaged", plural(damaged, "object is", "objects are"));
    if pruned.iter().any(|one| one.report.blind) {
        message.push_str("; what is still needed cannot be told, so nothing was condemned or deleted");
    }
    Err(Failure::new(Exit::Damaged, message).hint(
        "`volkeep check` names the snapshots; `volkeep check --repair` mends what the volume still has and puts away \
         those that cannot be saved",
    ))
}

fn describe(pruned: &Pruned, dry_run: bool) -> String {
    let report = &pruned.report;
    let mut text = format!(
        "{}: {} {}, {} {}\n",
        pruned.repository,
        plural(report.forgotten.len() as u64, "snapshot", "snapshots"),
        if dry_run { "would be forgotten" } else { "forgotten" },
        report.snapshots.len() - report.forgotten.len(),
        if dry_run { "would stay" } else { "stay" },
    );
    if dry_run {
        text.push_str(&plan(report));
    } else {
        for id in &report.forgotten {
            text.push_str(&format!("forgotten: {id}\n"));
        }
    }
    let would = |done: &'static str, planned: &'static str| if dry_run { planned } else { done };
    for (amount, what) in [
        (&report.deleted, would("deleted", "would be deleted")),
        (&report.condemned, would("condemned: nothing refers to it", "would be condemned")),
        (&report.waiting, "condemned before, its grace time has not passed"),
        (&report.young, "nothing refers to it, and it is too young to be condemned"),
        (&report.pardoned, "referred to again, no longer condemned"),
        (&report.live, "in use"),
    ] {
        if !amount.is_none() {
            text.push_str(&format!("{}: {what}\n", describe_amount(amount)));
        }
    }
    let waste = report.waste;
    if waste.bytes > 0 {
        text.push_str(&format!("{} of what is in use: needed by no snapshot\n", ByteSize(waste.bytes)));
    }
    if waste.waiting_packs > 0 {
        text.push_str(&format!(
            "{} of it in {}: waits for compaction, the next backups {} the other {} anew\n",
            ByteSize(waste.waiting_bytes),
            plural(waste.waiting_packs, "pack", "packs"),
            would("store", "would store"),
            ByteSize(waste.needed_bytes),
        ));
    }
    for finding in &report.damaged {
        text.push_str(&format!("damaged: {}: {}\n", finding.object, finding.reason));
    }
    text
}

fn plan(report: &PruneReport) -> String {
    let columns = [("", Align::Left), ("snapshot", Align::Left), ("why", Align::Left)];
    let rows: Vec<Vec<String>> = report
        .snapshots
        .iter()
        .map(|verdict| {
            let reasons: Vec<String> = verdict.reasons.iter().map(ToString::to_string).collect();
            let what = if verdict.keep { "keep" } else { "forget" };
            vec![what.to_owned(), verdict.id.to_string(), reasons.join(", ")]
        })
        .collect();
    table(&columns, &rows)
}

fn describe_amount(amount: &Amount) -> String {
    format!(
        "{} and {} ({})",
        plural(amount.packs, "pack", "packs"),
        plural(amount.segments, "segment", "segments"),
        ByteSize(amount.bytes)
    )
}
