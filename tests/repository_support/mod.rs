//! A repository of each kind behind the snapshot seam, and a tree to keep in it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]
#![allow(dead_code, reason = "no test file uses all of it")]

#[path = "../support/mod.rs"]
pub mod support;

pub mod suite;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use volkeep::base::cancel::Cancel;
use volkeep::base::clock::{Clock, SystemClock};
use volkeep::base::progress::Progress;
use volkeep::repository::git::{Git, GitOptions, Place};
use volkeep::repository::packed::codec::Codec;
use volkeep::repository::packed::{Packed, PackedOptions};
use volkeep::repository::{
    BackupReport, BackupRequest, CheckRequest, Missing, Presence, Repository, RepositoryError, RestoreReport,
    RestoreRequest, Workers, Writer,
};
use volkeep::snapshot::selector::Selector;
use volkeep::snapshot::{RelativePath, SnapshotId};
use volkeep::store::{Container, FaultyStore, LocalStore, MemoryStore, ObjectInfo, ObjectStore};
use volkeep::tree::{Excludes, WalkOptions};

use self::support::git::{GitServer, git};
use self::support::s3::{Server, unique};

/// Where the repository lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    Directory,
    Memory,
    /// Of the real S3 server.
    Bucket,
    /// A bare git repository.
    GitDirectory,
    /// Of the real git server.
    GitSsh,
    GitHttps,
}

pub struct Lab {
    pub dir: tempfile::TempDir,
    pub home: Home,
    pub clock: Arc<dyn Clock>,
    pub repository: Arc<dyn Repository>,
    pub writer: Writer,
    pub codec: Codec,
    kept: Kept,
}

/// What a repository is made of.
enum Kept {
    Objects(Arc<FaultyStore>),
    /// And where it is on this machine.
    Git(GitOptions, PathBuf),
}

fn packed(store: &Arc<FaultyStore>, codec: Codec, clock: &Arc<dyn Clock>) -> Arc<dyn Repository> {
    Arc::new(Packed::new(store.clone(), PackedOptions { codec, level: None }, clock.clone()))
}

fn open(kept: &Kept, codec: Codec, clock: &Arc<dyn Clock>) -> Arc<dyn Repository> {
    match kept {
        Kept::Objects(store) => packed(store, codec, clock),
        Kept::Git(options, _) => Arc::new(Git::new(options.clone(), clock.clone())),
    }
}

impl Lab {
    pub fn new(codec: Codec, home: Home) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let place = dir.path().join("repository");
        let objects =
            |inner: Arc<dyn ObjectStore>| Kept::Objects(Arc::new(FaultyStore::new(inner, clock.clone())));
        let kept = match home {
            Home::Memory => objects(Arc::new(MemoryStore::new(clock.clone()))),
            Home::Directory => objects(Arc::new(LocalStore::new(place))),
            Home::Bucket => {
                let server = Server::real();
                objects(server.store(&server.shared_bucket(), &unique("repository")))
            }
            Home::GitDirectory => {
                let options = GitOptions::new(Place::Directory(place.clone()), dir.path().join("cache"));
                Kept::Git(options, place)
            }
            Home::GitSsh | Home::GitHttps => {
                let server = GitServer::running();
                let name = server.new_repository();
                let options = if home == Home::GitSsh { server.ssh(&name) } else { server.https(&name) };
                Kept::Git(GitOptions { cache: dir.path().join("cache"), ..options }, server.path(&name))
            }
        };
        let writer = Writer { volume_id: "v1".into(), identity: "app".into(), host: "h".into() };
        let repository = open(&kept, codec, &clock);
        Self { dir, home, clock, repository, writer, codec, kept }
    }

    /// As another process sees it.
    pub fn reopen(&mut self) {
        self.repository = open(&self.kept, self.codec, &self.clock);
    }

    pub fn created(codec: Codec, home: Home) -> Self {
        let lab = Self::new(codec, home);
        let presence = lab.repository.probe().unwrap();
        match (home, presence) {
            // The bucket is there already.
            (Home::Bucket, Presence::Absent(Missing::Repository(Container::Bucket))) => {}
            (Home::GitSsh | Home::GitHttps, presence) => {
                assert_eq!(presence, Presence::Absent(Missing::Repository(Container::EmptyGitRepository)));
            }
            (Home::Directory | Home::Memory, Presence::Absent(Missing::Container(Container::Directory))) => {}
            (Home::GitDirectory, Presence::Absent(Missing::Container(Container::GitRepository))) => {}
            other => panic!("{other:?}"),
        }
        lab.repository.create("app").unwrap();
        assert_eq!(lab.repository.probe().unwrap(), Presence::Empty);
        lab
    }

    /// With each codec, where there are several.
    pub fn each(home: Home, run: impl Fn(Lab)) {
        let lab = Self::created(Codec::Zstd, home);
        let packed = matches!(lab.kept, Kept::Objects(_));
        run(lab);
        if packed {
            [Codec::Gzip, Codec::None].into_iter().for_each(|codec| run(Self::created(codec, home)));
        }
    }

    /// Of a packed repository.
    pub fn store(&self) -> &Arc<FaultyStore> {
        match &self.kept {
            Kept::Objects(store) => store,
            Kept::Git(..) => panic!("a git repository is in no store"),
        }
    }

    pub fn is_git(&self) -> bool {
        matches!(self.kept, Kept::Git(..))
    }

    /// A git repository, as it is on this machine.
    pub fn git_directory(&self) -> &Path {
        match &self.kept {
            Kept::Objects(_) => panic!("not in git"),
            Kept::Git(_, path) => path,
        }
    }

    /// What a run that changes nothing leaves alone.
    pub fn content(&self) -> Vec<String> {
        match &self.kept {
            Kept::Objects(_) => self.objects().iter().map(|object| format!("{object:?}")).collect(),
            Kept::Git(_, path) => {
                vec![git(path, &["for-each-ref"]), git(path, &["count-objects", "-v"])]
            }
        }
    }

    /// Names, sizes and times of everything in the repository.
    pub fn objects(&self) -> Vec<ObjectInfo> {
        let mut objects = Vec::new();
        let mut add = |info| {
            objects.push(info);
            Ok(())
        };
        self.store().list("", &mut add).unwrap();
        objects
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.data().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn with_request<T>(
        &self,
        root: &Path,
        dry_run: bool,
        run: impl FnOnce(&BackupRequest<'_>) -> T,
    ) -> T {
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

    pub fn try_backup(&self) -> Result<BackupReport, RepositoryError> {
        self.with_request(&self.data(), false, |request| self.repository.backup(request))
    }

    pub fn backup(&self) -> BackupReport {
        self.try_backup().unwrap()
    }

    pub fn newest(&self) -> SnapshotId {
        self.repository.newest().unwrap().unwrap()
    }

    pub fn try_restore(
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

    pub fn restored(&self, id: &SnapshotId, name: &str) -> PathBuf {
        self.try_restore(id, name, &[]).unwrap();
        self.dir.path().join(name)
    }

    pub fn check(&self, percent: u8) -> Vec<String> {
        let request = CheckRequest {
            verify_percent: percent,
            verify_turn: None,
            cache: None,
            workers: workers(),
            cancel: Cancel::new(),
            progress: Progress::default(),
        };
        let report = self.repository.check(&request).unwrap();
        report.findings.into_iter().map(|finding| format!("{}: {}", finding.object, finding.reason)).collect()
    }
}

pub fn workers() -> Workers {
    Workers { threads: 2, connections: 4, memory: 16 << 20 }
}

pub fn noise(length: usize, seed: u64) -> Vec<u8> {
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
pub fn picture(root: &Path) -> Vec<(PathBuf, u32, i64, i64, Vec<u8>)> {
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

pub fn mixed_tree(lab: &Lab) {
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
