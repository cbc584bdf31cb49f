//! Single steps of the loop, without the loop.

use super::*;
use crate::base::clock::{Clock, ManualClock};
use crate::base::progress::Progress;
use crate::ops::Scope;
use crate::ops::lease::{Held, LeaseKept};
use crate::ops::scope::SourceOptions;
use crate::repository::Workers;
use crate::sidecar::child::Program;
use crate::sidecar::desk::{Access, Needs, Overlap};
use crate::sidecar::options::SidecarOptions;
use crate::sidecar::record::Outcome;
use crate::sidecar::sample;
use crate::sidecar::state::States;
use crate::sidecar::task::TaskReport;
use crate::volume::{Volume, VolumeOptions};

const HOUR: Duration = Duration::from_secs(3600);

struct Lab {
    _directory: tempfile::TempDir,
    clock: Arc<ManualClock>,
    engine: Engine,
}

/// At work, with a backup each hour that is made up for. Its child does nothing.
fn at_work() -> Lab {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(sample::NOON));
    let shared: Arc<dyn Clock> = clock.clone();
    let options =
        VolumeOptions::new(directory.path().join("data"), directory.path().join(".volkeep"), "wiki");
    let scope = Scope {
        volume: Volume::new(options).unwrap(),
        repositories: Vec::new(),
        source: SourceOptions::default(),
        workers: Workers { threads: 1, connections: 1, memory: 16 << 20 },
        pod: String::new(),
        host: "host".into(),
        clock: Arc::clone(&shared),
        progress: Progress::default(),
        cancel: Cancel::new(),
    };
    scope.volume.prepare().unwrap();
    let backup = JobOptions {
        name: BACKUP.into(),
        work: Work::Backup,
        schedule: Some(schedule::Schedule::parse("@every 1h", schedule::Zone::UTC).unwrap()),
        jitter: Duration::ZERO,
        catch_up: true,
        overlap: Overlap::Skip,
        timeout: None,
        retries: 0,
        backoff: Duration::ZERO,
        hooks: crate::hook::Hooks::default(),
    };
    let options = SidecarOptions {
        listen: None,
        token: None,
        grace: HOUR,
        backup_on_shutdown: false,
        max_backup_age: None,
        jobs: vec![backup],
        has_steps: false,
        notify: Vec::new(),
    };
    let program = Program {
        path: "/bin/false".into(),
        arguments: Vec::new(),
        configuration: Secret::new(""),
        patience: HOUR,
    };
    let lock = scope.sidecar_lock("sidecar").unwrap();
    let means = Means {
        options: Arc::new(options),
        scope: scope.clone(),
        program: Arc::new(program),
        configured: sample::NOON,
    };
    let notifier =
        Notifier::start(Vec::new(), sample::about(), shared, Arc::new(crate::sidecar::notify::Delivery))
            .unwrap();
    let saver = Saver::start(States::below(scope.state_dir()), |_| {}).unwrap();
    let reload: Reload = Arc::new(|| Err("not here".into()));
    let (events, _) = mpsc::unbounded_channel();
    let (mut engine, _) = Engine::new(means, reload, notifier, saver, watch::Sender::new(None), events);
    let records = BTreeMap::from([(BACKUP.to_owned(), Record::default())]);
    engine.open(Opened { lock, records, was_clean: true });
    Lab { _directory: directory, clock, engine }
}

impl Lab {
    fn settled(&self) -> Timestamp {
        self.engine.slots[BACKUP].record.timing.as_ref().unwrap().settled
    }
}

#[test]
fn a_run_that_waits_is_missed_if_the_sidecar_ends_before_it_began() {
    let mut lab = at_work();
    let other = Needs { volume: Access::None, repository: true };
    lab.engine.desk.want("check", Trigger::Request, other, Overlap::Skip);
    lab.engine.desk.begin_next().unwrap();
    let before = lab.settled();
    lab.clock.advance(HOUR);
    lab.engine.take_due();
    lab.engine.begin_all();
    assert!(lab.engine.desk.is_waiting(BACKUP));
    lab.engine.settle_all();
    assert_eq!(lab.settled(), before, "killed now, the next sidecar has to make up for it");
    lab.engine.desk.ended("check");
    lab.engine.begin_all();
    assert!(lab.engine.desk.is_running(BACKUP));
    assert!(lab.settled() > before, "it has begun, and must not run twice");
}

#[test]
fn a_thaw_that_failed_is_not_tried_again_at_once() {
    let mut lab = at_work();
    let scope = lab.engine.means.scope.clone();
    assert!(opening::thaw_left_behind(&scope));
    let frozen = scope.state_dir().join("frozen");
    std::fs::create_dir(&frozen).unwrap();
    std::fs::write(frozen.join("backup.json"), "torn").unwrap();
    assert!(!opening::thaw_left_behind(&scope));

    lab.engine.lookout.send(&scope, |_| {});
    let look = Look {
        state: Ok("healthy"),
        last_backup: None,
        init: Record::default(),
        frozen: Vec::new(),
        drill: None,
    };
    lab.engine.lookout.back(look);
    lab.engine.take(Event::Thawed(false)).unwrap();
    assert!(!lab.engine.lookout.is_due());
    lab.engine.take(Event::Thawed(true)).unwrap();
    assert!(lab.engine.lookout.is_due());
}

#[test]
fn whoever_asked_for_a_job_that_went_away_is_told() {
    let mut lab = at_work();
    let (sender, mut receiver) = oneshot::channel();
    lab.engine.slots.entry("gone".into()).or_default().asked.push(sender);
    lab.engine.begin("gone", Trigger::Request);
    assert_eq!(receiver.try_recv().unwrap_err(), oneshot::error::TryRecvError::Closed);
}

/// A store that is away keeps a run under way nearly all the time: none of them is a reason to hope.
#[test]
fn a_run_after_failures_excuses_neither_age_nor_lease() {
    let mut lab = at_work();
    let lease = LeaseKept { repository: "there".into(), held: Held::Yes, epoch: Some(1), reason: None };
    let report = TaskReport { leases: vec![lease], ..TaskReport::default() };
    lab.engine.tenure.back(Ok(report), sample::NOON);
    lab.engine.slots.get_mut(BACKUP).unwrap().record.last_success = Some(sample::run(Outcome::Done));
    lab.clock.advance(3 * HOUR);
    let now = lab.engine.now();
    lab.engine.want(BACKUP, Trigger::Request);
    lab.engine.desk.begin_next().unwrap();
    lab.engine.slots.get_mut(BACKUP).unwrap().record.running =
        Some(Begun { trigger: Trigger::Schedule, started: now });
    let mut troubles = |failures| {
        lab.engine.slots.get_mut(BACKUP).unwrap().record.consecutive_failures = failures;
        let reasons = view::status(&lab.engine, now).not_ready.join("\n");
        ["the last backup is", "the lease of there is not held"].map(|trouble| reasons.contains(trouble))
    };
    assert_eq!(troubles(0), [false, false], "a long backup");
    assert_eq!(troubles(3), [true, true], "one more attempt");
}
