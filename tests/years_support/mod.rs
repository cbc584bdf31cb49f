//! A volume whose files are known by heart, and what its repository holds: read from the stored lines, with no help of
//! the program.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;
use volkeep::base::cancel::Cancel;
use volkeep::base::hash::Hash;
use volkeep::base::progress::Progress;
use volkeep::repository::{BackupReport, PruneReport, PruneRequest, RestoreRequest};
use volkeep::snapshot::retention::{Policy, Rules};
use volkeep::snapshot::selector::Selector;
use volkeep::snapshot::{Kind, SnapshotId};
use volkeep::store::faulty::{Failure, Fault, Operation, Rule};
use volkeep::store::{Key, MemoryStore, ObjectStore};

use crate::fencing_support::{IDENTITY, Pod, workers};
use crate::pruning_support::{Random, World, write_later};

pub const GRACE: Duration = Duration::from_secs(86_400);
const DIRECTORIES: u64 = 40;
/// Bytes of a file.
const SMALLEST: u64 = 200;
const LARGEST: u64 = 1_800;
/// Cut into chunks.
const LARGE: u64 = 200_000;
/// Written to between any two backups, as databases and logs are: its length grows with the volume.
const DATABASE: &str = "database";
const DATABASE_PER_FILE: u64 = 15;

/// Adds up in any order, so that it can be kept while files change.
type Digest = u128;

pub struct Life {
    pub world: World,
    pod: Pod,
    server: Arc<dyn ObjectStore>,
    /// Each file with the version of its content.
    files: BTreeMap<String, u64>,
    names: Vec<String>,
    passing: Vec<String>,
    projects: Vec<String>,
    /// Bytes of the database.
    database: u64,
    digest: Digest,
    versions: u64,
    made: u64,
    remembered: HashMap<SnapshotId, Digest>,
    segments: HashMap<String, Segment>,
    /// What no snapshot referred to after the last prune.
    orphans: HashSet<String>,
}

/// What is stored for a snapshot.
pub type Kept = (SnapshotId, Vec<String>);

#[derive(Default)]
struct Segment {
    size: u64,
    packs: Vec<String>,
    /// Pack, offset, skip, length.
    pieces: Vec<(u32, u64, u32, u32)>,
    /// Hash of a file, and its bytes.
    contents: Vec<(String, u64)>,
}

/// In bytes.
#[derive(Debug)]
pub struct Needs {
    /// Distinct contents of files, and segments.
    pub content: u64,
    /// Distinct pieces of packs, and segments: more than `content` where something lies in two places.
    pub pieces: u64,
}

impl Life {
    pub fn new(files: usize, random: &mut Random) -> Self {
        let world = World::new();
        let server: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new(world.clock.clone()));
        let pod = world.pod("volume", &server);
        pod.repository.create(IDENTITY).unwrap();
        let mut life = Self {
            world,
            pod,
            server,
            files: BTreeMap::new(),
            names: Vec::new(),
            passing: Vec::new(),
            projects: Vec::new(),
            database: files as u64 * DATABASE_PER_FILE,
            digest: 0,
            versions: 0,
            made: 0,
            remembered: HashMap::new(),
            segments: HashMap::new(),
            orphans: HashSet::new(),
        };
        for directory in 0..DIRECTORIES {
            fs::create_dir(life.pod.data().join(format!("{directory:02}"))).unwrap();
        }
        (0..files).for_each(|_| life.create(random));
        life.write(DATABASE);
        for number in 0..4 {
            life.write(&format!("large-{number}"));
        }
        life
    }

    /// What happens between two backups.
    pub fn change(&mut self, random: &mut Random) {
        let count = self.names.len();
        let some = |one_in: usize| (count / one_in).max(1);
        // The same few change all the time, and any other now and then.
        for number in 0..some(200) {
            let name = self.names[number].clone();
            self.write(&name);
        }
        for _ in 0..some(400) {
            let name = self.any(random);
            self.write(&name);
        }
        for _ in 0..some(1000) {
            self.create(random);
            let name = self.any(random);
            self.remove(&name);
            let name = self.any(random);
            self.rename(&name);
        }
        // What comes and goes with the next, and what is used for some time and then left alone.
        for name in std::mem::take(&mut self.passing) {
            self.remove(&name);
        }
        for _ in 0..some(1000) {
            self.create(random);
            self.passing.extend(self.names.pop());
        }
        for (number, name) in self.projects.clone().into_iter().enumerate() {
            self.write(&name);
            if random.below(15) == 0 {
                let other = self.any(random);
                self.projects[number] = other;
            }
        }
        while self.projects.len() < some(400) {
            let name = self.any(random);
            self.projects.push(name);
        }
        self.write(DATABASE);
        if random.below(60) == 0 {
            let name = format!("large-{}", random.below(4));
            self.write(&name);
        }
    }

    /// How many bytes were stored anew. `dies` before its commit, and is run once more.
    pub fn backup(&mut self, dies: bool) -> BackupReport {
        if dies {
            let dead = Rule::new(Operation::PutIfAbsent, "snapshots/*", Fault::Fail(Failure::Io));
            self.pod.store.inject(dead);
            self.pod.backup(None).unwrap_err();
            self.pod.store.heal();
        }
        let report = self.pod.backup(None).unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        self.remembered.insert(report.snapshot.clone().unwrap().id, self.digest);
        report
    }

    pub fn prune(&self) -> PruneReport {
        let rules = Rules { hourly: 24, daily: 7, weekly: 4, monthly: 12, ..Rules::default() };
        let request = PruneRequest {
            policy: &Policy { rules, ..Policy::default() },
            grace: GRACE,
            writer: &self.pod.writer,
            cache: &self.pod.dir.path().join("cache"),
            dry_run: false,
            workers: &workers(),
            progress: &Progress::default(),
            cancel: &Cancel::new(),
        };
        self.pod.repository.prune(&request).unwrap()
    }

    /// The snapshots that are there, from old to new, with their segments.
    pub fn kept(&mut self) -> Vec<Kept> {
        let names = self.pod.repository.names().unwrap();
        let kept: Vec<Kept> = names
            .into_iter()
            .map(|id| {
                let document: Value =
                    serde_json::from_slice(&self.get(&format!("snapshots/{id}.json"))).unwrap();
                let segments = document["segments"].as_array().unwrap().iter();
                let ids = segments.map(|segment| segment["id"].as_str().unwrap().to_owned()).collect();
                (id, ids)
            })
            .collect();
        let wanted: HashSet<&String> = kept.iter().flat_map(|(_, segments)| segments).collect();
        self.segments.retain(|id, _| wanted.contains(id));
        for id in wanted {
            if !self.segments.contains_key(id) {
                let segment = Segment::parse(&self.get(&format!("segments/{id}")));
                self.segments.insert(id.clone(), segment);
            }
        }
        kept
    }

    /// Every byte of each, on two threads.
    pub fn assert_read_back(&self, kept: &[Kept]) {
        let (half, other) = kept.split_at(kept.len() / 2);
        std::thread::scope(|scope| {
            for part in [half, other] {
                scope.spawn(|| part.iter().for_each(|(id, _)| self.assert_reads_back(id)));
            }
        });
    }

    fn assert_reads_back(&self, id: &SnapshotId) {
        let mut digest: Digest = 0;
        let mut bytes = Vec::new();
        let sink = &mut |entry: &volkeep::snapshot::Entry, content: &mut dyn Read| {
            if matches!(entry.kind, Kind::File { .. }) {
                bytes.clear();
                content.read_to_end(&mut bytes).unwrap();
                digest = digest.wrapping_add(digest_of(&entry.path.to_string(), &bytes));
            }
            Ok(())
        };
        self.pod.repository.read(id, &Selector::everything(), sink).unwrap();
        assert_eq!(digest, self.remembered[id], "{id} holds something else than the volume did");
    }

    pub fn assert_restores(&self, (id, _): &Kept) {
        let target = tempfile::tempdir_in(self.pod.dir.path()).unwrap();
        let request = RestoreRequest {
            target: target.path(),
            selector: &Selector::everything(),
            cache: None,
            workers: &workers(),
            progress: &Progress::default(),
            cancel: &Cancel::new(),
        };
        let report = self.pod.repository.restore(id, &request).unwrap();
        assert_eq!(report.problem_count, 0);
        assert_eq!(digest_below(target.path(), target.path()), self.remembered[id], "{id} restored");
    }

    /// How many times as much is stored as is needed.
    pub fn assert_little_waste(&self, kept: &[Kept], settled: bool, report: &PruneReport) -> f64 {
        let needs = self.needs(kept);
        let apart = report.waiting.bytes + report.condemned.bytes + report.young.bytes;
        let stored = self.sizes().values().sum::<u64>() - apart;
        let ratio = stored as f64 / needs.pieces as f64;
        let by_content = stored as f64 / needs.content as f64;
        println!("      stored {stored}, {needs:?}, of contents {by_content:.3}, with tombstones {apart}");
        assert!(!settled || ratio < 1.5, "{stored} bytes are stored, and {needs:?} needed");
        ratio
    }

    /// All prunes are further apart than the grace time is long.
    pub fn assert_no_orphans(&mut self, kept: &[Kept]) {
        let mut used = HashSet::new();
        for id in kept.iter().flat_map(|(_, segments)| segments) {
            used.insert(format!("segments/{id}"));
            used.extend(self.segments[id].packs.iter().map(|pack| format!("packs/{}/{pack}", &pack[..2])));
        }
        let orphans: HashSet<String> = self.sizes().into_keys().filter(|key| !used.contains(key)).collect();
        let old: Vec<_> = orphans.intersection(&self.orphans).collect();
        assert!(old.is_empty(), "nothing refers to {old:?} for longer than the grace time");
        self.orphans = orphans;
    }

    fn needs(&self, kept: &[Kept]) -> Needs {
        let mut contents: HashMap<&str, u64> = HashMap::new();
        let mut pieces: HashSet<(&str, u64, u32, u32)> = HashSet::new();
        let mut segments: HashMap<&str, u64> = HashMap::new();
        for id in kept.iter().flat_map(|(_, segments)| segments) {
            let segment = &self.segments[id];
            if segments.insert(id, segment.size).is_some() {
                continue;
            }
            contents.extend(segment.contents.iter().map(|(hash, size)| (hash.as_str(), *size)));
            pieces.extend(segment.pieces.iter().map(|(pack, offset, skip, length)| {
                (segment.packs[*pack as usize].as_str(), *offset, *skip, *length)
            }));
        }
        let manifests: u64 = segments.values().sum();
        Needs {
            content: contents.values().sum::<u64>() + manifests,
            pieces: pieces.iter().map(|piece| u64::from(piece.3)).sum::<u64>() + manifests,
        }
    }

    /// Of all packs and segments.
    fn sizes(&self) -> HashMap<String, u64> {
        let mut sizes = HashMap::new();
        for prefix in ["packs", "segments"] {
            let each = &mut |object: volkeep::store::ObjectInfo| {
                sizes.insert(object.key.as_str().to_owned(), object.size);
                Ok(())
            };
            self.server.list(prefix, each).unwrap();
        }
        sizes
    }

    fn get(&self, key: &str) -> Vec<u8> {
        self.server.get(&Key::new(key.to_owned()).unwrap()).unwrap()
    }

    fn any(&self, random: &mut Random) -> String {
        self.names[random.below(self.names.len() as u64) as usize].clone()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.pod.data().join(name)
    }

    fn create(&mut self, random: &mut Random) {
        self.made += 1;
        let name = format!("{:02}/file-{}", random.below(DIRECTORIES), self.made);
        self.names.push(name.clone());
        self.write(&name);
    }

    /// Another content.
    fn write(&mut self, name: &str) {
        self.versions += 1;
        let content = self.content(name, self.versions);
        write_later(&self.path(name), &content);
        // A backup goes by the times of two changes to tell what changes often.
        let now = self.world.now();
        let time = UNIX_EPOCH + Duration::new(now.seconds as u64, now.nanoseconds);
        fs::File::options().write(true).open(self.path(name)).unwrap().set_modified(time).unwrap();
        if let Some(before) = self.files.insert(name.to_owned(), self.versions) {
            self.digest = self.digest.wrapping_sub(digest_of(name, &self.content(name, before)));
        }
        self.digest = self.digest.wrapping_add(digest_of(name, &content));
    }

    fn remove(&mut self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
        let version = self.files.remove(name).unwrap();
        self.digest = self.digest.wrapping_sub(digest_of(name, &self.content(name, version)));
        self.names.retain(|other| other != name);
        self.projects.retain(|other| other != name);
    }

    fn rename(&mut self, name: &str) {
        self.made += 1;
        let new = format!("{}/file-{}", &name[..2], self.made);
        fs::rename(self.path(name), self.path(&new)).unwrap();
        let version = self.files.remove(name).unwrap();
        let bytes = self.content(name, version);
        self.digest = self.digest.wrapping_sub(digest_of(name, &bytes));
        // Whatever it is called, it holds what it held.
        self.digest = self.digest.wrapping_add(digest_of(&new, &bytes));
        self.files.insert(new.clone(), version);
        for other in self.names.iter_mut().chain(&mut self.projects) {
            if other == name {
                other.clone_from(&new);
            }
        }
    }

    /// That no compressor could make smaller, and that is different in each version.
    fn content(&self, name: &str, version: u64) -> Vec<u8> {
        let mut random = Random(version);
        let length = match name {
            DATABASE => self.database,
            _ if name.contains('/') => SMALLEST + random.below(LARGEST - SMALLEST),
            _ => LARGE,
        };
        let mut bytes = Vec::with_capacity(length as usize + 8);
        while (bytes.len() as u64) < length {
            bytes.extend(random.below(u64::MAX).to_le_bytes());
        }
        bytes.truncate(length as usize);
        bytes
    }
}

impl Segment {
    fn parse(lines: &[u8]) -> Self {
        let mut rows = std::str::from_utf8(lines).unwrap().lines();
        let header: Value = serde_json::from_str(rows.next().unwrap()).unwrap();
        let packs = header["packs"].as_array().unwrap().iter();
        let frames = header["frames"].as_array().unwrap();
        let mut segment = Self {
            size: lines.len() as u64,
            packs: packs.map(|pack| pack.as_str().unwrap().to_owned()).collect(),
            ..Self::default()
        };
        let number = |value: &Value| value.as_u64().unwrap();
        for row in rows {
            let row: Value = serde_json::from_str(row).unwrap();
            if row["t"] != "f" {
                continue;
            }
            segment.contents.push((row["h"].as_str().unwrap().to_owned(), number(&row["s"])));
            for extent in row["x"].as_array().into_iter().flatten() {
                let frame = &frames[number(&extent[0]) as usize];
                let (skip, length) = (number(&extent[1]) as u32, number(&extent[2]) as u32);
                segment.pieces.push((number(&frame[0]) as u32, number(&frame[1]), skip, length));
            }
        }
        segment
    }
}

fn digest_of(name: &str, content: &[u8]) -> Digest {
    let hash = Hash::of(&[name.as_bytes(), &[0], content].concat());
    u128::from_le_bytes(hash.0[..16].try_into().unwrap())
}

fn digest_below(root: &Path, directory: &Path) -> Digest {
    let mut digest: Digest = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        digest = digest.wrapping_add(match path.is_dir() {
            true => digest_below(root, &path),
            false => {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                digest_of(name, &fs::read(&path).unwrap())
            }
        });
    }
    digest
}
