//! Two writers on one repository, interleaved at every request: 1,000 schedules, each from a seed that is printed
//! when it breaks an invariant.
//!
//! The *former* pod backs up twice. Meanwhile its *successor* does as `init` does: takes the lease, then picks the
//! newest snapshot, restores it, and backs up. Their clocks differ by up to a day in either direction. What must hold
//! whoever comes when:
//!
//! 1. The successor's epoch is higher than every epoch of the former, and its backup is stored.
//! 2. Each backup of the former is refused with `Fenced`, or was stored before the successor chose: what the
//!    successor restored is that snapshot or a later one.
//! 3. What was refused has left no snapshot behind; what was stored is still there.
//! 4. The successor has the content of the snapshot that it chose.
//! 5. The newest snapshot at the end is the successor's, by whatever clock.
//! 6. The repository checks clean.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]

mod fencing_support;

use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use fencing_support::{IDENTITY, Pod, server};
use volkeep::ops::reach::pick;
use volkeep::repository::RepositoryError;
use volkeep::snapshot::summary::Wanted;
use volkeep::snapshot::{SnapshotId, Summary};
use volkeep::store::faulty::{Failure, Fault, Operation, Rule};

const SCHEDULES: u64 = 1_000;
const FORMER: usize = 0;
const SUCCESSOR: usize = 1;
const DAY: Duration = Duration::from_secs(86_400);

/// Two threads of the same pod that wait at once are as one: their requests have nothing to do with the lease.
struct Scheduler {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    random: Random,
    /// How likely the same pod goes on, in percent: long runs reach other places than a fair coin does.
    sticky: u64,
    /// Requests that the former has for itself before the successor begins.
    lead: u64,
    waiting: [usize; 2],
    done: [bool; 2],
    turn: Option<usize>,
    last: usize,
}

impl Scheduler {
    fn new(mut random: Random) -> Self {
        let sticky = [0, 50, 80, 95][random.below(4) as usize];
        let (lead, last) = (random.below(40), random.below(2) as usize);
        let (waiting, done) = ([0; 2], [false; 2]);
        Self {
            state: Mutex::new(State { random, sticky, lead, waiting, done, turn: None, last }),
            changed: Condvar::new(),
        }
    }

    /// Returns when the pod may make its next request.
    fn enter(&self, pod: usize) {
        let mut state = self.state.lock().unwrap();
        state.waiting[pod] += 1;
        self.choose(&mut state);
        while state.turn != Some(pod) {
            state = self.changed.wait(state).unwrap();
        }
        state.turn = None;
        state.waiting[pod] -= 1;
        self.choose(&mut state);
    }

    fn end(&self, pod: usize) {
        let mut state = self.state.lock().unwrap();
        state.done[pod] = true;
        self.choose(&mut state);
    }

    /// Once every pod stands before a request: nothing is decided by how fast a thread is.
    fn choose(&self, state: &mut State) {
        let ready = (0..2).all(|pod| state.done[pod] || state.waiting[pod] > 0);
        let live: Vec<usize> = (0..2).filter(|pod| !state.done[*pod]).collect();
        if state.turn.is_some() || !ready || live.is_empty() {
            return;
        }
        let stay = live.contains(&state.last) && state.random.below(100) < state.sticky;
        let next = if state.lead > 0 && live.contains(&FORMER) {
            state.lead -= 1;
            FORMER
        } else if stay {
            state.last
        } else {
            live[state.random.below(live.len() as u64) as usize]
        };
        state.last = next;
        state.turn = Some(next);
        self.changed.notify_all();
    }
}

/// Ends its pod's part in the schedule, however the pod ended.
struct Part<'a>(&'a Scheduler, usize);

impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.0.end(self.1);
    }
}

#[derive(Clone)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % bound
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    /// Requests are done and fail all the same.
    LostResponses,
    /// The former pod dies before one of its requests.
    Death,
}

/// What happened how often, so that a schedule that never comes to the point does not pass for a proof.
#[derive(Debug, Default)]
struct Tally {
    stored: u32,
    fenced: u32,
    withdrawn: u32,
    withdrawn_was_chosen: u32,
    left_behind: u32,
    died: u32,
}

#[derive(Debug)]
struct Took {
    epoch: u64,
    chosen: Summary,
    content: String,
    stored: Summary,
}

#[test]
fn the_second_of_two_writers_wins_in_a_thousand_interleavings() {
    let mut tally = Tally::default();
    for seed in 0..SCHEDULES {
        schedule(seed, Trouble::None, &mut tally).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
    println!("{tally:?}");
    assert!(tally.stored > 100 && tally.fenced > 100, "{tally:?}");
    assert!(tally.withdrawn > 10 && tally.withdrawn_was_chosen > 0, "{tally:?}");
    assert_eq!((tally.left_behind, tally.died), (0, 0));
}

#[test]
fn and_when_responses_are_lost() {
    let mut tally = Tally::default();
    for seed in 0..SCHEDULES / 4 {
        schedule(seed, Trouble::LostResponses, &mut tally).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
    println!("{tally:?}");
    assert!(tally.stored > 20 && tally.fenced > 20 && tally.withdrawn > 0, "{tally:?}");
}

#[test]
fn and_when_the_first_dies_at_any_request() {
    let mut tally = Tally::default();
    for seed in 0..SCHEDULES / 2 {
        schedule(seed, Trouble::Death, &mut tally).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
    println!("{tally:?}");
    assert!(tally.died > 100 && tally.left_behind > 0, "{tally:?}");
}

fn schedule(seed: u64, trouble: Trouble, tally: &mut Tally) -> Result<(), String> {
    let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ trouble as u64);
    let server = server();
    let former = Pod::new("former", &server, random.below(3) as u32 * DAY);
    let successor = Pod::new("successor", &server, random.below(3) as u32 * DAY);
    former.repository.create(IDENTITY).map_err(in_words)?;
    former.write("0");
    let first = former.backup(None).map_err(in_words)?.snapshot.unwrap();
    match trouble {
        Trouble::None => {}
        Trouble::LostResponses => {
            for pod in [&former, &successor] {
                for _ in 0..3 {
                    pod.store.inject(Rule::any("*", Fault::LostResponse).after(random.below(30)));
                }
                // The ones that matter most.
                let lost = |operation, pattern| Rule::new(operation, pattern, Fault::LostResponse);
                pod.store.inject(lost(Operation::PutIfAbsent, "leases/*").times(random.below(2)));
                pod.store.inject(lost(Operation::PutIfAbsent, "snapshots/*").times(random.below(2)));
                pod.store.inject(lost(Operation::Delete, "snapshots/*").times(random.below(2)));
            }
        }
        Trouble::Death => {
            let dead = Rule::any("*", Fault::Fail(Failure::Io)).always();
            former.store.inject(dead.after(random.below(60)));
        }
    }
    let scheduler = Arc::new(Scheduler::new(random));
    for (number, pod) in [(FORMER, &former), (SUCCESSOR, &successor)] {
        let scheduler = Arc::clone(&scheduler);
        pod.store.before_each(move |_, _| scheduler.enter(number));
    }
    former.store.reset_counts();
    let (backups, took) = thread::scope(|scope| {
        let backing_up = scope.spawn(|| {
            let _part = Part(&scheduler, FORMER);
            back_up_twice(&former)
        });
        let taking_over = scope.spawn(|| {
            let _part = Part(&scheduler, SUCCESSOR);
            take_over(&successor)
        });
        (backing_up.join().unwrap(), taking_over.join().unwrap())
    });
    let took = took.map_err(|error| format!("the successor failed: {error}"))?;

    let observer = Pod::new("observer", &server, DAY);
    let listed = observer.repository.snapshots().map_err(in_words)?.snapshots;
    let mut committed = vec![first];
    let mut died = false;
    for outcome in &backups {
        match outcome {
            Ok(summary) if committed.len() <= backups.len() => committed.push(summary.clone()),
            Ok(_) => unreachable!(),
            Err(RepositoryError::Fenced { .. }) => tally.fenced += 1,
            Err(_) if trouble == Trouble::Death => died = true,
            Err(error) => return Err(format!("the former failed: {error}")),
        }
    }
    tally.died += u32::from(died);
    tally.stored += committed.len() as u32 - 1;
    let deleted = former.store.counts().of(Operation::Delete) > 0;
    tally.withdrawn += u32::from(deleted);

    // 1.
    let rises = committed.iter().all(|summary| summary.epoch < took.epoch);
    expect(rises && took.stored.epoch == took.epoch, "1: the second epoch wins", &(&committed, &took))?;
    // 2.
    let fenced = backups.iter().position(|outcome| outcome.is_err()).unwrap_or(backups.len());
    expect(backups[fenced..].iter().all(Result::is_err), "2: once refused, always refused", &backups)?;
    let chose_all = committed.iter().all(|summary| summary.id <= took.chosen.id);
    expect(chose_all, "2: what was stored had been stored before the successor chose", &(&committed, &took))?;
    // 3.
    let of_former: Vec<&SnapshotId> =
        listed.iter().filter(|one| one.volume_id == "former").map(|one| &one.id).collect();
    let kept: Vec<&SnapshotId> = committed.iter().map(|summary| &summary.id).collect();
    let extra: Vec<_> = of_former.iter().filter(|id| !kept.contains(id)).collect();
    expect(
        kept.iter().all(|id| of_former.contains(id)),
        "3: what was stored is there",
        &(&kept, &of_former),
    )?;
    expect(extra.len() <= usize::from(died), "3: what was refused is not there", &(&kept, &of_former))?;
    tally.left_behind += extra.len() as u32;
    // 4.
    let chosen = kept.iter().position(|id| **id == took.chosen.id);
    tally.withdrawn_was_chosen += u32::from(chosen.is_none() && deleted);
    // One that is not kept is the one after those that are.
    let number = chosen.unwrap_or(kept.len());
    expect(took.content == number.to_string(), "4: the content is that of the choice", &(&kept, &took))?;
    // 5.
    let newest = pick(observer.repository.as_ref(), &Wanted::Latest).map_err(in_words)?;
    expect(newest.id == took.stored.id, "5: the newest is the successor's", &(&listed, &took))?;
    // 6.
    expect(observer.check().is_empty(), "6: the repository is whole", &observer.check())?;

    // Whatever was left behind under however late a name, the next backup is the newest by name too.
    let next = successor_goes_on(&successor, took.epoch)?;
    let names = observer.repository.names().map_err(in_words)?;
    expect(names.last() == Some(&next.id), "5: nor does a clock that is ahead win later", &names)
}

fn back_up_twice(pod: &Pod) -> Vec<Result<Summary, RepositoryError>> {
    let one = |content: &str| {
        pod.write(content);
        pod.backup(Some(1)).map(|report| report.snapshot.unwrap())
    };
    let first = one("1");
    // What was not stored is stored by the next run.
    let second = one(if first.is_ok() { "2" } else { "1" });
    vec![first, second]
}

fn take_over(pod: &Pod) -> Result<Took, String> {
    let epoch = pod.repository.take_over(&pod.writer).map_err(in_words)?;
    let chosen = loop {
        let chosen = pick(pod.repository.as_ref(), &Wanted::Latest).map_err(in_words)?;
        match pod.restore(&chosen.id) {
            Ok(()) => break chosen,
            // Withdrawn in between.
            Err(RepositoryError::NoSnapshot { .. }) => {}
            Err(error) => return Err(in_words(error)),
        }
    };
    let content = pod.content();
    pod.write("of the successor");
    let stored = pod.backup(Some(epoch)).map_err(in_words)?.snapshot.unwrap();
    Ok(Took { epoch, chosen, content, stored })
}

fn successor_goes_on(pod: &Pod, epoch: u64) -> Result<Summary, String> {
    pod.store.before_each(|_, _| {});
    pod.store.heal();
    pod.write("later");
    Ok(pod.backup(Some(epoch)).map_err(in_words)?.snapshot.unwrap())
}

fn expect(holds: bool, what: &str, facts: &dyn std::fmt::Debug) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("broken: {what}: {facts:?}")) }
}

fn in_words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
