//! The repair of damaged data in place, before anything is restored. Says in the marker that it has begun before it
//! does, so that nobody takes what it leaves for whole before full checks have; whether it helped is for these to say.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::base::action::CommandAction;
use crate::base::fs::sync_file_system;
use crate::ops::bring::{make_space, taken_by};
use crate::ops::{OpsError, Scope};
use crate::repository::RepositoryError;
use crate::tree::{Root, TreeWriter, WalkOptions, copy};
use crate::volume::{Damage, Finding, Marker};

/// Far less than the system allows for one variable.
const LONGEST_FINDINGS: usize = 32 << 10;

#[derive(Clone, Debug)]
pub struct Repair {
    pub command: CommandAction,
    pub timeout: Duration,
    /// A copy of the data goes to quarantine first; without one nothing is repaired.
    pub keep_copy: bool,
}

/// What became of it.
#[derive(Clone, Debug, Serialize)]
pub struct RepairReport {
    /// The program; arguments may hold secrets.
    pub command: String,
    pub result: RepairResult,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For the copy and the command, without the checks.
    pub seconds: f64,
    /// The data as it was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RepairResult {
    /// The full checks find nothing any more.
    Repaired,
    Failed,
    /// The data is as it was found.
    NotRun,
    /// In a dry run.
    Due,
}

impl RepairReport {
    pub(super) fn due(repair: &Repair) -> Self {
        let command = repair.command.argv.first().cloned().unwrap_or_default();
        Self { command, result: RepairResult::Due, reason: None, seconds: 0.0, copy: None }
    }

    fn ended(self, result: RepairResult, reason: impl ToString) -> Self {
        let reason = reason.to_string();
        tracing::warn!(command = self.command, reason, "the data is not repaired");
        Self { result, reason: Some(reason), ..self }
    }

    /// What the checks say of the work of a command that called it done.
    pub(super) fn judged(self, still_wrong: Option<String>) -> Self {
        match still_wrong {
            None => {
                let copy = self.copy.as_ref().map(|copy| copy.display().to_string());
                tracing::warn!(command = self.command, seconds = self.seconds, copy, "the data is repaired");
                self
            }
            Some(findings) => {
                self.ended(RepairResult::Failed, format!("the checks still find damage: {findings}"))
            }
        }
    }
}

/// Under the volume's lock, on data that is there and damaged. `Repaired` is what the command says: the full checks are
/// the caller's to make. An error only where nothing else may be tried either.
pub(super) fn attempt(
    scope: &Scope,
    repair: &Repair,
    mut marker: Marker,
    findings: &[Finding],
) -> Result<RepairReport, OpsError> {
    let clock = scope.clock.as_ref();
    let started = clock.elapsed();
    let mut report = RepairReport::due(repair);
    let now = clock.now();
    let mut damage = marker.damage.clone().unwrap_or(Damage { found: now, repair: None, copy: None });
    if repair.keep_copy {
        match keep_copy(scope, &marker, &damage) {
            Ok((name, path)) => {
                damage.copy = Some(name);
                report.copy = Some(path);
            }
            Err(error @ OpsError::RepairStopped) => return Err(error),
            Err(error) => {
                let reason = format!("no copy of the data can be kept: {error}");
                return Ok(report.ended(RepairResult::NotRun, reason));
            }
        }
    }
    // Before the command can change anything: a death from here on leaves data that quick checks may take for whole.
    damage.repair = Some(now);
    (marker.clean, marker.damage) = (false, Some(damage));
    scope.volume.write_marker(&marker, clock)?;
    tracing::warn!(command = report.command, "trying to repair the volume");
    let volume = scope.volume.path();
    let told = [
        ("VOLKEEP_JOB".to_owned(), "init".to_owned()),
        ("VOLKEEP_VOLUME".to_owned(), volume.display().to_string()),
        ("VOLKEEP_FINDINGS".to_owned(), in_lines(findings)),
    ];
    let ran = repair.command.run(&told, Some(volume), repair.timeout, &scope.cancel, &mut |line| {
        tracing::info!(repair = report.command, "{line}");
    });
    report.seconds = clock.elapsed().saturating_sub(started).as_secs_f64();
    if scope.cancel.is_cancelled() {
        return Err(OpsError::RepairStopped);
    }
    if let Err(error) = ran {
        return Ok(report.ended(RepairResult::Failed, error));
    }
    // What the checks read is then what is there after a power cut, too.
    match sync_file_system(volume) {
        Ok(()) => Ok(RepairReport { result: RepairResult::Repaired, ..report }),
        Err(error) => {
            Ok(report.ended(RepairResult::Failed, format!("cannot sync {}: {error}", volume.display())))
        }
    }
}

/// The copy's name and place. One that was made before a repair that was cut off or did not help is kept: it has the
/// data as it was, which is no longer on the volume, and others like it would only fill the disk.
fn keep_copy(scope: &Scope, marker: &Marker, damage: &Damage) -> Result<(String, PathBuf), OpsError> {
    if let Damage { repair: Some(_), copy: Some(name), .. } = damage
        && let Some(path) = scope.volume.kept_copy(name)?
    {
        return Ok((name.clone(), path));
    }
    let reason = match damage.repair {
        None => "copied before a repair",
        Some(_) => "copied before a repair, after another one that did not help",
    };
    // All there is, also what no backup holds.
    let options = WalkOptions {
        skip_at_root: scope.walk_options().skip_at_root,
        one_file_system: true,
        ..WalkOptions::default()
    };
    make_space(scope, "the copy", taken_by(scope.volume.path(), options.clone())?, 0)?;
    let copying = scope.volume.begin_copy(reason, marker, scope.clock.as_ref())?;
    tracing::info!(quarantine = copying.name, "copying the data before it is repaired");
    let copied = (|| {
        let from = Root::open(scope.volume.path()).map_err(RepositoryError::from)?;
        let to = TreeWriter::open(&copying.data).map_err(RepositoryError::from)?;
        if !copy(&from, options, &to, &scope.cancel).map_err(RepositoryError::from)? {
            return Err(OpsError::RepairStopped);
        }
        for problem in to.problems().lines() {
            tracing::warn!(problem, "the copy is not complete in this");
        }
        Ok(scope.volume.finish_copy(&copying)?)
    })();
    match copied {
        Ok(path) => Ok((copying.name, path)),
        Err(error) => {
            if let Err(trouble) = scope.volume.give_up_copy(&copying) {
                tracing::warn!(error = %trouble, "what was copied is removed by the next init");
            }
            Err(error)
        }
    }
}

/// `check: message` for each, in a variable of bounded length.
fn in_lines(findings: &[Finding]) -> String {
    let mut text = String::new();
    for (number, finding) in findings.iter().enumerate() {
        let line: String = format!("{}: {}", finding.check, finding.message)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        if text.len() + line.len() > LONGEST_FINDINGS {
            text.push_str(&format!("({} more)\n", findings.len() - number));
            break;
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_told_a_line_each_and_not_without_end() {
        let finding = |message: &str| Finding { check: "sqlite wiki.db".into(), message: message.into() };
        let few = [finding("row 1 missing\nfrom\0index"), finding("cut off")];
        assert_eq!(in_lines(&few), "sqlite wiki.db: row 1 missing from index\nsqlite wiki.db: cut off\n");
        let many = vec![finding(&"x".repeat(1000)); 100];
        let text = in_lines(&many);
        assert!(text.len() < LONGEST_FINDINGS + 100);
        assert_eq!(text.lines().last(), Some("(68 more)"));
    }
}
