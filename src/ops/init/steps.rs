//! The steps of `init`: which are due, done in turn under the locks they need, and the record of those that are done
//! once. The record is in the marker, so it goes with the data; it is written after success only.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::InitOptions;
use super::decide::Action;
use crate::ops::bring::ARCHIVE;
use crate::ops::{OpsError, Scope};
use crate::step::{
    self, About, Began, Facts, Host, Means, Outcome, Planned, Step, StepError, Verdict, When, Why, perform,
    settled, verdict,
};
use crate::volume::{Holder, LockGuard, LockKind, Marker, Origin, Phase, VolumeError, readiness};

/// What became of one step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepReport {
    pub name: String,
    pub kind: &'static str,
    pub result: StepResult,
    /// Why it was left out, or in which way it was done before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    pub attempts: u32,
    pub seconds: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepResult {
    Done,
    /// The file is as it should be already.
    Unchanged,
    /// The other side says that it was done before.
    Already,
    /// The source does not answer, and what is there will do.
    Kept,
    /// Nobody could be told.
    NotTold,
    /// Nothing to upgrade: only the version was recorded.
    Noted,
    Skipped,
    /// In a dry run.
    Due,
}

/// What a run would do after `action`. Changes nothing.
pub(super) fn foresee(
    scope: &Scope,
    options: &InitOptions,
    action: &Action,
) -> Result<Vec<StepReport>, OpsError> {
    if options.steps.is_empty() {
        return Ok(Vec::new());
    }
    let marker = scope.volume.read_marker()?;
    let none = std::collections::BTreeMap::new();
    let anew = |began| Facts { began, fresh: true, done: &none };
    let facts = match action {
        Action::Nothing | Action::Keep | Action::Fail { .. } => {
            marker.as_ref().map_or_else(|| anew(Began::Adopted), facts)
        }
        Action::Restore | Action::Resume { .. } | Action::FinishCommit { .. } => anew(Began::Snapshot),
        Action::Unpack | Action::CreateRepository { unpack: true } => anew(Began::Archive),
        Action::StartEmpty | Action::CreateRepository { unpack: false } => anew(Began::Empty),
        Action::Adopt => anew(Began::Adopted),
    };
    let report = |planned: Planned| {
        let (result, note) = match planned.verdict {
            Verdict::Run => (StepResult::Due, None),
            Verdict::Note => (StepResult::Noted, None),
            Verdict::Skip(why) => (StepResult::Skipped, Some(reason(why))),
        };
        StepReport { name: planned.label, kind: planned.kind, result, note, attempts: 0, seconds: 0.0 }
    };
    Ok(step::plan(&options.steps, &facts).into_iter().map(report).collect())
}

/// Does what is due. `lock` is the volume's, unless a sidecar was there before. It is given back while a step only
/// waits for others, if that is safe for the steps ahead.
pub(super) fn run(
    scope: &Scope,
    options: &InitOptions,
    lock: Option<LockGuard>,
) -> Result<Vec<StepReport>, OpsError> {
    let marker = scope.volume.read_marker()?.ok_or_else(changed_meanwhile)?;
    let mut turn = Turn { scope, marker, held_throughout: lock.is_some(), lock };
    turn.note_whether_there_are_any(options)?;
    let mut reports = Vec::new();
    for (number, step) in options.steps.iter().enumerate() {
        let label = step.label(number);
        let ahead = options.steps.get(number..).unwrap_or_default();
        let report = turn.one(step, &label, ahead)?;
        match report.result {
            StepResult::Skipped => tracing::debug!(step = label, why = report.note, "left out"),
            result => {
                let (result, seconds) = (word(result), report.seconds);
                tracing::info!(step = label, result, seconds, "step");
            }
        }
        reports.push(report);
    }
    turn.settle()?;
    Ok(reports)
}

struct Turn<'a> {
    scope: &'a Scope,
    marker: Marker,
    lock: Option<LockGuard>,
    /// Since the volume was made ready. A sidecar that came since then stands by, and has not looked at the volume.
    held_throughout: bool,
}

impl Turn<'_> {
    /// Before the first of them: if that fails, an app that waits by itself has to know. Beside a sidecar the app is up
    /// already.
    fn note_whether_there_are_any(&mut self, options: &InitOptions) -> Result<(), OpsError> {
        let has_steps = !options.steps.is_empty();
        if self.lock.is_none() || self.marker.has_steps == has_steps {
            return Ok(());
        }
        self.marker.has_steps = has_steps;
        Ok(self.scope.volume.write_marker(&self.marker, self.scope.clock.as_ref())?)
    }

    fn one(&mut self, step: &Step, label: &str, ahead: &[Step]) -> Result<StepReport, OpsError> {
        let scope = self.scope;
        let volume = scope.volume.path().to_owned();
        let host = Keeper { scope };
        let means = Means {
            volume: &volume,
            told: vec![
                ("VOLKEEP_JOB".to_owned(), "init".to_owned()),
                ("VOLKEEP_VOLUME".to_owned(), volume.display().to_string()),
            ],
            memory: scope.volume.cache_dir().join("fetched"),
            data: data_of(&self.marker),
            about: about(scope, &self.marker),
            host: &host,
            clock: scope.clock.as_ref(),
            cancel: &scope.cancel,
        };
        let report = |result, note: Option<String>, attempts, seconds| {
            let (name, kind) = (label.to_owned(), step.kind.name());
            StepReport { name, kind, result, note, attempts, seconds }
        };
        let skipped = |why| {
            if let Why::Ahead(recorded) = why {
                let version = step.version;
                tracing::warn!(step = label, version, recorded, "a later version was done on this data");
            }
            report(StepResult::Skipped, Some(reason(why)), 0, 0.0)
        };
        if self.lock.is_none() {
            self.look()?;
        }
        if let Verdict::Skip(why) = verdict(step, &facts(&self.marker)) {
            return Ok(skipped(why));
        }
        // Asked without a lock, so that a start beside a backup, where nothing is to be changed, waits for nobody.
        // What is in its way is told by the attempt itself.
        if !step.once
            && let Ok(Some(outcome)) = settled(step, &means)
        {
            let (result, note) = told(outcome);
            return Ok(report(result, note, 1, 0.0));
        }
        match step.needs_lock() {
            true => self.hold(step)?,
            false if self.may_let_others_in(ahead) => self.let_others_in(),
            false => {}
        }
        // Somebody may have been first.
        match verdict(step, &facts(&self.marker)) {
            Verdict::Skip(why) => return Ok(skipped(why)),
            Verdict::Note => {
                self.record(step)?;
                return Ok(report(StepResult::Noted, None, 0, 0.0));
            }
            Verdict::Run => {}
        }
        let did = perform(step, label, &means)?;
        if !matches!(did.outcome, Outcome::Kept | Outcome::NotTold) {
            self.record(step)?;
        }
        let (result, note) = told(did.outcome);
        Ok(report(result, note, did.attempts, did.seconds))
    }

    /// With something ahead that is done once, a sidecar would be in the way; and what is new on the volume is not for
    /// an app yet.
    fn may_let_others_in(&self, ahead: &[Step]) -> bool {
        let facts = facts(&self.marker);
        let is_due = |step: &Step| step.once && !matches!(verdict(step, &facts), Verdict::Skip(_));
        !self.marker.steps_due && !ahead.iter().any(is_due)
    }

    fn let_others_in(&mut self) {
        (self.lock, self.held_throughout) = (None, false);
    }

    /// What happened while the lock was not held. On other data than what was made ready, other steps are due.
    fn look(&mut self) -> Result<(), OpsError> {
        let same = self.scope.volume.read_marker()?.filter(|now| {
            now.phase == Phase::Ready
                && now.volume_id == self.marker.volume_id
                && now.ready_since == self.marker.ready_since
        });
        self.marker = same.ok_or_else(changed_meanwhile)?;
        Ok(())
    }

    /// The volume's lock, and the volume as it was when it was made ready. A sidecar at work has an app beside it,
    /// maybe that of another pod: then nothing is begun that is done once.
    fn hold(&mut self, step: &Step) -> Result<(), OpsError> {
        let scope = self.scope;
        if self.lock.is_none() {
            self.lock = Some(scope.lock(LockKind::Exclusive, "init")?);
            self.look()?;
        }
        match scope.volume.sidecar_running()? {
            _ if self.held_throughout => Ok(()),
            Some(holder) if step.once && !matches!(verdict(step, &facts(&self.marker)), Verdict::Skip(_)) => {
                Err(OpsError::InUse { holder: Holder::describe(Some(&holder)) })
            }
            _ => Ok(()),
        }
    }

    fn record(&mut self, step: &Step) -> Result<(), OpsError> {
        let Some(name) = step.name.as_ref().filter(|_| step.once) else { return Ok(()) };
        self.marker.steps_done.insert(name.clone(), step.version.to_string());
        Ok(self.scope.volume.write_marker(&self.marker, self.scope.clock.as_ref())?)
    }

    /// All steps were done on what is new on the volume. If that cannot be written down now, they have their turn once
    /// more.
    fn settle(&mut self) -> Result<(), OpsError> {
        if !self.marker.steps_due {
            return Ok(());
        }
        let scope = self.scope;
        // A sidecar at work writes the marker as well, under this lock, which comes before that of the volume.
        let _alone = match self.held_throughout {
            true => None,
            false => {
                self.let_others_in();
                let both = scope
                    .backup_lock()
                    .and_then(|alone| Ok((alone, scope.lock(LockKind::Exclusive, "init")?)));
                match both {
                    Err(OpsError::Volume(error @ VolumeError::Locked { .. })) => {
                        tracing::warn!(%error, "the steps count as due at the next start as well");
                        return Ok(());
                    }
                    other => Some(other?),
                }
            }
        };
        self.look()?;
        self.marker.steps_due = false;
        Ok(scope.volume.write_marker(&self.marker, scope.clock.as_ref())?)
    }
}

/// What steps need of the volume and its neighbours.
#[derive(Debug)]
struct Keeper<'a> {
    scope: &'a Scope,
}

impl Host for Keeper<'_> {
    fn replace(&self, new: &Path, live: &Path) -> io::Result<PathBuf> {
        let (volume, clock) = (&self.scope.volume, self.scope.clock.as_ref());
        volume.replace_directory(new, live, "replaced by a step of init", clock).map_err(io::Error::other)
    }

    fn is_ready(&self, path: &Path, state_dir: &Path) -> Result<(), String> {
        readiness(path, state_dir).map_err(|not_yet| not_yet.to_string())
    }
}

/// Other data has another name, also when it comes onto the same volume.
fn data_of(marker: &Marker) -> String {
    let since = marker.ready_since.map(|since| since.to_rfc3339()).unwrap_or_default();
    format!("{} {since}", marker.volume_id)
}

fn about(scope: &Scope, marker: &Marker) -> About {
    let fresh = marker.steps_due;
    About {
        identity: scope.volume.identity().to_owned(),
        host: scope.name().to_owned(),
        version: env!("CARGO_PKG_VERSION"),
        began: fresh.then(|| facts(marker).began),
        snapshot: match &marker.origin {
            Some(Origin::Snapshot { id, .. }) if fresh && !id.starts_with(ARCHIVE) => Some(id.clone()),
            _ => None,
        },
    }
}

fn told(outcome: Outcome) -> (StepResult, Option<String>) {
    match outcome {
        Outcome::Done => (StepResult::Done, None),
        Outcome::Unchanged => (StepResult::Unchanged, None),
        Outcome::Already { status } => (StepResult::Already, Some(format!("status {status}"))),
        Outcome::Kept => (StepResult::Kept, Some("the source does not answer".to_owned())),
        Outcome::NotTold => (StepResult::NotTold, Some("nobody could be told".to_owned())),
    }
}

fn changed_meanwhile() -> OpsError {
    OpsError::InUse { holder: "somebody who changed its data while a step waited".to_owned() }
}

fn facts(marker: &Marker) -> Facts<'_> {
    let began = match &marker.origin {
        // With a backup there is data by now, which a step may have to upgrade, and must not seed over.
        Some(Origin::Empty) if marker.last_backup.is_none() => Began::Empty,
        Some(Origin::Empty) => Began::Adopted,
        Some(Origin::Snapshot { id, .. }) if id.starts_with(ARCHIVE) => Began::Archive,
        Some(Origin::Snapshot { .. }) => Began::Snapshot,
        Some(Origin::Adopted) | None => Began::Adopted,
    };
    Facts { began, fresh: marker.steps_due, done: &marker.steps_done }
}

fn reason(why: Why) -> String {
    match why {
        Why::NotNow(When::Upgraded) => "nothing to upgrade".to_owned(),
        Why::NotNow(when) => format!("only when {}", when.name()),
        Why::Done(version) => format!("version {version} is done"),
        Why::Ahead(version) => format!("the later version {version} is done"),
    }
}

fn word(result: StepResult) -> &'static str {
    match result {
        StepResult::Done => "done",
        StepResult::Unchanged => "unchanged",
        StepResult::Already => "already",
        StepResult::Kept => "kept",
        StepResult::NotTold => "not_told",
        StepResult::Noted => "noted",
        StepResult::Skipped => "skipped",
        StepResult::Due => "due",
    }
}

impl From<StepError> for OpsError {
    fn from(error: StepError) -> Self {
        Self::Step(Box::new(error))
    }
}
