//! Damage in a repository, object by object: what a check names, what can still be restored, and what a repair brings
//! back. What is hit is told by the test itself, from the manifests as they were before.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytes::Bytes;
use serde_json::Value;
use support::{Home, Lab, Layout, Outcome, copy, random_bytes, remove_all, run, same, shell};
use volkeep::store::Key;

/// A volume with three snapshots, and what each of them holds.
struct Bench {
    lab: Lab,
    snapshots: Vec<String>,
    pristine: BTreeMap<String, Bytes>,
    manifests: Manifests,
}

/// What the repository says of itself, read by other means than the program's.
struct Manifests {
    /// By snapshot: the names of its segments.
    segments: BTreeMap<String, Vec<String>>,
    /// By segment: path, and its frames as pack, offset, length.
    entries: BTreeMap<String, Vec<(String, Vec<FrameAt>)>>,
}

type FrameAt = (String, u64, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Deleted,
    CutTo(u64),
    Flipped(u64),
}

/// What is hit: snapshots and paths. Paths are not told where whoever knew them is what was hit.
#[derive(Debug, Default, PartialEq, Eq)]
struct Hit {
    snapshots: BTreeSet<String>,
    paths: BTreeSet<String>,
}

impl Bench {
    /// The first snapshot has a file that is gone since; all share a frame of small files that never change, and one of
    /// small files of which one did.
    fn new(home: Home) -> Self {
        let lab = Lab::new_in(home, Layout::Subdirectory);
        let root = lab.volume();
        let write = |name: &str, bytes: &[u8]| {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), bytes).unwrap();
        };
        for number in 0..10 {
            write(&format!("stable/{number}"), &text(number, 100 << 10));
        }
        write("zz/changes", &text(20, 30 << 10));
        write("zz/stays", &text(21, 20 << 10));
        write("big/one", &random_bytes(1, 3 << 20));
        write("big/two", &random_bytes(2, 2 << 20));
        write("gone", &random_bytes(3, 3 << 19));
        fs::hard_link(root.join("big/one"), root.join("big/same")).unwrap();
        let sparse = File::create_new(root.join("big/sparse")).unwrap();
        sparse.set_len(6 << 20).unwrap();
        sparse.write_all_at(&random_bytes(4, 200 << 10), 1 << 20).unwrap();
        sparse.write_all_at(&random_bytes(5, 300 << 10), 4 << 20).unwrap();
        lab.first_backup();
        copy(&root, &lab.path("as-0"));
        fs::remove_file(root.join("gone")).unwrap();
        write("big/three", &random_bytes(6, 1 << 20));
        lab.ok(&["backup"]);
        copy(&root, &lab.path("as-1"));
        write("zz/changes", &text(22, 31 << 10));
        write("zz/young", &text(23, 10 << 10));
        lab.ok(&["backup"]);
        copy(&root, &lab.path("as-2"));
        let snapshots = lab.snapshots();
        assert_eq!(snapshots.len(), 3);
        let mut bench = Self {
            lab,
            snapshots,
            pristine: BTreeMap::new(),
            manifests: Manifests { segments: BTreeMap::new(), entries: BTreeMap::new() },
        };
        bench.pristine = bench.content();
        bench.manifests = Manifests::of(&bench.pristine);
        bench
    }

    fn content(&self) -> BTreeMap<String, Bytes> {
        let store = self.lab.store();
        let names = self.lab.objects("").into_iter().map(|(name, _)| name);
        names
            .map(|name| {
                let bytes = store.get(&Key::new(name.as_str()).unwrap()).unwrap();
                (name, bytes.into())
            })
            .collect()
    }

    /// The repository as it was before any harm.
    fn reset(&self) {
        let store = self.lab.store();
        for (name, bytes) in self.content() {
            if self.pristine.get(&name) != Some(&bytes) {
                store.delete(&Key::new(name).unwrap()).unwrap();
            }
        }
        for (name, bytes) in &self.pristine {
            store.put_if_absent(&Key::new(name.as_str()).unwrap(), bytes).unwrap();
        }
    }

    fn harm(&self, name: &str, harm: Harm) {
        let (store, key) = (self.lab.store(), Key::new(name).unwrap());
        let mut bytes = self.pristine[name].to_vec();
        match harm {
            Harm::Deleted => return store.delete(&key).unwrap(),
            Harm::CutTo(length) => bytes.truncate(length as usize),
            Harm::Flipped(at) => bytes[at as usize] ^= 1,
        }
        store.put(&key, &bytes.into()).unwrap();
    }

    fn names(&self, kind: &str) -> Vec<String> {
        let prefix = format!("{kind}/");
        self.pristine.keys().filter(|name| name.starts_with(&prefix)).cloned().collect()
    }

    fn size(&self, name: &str) -> u64 {
        self.pristine[name].len() as u64
    }

    /// Restores each snapshot beside the volume: those that are hit end with 12 and all others are what they were.
    fn restores(&self, hit: &BTreeSet<String>) {
        for (number, id) in self.snapshots.iter().enumerate() {
            let target = self.lab.path("restored");
            remove_all(&target);
            let arguments = ["restore", "--target", target.to_str().unwrap(), id];
            match hit.contains(id) {
                true => drop(self.lab.exits(12, &arguments)),
                false => {
                    self.lab.ok(&arguments);
                    same(&self.lab.path(&format!("as-{number}")), &target);
                }
            }
        }
    }

    /// A check with these arguments blames exactly this object, if any, and names exactly what is hit.
    fn check(&self, arguments: &[&str], object: Option<&str>, hit: &Hit) {
        let what = format!("{object:?} by {arguments:?}");
        let all = [&["check", "--json"], arguments].concat();
        let outcome = self.lab.exits(if object.is_some() { 12 } else { 0 }, &all);
        let report = &outcome.json()[0];
        let findings = report["findings"].as_array().unwrap();
        let blamed: Vec<&str> = findings.iter().map(|one| one["object"].as_str().unwrap()).collect();
        assert_eq!(blamed, object.into_iter().collect::<Vec<_>>(), "{what}: {outcome}");
        let mut found = Hit::default();
        for finding in findings {
            found.snapshots.extend(words(&finding["snapshots"]));
            found.paths.extend(words(&finding["paths"]));
            if !hit.paths.is_empty() {
                assert_eq!(finding["path_count"], hit.paths.len(), "{what}: {outcome}");
            }
        }
        assert_eq!(&found, hit, "{what}: {outcome}");
        let whole: BTreeSet<String> = words(&report["whole"]).collect();
        let expected = self.snapshots.iter().filter(|id| !hit.snapshots.contains(*id)).cloned();
        assert_eq!(whole, expected.collect(), "{what}: {outcome}");
    }

    /// What lies between these bytes of a pack.
    fn needing(&self, pack: &str, from: u64, to: u64) -> Hit {
        self.manifests.needing(pack.rsplit('/').next().unwrap(), from, to)
    }

    fn repair(&self) -> Outcome {
        self.lab.run(&["check", "--repair", "--json"])
    }
}

impl Manifests {
    fn of(objects: &BTreeMap<String, Bytes>) -> Self {
        let mut found = Self { segments: BTreeMap::new(), entries: BTreeMap::new() };
        for (name, bytes) in objects {
            if let Some(id) = name.strip_prefix("snapshots/").and_then(|name| name.strip_suffix(".json")) {
                let document: Value = serde_json::from_slice(bytes).unwrap();
                let ids = document["segments"].as_array().unwrap().iter();
                let ids = ids.map(|segment| segment["id"].as_str().unwrap().to_owned());
                found.segments.insert(id.to_owned(), ids.collect());
            }
            let Some(id) = name.strip_prefix("segments/") else { continue };
            let lines = String::from_utf8(zstd::decode_all(&bytes[..]).unwrap()).unwrap();
            let mut lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let header = lines.next().unwrap();
            let entries = lines.map(|entry| {
                let extents = entry["x"].as_array().cloned().unwrap_or_default();
                let frames = extents.iter().map(|extent| {
                    let frame = &header["frames"][extent[0].as_u64().unwrap() as usize];
                    let pack = &header["packs"][frame[0].as_u64().unwrap() as usize];
                    let number = |at: usize| frame[at].as_u64().unwrap();
                    (pack.as_str().unwrap().to_owned(), number(1), number(2))
                });
                let path = match entry["p"].as_str().unwrap() {
                    "" => ".",
                    path => path,
                };
                (path.to_owned(), frames.collect())
            });
            found.entries.insert(id.to_owned(), entries.collect());
        }
        found
    }

    fn needing(&self, pack: &str, from: u64, to: u64) -> Hit {
        let mut hit = Hit::default();
        for (snapshot, segments) in &self.segments {
            for (path, frames) in segments.iter().flat_map(|segment| &self.entries[segment]) {
                let overlap = |(other, offset, length): &FrameAt| {
                    other == pack && *offset < to && offset + length > from
                };
                if frames.iter().any(overlap) {
                    hit.snapshots.insert(snapshot.clone());
                    hit.paths.insert(path.clone());
                }
            }
        }
        hit
    }

    /// Offset and length of the frames of a pack.
    fn frames(&self, pack: &str) -> BTreeSet<(u64, u64)> {
        let pack = pack.rsplit('/').next().unwrap();
        let frames = self.entries.values().flatten().flat_map(|(_, frames)| frames);
        frames.filter(|(other, ..)| other == pack).map(|(_, offset, length)| (*offset, *length)).collect()
    }
}

fn words(value: &Value) -> impl Iterator<Item = String> {
    let words = value.as_array().cloned().unwrap_or_default();
    words.into_iter().map(|word| word.as_str().unwrap().to_owned())
}

/// Text that shrinks, so that frames are not as long as what they hold.
fn text(seed: u64, length: usize) -> Vec<u8> {
    let words = random_bytes(seed, length / 4);
    let mut text: Vec<u8> = words.iter().flat_map(|byte| format!("{byte:04x}").into_bytes()).collect();
    text.resize(length, b'.');
    text
}

fn short(object: &str) -> String {
    // A pack is named without the directory that its name begins with.
    match object.strip_prefix("packs/") {
        Some(rest) => format!("packs/{}", rest.rsplit('/').next().unwrap()),
        None => object.trim_end_matches(".json").to_owned(),
    }
}

#[test]
fn damage_to_packs_names_the_very_snapshots_and_paths() {
    let bench = Bench::new(Home::Directory);
    bench.check(&["--verify"], None, &Hit::default());
    for pack in bench.names("packs") {
        let size = bench.size(&pack);
        let frames = bench.manifests.frames(&pack);
        let end = frames.iter().map(|(offset, length)| offset + length).max().unwrap();
        let name = short(&pack);
        bench.harm(&pack, Harm::Deleted);
        let hit = bench.needing(&pack, 0, size);
        bench.check(&[], Some(&name), &hit);
        bench.check(&["--verify"], Some(&name), &hit);
        bench.restores(&hit.snapshots);
        let middle = frames.iter().nth(frames.len() / 2).unwrap();
        for length in [0, middle.0 + middle.1 / 2, end, size - 1] {
            bench.harm(&pack, Harm::CutTo(length));
            let hit = bench.needing(&pack, length, size);
            bench.check(&[], Some(&name), &hit);
            bench.restores(&hit.snapshots);
        }
        for (offset, length) in [frames.first().unwrap(), middle, frames.last().unwrap()] {
            let at = offset + length / 2;
            bench.harm(&pack, Harm::Flipped(at));
            // The structure is whole: only who reads the data sees it.
            bench.check(&[], None, &Hit::default());
            let hit = bench.needing(&pack, at, at + 1);
            assert!(!hit.paths.is_empty());
            bench.check(&["--verify"], Some(&name), &hit);
            bench.restores(&hit.snapshots);
        }
        // In the table of contents, which nobody needs to restore.
        for at in [end + 60, (end + size) / 2, size - 20, size - 1] {
            bench.harm(&pack, Harm::Flipped(at));
            bench.check(&[], Some(&name), &Hit::default());
            bench.restores(&BTreeSet::new());
        }
        bench.harm(&pack, Harm::Flipped(0));
        bench.reset();
    }
    bench.check(&["--verify"], None, &Hit::default());
}

#[test]
fn damage_to_lists_names_all_that_was_in_them() {
    let bench = Bench::new(Home::Directory);
    for segment in bench.names("segments") {
        let id = short(&segment);
        let name = id.strip_prefix("segments/").unwrap().to_owned();
        let users = bench.manifests.segments.iter().filter(|(_, segments)| segments.contains(&name));
        let snapshots: BTreeSet<String> = users.map(|(snapshot, _)| snapshot.clone()).collect();
        // The volume remembers the names of the newest list only.
        let cached = snapshots.contains(bench.snapshots.last().unwrap());
        let paths: BTreeSet<String> = match cached {
            true => bench.manifests.entries[&name].iter().map(|(path, _)| path.clone()).collect(),
            false => BTreeSet::new(),
        };
        let hit = Hit { snapshots, paths };
        let size = bench.size(&segment);
        for harm in [
            Harm::Deleted,
            Harm::CutTo(0),
            Harm::CutTo(size / 2),
            Harm::Flipped(size / 2),
            Harm::Flipped(size - 1),
        ] {
            bench.harm(&segment, harm);
            bench.check(&[], Some(&id), &hit);
            bench.restores(&hit.snapshots);
            if !cached {
                let finding = &bench.lab.run(&["check", "--json"]).json()[0]["findings"][0];
                assert_eq!(finding["path_count"], bench.manifests.entries[&name].len(), "{finding}");
            }
        }
        bench.reset();
    }
    for number in 0..3 {
        let id = bench.snapshots[number].clone();
        let file = format!("snapshots/{id}.json");
        let hit = Hit { snapshots: [id.clone()].into(), paths: BTreeSet::new() };
        let size = bench.size(&file);
        for harm in [Harm::CutTo(0), Harm::CutTo(size / 2), Harm::Flipped(10), Harm::Flipped(size - 3)] {
            bench.harm(&file, harm);
            bench.check(&[], Some(&short(&file)), &hit);
            bench.restores(&hit.snapshots);
        }
        bench.reset();
    }
}

#[test]
fn a_snapshot_that_is_deleted_is_not_there_and_nothing_else_is_hit() {
    let bench = Bench::new(Home::Directory);
    let id = bench.snapshots[1].clone();
    bench.harm(&format!("snapshots/{id}.json"), Harm::Deleted);
    bench.lab.ok(&["check", "--verify"]);
    bench.lab.exits(10, &["restore", "--target", bench.lab.path("t").to_str().unwrap(), &id]);
    assert_eq!(bench.lab.snapshots(), [bench.snapshots[0].clone(), bench.snapshots[2].clone()]);
}

#[test]
fn what_only_writers_need_takes_down_nothing() {
    let bench = Bench::new(Home::Directory);
    let lease = bench.names("leases").pop().unwrap();
    for harm in [Harm::CutTo(5), Harm::Flipped(30)] {
        bench.harm(&lease, harm);
        bench.check(&[], Some(&lease), &Hit::default());
        bench.restores(&BTreeSet::new());
        let outcome = bench.repair().expect_code(0);
        assert_eq!(outcome.json()[0]["mended"].as_array().unwrap().len(), 1, "{outcome}");
        bench.check(&["--verify"], None, &Hit::default());
        bench.reset();
        // The volume has noted a lease that is not there any more.
        bench.lab.ok(&["backup"]);
        bench.reset();
    }
    let tombstone = Key::new("tombstones/000000000001-0123456789abcdef.json").unwrap();
    bench.lab.store().put(&tombstone, &Bytes::from_static(b"{\"format\":1,\"time\":")).unwrap();
    bench.check(&[], Some(tombstone.as_str()), &Hit::default());
    bench.restores(&BTreeSet::new());
    bench.repair().expect_code(0);
    bench.check(&["--verify"], None, &Hit::default());
    let kept = bench.lab.objects("quarantine");
    assert!(kept.iter().any(|(name, _)| name.ends_with(tombstone.as_str())), "{kept:?}");
}

#[test]
fn the_lease_of_somebody_else_is_not_taken_for_a_repair() {
    let bench = Bench::new(Home::Directory);
    let other =
        Lab::new(Layout::Subdirectory).sharing(&bench.lab).with("VOLKEEP_REPOSITORY", bench.lab.url());
    other.ok(&["init"]);
    let before = bench.content();
    bench.lab.exits(11, &["check", "--repair"]).says(&["holds the lease"]);
    // Whoever's it is, nobody can tell: it is not ours for sure.
    let lease = before.keys().rfind(|name| name.starts_with("leases/")).unwrap();
    bench.lab.store().put(&Key::new(lease.as_str()).unwrap(), &Bytes::from_static(b"{}")).unwrap();
    bench.lab.exits(11, &["check", "--repair"]).says(&["holds the lease"]);
    bench.lab.exits(12, &["check", "--repair", "--dry-run"]);
}

#[test]
fn without_repository_json_all_is_hit_and_it_is_made_again() {
    let bench = Bench::new(Home::Directory);
    let all = Hit { snapshots: bench.snapshots.iter().cloned().collect(), paths: BTreeSet::new() };
    let object = "repository.json";
    for harm in [Harm::Deleted, Harm::CutTo(0), Harm::CutTo(40), Harm::Flipped(60)] {
        bench.harm(object, harm);
        bench.check(&[], Some(object), &all);
        bench.restores(&all.snapshots);
        let before = bench.content();
        bench.lab.exits(12, &["check", "--repair", "--dry-run"]).says(&["would be mended: repository.json"]);
        assert!(bench.content() == before, "a dry run wrote something");
        bench.repair().expect_code(0);
        bench.check(&["--verify"], None, &Hit::default());
        assert_eq!(bench.content()[object], bench.pristine[object], "{harm:?}");
        bench.restores(&BTreeSet::new());
        bench.lab.ok(&["backup"]);
        bench.reset();
    }
    // Where nothing says what it was, it is not guessed.
    bench.harm(object, Harm::Deleted);
    for id in &bench.snapshots {
        bench.harm(&format!("snapshots/{id}.json"), Harm::Flipped(10));
    }
    let before = bench.content();
    bench.repair().expect_code(12).says(&["it cannot be made again for certain"]);
    assert!(bench.content() == before);
    bench.reset();
    let mut lab = bench.lab;
    lab.set("VOLKEEP_IDENTITY", "another");
    lab.store().delete(&Key::new(object).unwrap()).unwrap();
    assert_ne!(lab.run(&["check", "--repair"]).code, 0);
    assert!(lab.objects("").iter().all(|(name, _)| name != object));
}

/// What a repair is to bring about, whatever the kind of harm.
fn repaired(bench: &Bench, what: &str, lost: &BTreeSet<String>) {
    let before = bench.content();
    let dry = bench.lab.run(&["check", "--repair", "--dry-run", "--json"]).expect_code(12);
    assert!(bench.content() == before, "{what}: a dry run wrote something");
    let outcome = bench.repair().expect_code(if lost.is_empty() { 0 } else { 3 });
    let (planned, done) = (&dry.json()[0], &outcome.json()[0]);
    for key in ["mended", "lost", "condemned", "none_left"] {
        assert_eq!(planned[key], done[key], "{what}: {key}");
    }
    let named: BTreeSet<String> =
        done["lost"].as_array().unwrap().iter().map(|one| one["snapshot"].as_str().unwrap().into()).collect();
    assert_eq!(&named, lost, "{what}: {outcome}");
    let left = bench.snapshots.iter().filter(|id| !lost.contains(*id)).cloned().collect::<Vec<_>>();
    assert_eq!(bench.lab.snapshots(), left, "{what}");
    bench.lab.ok(&["check", "--verify"]);
    for (number, id) in bench.snapshots.iter().enumerate() {
        let target = bench.lab.path("restored");
        remove_all(&target);
        let arguments = ["restore", "--target", target.to_str().unwrap(), id];
        match lost.contains(id) {
            true => drop(bench.lab.exits(10, &arguments)),
            false => {
                bench.lab.ok(&arguments);
                same(&bench.lab.path(&format!("as-{number}")), &target);
            }
        }
    }
    // What was damaged is kept.
    let after = bench.content();
    for (name, bytes) in &before {
        let kept = after.get(name) == Some(bytes)
            || after.iter().any(|(other, kept)| {
                other.starts_with("quarantine/") && other.ends_with(name.as_str()) && kept == bytes
            });
        assert!(kept, "{what}: {name} is nowhere any more");
    }
    bench.lab.ok(&["backup"]);
    bench.lab.ok(&["check", "--verify"]);
    let target = bench.lab.path("restored");
    remove_all(&target);
    bench.lab.ok(&["restore", "--target", target.to_str().unwrap()]);
    same(&bench.lab.path("as-2"), &target);
    // Damage stops pruning; a repair lets it go on.
    let pruned = bench.lab.ok(&["prune", "--json"]).json();
    assert_eq!(pruned["blind"], false, "{what}: {pruned}");
    bench.lab.ok(&["check", "--verify"]);
}

/// The frame that holds the beginning of a file in a snapshot: pack and offset and length.
fn frame_of(bench: &Bench, snapshot: usize, path: &str) -> (String, u64, u64) {
    let segments = &bench.manifests.segments[&bench.snapshots[snapshot]];
    let mut entries = segments.iter().flat_map(|segment| &bench.manifests.entries[segment]);
    let (_, frames) = entries.find(|(other, _)| other == path).unwrap();
    let (pack, offset, length) = frames[0].clone();
    let object = bench.names("packs").into_iter().find(|name| name.ends_with(&pack)).unwrap();
    (object, offset, length)
}

/// A frame in the same pack as the file that only the first snapshot has.
fn beside_what_is_gone(bench: &Bench) -> (String, u64, u64) {
    let (pack, ..) = frame_of(bench, 0, "gone");
    let all = ["big/one", "big/two", "big/sparse", "stable/3"].map(|path| frame_of(bench, 2, path));
    all.into_iter()
        .find(|(other, ..)| *other == pack)
        .expect("something that is still there in the same pack")
}

fn mends_packs(home: Home, paths: &[&str]) {
    let bench = Bench::new(home);
    for path in paths {
        let (pack, offset, length) = frame_of(&bench, 2, path);
        bench.harm(&pack, Harm::Flipped(offset + length / 2));
        repaired(&bench, path, &BTreeSet::new());
        assert!(bench.content()[&pack] == bench.pristine[&pack], "{path}: not byte for byte what it was");
        bench.reset();
    }
    let (pack, offset, length) = beside_what_is_gone(&bench);
    // The table of contents.
    for harm in [Harm::Flipped(bench.size(&pack) - 30), Harm::CutTo(bench.size(&pack) - 1)] {
        bench.harm(&pack, harm);
        repaired(&bench, "a table of contents", &BTreeSet::new());
        assert!(bench.content()[&pack] == bench.pristine[&pack], "{harm:?}: not byte for byte what it was");
        bench.reset();
    }
    // A file that only the first snapshot has.
    let (_, from, length_of_gone) = frame_of(&bench, 0, "gone");
    for other in [None, Some(offset + length / 3)] {
        let (store, key) = (bench.lab.store(), Key::new(pack.as_str()).unwrap());
        let mut bytes = bench.pristine[&pack].to_vec();
        bytes[(from + length_of_gone / 2) as usize] ^= 4;
        if let Some(other) = other {
            bytes[other as usize] ^= 4;
        }
        store.put(&key, &bytes.into()).unwrap();
        repaired(&bench, "what is gone", &[bench.snapshots[0].clone()].into());
        bench.reset();
    }
}

#[test]
fn packs_are_mended_from_the_volume() {
    mends_packs(Home::Directory, &["big/one", "big/sparse", "big/three", "stable/3"]);
}

#[test]
fn packs_of_another_level_are_mended_as_well() {
    let mut bench = Bench::new(Home::Directory);
    bench.lab.set("VOLKEEP_COMPRESSION_LEVEL", "7");
    let (pack, offset, length) = frame_of(&bench, 2, "stable/3");
    bench.harm(&pack, Harm::Flipped(offset + length / 2));
    repaired(&bench, "another level", &BTreeSet::new());
}

#[test]
fn a_pack_that_is_missing_is_made_of_what_is_still_needed() {
    let bench = Bench::new(Home::Directory);
    let (pack, ..) = frame_of(&bench, 2, "big/three");
    for harm in [Harm::Deleted, Harm::CutTo(0), Harm::CutTo(1000)] {
        bench.harm(&pack, harm);
        repaired(&bench, "a missing pack", &BTreeSet::new());
        bench.reset();
    }
}

fn mends_lists(home: Home) {
    let bench = Bench::new(home);
    let newest = bench.snapshots[2].clone();
    let segment = format!("segments/{}", bench.manifests.segments[&newest][0]);
    for harm in [Harm::Deleted, Harm::Flipped(100)] {
        // The volume remembers it.
        bench.lab.ok(&["backup", "--dry-run"]);
        bench.harm(&segment, harm);
        repaired(&bench, "a segment", &BTreeSet::new());
        bench.reset();
    }
    // Nobody remembers an older one.
    let old = bench.snapshots[0].clone();
    let segment = format!("segments/{}", bench.manifests.segments[&old][0]);
    bench.harm(&segment, Harm::Flipped(50));
    repaired(&bench, "an old segment", &[old].into());
    bench.reset();
    for number in [0, 2] {
        let id = bench.snapshots[number].clone();
        bench.harm(&format!("snapshots/{id}.json"), Harm::CutTo(100));
        repaired(&bench, "a snapshot", &[id].into());
        bench.reset();
    }
}

#[test]
fn lists_are_mended_from_memory_and_lost_snapshots_put_away() {
    mends_lists(Home::Directory);
}

#[test]
fn nothing_is_put_away_while_nothing_is_whole() {
    let bench = Bench::new(Home::Directory);
    // All snapshots need it, and what it held has changed.
    let (pack, offset, length) = frame_of(&bench, 0, "zz/changes");
    assert_eq!(frame_of(&bench, 2, "zz/stays"), (pack.clone(), offset, length));
    bench.harm(&pack, Harm::Flipped(offset + length / 2));
    let all: BTreeSet<String> = bench.snapshots.iter().cloned().collect();
    let outcome = bench.repair().expect_code(12);
    let report = &outcome.json()[0];
    assert_eq!(report["none_left"], true, "{outcome}");
    assert_eq!(report["condemned"].as_array().unwrap().len(), 1, "{outcome}");
    assert_eq!(bench.lab.snapshots(), bench.snapshots, "an app would start empty");
    // A prune in between must not let a backup rest on what is damaged.
    bench.lab.exits(0, &["prune"]);
    bench.lab.ok(&["backup"]);
    let newest = bench.lab.snapshots().pop().unwrap();
    let target = bench.lab.path("restored");
    bench.lab.ok(&["restore", "--target", target.to_str().unwrap()]);
    same(&bench.lab.path("as-2"), &target);
    let outcome = bench.repair().expect_code(3);
    let lost = outcome.json()[0]["lost"].as_array().unwrap().clone();
    assert_eq!(lost.iter().map(|one| one["snapshot"].as_str().unwrap().into()).collect::<BTreeSet<_>>(), all);
    for one in &lost {
        let paths: BTreeSet<String> = words(&one["paths"]).collect();
        assert!(paths.contains("zz/stays") && paths.len() <= 2, "{one}");
    }
    assert_eq!(bench.lab.snapshots(), [newest]);
    bench.lab.ok(&["check", "--verify"]);
    bench.repair().expect_code(0);
}

#[test]
fn a_restore_that_meets_damage_leaves_the_volume_as_it_was() {
    let bench = Bench::new(Home::Directory);
    let (pack, offset, length) = frame_of(&bench, 0, "gone");
    bench.harm(&pack, Harm::Flipped(offset + length / 2));
    let before = bench.lab.path("before");
    copy(&bench.lab.volume(), &before);
    bench.lab.exits(12, &["restore", "--force", &bench.snapshots[0]]);
    same(&before, &bench.lab.volume());
    // Half-restored as it is on its journal, it is no volume to judge snapshots by.
    let state = bench.lab.state();
    if state != "healthy" {
        bench.lab.exits(16, &["check", "--repair"]);
    }
    bench.lab.ok(&["restore", "--force", &bench.snapshots[1]]);
    same(&bench.lab.path("as-1"), &bench.lab.volume());
}

#[test]
fn a_volume_without_data_gives_nothing_up() {
    let bench = Bench::new(Home::Directory);
    let (pack, ..) = frame_of(&bench, 2, "zz/young");
    bench.harm(&pack, Harm::Deleted);
    let before = bench.content();
    shell("find \"$1\" -mindepth 1 -delete", &[bench.lab.volume().as_os_str()]);
    bench.lab.exits(16, &["check", "--repair"]).says(&["nothing says which snapshots may be given up"]);
    assert!(bench.content() == before);
    let new = Lab::new(Layout::Subdirectory).sharing(&bench.lab).with("VOLKEEP_REPOSITORY", bench.lab.url());
    new.exits(16, &["check", "--repair"]);
    assert!(bench.content() == before);
}

#[test]
fn what_a_newer_program_wrote_is_not_put_away() {
    let bench = Bench::new(Home::Directory);
    let (pack, ..) = frame_of(&bench, 2, "big/three");
    bench.harm(&pack, Harm::Deleted);
    let mut document: Value =
        serde_json::from_slice(&bench.pristine[&format!("snapshots/{}.json", bench.snapshots[2])]).unwrap();
    document["format"] = 2.into();
    let bytes = serde_json::to_vec(&document).unwrap();
    let hash = blake3::hash(&bytes).to_hex();
    let key = Key::new(format!("snapshots/20300101T000000.000Z-{}.json", &hash[..16])).unwrap();
    bench.lab.store().put(&key, &bytes.into()).unwrap();
    bench.repair().expect_code(12).says(&["is of format 2"]);
    assert!(bench.lab.objects("").iter().any(|(name, _)| name == key.as_str()));
    assert_eq!(bench.lab.objects("quarantine").len(), 0);
}

#[test]
fn a_repair_that_is_killed_anywhere_is_ended_by_the_next() {
    let bench = Bench::new(Home::Directory);
    let (pack, offset, length) = beside_what_is_gone(&bench);
    let (_, from, long) = frame_of(&bench, 0, "gone");
    let mut bytes = bench.pristine[&pack].to_vec();
    bytes[(offset + length / 2) as usize] ^= 1;
    bytes[(from + long / 2) as usize] ^= 1;
    let damaged = Bytes::from(bytes);
    let mut killed = 0;
    for call in ["rename,renameat,renameat2", "link,linkat", "unlink,unlinkat", "fsync,fdatasync"] {
        for number in 1.. {
            bench.reset();
            bench.lab.store().put(&Key::new(pack.as_str()).unwrap(), &damaged).unwrap();
            let inner = bench.lab.command(&["check", "--repair"]);
            let mut outer = std::process::Command::new("strace");
            outer.args(["-f", "-q", "-o", "/dev/null", "-e"]).arg(format!("trace={call}"));
            outer.arg("-e").arg(format!("inject={call}:signal=SIGKILL:when={number}"));
            support::wrap(&mut outer, &inner);
            let outcome = run(&mut outer);
            let kept = bench.content();
            assert!(
                kept.iter().any(|(name, bytes)| name.ends_with(&pack) && *bytes == damaged),
                "{call} {number}: what was damaged is nowhere any more"
            );
            bench.lab.run(&["check", "--repair"]);
            bench.lab.ok(&["check", "--verify"]);
            assert_eq!(bench.lab.snapshots(), bench.snapshots[1..], "{call} {number}");
            bench.restores_left(1);
            if !outcome.was_killed() {
                outcome.expect_code(3);
                break;
            }
            killed += 1;
            assert!(number < 200, "{call}: no end");
        }
    }
    assert!(killed > 15, "{killed}: not at every step");
}

impl Bench {
    fn restores_left(&self, from: usize) {
        for (number, id) in self.snapshots.iter().enumerate().skip(from) {
            let target: PathBuf = self.lab.path("restored");
            remove_all(&target);
            self.lab.ok(&["restore", "--target", target.to_str().unwrap(), id]);
            same(&self.lab.path(&format!("as-{number}")), &target);
        }
    }
}

#[test]
fn a_git_repository_is_left_to_git() {
    let lab = Lab::new_in(Home::GitDirectory, Layout::Subdirectory);
    fs::write(lab.volume().join("a"), text(1, 5000)).unwrap();
    lab.first_backup();
    lab.ok(&["check", "--repair"]);
    let files = lab.stored("objects");
    let pack = files
        .iter()
        .filter(|path| path.extension().is_none_or(|end| end != "idx"))
        .max_by_key(|path| fs::metadata(path).unwrap().len());
    fs::remove_file(pack.unwrap()).unwrap();
    let outcome = lab.exits(12, &["check", "--repair"]);
    assert!(outcome.stdout.contains("git fsck --full"), "{outcome}");
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn packs_in_a_bucket_are_mended_from_the_volume() {
    mends_packs(Home::Bucket, &["big/one", "stable/3"]);
}

#[test]
#[ignore = "needs an S3 server: tests/run"]
fn lists_in_a_bucket_are_mended_from_memory() {
    mends_lists(Home::Bucket);
}
