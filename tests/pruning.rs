//! Backups, prunes, restores and copies on one repository, interleaved at every request, with deaths, lost responses
//! and days that pass in between: thousands of schedules, each from a seed that is printed when it breaks an
//! invariant.
//!
//! The *former* pod backs up and prunes. Meanwhile its *successor* takes the lease, restores the newest snapshot, backs
//! up and prunes as well, and both empty packs that their prunes found mostly dead; a *reader* restores whatever it finds, and a *copier* brings in snapshots of another
//! repository. Each of them may stand still for days between two requests. What must hold whoever comes when:
//!
//! 1. Every snapshot that was reported as stored and is listed restores completely, with its own content.
//! 2. So does every other snapshot that is listed, unless its writer slept for longer than the grace time. Whoever
//!    picks the newest does not get such a one.
//! 3. The last snapshot that was reported as stored is there, or a later one.
//! 4. A restore fails only if its snapshot was gone when it began, or if it took longer than the grace time.
//! 5. When all is over, two more prunes leave nothing behind that no snapshot refers to.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]
#![allow(clippy::print_stdout, reason = "how much was covered is worth knowing")]

mod fencing_support;
mod pruning_support;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fencing_support::{IDENTITY, Pod};
use pruning_support::{Careless, ELSEWHERE, Ledger, Random, Scheduler, World, follow};
use volkeep::ops::reach::pick;
use volkeep::repository::RepositoryError;
use volkeep::snapshot::summary::Wanted;
use volkeep::store::faulty::{Failure, Fault, Operation, Rule};
use volkeep::store::{MemoryStore, ObjectStore};

/// Enough that each of the things counted below comes to pass many times.
const SCHEDULES: u64 = 240;
const GRACE: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);

const FORMER: usize = 0;
const SUCCESSOR: usize = 1;
const READER: usize = 2;
const COPIER: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    LostResponses,
    /// Former and successor die at some request, again and again, and are started anew.
    Deaths,
    /// Deaths, on a store that replaces what it was told to create only if absent.
    Careless,
}

/// What happened how often, so that schedules that never come to the point do not pass for a proof.
#[derive(Debug, Default)]
struct Tally {
    stored: u64,
    copied: u64,
    fenced: u64,
    died: u64,
    forgotten: u64,
    condemned: u64,
    deleted: u64,
    pardoned: u64,
    restored: u64,
    restores_too_long: u64,
    left_behind: u64,
    left_broken: u64,
    /// Bytes stored anew because their packs were mostly dead.
    moved: u64,
}

#[test]
fn nothing_that_was_stored_is_lost() {
    let tally = run(Trouble::None, SCHEDULES);
    let (all, half) = (SCHEDULES, SCHEDULES / 2);
    assert!(tally.stored > all && tally.fenced > all && tally.restored > all, "{tally:?}");
    assert!(tally.forgotten > all && tally.condemned > half && tally.deleted > half, "{tally:?}");
    assert!(tally.copied > half && tally.moved > all * 1000, "{tally:?}");
}

#[test]
fn nor_when_responses_are_lost() {
    let tally = run(Trouble::LostResponses, SCHEDULES / 4);
    assert!(tally.stored > SCHEDULES / 2 && tally.deleted > SCHEDULES / 10, "{tally:?}");
}

#[test]
fn nor_when_anybody_dies_at_any_request() {
    let tally = run(Trouble::Deaths, SCHEDULES);
    assert!(tally.died > SCHEDULES && tally.deleted > SCHEDULES / 2 && tally.left_behind > 0, "{tally:?}");
    assert!(tally.moved > SCHEDULES * 1000, "{tally:?}");
}

#[test]
fn nor_where_conditions_are_ignored() {
    let tally = run(Trouble::Careless, SCHEDULES / 2);
    assert!(tally.died > SCHEDULES / 2 && tally.deleted > SCHEDULES / 5, "{tally:?}");
}

/// In a single instant: a prune that was cut off is about to delete what its successor has notes of.
#[test]
fn what_is_about_to_be_deleted_is_not_rested_on() {
    let (world, [former, successor]) = two();
    back_up(&world, &former, None);
    let epoch = successor.repository.take_over(&successor.writer).unwrap();
    world.change(&successor, &mut Random(5));
    successor.store.inject(Rule::new(Operation::PutIfAbsent, "snapshots/*", Fault::Fail(Failure::Io)));
    world.backup(&successor, Some(epoch)).unwrap_err();
    successor.store.heal();
    world.pass(GRACE);
    former.repository.take_over(&former.writer).unwrap();
    assert_eq!(world.prune(&former, 1, GRACE).unwrap().condemned.packs, 1);
    world.pass(GRACE);
    let (other, its_world) = (Arc::clone(&successor), world.clone());
    at_once(&former, Operation::Delete, "packs/", move || {
        let epoch = other.repository.take_over(&other.writer).unwrap();
        its_world.backup(&other, Some(epoch)).unwrap();
    });
    assert!(world.prune(&former, 1, GRACE).is_err(), "it was cut off");
    assert_eq!(all_restore(&world, &successor), 2);
}

/// In a single instant: the same manifest is made again while the old one is about to be deleted.
#[test]
fn a_segment_that_is_about_to_be_deleted_comes_back_under_another_name() {
    let (world, [former, successor]) = two();
    let set_mode = |pod: &Pod, mode| {
        std::fs::set_permissions(pod.data().join("a"), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    world.change(&former, &mut Random(1));
    set_mode(&former, 0o600);
    world.backup(&former, None).unwrap();
    set_mode(&former, 0o640);
    world.backup(&former, None).unwrap();
    world.pass(GRACE);
    let report = world.prune(&former, 1, GRACE).unwrap();
    assert_eq!((report.condemned.packs, report.condemned.segments), (0, 1), "the content is that of both");
    world.pass(GRACE);
    let (other, its_world) = (Arc::clone(&successor), world.clone());
    at_once(&former, Operation::Delete, "segments/", move || {
        let epoch = other.repository.take_over(&other.writer).unwrap();
        other.restore(&its_world.last_reported().unwrap()).unwrap();
        set_mode(&other, 0o600);
        its_world.backup(&other, Some(epoch)).unwrap();
    });
    assert!(world.prune(&former, 1, GRACE).is_err(), "it was cut off");
    assert_eq!(all_restore(&world, &successor), 2);
}

/// In a single instant: the newest snapshot is there, and its writer is about to withdraw it.
#[test]
fn nothing_is_forgotten_for_the_sake_of_what_is_withdrawn() {
    let (world, [former, successor]) = two();
    back_up(&world, &former, None);
    back_up(&world, &former, None);
    let last = world.last_reported().unwrap();
    world.pass(GRACE);
    let stored = Arc::new(AtomicBool::new(false));
    let (other, its_world, done) = (Arc::clone(&successor), world.clone(), AtomicBool::new(false));
    former.store.before_each(move |operation, key| match operation {
        Operation::PutIfAbsent if key.starts_with("snapshots/") => stored.store(true, Ordering::SeqCst),
        // The second look of the commit.
        Operation::List if stored.load(Ordering::SeqCst) && !done.swap(true, Ordering::SeqCst) => {
            other.repository.take_over(&other.writer).unwrap();
            assert_eq!(its_world.prune(&other, 1, GRACE).unwrap().forgotten.len(), 1);
        }
        _ => {}
    });
    world.change(&former, &mut Random(9));
    let error = world.backup(&former, Some(1)).unwrap_err();
    assert!(matches!(error, RepositoryError::Fenced { .. }), "{error:?}");
    assert_eq!(successor.repository.names().unwrap(), [last]);
    assert_eq!(all_restore(&world, &successor), 1);
}

fn two() -> (World, [Arc<Pod>; 2]) {
    let world = World::new();
    let server: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new(world.clock.clone()));
    let pods = ["former", "successor"].map(|name| Arc::new(world.pod(name, &server)));
    pods[0].repository.create(IDENTITY).unwrap();
    (world, pods)
}

fn back_up(world: &World, pod: &Pod, epoch: Option<u64>) {
    world.change(pod, &mut Random(world.ledger().reported.len() as u64));
    world.backup(pod, epoch).unwrap();
    world.pass(HOUR);
}

/// Does `what` directly before the first such request of the pod.
fn at_once(pod: &Pod, wanted: Operation, below: &'static str, what: impl Fn() + Send + Sync + 'static) {
    let done = AtomicBool::new(false);
    pod.store.before_each(move |operation, key| {
        if operation == wanted && key.starts_with(below) && !done.swap(true, Ordering::SeqCst) {
            what();
        }
    });
}

/// How many snapshots there are, all of them whole.
fn all_restore(world: &World, pod: &Pod) -> usize {
    let names = pod.repository.names().unwrap();
    names.iter().for_each(|id| world.restore(pod, id).unwrap_or_else(|error| panic!("{id}: {error}")));
    names.len()
}

fn run(trouble: Trouble, schedules: u64) -> Tally {
    let mut tally = Tally::default();
    for seed in 0..schedules {
        schedule(seed, trouble, &mut tally).unwrap_or_else(|why| panic!("{trouble:?}, seed {seed}: {why}"));
    }
    println!("{trouble:?}: {tally:?}");
    tally
}

/// One volume with the program beside it, and what it does with chance.
struct Actor<'a> {
    pod: &'a Pod,
    world: &'a World,
    random: Random,
    trouble: Trouble,
    tally: Tally,
}

fn schedule(seed: u64, trouble: Trouble, tally: &mut Tally) -> Result<(), String> {
    let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ trouble as u64);
    let world = World::new();
    let memory: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new(world.clock.clone()));
    let server = match trouble {
        Trouble::Careless => Arc::new(Careless(memory)) as Arc<dyn ObjectStore>,
        _ => memory,
    };
    let other: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new(world.clock.clone()));
    let pods: Vec<Pod> =
        ["former", "successor", "reader", "copier"].iter().map(|name| world.pod(name, &server)).collect();
    let origin = world.pod(ELSEWHERE, &other);
    prepare(&world, &pods[FORMER], &origin, &mut random)?;

    let scheduler = Arc::new(Scheduler::new(pods.len(), random.fork(), world.clone()));
    for (number, pod) in pods.iter().enumerate() {
        follow(&scheduler, number, pod);
    }
    let tallies: Vec<Result<Tally, String>> = thread::scope(|scope| {
        let (world, origin, scheduler) = (&world, &origin, &scheduler);
        let running: Vec<_> = pods
            .iter()
            .enumerate()
            .map(|(number, pod)| {
                let random = random.fork();
                scope.spawn(move || {
                    let _part = scheduler.part(number);
                    let mut actor = Actor { pod, world, random, trouble, tally: Tally::default() };
                    match number {
                        FORMER => actor.former(),
                        SUCCESSOR => actor.successor(),
                        READER => actor.reader(),
                        COPIER => actor.copier(origin),
                        _ => unreachable!(),
                    }
                    .map(|()| actor.tally)
                })
            })
            .collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for one in tallies {
        tally.add(one?);
    }
    for pod in &pods {
        pod.store.before_each(|_, _| {});
        pod.store.heal();
    }
    judge(&world, &pods[READER], tally)?;
    after_all(&world, &pods[SUCCESSOR], &pods[READER])
}

/// A history with something to forget, to condemn and to delete.
fn prepare(world: &World, former: &Pod, origin: &Pod, random: &mut Random) -> Result<(), String> {
    for pod in [former, origin] {
        pod.repository.create(IDENTITY).map_err(in_words)?;
        for _ in 0..3 {
            world.change(pod, random);
            world.backup(pod, None).map_err(in_words)?;
            world.pass(HOUR);
        }
    }
    if random.below(3) > 0 {
        world.pass(GRACE);
        world.prune(former, 2, GRACE).map_err(in_words)?;
        world.pass(GRACE);
        world.change(former, random);
        world.backup(former, None).map_err(in_words)?;
    }
    if random.below(2) > 0 {
        // A backup that was killed leaves packs behind, and notes of them.
        world.change(former, random);
        former.store.inject(Rule::new(Operation::PutIfAbsent, "snapshots/*", Fault::Fail(Failure::Io)));
        world.backup(former, None).err().ok_or("stored all the same")?;
        former.store.heal();
        world.pass(Duration::from_secs(random.below(30) * 3_600));
    }
    Ok(())
}

impl Actor<'_> {
    fn former(&mut self) -> Result<(), String> {
        let mut epoch = self.pod.repository.lease().map_err(in_words)?.map(|lease| lease.epoch);
        for _ in 0..3 {
            self.trouble();
            self.backup(&mut epoch)?;
            self.trouble();
            self.prune()?;
        }
        Ok(())
    }

    fn successor(&mut self) -> Result<(), String> {
        // Dead before it has begun is not worth a look.
        let mut epoch = Some(self.pod.repository.take_over(&self.pod.writer).map_err(in_words)?);
        self.restore_newest()?;
        for _ in 0..3 {
            self.trouble();
            self.backup(&mut epoch)?;
            self.trouble();
            self.prune()?;
        }
        Ok(())
    }

    fn reader(&mut self) -> Result<(), String> {
        for _ in 0..3 {
            self.restore_newest()?;
            let names = self.pod.repository.names().map_err(in_words)?;
            let chosen = &names[self.random.below(names.len() as u64) as usize];
            self.restore(chosen)?;
        }
        Ok(())
    }

    fn copier(&mut self, origin: &Pod) -> Result<(), String> {
        for _ in 0..2 {
            match self.world.copy(origin, self.pod) {
                Ok(report) => {
                    self.tally.copied += report.copied.len() as u64;
                    match report.stopped {
                        None => {}
                        Some(RepositoryError::Fenced { .. }) => self.tally.fenced += 1,
                        Some(error) => return Err(format!("copy: {error}")),
                    }
                }
                Err(error) => return Err(format!("copy: {error}")),
            }
        }
        Ok(())
    }

    /// From now on, or soon.
    fn trouble(&mut self) {
        let random = &mut self.random;
        match self.trouble {
            Trouble::None => {}
            Trouble::LostResponses => {
                for _ in 0..2 {
                    self.pod.store.inject(Rule::any("*", Fault::LostResponse).after(random.below(30)));
                }
            }
            Trouble::Deaths | Trouble::Careless => {
                if random.below(2) == 0 {
                    let dead = Rule::any("*", Fault::Fail(Failure::Io)).always();
                    self.pod.store.inject(dead.after(random.below(40)));
                }
            }
        }
    }

    fn backup(&mut self, epoch: &mut Option<u64>) -> Result<(), String> {
        self.world.change(self.pod, &mut self.random);
        let outcome = self.world.backup(self.pod, *epoch);
        if let Ok(summary) = &outcome {
            self.tally.stored += 1;
            *epoch = Some(summary.epoch);
        }
        self.survive("backup", outcome.map(drop))
    }

    fn prune(&mut self) -> Result<(), String> {
        let outcome = self.world.prune(self.pod, 1 + self.random.below(2) as u32, GRACE).map(|report| {
            self.tally.forgotten += report.forgotten.len() as u64;
            self.tally.condemned += report.condemned.packs;
            self.tally.deleted += report.deleted.packs;
            self.tally.pardoned += report.pardoned.packs;
        });
        self.survive("prune", outcome)
    }

    /// Being cut off and being dead are no failures. Who died is started anew.
    fn survive(&mut self, what: &str, outcome: Result<(), RepositoryError>) -> Result<(), String> {
        let dying = matches!(self.trouble, Trouble::Deaths | Trouble::Careless);
        match outcome {
            Ok(()) => {}
            Err(
                RepositoryError::Fenced { .. }
                | RepositoryError::LeaseElsewhere { .. }
                | RepositoryError::NotWithdrawn { .. },
            ) => self.tally.fenced += 1,
            Err(_) if dying => self.tally.died += 1,
            // When days pass between two attempts there is no third.
            Err(error) if self.trouble == Trouble::LostResponses && error.retryable() => {}
            Err(error) => return Err(format!("{what}: {error}")),
        }
        self.pod.store.heal();
        Ok(())
    }

    fn restore_newest(&mut self) -> Result<(), String> {
        match pick(self.pod.repository.as_ref(), &Wanted::Latest) {
            Ok(newest) => self.restore(&newest.id),
            Err(error) => Err(format!("picking the newest: {error}")),
        }
    }

    fn restore(&mut self, id: &volkeep::snapshot::SnapshotId) -> Result<(), String> {
        let began = self.world.now();
        match self.world.restore(self.pod, id) {
            Ok(()) => self.tally.restored += 1,
            Err(RepositoryError::NoSnapshot { .. }) => {}
            Err(_) if self.world.now().since(began) >= GRACE => self.tally.restores_too_long += 1,
            // 2.
            Err(_) if self.world.may_be_broken(id) => {}
            Err(error) => return Err(format!("4: restore of {id}: {error}")),
        }
        Ok(())
    }
}

/// 1 to 3.
fn judge(world: &World, reader: &Pod, tally: &mut Tally) -> Result<(), String> {
    let names = reader.repository.names().map_err(in_words)?;
    let Ledger { reported, moved, .. } = world.ledger();
    tally.moved += moved;
    for id in &names {
        match (world.restore(reader, id), reported.contains_key(id)) {
            (Ok(()), true) => {}
            (Ok(()), false) => tally.left_behind += 1,
            (Err(error), true) => return Err(format!("1: {id} was stored, and is lost: {error}")),
            (Err(_), false) if world.may_be_broken(id) => tally.left_broken += 1,
            (Err(error), false) => return Err(format!("2: {id} was left behind, and is broken: {error}")),
        }
    }
    let newest = pick(reader.repository.as_ref(), &Wanted::Latest).map_err(in_words)?;
    world.restore(reader, &newest.id).map_err(|error| format!("2: the newest, {}: {error}", newest.id))?;
    match world.last_reported() {
        // Unless its writer died in the instant after a later commit, which counts as well.
        Some(last) if !names.contains(&last) && newest.id < last => {
            Err(format!("3: {last} was the last to be stored; {names:?}"))
        }
        _ => Ok(()),
    }
}

/// 5.
fn after_all(world: &World, pod: &Pod, reader: &Pod) -> Result<(), String> {
    let epoch = pod.repository.take_over(&pod.writer).map_err(in_words)?;
    world.change(pod, &mut Random(1));
    world.backup(pod, Some(epoch)).map_err(|error| format!("5: {error}"))?;
    for _ in 0..3 {
        world.pass(GRACE * 2);
        let report = world.prune(pod, 1, GRACE).map_err(|error| format!("5: {error}"))?;
        if report.blind {
            // 2. A person removes it.
            for id in report.damaged.iter().flat_map(|finding| &finding.snapshots) {
                if !world.may_be_broken(id) {
                    return Err(format!("5: {id} is broken"));
                }
                world.remove(pod, id);
            }
        }
    }
    world.pass(GRACE * 2);
    let last = world.prune(pod, 1, GRACE).map_err(|error| format!("5: {error}"))?;
    let (live, tombstones) = (last.live, world.count(pod, "tombstones"));
    let there = (world.count(pod, "packs"), world.count(pod, "segments"));
    if (live.packs, live.segments) != there || tombstones != 0 || last.blind {
        return Err(format!("5: {there:?} packs and segments, {tombstones} tombstones: {last:?}"));
    }
    for id in reader.repository.names().map_err(in_words)? {
        match world.restore(reader, &id) {
            Err(error) if !world.may_be_broken(&id) => return Err(format!("5: {id}: {error}")),
            _ => {}
        }
    }
    Ok(())
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.stored += other.stored;
        self.copied += other.copied;
        self.fenced += other.fenced;
        self.died += other.died;
        self.forgotten += other.forgotten;
        self.condemned += other.condemned;
        self.deleted += other.deleted;
        self.pardoned += other.pardoned;
        self.restored += other.restored;
        self.restores_too_long += other.restores_too_long;
        self.left_behind += other.left_behind;
        self.left_broken += other.left_broken;
        self.moved += other.moved;
    }
}

fn in_words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
