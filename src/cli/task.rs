//! `volkeep task`, hidden: what a sidecar has a child process do. The answer is one line of JSON on stdout; the log
//! goes to stderr as ever.

use clap::{Args, Subcommand};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::base::timestamp::Timestamp;
use crate::cli::arguments::time;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::means::one_line;
use crate::cli::scope::open_scope;
use crate::cli::scrub::{Judged, judged};
use crate::config::Needs;
use crate::config::model::Config;
use crate::ops::backup::Stored;
use crate::ops::check::{CheckOptions, Checked};
use crate::ops::scrub::{ScrubOptions, Scrubbed};
use crate::ops::{self, Scope};
use crate::repository::PruneReport;
use crate::sidecar::record::Figures;
use crate::sidecar::task::{Task, TaskReport};

/// Findings and problems that go into a reason.
const TOLD: usize = 10;

/// Do one piece of work for a sidecar
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    task: Wanted,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Wanted {
    Backup,
    Prune,
    Check,
    Drill,
    Verify {
        #[arg(long)]
        percent: u8,
        #[arg(long)]
        turn: u64,
    },
    Scrub {
        #[arg(long)]
        percent: u8,
        #[arg(long)]
        turn: u64,
        #[arg(long)]
        repair: bool,
    },
    Lease {
        #[arg(long, value_parser = time)]
        since: Timestamp,
    },
}

impl From<Wanted> for Task {
    fn from(wanted: Wanted) -> Self {
        match wanted {
            Wanted::Backup => Self::Backup,
            Wanted::Prune => Self::Prune,
            Wanted::Check => Self::Check,
            Wanted::Drill => Self::Drill,
            Wanted::Scrub { percent, turn, repair } => Self::Scrub { percent, turn, repair },
            Wanted::Verify { percent, turn } => Self::Verify { percent, turn },
            Wanted::Lease { since } => Self::Lease { since },
        }
    }
}

pub fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    // A sidecar that is killed takes its children along: the next one must not find them at work.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        tracing::debug!(%error, "a killed sidecar will not end this run");
    }
    let report = match work(arguments.task.into(), context) {
        Ok(report) => report,
        Err(failure) => {
            let failure = if context.cancel.is_cancelled() { failure.stopped() } else { failure };
            report_of(&failure, Figures::default())
        }
    };
    let line = serde_json::to_string(&report).map_err(|error| Failure::of(Exit::Failed, &error))?;
    context.print(&format!("{line}\n"))?;
    Ok(Exit::Done)
}

fn work(task: Task, context: &mut Context<'_>) -> Result<TaskReport, Failure> {
    let (scope, config) = open_scope(context, Needs::BOTH)?;
    match task {
        Task::Backup => back_up(&scope, &config),
        Task::Prune => prune(&scope, &config),
        Task::Check => check(&scope, CheckOptions::default()),
        Task::Drill => drill(&scope, &config),
        Task::Scrub { percent, turn, repair } => {
            // Who wants a repair by the sidecar has said that the app can do with that.
            let options = ScrubOptions { percent, turn, repair, beside_app: true, dry_run: false };
            scrub(&ops::scrub::run(&scope, &options)?)
        }
        Task::Verify { percent, turn } => {
            check(&scope, CheckOptions { verify_percent: percent, verify_turn: Some(turn) })
        }
        Task::Lease { since } => {
            Ok(TaskReport { leases: ops::lease::keep(&scope, since)?, ..TaskReport::default() })
        }
    }
}

fn back_up(scope: &Scope, config: &Config) -> Result<TaskReport, Failure> {
    let (stored, failure) = ops::backup::run(scope, &config.backup_options(false, false))?;
    let figures = figures_of(&stored);
    if let Some(failure) = failure {
        return Ok(report_of(&failure.into(), figures));
    }
    Ok(match figures.problems {
        Some(1..) => {
            let named: Vec<&str> =
                stored.iter().flat_map(|one| &one.report.problems).map(String::as_str).collect();
            TaskReport {
                code: Exit::Partial.code(),
                reason: Some(format!("not stored as it should be: {}", named.join("; "))),
                hint: None,
                figures,
                leases: Vec::new(),
            }
        }
        _ => TaskReport { figures, ..TaskReport::default() },
    })
}

/// Of the volume by the first report, of what was written by all.
fn figures_of(stored: &[Stored]) -> Figures {
    let Some(first) = stored.first() else { return Figures::default() };
    let report = &first.report;
    Figures {
        snapshot: report.snapshot.as_ref().map(|snapshot| snapshot.id.0.clone()),
        files: Some(report.totals.files),
        bytes: Some(report.totals.bytes),
        read_bytes: Some(report.bytes_read),
        stored_bytes: Some(stored.iter().map(|one| one.report.stored_bytes).sum()),
        problems: Some(report.problem_count),
        ..Figures::default()
    }
}

fn prune(scope: &Scope, config: &Config) -> Result<TaskReport, Failure> {
    let (pruned, failure) = ops::prune::run(scope, &config.prune_options(false))?;
    let sum = |of: fn(&PruneReport) -> u64| pruned.iter().map(|one| of(&one.report)).sum();
    let findings: u64 = sum(|report| report.damaged.len() as u64);
    let figures = Figures {
        findings: Some(findings),
        forgotten_snapshots: Some(sum(|report| report.forgotten.len() as u64)),
        deleted_bytes: Some(sum(|report| report.deleted.bytes)),
        repository_bytes: pruned.first().map(|one| stored_bytes(&one.report)),
        repository_snapshots: pruned
            .first()
            .map(|one| (one.report.snapshots.len().saturating_sub(one.report.forgotten.len())) as u64),
        ..Figures::default()
    };
    if let Some(failure) = failure {
        return Ok(report_of(&failure.into(), figures));
    }
    if findings == 0 {
        return Ok(TaskReport { figures, ..TaskReport::default() });
    }
    let failure = Failure::new(Exit::Damaged, "damaged objects hide what is still needed")
        .hint("`volkeep check` names them and what they take down");
    Ok(report_of(&failure, figures))
}

/// All that is there after the run.
fn stored_bytes(report: &PruneReport) -> u64 {
    [report.condemned, report.waiting, report.young, report.live].iter().map(|amount| amount.bytes).sum()
}

fn check(scope: &Scope, options: CheckOptions) -> Result<TaskReport, Failure> {
    let all = ops::check::run(scope, options)?;
    let findings: u64 = all.iter().map(|checked| checked.report.findings.len() as u64).sum();
    let figures = Figures {
        findings: Some(findings),
        read_bytes: Some(all.iter().map(|checked| checked.report.verified_bytes).sum()),
        repository_snapshots: all.first().map(|checked| checked.report.snapshots),
        ..Figures::default()
    };
    if findings == 0 {
        return Ok(TaskReport { figures, ..TaskReport::default() });
    }
    let failure = Failure::new(Exit::Damaged, damage(&all)).hint(
        "`volkeep check` names everything that is damaged; snapshots that it does not name can be restored",
    );
    Ok(report_of(&failure, figures))
}

fn damage(all: &[Checked]) -> String {
    let lines: Vec<String> = all
        .iter()
        .flat_map(|checked| {
            checked
                .report
                .findings
                .iter()
                .map(|f| format!("{}/{}: {}", checked.repository, f.object, f.reason))
        })
        .take(TOLD)
        .collect();
    lines.join("; ")
}

fn drill(scope: &Scope, config: &Config) -> Result<TaskReport, Failure> {
    let (drilled, failure) = ops::drill::run(scope, &config.drill_options())?;
    let problems: u64 = drilled.iter().map(|one| one.problem_count).sum();
    let figures = Figures {
        snapshot: drilled.first().map(|one| one.proof.snapshot.clone()),
        restored_files: Some(drilled.iter().map(|one| one.proof.files).sum()),
        restored_bytes: Some(drilled.iter().map(|one| one.proof.bytes).sum()),
        ..Figures::default()
    };
    if let Some(failure) = failure {
        return Ok(report_of(&failure.into(), figures));
    }
    if problems == 0 {
        return Ok(TaskReport { figures, ..TaskReport::default() });
    }
    let named: Vec<&str> =
        drilled.iter().flat_map(|one| &one.problems).take(TOLD).map(String::as_str).collect();
    let reason = format!("{problems} could not be set here as the snapshot says: {}", named.join("; "));
    Ok(TaskReport { code: Exit::Partial.code(), reason: Some(reason), figures, ..TaskReport::default() })
}

fn scrub(scrubbed: &Scrubbed) -> Result<TaskReport, Failure> {
    let figures = Figures {
        scrubbed_files: Some(scrubbed.files),
        scrubbed_bytes: Some(scrubbed.bytes),
        passed_over_files: Some(scrubbed.passed_over),
        repaired: Some(scrubbed.repaired),
        findings: Some(scrubbed.damaged_count),
        ..Figures::default()
    };
    Ok(match judged(scrubbed) {
        Judged::Good => TaskReport { figures, ..TaskReport::default() },
        Judged::Partly(reason) => {
            TaskReport { code: Exit::Partial.code(), reason: Some(reason), figures, ..TaskReport::default() }
        }
        Judged::Damaged(failure) => report_of(&failure, figures),
    })
}

fn report_of(failure: &Failure, figures: Figures) -> TaskReport {
    TaskReport {
        code: failure.exit.code(),
        reason: Some(one_line(failure)),
        hint: failure.hint.clone(),
        figures,
        leases: Vec::new(),
    }
}
