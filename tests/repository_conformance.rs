//! What every repository must do, driven through the snapshot seam: the packed format over each kind of store
//! and with each codec.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod support;

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use volkeep::base::cancel::Cancel;
use volkeep::base::clock::{Clock, SystemClock};
use volkeep::base::progress::Progress;
use volkeep::repository::packed::codec::Codec;
use volkeep::repository::packed::{Packed, PackedOptions};
use volkeep::repository::{
    Amount, BackupReport, BackupRequest, CheckRequest, Missing, Presence, PruneRequest, Repository,
    RepositoryError, RestoreReport, RestoreRequest, Workers, Writer,
};
use volkeep::snapshot::retention::{Policy, Rules};
use volkeep::snapshot::selector::Selector;
use volkeep::snapshot::{Entry, Kind, RelativePath, SnapshotId};
use volkeep::store::faulty::{Failure, Fault, Operation, Rule};
use volkeep::store::{FaultyStore, Key, LocalStore, MemoryStore, ObjectInfo, ObjectStore};
use volkeep::tree::{Excludes, WalkOptions};

use support::s3::{Server, unique};

/// Where the repository lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    Directory,
    Memory,
    /// Of the real S3 server.
    Bucket,
}

struct Lab {
    dir: tempfile::TempDir,
    clock: Arc<dyn Clock>,
    repository: Arc<dyn Repository>,
    store: Arc<FaultyStore>,
    writer: Writer,
    codec: Codec,
}

fn packed(store: &Arc<FaultyStore>, codec: Codec, clock: &Arc<dyn Clock>) -> Arc<dyn Repository> {
    Arc::new(Packed::new(store.clone(), PackedOptions { codec, level: None }, clock.clone()))
}

impl Lab {
    fn new(codec: Codec, home: Home) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let inner: Arc<dyn ObjectStore> = match home {
            Home::Memory => Arc::new(MemoryStore::new(clock.clone())),
            Home::Directory => Arc::new(LocalStore::new(dir.path().join("repository"))),
            Home::Bucket => {
                let server = Server::real();
                server.store(&server.shared_bucket(), &unique("repository"))
            }
        };
        let store = Arc::new(FaultyStore::new(inner, clock.clone()));
        let repository = packed(&store, codec, &clock);
        let writer = Writer { volume_id: "v1".into(), identity: "app".into(), host: "h".into() };
        Self { dir, clock, repository, store, writer, codec }
    }

    /// As another process sees it.
    fn reopen(&mut self) {
        self.repository = packed(&self.store, self.codec, &self.clock);
    }

    fn created(codec: Codec, home: Home) -> Self {
        let lab = Self::new(codec, home);
        let presence = lab.repository.probe().unwrap();
        match presence {
            // The bucket is there already.
            Presence::Absent(Missing::Repository(_)) if home == Home::Bucket => {}
            Presence::Absent(Missing::Container(_)) if home != Home::Bucket => {}
            other => panic!("{other:?}"),
        }
        lab.repository.create("app").unwrap();
        assert_eq!(lab.repository.probe().unwrap(), Presence::Empty);
        lab
    }

    fn each(home: Home, run: impl Fn(Lab)) {
        for codec in [Codec::Zstd, Codec::Gzip, Codec::None] {
            run(Self::created(codec, home));
        }
    }

    /// Names, sizes and times of everything in the repository.
    fn objects(&self) -> Vec<ObjectInfo> {
        let mut objects = Vec::new();
        let mut add = |info| {
            objects.push(info);
            Ok(())
        };
        self.store.list("", &mut add).unwrap();
        objects
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.data().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn with_request<T>(&self, root: &Path, dry_run: bool, run: impl FnOnce(&BackupRequest<'_>) -> T) -> T {
        run(&BackupRequest {
            root,
            walk: WalkOptions { one_file_system: true, ..WalkOptions::default() },
            cache: &self.dir.path().join("cache"),
            writer: &self.writer,
            epoch: None,
            take_over: false,
            workers: &workers(),
            fixed_chunks: &Excludes::new(&["*.db"]).unwrap(),
            read_retries: 2,
            guard: &|_, _| Ok(()),
            dry_run,
            clock: &self.clock,
            progress: &Progress::default(),
            cancel: &Cancel::new(),
        })
    }

    fn try_backup(&self) -> Result<BackupReport, RepositoryError> {
        self.with_request(&self.data(), false, |request| self.repository.backup(request))
    }

    fn backup(&self) -> BackupReport {
        self.try_backup().unwrap()
    }

    fn newest(&self) -> SnapshotId {
        self.repository.newest().unwrap().unwrap()
    }

    fn try_restore(
        &self,
        id: &SnapshotId,
        name: &str,
        paths: &[&str],
    ) -> Result<RestoreReport, RepositoryError> {
        let target = self.dir.path().join(name);
        fs::create_dir_all(&target).unwrap();
        let paths = paths.iter().map(|path| RelativePath::new(*path).unwrap()).collect();
        self.repository.restore(
            id,
            &RestoreRequest {
                target: &target,
                selector: &Selector::paths(paths),
                cache: None,
                workers: &workers(),
                progress: &Progress::default(),
                cancel: &Cancel::new(),
            },
        )
    }

    fn restored(&self, id: &SnapshotId, name: &str) -> PathBuf {
        self.try_restore(id, name, &[]).unwrap();
        self.dir.path().join(name)
    }

    fn check(&self, percent: u8) -> Vec<String> {
        let request = CheckRequest {
            verify_percent: percent,
            verify_turn: None,
            workers: workers(),
            cancel: Cancel::new(),
            progress: Progress::default(),
        };
        let report = self.repository.check(&request).unwrap();
        report.findings.into_iter().map(|finding| format!("{}: {}", finding.object, finding.reason)).collect()
    }
}

macro_rules! everywhere {
    (with_each_codec: $($each:ident),*; with_one: $($one:ident),*;) => {
        mod in_a_directory {
            everywhere! { @all Directory [] $($each)* $($one)* }
        }
        mod in_memory {
            everywhere! { @all Memory [] $($each)* }
        }
        mod in_a_bucket {
            everywhere! { @all Bucket [#[ignore = "needs an S3 server: tests/run"]] $($each)* $($one)* }
        }
    };
    (@all $home:ident $attributes:tt $($test:ident)*) => {
        $(everywhere! { @one $home $attributes $test })*
    };
    (@one $home:ident [$($attribute:tt)*] $test:ident) => {
        #[test]
        $($attribute)*
        fn $test() {
            super::$test(super::Home::$home);
        }
    };
}

everywhere! {
    with_each_codec:
        a_tree_comes_back_as_it_was,
        an_unchanged_tree_is_not_read_again,
        changes_are_found_and_old_snapshots_stay_as_they_were,
        exports_read_what_restores_write;
    with_one:
        without_its_cache_a_backup_reads_but_stores_nothing_twice,
        renamed_and_copied_content_is_not_stored_again,
        after_a_restore_the_first_backup_reads_nothing,
        an_interrupted_restore_is_resumed,
        a_part_is_restored_with_the_way_to_it,
        a_dry_run_stores_nothing,
        an_interrupted_backup_is_resumed_from_its_packs,
        a_failed_upload_fails_the_backup_and_hides_nothing,
        a_writer_that_was_cut_off_commits_nothing,
        a_guard_that_refuses_leaves_the_repository_as_it_was,
        content_of_a_pack_that_was_cut_is_stored_again,
        a_prune_takes_what_nothing_needs_and_nothing_else,
        another_identity_is_refused,
        damage_to_any_object_is_noticed;
}

fn workers() -> Workers {
    Workers { threads: 2, connections: 4, memory: 16 << 20 }
}

fn a_prune_takes_what_nothing_needs_and_nothing_else(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    let mut pictures = Vec::new();
    for round in 0..4u64 {
        lab.write("shared", noise(400_000, 1));
        lab.write("own", noise(300_000, round + 10));
        lab.write(&format!("small/{round}"), "small");
        let id = lab.backup().snapshot.unwrap().id;
        pictures.push((id, picture(&lab.data())));
    }
    let prune = |last, dry_run| {
        let policy = Policy { rules: Rules { last, ..Rules::default() }, ..Policy::default() };
        let request = PruneRequest {
            policy: &policy,
            grace: Duration::ZERO,
            writer: &lab.writer,
            dry_run,
            workers: &workers(),
            progress: &Progress::default(),
            cancel: &Cancel::new(),
        };
        lab.repository.prune(&request).unwrap()
    };
    let before = lab.objects();
    let plan = prune(2, true);
    assert_eq!(lab.objects(), before, "a plan changes nothing");
    assert_eq!(plan.forgotten, [pictures[0].0.clone(), pictures[1].0.clone()]);
    assert_eq!(prune(0, false).forgotten, [], "no rule, nothing forgotten");
    let report = prune(2, false);
    assert_eq!((report.forgotten, report.snapshots), (plan.forgotten, plan.snapshots));
    let deleted = prune(2, false).deleted;
    assert!(deleted.packs > 0 && deleted.bytes > 300_000, "{deleted:?}");
    assert_eq!(prune(2, false).deleted, Amount::default(), "all at once");
    assert_eq!(lab.check(100), Vec::<String>::new());
    for (number, (id, picture_then)) in pictures.iter().enumerate().skip(2) {
        assert_eq!(&picture(&lab.restored(id, &format!("restored-{number}"))), picture_then);
    }
    assert!(matches!(lab.repository.summary(&pictures[0].0), Err(RepositoryError::NoSnapshot { .. })));
    // Nothing of it is in the way of what comes next.
    assert_eq!(lab.backup().files_read, 0);
    assert_eq!(lab.check(100), Vec::<String>::new());
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        })
        .collect()
}

/// Path, kind, mode, nanosecond times and content of everything in a tree.
fn picture(root: &Path) -> Vec<(PathBuf, u32, i64, i64, Vec<u8>)> {
    let mut all = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if meta.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else {
            fs::read(&path).unwrap()
        };
        let name = path.strip_prefix(root).unwrap().to_owned();
        all.push((name, meta.mode(), meta.mtime(), meta.mtime_nsec(), content));
    }
    all.sort();
    all
}

fn mixed_tree(lab: &Lab) {
    for number in 0..200 {
        lab.write(&format!("small/{}/{number}", number % 7), noise(number * 13, number as u64));
    }
    lab.write("empty", "");
    lab.write("large", noise(9 << 20, 1));
    lab.write("base.db", noise(3 << 20, 2));
    lab.write("text", "volkeep ".repeat(400_000));
    lab.write("just-small", noise(128 << 10, 3));
    lab.write("just-large", noise((128 << 10) + 1, 4));
    fs::hard_link(lab.data().join("large"), lab.data().join("linked")).unwrap();
    fs::hard_link(lab.data().join("small/1/1"), lab.data().join("small/2/linked")).unwrap();
    symlink("../nowhere", lab.data().join("link")).unwrap();
    let sparse = fs::File::create(lab.data().join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &noise(5000, 5), 3 << 20).unwrap();
    sparse.set_len(7 << 20).unwrap();
    fs::create_dir(lab.data().join("empty-directory")).unwrap();
    fs::set_permissions(lab.data(), fs::Permissions::from_mode(0o751)).unwrap();
}

fn a_tree_comes_back_as_it_was(home: Home) {
    Lab::each(home, |lab| {
        mixed_tree(&lab);
        let report = lab.backup();
        assert_eq!(report.problem_count, 0, "{:?}", report.problems);
        let target = lab.restored(&lab.newest(), "target");
        assert_eq!(picture(&target), picture(&lab.data()), "{:?}", lab.codec);
        let inode = |path: &str| fs::metadata(target.join(path)).unwrap().ino();
        assert_eq!((inode("large"), inode("small/1/1")), (inode("linked"), inode("small/2/linked")));
        assert!(fs::metadata(target.join("sparse")).unwrap().blocks() < 1000);
        assert_eq!(lab.check(100), Vec::<String>::new());
    });
}

fn an_unchanged_tree_is_not_read_again(home: Home) {
    Lab::each(home, |lab| {
        mixed_tree(&lab);
        lab.backup();
        let again = lab.backup();
        assert_eq!((again.files_read, again.bytes_read, again.added_bytes), (0, 0, 0));
        assert!(again.stored_bytes < 10_000, "{}", again.stored_bytes);
        let target = lab.restored(&lab.newest(), "target");
        assert_eq!(picture(&target), picture(&lab.data()));
    });
}

fn changes_are_found_and_old_snapshots_stay_as_they_were(home: Home) {
    Lab::each(home, |lab| {
        mixed_tree(&lab);
        lab.backup();
        let (first, before) = (lab.newest(), picture(&lab.data()));
        lab.write("small/3/3", "changed");
        lab.write("new", "new");
        fs::remove_file(lab.data().join("empty")).unwrap();
        let mut large = noise(9 << 20, 1);
        large.splice(4 << 20..4 << 20, *b"inserted");
        lab.write("large", &large);
        let report = lab.backup();
        assert_eq!(report.problem_count, 0);
        assert!(
            report.added_bytes < 9 << 20,
            "{} bytes: most of the large file is known",
            report.added_bytes
        );
        assert_eq!(picture(&lab.restored(&lab.newest(), "new")), picture(&lab.data()));
        assert_eq!(picture(&lab.restored(&first, "old")), before);
    });
}

fn without_its_cache_a_backup_reads_but_stores_nothing_twice(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    mixed_tree(&lab);
    lab.backup();
    fs::remove_dir_all(lab.dir.path().join("cache")).unwrap();
    let again = lab.backup();
    assert!(again.files_read > 200);
    assert_eq!(again.added_bytes, 0);
    assert!(again.stored_bytes < 10_000, "{}", again.stored_bytes);
}

fn renamed_and_copied_content_is_not_stored_again(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    mixed_tree(&lab);
    lab.backup();
    fs::rename(lab.data().join("small"), lab.data().join("renamed")).unwrap();
    fs::rename(lab.data().join("text"), lab.data().join("a-text")).unwrap();
    fs::copy(lab.data().join("base.db"), lab.data().join("copy.db")).unwrap();
    let report = lab.backup();
    assert_eq!(report.added_bytes, 0);
    assert_eq!(picture(&lab.restored(&lab.newest(), "target")), picture(&lab.data()));
}

fn after_a_restore_the_first_backup_reads_nothing(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    mixed_tree(&lab);
    lab.backup();
    fs::remove_dir_all(lab.dir.path().join("cache")).unwrap();
    let target = lab.restored(&lab.newest(), "target");
    let id = lab.newest();
    lab.with_request(&target, false, |request| lab.repository.remember(&id, request)).unwrap();
    let report = lab.with_request(&target, false, |request| lab.repository.backup(request)).unwrap();
    assert_eq!((report.files_read, report.added_bytes), (0, 0));
}

fn an_interrupted_restore_is_resumed(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    mixed_tree(&lab);
    lab.backup();
    let target = lab.restored(&lab.newest(), "target");
    for (path, length) in [("large", 1000), ("small/3/17", 5), ("sparse", 1 << 20), ("text", 0)] {
        fs::OpenOptions::new().write(true).open(target.join(path)).unwrap().set_len(length).unwrap();
    }
    fs::remove_file(target.join("link")).unwrap();
    fs::remove_file(target.join("small/2/linked")).unwrap();
    fs::write(target.join("base.db"), noise(3 << 20, 99)).unwrap();
    let report = lab.try_restore(&lab.newest(), "target", &[]).unwrap();
    assert!(report.reused_files > 190, "{}", report.reused_files);
    assert_eq!(picture(&target), picture(&lab.data()));
}

fn a_part_is_restored_with_the_way_to_it(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    mixed_tree(&lab);
    lab.backup();
    lab.try_restore(&lab.newest(), "part", &["small/2", "linked"]).unwrap();
    let part = lab.dir.path().join("part");
    let names: Vec<_> = picture(&part).into_iter().map(|row| row.0).collect();
    assert!(names.contains(&"small/2/2".into()) && names.contains(&"small/2/linked".into()));
    assert!(!names.contains(&"small/1".into()) && !names.contains(&"large".into()));
    assert_eq!(fs::read(part.join("linked")).unwrap(), noise(9 << 20, 1), "a member without its first one");
}

fn exports_read_what_restores_write(home: Home) {
    Lab::each(home, |lab| {
        mixed_tree(&lab);
        lab.backup();
        let mut seen = Vec::new();
        lab.repository
            .read(&lab.newest(), &Selector::everything(), &mut |entry: &Entry, content| {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes).unwrap();
                if let Kind::File { size, .. } = &entry.kind {
                    assert_eq!(bytes.len() as u64, *size);
                    assert_eq!(bytes, fs::read(entry.path.below(&lab.data())).unwrap());
                }
                seen.push(entry.path.clone());
                Ok(())
            })
            .unwrap();
        let mut listed = Vec::new();
        lab.repository
            .entries(&lab.newest(), &mut |entry| {
                listed.push(entry.path);
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(seen, listed);
        assert!(listed.is_sorted() && listed.len() == picture(&lab.data()).len());
    });
}

fn a_dry_run_stores_nothing(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    mixed_tree(&lab);
    let before = lab.objects();
    let report = lab.with_request(&lab.data(), true, |request| lab.repository.backup(request)).unwrap();
    assert!(report.snapshot.is_none() && report.added_bytes > 10 << 20);
    assert_eq!(lab.objects(), before);
}

fn an_interrupted_backup_is_resumed_from_its_packs(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    mixed_tree(&lab);
    // The packs arrive, the commit does not.
    lab.store.inject(Rule::new(Operation::PutIfAbsent, "snapshots/*", Fault::Fail(Failure::Unreachable)));
    assert!(matches!(lab.try_backup(), Err(RepositoryError::Store(_))));
    assert_eq!(lab.repository.probe().unwrap(), Presence::Empty);
    let report = lab.backup();
    assert_eq!(report.added_bytes, 0, "everything was there already");
    assert_eq!(picture(&lab.restored(&lab.newest(), "target")), picture(&lab.data()));
    assert_eq!(lab.check(100), Vec::<String>::new());
}

fn a_failed_upload_fails_the_backup_and_hides_nothing(home: Home) {
    for pattern in ["packs/*", "segments/*"] {
        let lab = Lab::created(Codec::Zstd, home);
        mixed_tree(&lab);
        lab.store.inject(Rule::new(Operation::Put, pattern, Fault::Fail(Failure::Denied)));
        assert!(matches!(lab.try_backup(), Err(RepositoryError::Store(_))), "{pattern}");
        assert_eq!(lab.repository.probe().unwrap(), Presence::Empty);
        lab.backup();
        assert_eq!(picture(&lab.restored(&lab.newest(), "target")), picture(&lab.data()));
    }
}

fn a_writer_that_was_cut_off_commits_nothing(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    lab.write("file", "content");
    let successor = Writer { volume_id: "v2".into(), ..lab.writer.clone() };
    let error = lab
        .with_request(&lab.data(), false, |request| {
            let guard = |_: &_, _: Option<&_>| {
                lab.repository.take_over(&successor).map(|_| ()).map_err(|error| error.to_string())
            };
            lab.repository.backup(&BackupRequest { guard: &guard, walk: request.walk.clone(), ..*request })
        })
        .unwrap_err();
    assert!(matches!(error, RepositoryError::Fenced { .. }), "{error}");
    assert_eq!(lab.repository.probe().unwrap(), Presence::Empty);
}

fn a_guard_that_refuses_leaves_the_repository_as_it_was(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    lab.write("file", "content");
    lab.backup();
    let newest = lab.newest();
    fs::remove_file(lab.data().join("file")).unwrap();
    let error = lab
        .with_request(&lab.data(), false, |request| {
            let guard = |totals: &volkeep::repository::Totals, _: Option<&_>| match totals.files {
                0 => Err("empty".to_owned()),
                _ => Ok(()),
            };
            lab.repository.backup(&BackupRequest { guard: &guard, walk: request.walk.clone(), ..*request })
        })
        .unwrap_err();
    assert!(matches!(error, RepositoryError::Refused(_)));
    assert_eq!(lab.newest(), newest);
}

fn content_of_a_pack_that_was_cut_is_stored_again(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    mixed_tree(&lab);
    lab.backup();
    for pack in lab.objects().into_iter().filter(|info| info.key.as_str().starts_with("packs/")) {
        let mut bytes = lab.store.get(&pack.key).unwrap();
        bytes.truncate(bytes.len() / 2);
        lab.store.put(&pack.key, &bytes.into()).unwrap();
    }
    let report = lab.backup();
    assert!(report.added_bytes > 1 << 20 && report.files_read > 10, "{report:?}");
    assert_eq!(picture(&lab.restored(&lab.newest(), "target")), picture(&lab.data()));
}

fn another_identity_is_refused(home: Home) {
    let lab = Lab::created(Codec::Zstd, home);
    lab.repository.create("app").unwrap();
    assert!(matches!(lab.repository.create("other"), Err(RepositoryError::Identity { .. })));
}

/// Every object of a repository, each damaged in three ways: restores fail with damage, or were not concerned.
fn damage_to_any_object_is_noticed(home: Home) {
    let mut lab = Lab::created(Codec::Zstd, home);
    for number in 0..20 {
        lab.write(&format!("{number}"), noise(4000, number));
    }
    lab.write("large", noise(2 << 20, 7));
    lab.backup();
    let id = lab.newest();
    let store = Arc::clone(&lab.store);
    let objects: Vec<Key> = lab
        .objects()
        .into_iter()
        .map(|info| info.key)
        .filter(|key| !key.as_str().starts_with("leases/"))
        .collect();
    assert!(objects.len() >= 4, "{objects:?}");
    for (number, key) in objects.iter().enumerate() {
        let object = key.as_str();
        let whole = store.get(key).unwrap();
        for (way, damaged) in [
            ("cut", Some(whole[..whole.len() / 2].to_vec())),
            ("emptied", Some(Vec::new())),
            ("flipped", {
                let mut flipped = whole.clone();
                flipped[whole.len() / 3] ^= 0x20;
                Some(flipped)
            }),
            ("removed", None),
        ] {
            match damaged {
                Some(bytes) => store.put(key, &bytes.into()).unwrap(),
                None => store.delete(key).unwrap(),
            }
            lab.reopen();
            let error = lab.try_restore(&id, &format!("t{number}{way}"), &[]).unwrap_err();
            let expected = match error {
                RepositoryError::Absent { .. } => object == "repository.json" && way == "removed",
                RepositoryError::NoSnapshot { .. } => object.starts_with("snapshots") && way == "removed",
                RepositoryError::Damaged { .. } => true,
                _ => false,
            };
            assert!(expected, "{object:?} {way}: {error}");
            if object.starts_with("packs") || object.starts_with("segments") {
                let findings = lab.check(100);
                assert!(findings.iter().any(|f| f.contains(object) || f.contains("packs")), "{findings:?}");
            }
            store.put(key, &whole.clone().into()).unwrap();
        }
    }
    assert_eq!(picture(&lab.restored(&id, "whole")), picture(&lab.data()));
}
