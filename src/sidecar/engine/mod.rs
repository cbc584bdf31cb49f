//! The sidecar's loop: takes what is due and what is asked for, has it run, keeps the records and shows what is
//! going on. Decides by asking the timetable and the desk; what blocks is done by threads that report back here.

mod ending;
mod reload;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::base::cancel::Cancel;
use crate::base::secret::Secret;
use crate::base::timestamp::Timestamp;
use crate::schedule::{self, Timetable};
use crate::sidecar::alarm::Alarm;
use crate::sidecar::control::{Order, OrderError};
use crate::sidecar::desk::{Desk, Verdict};
use crate::sidecar::drain::{Drain, Step};
use crate::sidecar::lookout::{Look, Lookout};
use crate::sidecar::means::{Means, Reload};
use crate::sidecar::notify::Notifier;
use crate::sidecar::opening::{self, Opened};
use crate::sidecar::options::{JobOptions, Work};
use crate::sidecar::record::{Begun, Record, Run, Trigger};
use crate::sidecar::runner::{self, Orders};
use crate::sidecar::saver::{Again, Saved, Saver};
use crate::sidecar::status::{Stage, Status};
use crate::sidecar::tenure::{Kept, Tenure};
use crate::sidecar::{SidecarError, view};

/// The job that a last backup is made by.
const BACKUP: &str = "backup";

#[derive(Debug)]
pub enum Event {
    Opened(Box<Opened>),
    Failed(SidecarError),
    Ended {
        job: String,
        run: Box<Run>,
    },
    Saved(Saved),
    Kept(Box<Kept>),
    Looked(Box<Look>),
    /// A thaw that had failed was tried again, with this success.
    Thawed(bool),
    Reloaded(Box<Result<Means, String>>),
    Signal(Signal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    End,
    Reload,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing is at work any more.
    InOrder,
    /// The budget was spent before somebody had ended.
    GaveUp,
}

/// A job as the loop sees it.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub record: Record,
    pub unsaved: Option<String>,
    running: Option<Cancel>,
    /// Those who asked for the run that waits, and for the one that is under way.
    asked: Vec<oneshot::Sender<Run>>,
    listening: Vec<oneshot::Sender<Run>>,
}

pub struct Engine {
    pub(super) means: Means,
    reload: Reload,
    pub(super) refused: Option<String>,
    pub(super) stage: Stage,
    pub(super) started: Timestamp,
    pub(super) timetable: Timetable,
    pub(super) desk: Desk,
    pub(super) slots: BTreeMap<String, Slot>,
    pub(super) tenure: Tenure,
    pub(super) lookout: Lookout,
    pub(super) notifier: Notifier,
    opened: Option<Opened>,
    saver: Saver,
    again: Again,
    drain: Option<Drain>,
    thawing: bool,
    token: watch::Sender<Option<Secret>>,
    events: mpsc::UnboundedSender<Event>,
    status: watch::Sender<Arc<Status>>,
}

impl Slot {
    /// A run is under way, and the one before was a success.
    pub fn is_promising(&self) -> bool {
        self.record.running.is_some() && self.record.consecutive_failures == 0
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("stage", &self.stage)
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

impl Engine {
    pub fn new(
        means: Means,
        reload: Reload,
        notifier: Notifier,
        saver: Saver,
        token: watch::Sender<Option<Secret>>,
        events: mpsc::UnboundedSender<Event>,
    ) -> (Self, watch::Receiver<Arc<Status>>) {
        let started = means.scope.clock.now();
        let status = watch::Sender::new(Arc::new(view::nothing(&means, started)));
        let engine = Self {
            timetable: Timetable::new(means.scope.volume.identity(), Vec::new(), &BTreeMap::new(), started),
            means,
            reload,
            refused: None,
            stage: Stage::StandingBy,
            started,
            desk: Desk::default(),
            slots: BTreeMap::new(),
            tenure: Tenure::default(),
            lookout: Lookout::default(),
            notifier,
            opened: None,
            saver,
            again: Again::default(),
            drain: None,
            thawing: false,
            token,
            events,
            status,
        };
        engine.show();
        let shown = engine.status.subscribe();
        (engine, shown)
    }

    /// Until it ends. The volume is opened by a thread that reports by an event; `opened` is called when it is.
    pub async fn run(
        &mut self,
        mut orders: mpsc::Receiver<Order>,
        mut events: mpsc::UnboundedReceiver<Event>,
        mut opened: impl FnMut(),
    ) -> Result<End, SidecarError> {
        let mut alarm = Alarm::new().await?;
        let clock = Arc::clone(&self.means.scope.clock);
        loop {
            self.work();
            self.show();
            let patience = match self.drain_step() {
                Some(Step::GiveUp) => return Ok(self.given_up()),
                Some(_) if self.is_idle() => return Ok(End::InOrder),
                Some(Step::Wait(left)) => left,
                // Those who were told to stop report back, or the budget ends.
                Some(Step::Cancel) => continue,
                None => Duration::MAX,
            };
            let now = self.now();
            alarm.arm(now, self.timetable.next_wake(now)).await?;
            tokio::select! {
                Some(event) = events.recv() => {
                    let was_closed = self.opened.is_none();
                    self.take(event)?;
                    if was_closed && self.opened.is_some() {
                        opened();
                    }
                }
                Some(order) = orders.recv() => self.order(order),
                () = alarm.ring(clock.as_ref()) => {}
                () = tokio::time::sleep(patience.min(Duration::from_secs(3600))), if self.drain.is_some() => {}
            }
        }
    }

    /// Nothing of this sidecar works on the volume.
    fn is_idle(&self) -> bool {
        self.desk.is_idle() && !self.thawing && !self.tenure.is_under_way()
    }

    fn now(&self) -> Timestamp {
        self.means.scope.clock.now()
    }

    /// Everything that can be begun now.
    fn work(&mut self) {
        if self.stage == Stage::Working {
            self.take_due();
            self.keep_watch();
        }
        self.begin_all();
    }

    fn begin_all(&mut self) {
        while !self.thawing
            && let Some(waiting) = self.desk.begin_next()
        {
            self.begin(&waiting.job, waiting.trigger);
        }
    }

    /// What is frozen while nothing runs was left so by a thaw that failed. No job begins meanwhile: its own freeze
    /// must not be undone.
    fn thaw(&mut self) {
        if self.thawing || !self.desk.is_idle() {
            return;
        }
        let (scope, events) = (self.means.scope.clone(), self.events.clone());
        let thread = thread::Builder::new().name("thaw".to_owned()).spawn(move || {
            let thawed = opening::thaw_left_behind(&scope);
            drop(events.send(Event::Thawed(thawed)));
        });
        match thread {
            Ok(_) => self.thawing = true,
            Err(error) => tracing::error!(%error, "no thread to thaw what is frozen"),
        }
    }

    fn take_due(&mut self) {
        let now = self.now();
        for event in self.timetable.due(now) {
            let job = match event {
                schedule::Event::Run { job, trigger, .. } => {
                    self.due(&job, trigger);
                    job
                }
                schedule::Event::Missed { job, first, latest } => {
                    let (first, latest) = (first.to_rfc3339(), latest.to_rfc3339());
                    tracing::warn!(job, first, latest, "runs were missed, and are not made up for");
                    job
                }
                schedule::Event::ClockSetBack { job, settled } => {
                    let before = settled.to_rfc3339();
                    tracing::warn!(job, before, "the clock was set back; the job begins anew");
                    job
                }
            };
            self.settle(&job);
        }
    }

    fn due(&mut self, job: &str, trigger: schedule::Trigger) {
        let trigger = match trigger {
            schedule::Trigger::Scheduled => Trigger::Schedule,
            schedule::Trigger::CatchUp => Trigger::CatchUp,
        };
        if self.want(job, trigger) == Verdict::Skipped
            && let Some(slot) = self.slots.get_mut(job)
        {
            slot.record.skipped += 1;
            tracing::warn!(job, "passed over: the run before has not ended");
        }
    }

    /// Has written down how far the job has come in its schedule. Not as long as a run waits: should this process end
    /// before the run has begun, it was missed.
    fn settle(&mut self, job: &str) {
        if self.desk.is_waiting(job) {
            return;
        }
        if let (Some(slot), Some(timing)) = (self.slots.get_mut(job), self.timetable.record(job)) {
            slot.record.timing = Some(timing.clone());
            self.save(job);
        }
    }

    fn want(&mut self, name: &str, trigger: Trigger) -> Verdict {
        match self.means.options.job(name) {
            Some(job) => self.desk.want(name, trigger, job.work.needs(), job.overlap),
            None => Verdict::Skipped,
        }
    }

    /// What goes on beside the jobs.
    fn keep_watch(&mut self) {
        let events = self.events.clone();
        let report = move |look| drop(events.send(Event::Looked(Box::new(look))));
        self.lookout.send(&self.means.scope, report);
        if !self.is_writing() {
            let events = self.events.clone();
            let report = move |kept| drop(events.send(Event::Kept(Box::new(kept))));
            self.tenure.send(&self.means.program, self.started, report);
        }
        let unsaved = |slot: &Slot| slot.unsaved.is_some();
        if self.slots.values().any(unsaved) && self.again.is_due(self.means.scope.clock.elapsed()) {
            for (name, slot) in self.slots.iter().filter(|(_, slot)| unsaved(slot)) {
                self.saver.save(name, &slot.record);
            }
        }
        self.watch_silence();
    }

    /// Somebody runs who writes to the repositories: who holds the locks under which leases are kept, and keeps the
    /// lease himself.
    pub(super) fn is_writing(&self) -> bool {
        self.writers().next().is_some()
    }

    /// As `is_writing`, and there is reason to hope that it ends well: a store that is away keeps a run under way nearly
    /// all the time.
    pub(super) fn is_writing_well(&self) -> bool {
        self.writers().any(|job| self.slots.get(&job.name).is_some_and(Slot::is_promising))
    }

    fn writers(&self) -> impl Iterator<Item = &JobOptions> {
        let writes = |job: &&JobOptions| matches!(job.work, Work::Backup | Work::Prune);
        self.means.options.jobs.iter().filter(writes).filter(|job| self.desk.is_running(&job.name))
    }

    /// Tells of jobs that should have succeeded by now and have not.
    fn watch_silence(&mut self) {
        let mut told = Vec::new();
        for job in &self.means.options.jobs {
            let Some(slot) = self.slots.get_mut(&job.name) else { continue };
            let since = slot.record.last_success.as_ref().map_or(self.started, |run| run.started);
            let due = view::due_by(&self.means.options, job, since);
            if let Some(max_age) = due.map(|due| due.since(since))
                && self.notifier.look(&job.name, &mut slot.record, self.started, max_age)
            {
                told.push(job.name.clone());
            }
        }
        for job in told {
            self.save(&job);
        }
    }

    fn begin(&mut self, name: &str, trigger: Trigger) {
        // Its job may have gone with a new configuration.
        let Some(job) = self.means.options.job(name).cloned() else {
            self.desk.ended(name);
            // Whoever asked for it hears that it will not come.
            self.slots.entry(name.to_owned()).or_default().asked.clear();
            return;
        };
        let begun = Begun { trigger, started: self.now() };
        let timing = self.timetable.record(name).cloned();
        let slot = self.slots.entry(name.to_owned()).or_default();
        let cancel = Cancel::new();
        slot.running = Some(cancel.clone());
        slot.listening = std::mem::take(&mut slot.asked);
        slot.record.running = Some(begun.clone());
        slot.record.timing = timing.or(slot.record.timing.take());
        // Which part is verified next: the one that failed has its turn again when the others had theirs.
        let turn = slot.record.runs;
        tracing::info!(job = name, trigger = ?trigger, "begins");
        self.notifier.begun(&job.name);
        self.save(name);
        let orders = Orders { job, begun: begun.clone(), turn, cancel };
        let (means, saver, events) = (self.means.clone(), self.saver.clone(), self.events.clone());
        let job = name.to_owned();
        let thread = thread::Builder::new().name(format!("job {name}")).spawn(move || {
            // That it was begun is on the disk, or was tried, before it does anything.
            saver.settle();
            let run = Box::new(runner::run(&means, &orders));
            drop(events.send(Event::Ended { job, run }));
        });
        if let Err(error) = thread {
            self.ended(name, runner::not_begun(&begun, &error));
        }
    }

    fn take(&mut self, event: Event) -> Result<(), SidecarError> {
        match event {
            Event::Opened(opened) => self.open(*opened),
            Event::Failed(error) => return Err(error),
            Event::Ended { job, run } => self.ended(&job, *run),
            Event::Saved(Saved { job, error }) => {
                if let Some(slot) = self.slots.get_mut(&job) {
                    if let Some(error) = &error
                        && slot.unsaved.is_none()
                    {
                        tracing::error!(
                            job,
                            error,
                            "the state of this job cannot be written; it is tried again"
                        );
                    }
                    slot.unsaved = error;
                }
            }
            Event::Kept(kept) => {
                let now = self.now();
                self.tenure.back(*kept, now);
            }
            Event::Looked(look) => {
                let frozen = !look.frozen.is_empty();
                self.lookout.back(*look);
                if frozen {
                    self.thaw();
                }
            }
            Event::Thawed(thawed) => {
                self.thawing = false;
                // One that failed is tried again after the next look in its turn: some fail at once, and for ever.
                if thawed {
                    self.lookout.hurry();
                }
            }
            Event::Reloaded(reloaded) => self.reloaded(*reloaded),
            Event::Signal(Signal::End) => self.begin_drain(),
            Event::Signal(Signal::Reload) => self.begin_reload(),
        }
        Ok(())
    }

    fn open(&mut self, opened: Opened) {
        let stage = if self.drain.is_some() { Stage::Draining } else { Stage::Working };
        for (name, record) in &opened.records {
            self.slots.entry(name.clone()).or_default().record = record.clone();
        }
        self.opened = Some(opened);
        self.stage = stage;
        self.make_timetable();
        tracing::info!(volume = %self.means.scope.volume.path().display(), jobs = self.means.options.jobs.len(), "at work");
    }

    fn make_timetable(&mut self) {
        let identity = self.means.scope.volume.identity();
        let record = |(name, slot): (&String, &Slot)| Some((name.clone(), slot.record.timing.clone()?));
        let records: BTreeMap<_, _> = self.slots.iter().filter_map(record).collect();
        self.timetable = Timetable::new(identity, self.timed_jobs(), &records, self.now());
        self.settle_all();
    }

    fn timed_jobs(&self) -> Vec<schedule::Job> {
        self.means.options.jobs.iter().filter_map(JobOptions::timed).collect()
    }

    /// A job that is new has something to be written down from the start.
    fn settle_all(&mut self) {
        let names: Vec<String> = self.timetable.records().map(|(name, _)| name.to_owned()).collect();
        for name in names {
            self.settle(&name);
        }
    }

    fn ended(&mut self, name: &str, run: Run) {
        self.desk.ended(name);
        let now = self.now();
        let Some(slot) = self.slots.get_mut(name) else { return };
        let success_before = slot.record.last_success.as_ref().map(|run| run.started);
        slot.running = None;
        slot.record.end(run.clone());
        self.notifier.ended(name, &mut slot.record, success_before);
        for listener in slot.listening.drain(..) {
            // Nobody has to wait for the answer.
            let _ = listener.send(run.clone());
        }
        runner::log(name, &run);
        let work = self.means.options.job(name).map(|job| &job.work);
        if matches!(work, Some(Work::Drill)) {
            self.lookout.hurry();
        }
        if matches!(work, Some(Work::Backup)) {
            match run.code {
                runner::code::DONE | runner::code::PARTIAL => self.tenure.confirmed(now),
                _ => self.tenure.hurry(),
            }
            self.lookout.hurry();
        }
        self.save(name);
    }

    fn order(&mut self, order: Order) {
        let answer = match (self.stage, self.means.options.job(&order.job)) {
            (Stage::StandingBy, _) => Err(OrderError::StandingBy),
            (Stage::Draining, _) => Err(OrderError::Ending),
            (Stage::Working, None) => Err(OrderError::Unknown {
                job: order.job.clone(),
                known: self.means.options.jobs.iter().map(|job| job.name.clone()).collect(),
            }),
            (Stage::Working, Some(_)) => {
                // Whoever asks while one waits already is told of that one.
                self.want(&order.job, Trigger::Request);
                let (sender, receiver) = oneshot::channel();
                self.slots.entry(order.job.clone()).or_default().asked.push(sender);
                Ok(receiver)
            }
        };
        let _ = order.reply.send(answer);
    }

    fn save(&self, name: &str) {
        if let Some(slot) = self.slots.get(name) {
            self.saver.save(name, &slot.record);
        }
    }

    pub(super) fn show(&self) {
        self.status.send_replace(Arc::new(view::status(self, self.now())));
    }
}

#[cfg(test)]
mod tests;
