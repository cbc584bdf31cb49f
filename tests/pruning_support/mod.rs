//! One clock for all, a record of what was stored, and a scheduler that lets one request through at a time and days
//! pass in between.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use volkeep::base::cancel::Cancel;
use volkeep::base::clock::{Clock, ManualClock, SystemClock};
use volkeep::base::progress::Progress;
use volkeep::base::timestamp::Timestamp;
use volkeep::repository::packed::codec::Codec;
use volkeep::repository::packed::{Packed, PackedOptions, PackedRoute};
use volkeep::repository::{
    Chosen, CopyReport, CopyRequest, Epoch, PruneReport, PruneRequest, RepositoryError, Route, Writer,
};
use volkeep::snapshot::retention::{Policy, Rules};
use volkeep::snapshot::{SnapshotId, Summary};
use volkeep::store::faulty::Operation;
use volkeep::store::retry::RetryPolicy;
use volkeep::store::{
    Container, FaultyStore, Key, ObjectStore, Presence, Put, Replace, RetryStore, StoreError, Visit,
};

use crate::fencing_support::{IDENTITY, Pod, START, workers};

/// How often its line is repeated: two small ones, and two that are cut into chunks.
const FILES: [(&str, usize); 4] = [("a", 40), ("b", 40), ("c", 5_000), ("d", 5_000)];
/// So many contents a file changes between: what is gone often comes back.
const VARIANTS: u64 = 3;
/// The volume whose snapshots are in the other repository.
pub const ELSEWHERE: &str = "elsewhere";
const GRACE: Duration = Duration::from_secs(86_400);

/// Files and their contents.
type Content = BTreeMap<String, Vec<u8>>;

/// What happened so far.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub reported: HashMap<SnapshotId, Content>,
    last: Option<SnapshotId>,
    /// Snapshots whose writer slept for the grace time between its look and its commit.
    slept: HashSet<String>,
    looks: HashMap<String, Timestamp>,
    /// Bytes stored anew so that packs can go.
    pub moved: u64,
}

#[derive(Clone)]
pub struct World {
    pub clock: Arc<ManualClock>,
    ledger: Arc<Mutex<Ledger>>,
}

impl World {
    pub fn new() -> Self {
        // Later than anything that is written to disk meanwhile, so that a backup takes the times of files for settled.
        let start = START.max(SystemClock::default().now().plus(Duration::from_secs(86_400)));
        Self { clock: Arc::new(ManualClock::at(start)), ledger: Arc::default() }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    pub fn ledger(&self) -> Ledger {
        self.ledger.lock().unwrap().clone()
    }

    pub fn last_reported(&self) -> Option<SnapshotId> {
        self.ledger().last
    }

    /// Nobody was told of it, and its writer slept too long.
    pub fn may_be_broken(&self, id: &SnapshotId) -> bool {
        let ledger = self.ledger();
        !ledger.reported.contains_key(id) && ledger.slept.contains(&id.0)
    }

    pub fn pod(&self, name: &str, server: &Arc<dyn ObjectStore>) -> Pod {
        let mut pod = Pod::new(name, server, Duration::ZERO);
        pod.clock = self.clock.clone();
        pod.store = Arc::new(FaultyStore::new(Arc::clone(server), self.clock.clone()));
        pod.repository = Arc::new(self.packed(&pod));
        pod.writer = Writer { volume_id: name.into(), identity: IDENTITY.into(), host: name.into() };
        pod
    }

    fn packed(&self, pod: &Pod) -> Packed {
        let policy = RetryPolicy { seed: Some(1), ..RetryPolicy::default() };
        let retrying = Arc::new(RetryStore::new(pod.store.clone(), policy, self.clock.clone()));
        let options = PackedOptions { codec: Codec::None, level: None };
        Packed::new(retrying, options, self.clock.clone())
    }

    /// Some files get another content.
    pub fn change(&self, pod: &Pod, random: &mut Random) {
        for (name, lines) in FILES {
            let path = pod.data().join(name);
            if random.below(2) == 0 || !path.exists() {
                let content = format!("{name} as it is in variant {} ", random.below(VARIANTS)).repeat(lines);
                write_later(&path, content.as_bytes());
            }
        }
    }

    pub fn backup(&self, pod: &Pod, epoch: Option<Epoch>) -> Result<Summary, RepositoryError> {
        let content = content(&pod.data());
        let report = pod.backup(epoch)?;
        let summary = report.snapshot.unwrap();
        let mut ledger = self.ledger.lock().unwrap();
        ledger.moved += report.moved_bytes;
        ledger.reported.insert(summary.id.clone(), content);
        if pod.writer.volume_id != ELSEWHERE {
            ledger.last = Some(summary.id.clone());
        }
        Ok(summary)
    }

    pub fn copy(&self, from: &Pod, to: &Pod) -> Result<CopyReport, RepositoryError> {
        let route = PackedRoute::new(self.packed(from), self.packed(to), self.clock.clone());
        let request = CopyRequest {
            chosen: &Chosen::All,
            workers: &workers(),
            progress: &Progress::default(),
            cancel: &Cancel::new(),
        };
        let report = route.copy(&request)?;
        let mut ledger = self.ledger.lock().unwrap();
        for copied in &report.copied {
            let content = ledger.reported[&copied.snapshot].clone();
            ledger.reported.insert(copied.copy.clone(), content);
        }
        Ok(report)
    }

    pub fn prune(&self, pod: &Pod, last: u32, grace: Duration) -> Result<PruneReport, RepositoryError> {
        let rules = Rules { last, ..Rules::default() };
        let policy = Policy { rules, ..Policy::default() };
        let request = PruneRequest {
            policy: &policy,
            grace,
            writer: &pod.writer,
            cache: &pod.dir.path().join("cache"),
            dry_run: false,
            workers: &workers(),
            progress: &Progress::default(),
            cancel: &Cancel::new(),
        };
        pod.repository.prune(&request)
    }

    /// Beside the data of the pod, and compared with what was backed up.
    pub fn restore(&self, pod: &Pod, id: &SnapshotId) -> Result<(), RepositoryError> {
        let target = tempfile::tempdir_in(pod.dir.path()).unwrap();
        let request = volkeep::repository::RestoreRequest {
            target: target.path(),
            selector: &volkeep::snapshot::selector::Selector::everything(),
            cache: None,
            workers: &workers(),
            progress: &Progress::default(),
            cancel: &Cancel::new(),
        };
        pod.repository.restore(id, &request)?;
        if let Some(expected) = self.ledger().reported.get(id) {
            assert_eq!(&content(target.path()), expected, "{id} has another content");
        }
        Ok(())
    }

    pub fn remove(&self, pod: &Pod, id: &SnapshotId) {
        pod.store.delete(&Key::new(format!("snapshots/{id}.json")).unwrap()).unwrap();
    }

    pub fn count(&self, pod: &Pod, prefix: &str) -> u64 {
        let mut count = 0;
        let each = &mut |_| {
            count += 1;
            Ok(())
        };
        pod.store.list(prefix, each).unwrap();
        count
    }

    /// To be called in the instant of a request.
    fn note(&self, pod: &str, operation: Operation, subject: &str) {
        let now = self.now();
        let mut ledger = self.ledger.lock().unwrap();
        match (operation, subject) {
            (Operation::List, "leases") => {
                ledger.looks.insert(pod.to_owned(), now);
            }
            (Operation::PutIfAbsent, key) if key.starts_with("snapshots/") => {
                let looked = ledger.looks.get(pod).copied().unwrap_or(now);
                if now.since(looked) >= GRACE {
                    let name = key.trim_start_matches("snapshots/").trim_end_matches(".json");
                    ledger.slept.insert(name.to_owned());
                }
            }
            _ => {}
        }
    }
}

/// With another change time than before: two writes within a tick of the file system's clock look like one.
pub fn write_later(path: &Path, content: &[u8]) {
    let changed = |path: &Path| fs::metadata(path).map(|meta| (meta.ctime(), meta.ctime_nsec())).ok();
    let before = changed(path);
    loop {
        fs::write(path, content).unwrap();
        if changed(path) != before {
            return;
        }
    }
}

fn content(directory: &Path) -> Content {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// Lets one request through at a time. Two threads of the same pod that wait at once are as one.
pub struct Scheduler {
    state: Mutex<State>,
    changed: Condvar,
    world: World,
}

struct State {
    random: Random,
    /// How likely the same pod goes on, in percent: long runs reach other places than a fair coin does.
    sticky: u64,
    /// One in so many requests is followed by hours in which nothing happens.
    pause_one_in: u64,
    waiting: Vec<usize>,
    done: Vec<bool>,
    turn: Option<usize>,
    last: usize,
}

impl Scheduler {
    pub fn new(pods: usize, mut random: Random, world: World) -> Self {
        let sticky = [0, 60, 90, 97][random.below(4) as usize];
        let pause_one_in = [20, 60, 200][random.below(3) as usize];
        let state = State {
            random,
            sticky,
            pause_one_in,
            waiting: vec![0; pods],
            done: vec![false; pods],
            turn: None,
            last: 0,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), world }
    }

    /// Returns when the pod may make its next request.
    pub fn enter(&self, pod: usize) {
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

    pub fn part(self: &Arc<Self>, pod: usize) -> Part {
        Part(Arc::clone(self), pod)
    }

    fn end(&self, pod: usize) {
        let mut state = self.state.lock().unwrap();
        state.done[pod] = true;
        self.choose(&mut state);
    }

    /// Once every pod stands before a request: nothing is decided by how fast a thread is.
    fn choose(&self, state: &mut State) {
        let pods = state.done.len();
        let ready = (0..pods).all(|pod| state.done[pod] || state.waiting[pod] > 0);
        let live: Vec<usize> = (0..pods).filter(|pod| !state.done[*pod]).collect();
        if state.turn.is_some() || !ready || live.is_empty() {
            return;
        }
        if state.random.below(state.pause_one_in) == 0 {
            self.world.pass(Duration::from_secs([7, 25][state.random.below(2) as usize] * 3_600));
        }
        let stay = live.contains(&state.last) && state.random.below(100) < state.sticky;
        let next = if stay { state.last } else { live[state.random.below(live.len() as u64) as usize] };
        state.last = next;
        state.turn = Some(next);
        self.changed.notify_all();
    }
}

/// Ends its pod's part in the schedule, however the pod ended.
pub struct Part(Arc<Scheduler>, usize);

impl Drop for Part {
    fn drop(&mut self) {
        self.0.end(self.1);
    }
}

#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % bound
    }

    pub fn fork(&mut self) -> Self {
        Self(self.below(u64::MAX))
    }
}

/// A store as some servers are: it overwrites what it should only create, and cannot compare.
#[derive(Debug)]
pub struct Careless(pub Arc<dyn ObjectStore>);

impl ObjectStore for Careless {
    fn location(&self) -> String {
        self.0.location()
    }
    fn container(&self) -> Container {
        self.0.container()
    }
    fn presence(&self) -> Result<Presence, StoreError> {
        self.0.presence()
    }
    fn create(&self) -> Result<(), StoreError> {
        self.0.create()
    }
    fn list(&self, prefix: &str, each: Visit<'_>) -> Result<(), StoreError> {
        self.0.list(prefix, each)
    }
    fn size(&self, key: &Key) -> Result<u64, StoreError> {
        self.0.size(key)
    }
    fn get(&self, key: &Key) -> Result<Vec<u8>, StoreError> {
        self.0.get(key)
    }
    fn get_range(&self, key: &Key, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        self.0.get_range(key, offset, length)
    }
    fn put(&self, key: &Key, bytes: &Bytes) -> Result<(), StoreError> {
        self.0.put(key, bytes)
    }
    fn put_if_absent(&self, key: &Key, bytes: &Bytes) -> Result<Put, StoreError> {
        self.0.put(key, bytes)?;
        Ok(Put::Created)
    }
    fn replace(&self, _: &Key, _: &Bytes, _: &Bytes) -> Result<Replace, StoreError> {
        Ok(Replace::Unsupported)
    }
    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.0.delete(key)
    }
}

/// Runs the hook of the schedule, and notes what the request says about sleeping.
pub fn follow(scheduler: &Arc<Scheduler>, number: usize, pod: &Pod) {
    let (scheduler, name) = (Arc::clone(scheduler), pod.writer.volume_id.clone());
    pod.store.before_each(move |operation, subject| {
        scheduler.enter(number);
        scheduler.world.note(&name, operation, subject);
    });
}
