//! `volkeep scrub`: looks for files on the volume that have decayed.

use clap::Args;

use crate::base::units::ByteSize;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::failures::DECAYED;
use crate::cli::render::{grouped, json, plural, printable};
use crate::cli::scope::open_scope;
use crate::config::Needs;
use crate::ops;
use crate::ops::scrub::{ScrubOptions, Scrubbed};

/// Damaged files that are named in one line.
const TOLD: usize = 10;

/// Look for files on the volume that have decayed
///
/// A file that nobody has touched since the last snapshot, and whose content is not that of the snapshot any more, was
/// damaged by the disk or on its way there. All files are read, from the disk.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Put the good content from the repository in the place of what is damaged, which goes to quarantine. Stop the app
    /// first
    #[arg(long)]
    pub repair: bool,
    /// Say what would be repaired, and change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let (scope, _) = open_scope(context, Needs::BOTH)?;
    let options = ScrubOptions {
        percent: 100,
        turn: 0,
        repair: arguments.repair,
        beside_app: false,
        dry_run: arguments.dry_run,
    };
    let scrubbed =
        context.with_progress("scrubbing", &scope.progress, || ops::scrub::run(&scope, &options))?;
    match arguments.json {
        true => context.print(&json(&scrubbed)?)?,
        false => context.print(&describe(&scrubbed, &options))?,
    }
    match judged(&scrubbed) {
        Judged::Good => Ok(Exit::Done),
        Judged::Partly(_) => Ok(Exit::Partial),
        Judged::Damaged(failure) => Err(failure),
    }
}

pub(super) enum Judged {
    Good,
    /// Why it is not as if nothing had been.
    Partly(String),
    Damaged(Failure),
}

/// Damage that is left is a failure. What was repaired is told as something that was not in order: the disk may be dying.
pub(super) fn judged(scrubbed: &Scrubbed) -> Judged {
    let left = scrubbed.damaged_count - scrubbed.repaired.min(scrubbed.damaged_count);
    let named = |repaired: bool| {
        let those = scrubbed.damaged.iter().filter(|one| one.repaired == repaired);
        those
            .take(TOLD)
            .map(|one| format!("{}: {}", one.path, one.left.as_ref().unwrap_or(&one.reason)))
            .collect::<Vec<_>>()
            .join("; ")
    };
    if left > 0 {
        let message = format!(
            "{} on the volume: {}",
            plural(left, "file is damaged", "files are damaged"),
            named(false)
        );
        return Judged::Damaged(Failure::new(Exit::Failed, message).hint(DECAYED));
    }
    if scrubbed.repaired > 0 {
        let count = plural(scrubbed.repaired, "damaged file was replaced", "damaged files were replaced");
        return Judged::Partly(format!("{count}: {}; look at the disk", named(true)));
    }
    match scrubbed.problems.first() {
        Some(first) => Judged::Partly(format!("{} not looked at: {first}", grouped(scrubbed.problem_count))),
        None => Judged::Good,
    }
}

fn describe(scrubbed: &Scrubbed, options: &ScrubOptions) -> String {
    let mut text = format!(
        "{}, {} compared with {} of {}; {} changed since and passed over\n",
        plural(scrubbed.files, "file", "files"),
        ByteSize(scrubbed.bytes),
        scrubbed.snapshot,
        scrubbed.repository,
        grouped(scrubbed.passed_over),
    );
    for one in &scrubbed.damaged {
        let fate = match (&one.left, one.repaired) {
            (_, true) => "; replaced".to_owned(),
            (Some(left), _) => format!("; left: {left}"),
            _ if options.repair && options.dry_run => "; would be replaced".to_owned(),
            _ => String::new(),
        };
        text.push_str(&format!("damaged: {}: {}{fate}\n", printable(&one.path), one.reason));
    }
    let named = scrubbed.damaged.len() as u64;
    if scrubbed.damaged_count > named {
        text.push_str(&format!("and {} more\n", grouped(scrubbed.damaged_count - named)));
    }
    if let Some(quarantine) = &scrubbed.quarantine {
        text.push_str(&format!("the damaged content is kept in {}\n", quarantine.display()));
    }
    for problem in &scrubbed.problems {
        text.push_str(&format!("not as it should be: {}\n", printable(problem)));
    }
    text
}
