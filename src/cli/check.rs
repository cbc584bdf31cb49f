//! `volkeep check`: looks for damage in the repository, and mends what the volume still has.

use clap::Args;

use crate::base::units::Percent;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::render::{grouped, json, plural, printable};
use crate::cli::scope::open_scope;
use crate::config::Needs;
use crate::ops;
use crate::ops::check::CheckOptions;
use crate::ops::repair::{RepairOptions, Repaired};
use crate::repository::{CheckReport, Finding, RepairReport};

/// Paths said of each damaged object; `--json` has more.
const SAID: usize = 5;

/// Look for damage in the repository
///
/// Without --verify only the structure is read: everything a snapshot refers to is there and has the right size.
/// What is damaged is named with the snapshots and paths that need it.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Read the data as well: all of it, or the given part of it, spread evenly
    #[arg(long, value_name = "PERCENT", num_args = 0..=1, require_equals = true, default_missing_value = "100%")]
    pub verify: Option<Percent>,

    /// Mend what is damaged, as far as the volume still has it, and put away the snapshots that cannot be saved. Reads
    /// all of the data, unless --verify says how much. Only the volume that makes the backups may do this
    #[arg(long)]
    pub repair: bool,

    /// With --repair: say what would be done, and change nothing
    #[arg(long, requires = "repair")]
    pub dry_run: bool,

    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    if arguments.repair {
        return repair(arguments, context);
    }
    let (scope, _) = open_scope(context, Needs::BOTH)?;
    let verify_percent = arguments.verify.map_or(0, |percent| percent.0);
    let options = CheckOptions { verify_percent, verify_turn: None };
    let all = context.with_progress("checking", &scope.progress, || ops::check::run(&scope, options))?;
    if arguments.json {
        context.print(&json(&all)?)?;
    } else {
        for checked in &all {
            context.print(&describe(&checked.repository, &checked.report))?;
        }
    }
    let findings: u64 = all.iter().map(|checked| checked.report.findings.len() as u64).sum();
    if findings == 0 {
        return Ok(Exit::Done);
    }
    Err(Failure::new(Exit::Damaged, format!("{} damaged", plural(findings, "object is", "objects are")))
        .hint("snapshots that are not named can be restored: `volkeep restore SNAPSHOT`. `volkeep check --repair` \
               mends what the volume still has; with `--dry-run` it only says what that is"))
}

fn describe(repository: &str, report: &CheckReport) -> String {
    let mut text = format!(
        "{repository}: {}, {}, {} ({} read in full)\n",
        plural(report.snapshots, "snapshot", "snapshots"),
        plural(report.segments, "segment", "segments"),
        plural(report.packs, "pack", "packs"),
        grouped(report.verified_packs),
    );
    report.findings.iter().for_each(|finding| text.push_str(&describe_finding(finding)));
    if !report.findings.is_empty() {
        let whole = plural(report.whole.len() as u64, "snapshot", "snapshots");
        text.push_str(&match report.whole.last() {
            Some(newest) => format!("whole, as far as was looked: {whole}, the newest {newest}\n"),
            None => "whole: no snapshot\n".to_owned(),
        });
    }
    text
}

fn describe_finding(finding: &Finding) -> String {
    let mut text = format!("damaged: {}: {}\n", finding.object, finding.reason);
    for snapshot in &finding.snapshots {
        text.push_str(&format!("  takes down snapshot {snapshot}\n"));
    }
    if finding.snapshots.is_empty() {
        text.push_str("  takes down no snapshot\n");
    }
    text.push_str(&describe_paths("takes down", &finding.paths, finding.path_count));
    if finding.paths.is_empty() && finding.path_count > 0 {
        let place = match (&finding.after, &finding.before) {
            (None, None) => "all there are".to_owned(),
            (Some(after), None) => format!("those after {}", printable(after)),
            (None, Some(before)) => format!("those before {}", printable(before)),
            (Some(after), Some(before)) => {
                format!("those between {} and {}", printable(after), printable(before))
            }
        };
        let count = plural(finding.path_count, "path", "paths");
        text.push_str(&format!("  takes down {count}, whose names it held: {place}\n"));
    }
    text
}

fn describe_paths(what: &str, paths: &[String], count: u64) -> String {
    let mut text = String::new();
    for path in paths.iter().take(SAID) {
        text.push_str(&format!("  {what} {}\n", printable(path)));
    }
    let said = paths.len().min(SAID) as u64;
    if said > 0 && count > said {
        text.push_str(&format!("  {what} {} more\n", plural(count - said, "path", "paths")));
    }
    text
}

fn repair(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let (scope, _) = open_scope(context, Needs::BOTH)?;
    let verify_percent = arguments.verify.map_or(100, |percent| percent.0);
    let options = RepairOptions { verify_percent, dry_run: arguments.dry_run };
    let (all, failure) =
        context.with_progress("repairing", &scope.progress, || ops::repair::run(&scope, options))?;
    match arguments.json {
        true => context.print(&json(&all)?)?,
        false => {
            for repaired in &all {
                context.print(&describe_repair(repaired, arguments.dry_run))?;
            }
        }
    }
    if let Some(failure) = failure {
        return Err(failure.into());
    }
    outcome(&all, arguments.dry_run)
}

fn outcome(all: &[Repaired], dry_run: bool) -> Result<Exit, Failure> {
    let found: u64 = all.iter().map(|one| one.report.found.findings.len() as u64).sum();
    let lost: u64 = all.iter().map(|one| one.report.lost.len() as u64).sum();
    let any = |is: fn(&RepairReport) -> bool| all.iter().any(|one| is(&one.report));
    if dry_run && found > 0 {
        return Err(Failure::new(
            Exit::Damaged,
            format!("{} damaged; nothing was changed", plural(found, "object is", "objects are")),
        )
        .hint("the same without `--dry-run` does it"));
    }
    if any(|report| report.by_hand.is_some()) {
        return Err(Failure::new(
            Exit::Damaged,
            format!("{} damaged, and not for volkeep to mend", plural(found, "object is", "objects are")),
        ));
    }
    if any(|report| report.none_left) {
        return Err(Failure::new(
            Exit::Damaged,
            format!("no snapshot is whole; {} cannot be saved", plural(lost, "snapshot", "snapshots")),
        )
        .hint("back up now: `volkeep backup` stores anew what is lost. Then `volkeep check --repair` puts the lost \
               snapshots away"));
    }
    if any(|report| !report.failed.is_empty()) {
        return Err(Failure::new(Exit::Damaged, "not all could be mended".to_owned())
            .hint("run it again when the app is at rest: its data changed meanwhile"));
    }
    if lost > 0 {
        return Err(Failure::new(
            Exit::Partial,
            format!("{} could not be saved, and put away", plural(lost, "snapshot", "snapshots")),
        )
        .hint("back up now: the newest snapshot that is left may be older than the volume"));
    }
    Ok(Exit::Done)
}

fn describe_repair(repaired: &Repaired, dry_run: bool) -> String {
    let report = &repaired.report;
    let mut text = describe(&repaired.repository, &report.found);
    let would = |done: &'static str, planned: &'static str| if dry_run { planned } else { done };
    for one in &report.mended {
        text.push_str(&format!("{}: {}: {}\n", would("mended", "would be mended"), one.object, one.how));
    }
    for object in &report.condemned {
        let what = would("condemned", "would be condemned");
        text.push_str(&format!("{what}: {object}: what it held is stored anew by the next backup\n"));
    }
    for one in &report.lost {
        let what = match report.none_left {
            true => "lost, and left where it is until there is a whole one",
            false => would("lost, and put away", "lost, and would be put away"),
        };
        text.push_str(&format!("{what}: snapshot {}\n", one.snapshot));
        one.objects.iter().for_each(|object| text.push_str(&format!("  needs {object}\n")));
        text.push_str(&describe_paths("lost is", &one.paths, one.path_count));
    }
    for one in &report.quarantined {
        text.push_str(&format!("what was there is kept: {} as {}\n", one.object, one.kept_as));
    }
    report.failed.iter().for_each(|line| text.push_str(&format!("not mended: {line}\n")));
    if let Some(by_hand) = report.by_hand {
        text.push_str(&format!("{by_hand}\n"));
    }
    if report.found.findings.is_empty() {
        text.push_str("nothing is to be mended\n");
    }
    text
}
