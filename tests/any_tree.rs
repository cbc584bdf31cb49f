//! Any tree, changed in any way, comes back as it was: a plan of steps builds and changes a directory, snapshots
//! are made along the way with and without what the cache remembers, and each is restored and compared.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lgetxattr, llistxattr, mknodat,
    removexattr, setxattr, utimensat,
};
use volkeep::base::cancel::Cancel;
use volkeep::base::clock::{Clock, SystemClock};
use volkeep::base::hash::Hash;
use volkeep::base::progress::Progress;
use volkeep::repository::packed::codec::Codec;
use volkeep::repository::packed::{Packed, PackedOptions};
use volkeep::repository::{BackupRequest, CheckRequest, Repository, RestoreRequest, Workers, Writer};
use volkeep::snapshot::SnapshotId;
use volkeep::snapshot::selector::Selector;
use volkeep::store::{MemoryStore, ObjectStore};
use volkeep::tree::{Excludes, WalkOptions};

proptest! {
    // The seed is fixed: a failure here is a failure everywhere, and shrinks to the same plan.
    #![proptest_config(ProptestConfig {
        cases: 64,
        rng_seed: RngSeed::Fixed(20_261_121),
        failure_persistence: None,
        max_shrink_iters: 300,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_tree_comes_back_however_it_changes(
        codec in select(vec![Codec::Zstd, Codec::Gzip, Codec::None]),
        build in vec(any_step(), 0..40),
        change in vec(any_step(), 0..20),
        damage in vec(any_damage(), 0..6),
        change_again in vec(any_step(), 0..10),
        forget in any::<bool>(),
    ) {
        let lab = Lab::new(codec);
        let tree = lab.dir.path().join("tree");
        fs::create_dir(&tree).unwrap();

        build.iter().for_each(|step| step.apply(&tree));
        let first = lab.backup(&tree);
        let before = picture(&tree);
        same(&before, &picture(&lab.restore(&first, "first")))?;

        change.iter().for_each(|step| step.apply(&tree));
        let second = lab.backup(&tree);
        let now = picture(&tree);
        let restored = lab.restore(&second, "second");
        same(&now, &picture(&restored))?;
        same(&before, &picture(&lab.restore(&first, "first again")))?;

        // As an interrupted restore may have left it: what is not right is done again.
        damage.iter().for_each(|step| step.apply(&restored));
        same(&now, &picture(&lab.restore(&second, "second")))?;

        fs::remove_dir_all(lab.cache()).unwrap();
        if !forget {
            lab.with_request(&restored, |request| lab.repository.remember(&second, request)).unwrap();
        }
        change_again.iter().for_each(|step| step.apply(&restored));
        let third = lab.backup(&restored);
        same(&picture(&restored), &picture(&lab.restore(&third, "third")))?;
        lab.check()?;
    }
}

/// One change to a tree. Which object it is for is a number into what the tree holds at that time, so that every
/// plan fits every tree. A step that makes no sense where it comes does nothing.
#[derive(Clone, Debug)]
enum Step {
    File {
        at: usize,
        name: Name,
        content: Content,
    },
    Sparse {
        at: usize,
        name: Name,
        data: u64,
        size: u64,
        seed: u8,
    },
    Directory {
        at: usize,
        name: Name,
    },
    Symlink {
        at: usize,
        name: Name,
        target: Name,
    },
    Fifo {
        at: usize,
        name: Name,
    },
    HardLink {
        of: usize,
        at: usize,
        name: Name,
    },
    Rename {
        of: usize,
        at: usize,
        name: Name,
    },
    Remove {
        of: usize,
    },
    /// A file becomes a directory, all else a file.
    OtherKind {
        of: usize,
        content: Content,
    },
    /// One byte changes; `quietly` puts the time back, as some programs do.
    Edit {
        of: usize,
        place: u16,
        quietly: bool,
    },
    Append {
        of: usize,
        content: Content,
    },
    Truncate {
        of: usize,
        place: u16,
    },
    SetMode {
        of: usize,
        mode: u32,
    },
    Own {
        of: usize,
        owner: u32,
    },
    Touch {
        of: usize,
        seconds: i64,
        nanoseconds: i64,
    },
    Attribute {
        of: usize,
        name: &'static str,
        value: Vec<u8>,
    },
    NoAttribute {
        of: usize,
        name: &'static str,
    },
}

#[derive(Clone)]
struct Name(Vec<u8>);

/// Equal seeds give files that begin alike.
#[derive(Clone, Debug)]
struct Content {
    size: usize,
    seed: u8,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..50usize, any_name(), any_content())
            .prop_map(|(at, name, content)| Step::File { at, name, content }),
        1 => (0..50usize, any_name(), 0..3u64 << 20, 0..6u64 << 20, 0..3u8)
            .prop_map(|(at, name, data, size, seed)| Step::Sparse { at, name, data, size, seed }),
        5 => (0..50usize, any_name()).prop_map(|(at, name)| Step::Directory { at, name }),
        2 => (0..50usize, any_name(), any_name())
            .prop_map(|(at, name, target)| Step::Symlink { at, name, target }),
        1 => (0..50usize, any_name()).prop_map(|(at, name)| Step::Fifo { at, name }),
        3 => (0..50usize, 0..50usize, any_name()).prop_map(|(of, at, name)| Step::HardLink { of, at, name }),
        3 => (0..50usize, 0..50usize, any_name()).prop_map(|(of, at, name)| Step::Rename { of, at, name }),
        1 => (0..50usize, any_content()).prop_map(|(of, content)| Step::OtherKind { of, content }),
        2 => (0..50usize, any_content()).prop_map(|(of, content)| Step::Append { of, content }),
        2 => (0..50usize, any_mode()).prop_map(|(of, mode)| Step::SetMode { of, mode }),
        1 => (0..50usize, select(vec![0, 1234, 4_000_000_000])).prop_map(|(of, owner)| Step::Own { of, owner }),
        2 => (0..50usize, -3_000_000_000..8_000_000_000i64, 0..1_000_000_000i64)
            .prop_map(|(of, seconds, nanoseconds)| Step::Touch { of, seconds, nanoseconds }),
        2 => (0..50usize, any_attribute(), vec(any::<u8>(), 0..40))
            .prop_map(|(of, name, value)| Step::Attribute { of, name, value }),
        1 => (0..50usize, any_attribute()).prop_map(|(of, name)| Step::NoAttribute { of, name }),
        6 => any_damage(),
    ]
}

/// What only takes away or spoils.
fn any_damage() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..50usize).prop_map(|of| Step::Remove { of }),
        3 => (0..50usize, any::<u16>(), any::<bool>())
            .prop_map(|(of, place, quietly)| Step::Edit { of, place, quietly }),
        2 => (0..50usize, any::<u16>()).prop_map(|(of, place)| Step::Truncate { of, place }),
    ]
}

fn any_name() -> impl Strategy<Value = Name> {
    let odd: Vec<&[u8]> = vec![
        b"a.b",
        b"a-",
        b"a b",
        b"base.db",
        b".hidden",
        b"...",
        b"new\nline",
        b"back\\slash\"",
        b"not utf-8 \xff\xfe",
        b"\x01",
        b"\xc3\x28",
        &[b'n'; 255],
    ];
    prop_oneof![
        3 => "[a-d]{1,2}".prop_map(|text| Name(text.into_bytes())),
        1 => select(odd).prop_map(|bytes| Name(bytes.to_vec())),
    ]
}

/// Around the bounds between small files and large ones, of fixed and of content-defined chunks.
fn any_content() -> impl Strategy<Value = Content> {
    let around = |bound: usize| select(vec![bound - 1, bound, bound + 1]);
    let size = prop_oneof![
        8 => 0..5000usize,
        4 => select(vec![0, 1]),
        3 => around(128 << 10),
        2 => around(512 << 10),
        2 => around(1 << 20),
        1 => select(vec![(8 << 20) + 1, (9 << 20) + 77]),
    ];
    (size, 0..3u8).prop_map(|(size, seed)| Content { size, seed })
}

fn any_mode() -> impl Strategy<Value = u32> {
    select(vec![0o644, 0o600, 0o777, 0o4755, 0o2775, 0o1777, 0o400, 0o500, 0])
}

fn any_attribute() -> impl Strategy<Value = &'static str> {
    select(vec!["user.a", "user.colour", "user.with space"])
}

impl Step {
    fn apply(&self, root: &Path) {
        let _ = self.try_apply(root);
    }

    fn try_apply(&self, root: &Path) -> io::Result<()> {
        let all = paths(root);
        let new = |at: &usize, name: &Name| {
            let directories: Vec<_> = all.iter().filter(|path| is_directory(path)).collect();
            let path = directories[at % directories.len()].join(OsStr::from_bytes(&name.0));
            match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path),
                _ => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
            }
        };
        let any = |of: &usize| all[of % all.len()].clone();
        let below_root = |of: &usize| match any(of) {
            path if path == root => Err(io::Error::from(io::ErrorKind::InvalidInput)),
            path => Ok(path),
        };
        let file = |of: &usize| {
            let files: Vec<_> = all.iter().filter(|path| kind(path).is_file()).collect();
            let path = files.get(of % files.len().max(1)).ok_or(io::ErrorKind::NotFound)?;
            io::Result::Ok(path.to_path_buf())
        };
        match self {
            Self::File { at, name, content } => fs::write(new(at, name)?, content.bytes()),
            Self::Sparse { at, name, data, size, seed } => {
                let file = File::create_new(new(at, name)?)?;
                file.set_len(*size)?;
                let content = Content { size: 5000, seed: *seed };
                file.write_all_at(&content.bytes(), *data)
            }
            Self::Directory { at, name } => fs::create_dir(new(at, name)?),
            Self::Symlink { at, name, target } => symlink(OsStr::from_bytes(&target.0), new(at, name)?),
            Self::Fifo { at, name } => {
                let mode = Mode::from_raw_mode(0o640);
                Ok(mknodat(CWD, new(at, name)?, FileType::Fifo, mode, 0)?)
            }
            Self::HardLink { of, at, name } => fs::hard_link(any(of), new(at, name)?),
            Self::Rename { of, at, name } => fs::rename(below_root(of)?, new(at, name)?),
            Self::Remove { of } => remove(&below_root(of)?),
            Self::OtherKind { of, content } => {
                let path = below_root(of)?;
                let was_file = kind(&path).is_file();
                remove(&path)?;
                if was_file { fs::create_dir(path) } else { fs::write(path, content.bytes()) }
            }
            Self::Edit { of, place, quietly } => {
                let path = file(of)?;
                let metadata = fs::metadata(&path)?;
                let size = metadata.len().max(1);
                let at = u64::from(*place) * size / (1 << 16);
                let file = OpenOptions::new().read(true).write(true).open(&path)?;
                let mut byte = [0];
                let _ = file.read_at(&mut byte, at)?;
                file.write_all_at(&[byte[0].wrapping_add(1)], at)?;
                if *quietly { set_time(&path, metadata.mtime(), metadata.mtime_nsec()) } else { Ok(()) }
            }
            Self::Append { of, content } => {
                OpenOptions::new().append(true).open(file(of)?)?.write_all(&content.bytes())
            }
            Self::Truncate { of, place } => {
                let file = OpenOptions::new().write(true).open(file(of)?)?;
                file.set_len(u64::from(*place) * file.metadata()?.len() / (1 << 16))
            }
            Self::SetMode { of, mode } => {
                let path = any(of);
                if kind(&path).is_symlink() {
                    return Ok(());
                }
                // Others than root could neither read nor remove what the mode takes from them.
                let kept = if is_root() { 0 } else { 0o700 };
                fs::set_permissions(path, Permissions::from_mode(mode | kept))
            }
            Self::Own { of, owner } => lchown(any(of), Some(*owner), Some(*owner)),
            Self::Touch { of, seconds, nanoseconds } => set_time(&any(of), *seconds, *nanoseconds),
            Self::Attribute { of, name, value } => {
                let path = any(of);
                if kind(&path).is_symlink() {
                    return Ok(());
                }
                Ok(setxattr(path, *name, value, XattrFlags::empty())?)
            }
            Self::NoAttribute { of, name } => {
                let path = any(of);
                if kind(&path).is_symlink() {
                    return Ok(());
                }
                Ok(removexattr(path, *name)?)
            }
        }
    }
}

impl Content {
    /// Half of it compresses, as most data does.
    fn bytes(&self) -> Vec<u8> {
        let mut state = u64::from(self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let words = (0..self.size.div_ceil(8)).flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state & 0xffff_ffff).to_le_bytes()
        });
        let mut bytes: Vec<u8> = words.collect();
        bytes.truncate(self.size);
        bytes
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// Everything below `root` and itself, in a fixed order.
fn paths(root: &Path) -> Vec<PathBuf> {
    let mut all = vec![root.to_owned()];
    let mut next = 0;
    while next < all.len() {
        if is_directory(&all[next]) {
            let below: Vec<_> =
                fs::read_dir(&all[next]).unwrap().map(|entry| entry.unwrap().path()).collect();
            all.extend(below);
        }
        next += 1;
    }
    all.sort();
    all
}

fn kind(path: &Path) -> fs::FileType {
    fs::symlink_metadata(path).unwrap().file_type()
}

fn is_directory(path: &Path) -> bool {
    kind(path).is_dir()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn remove(path: &Path) -> io::Result<()> {
    if is_directory(path) { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

fn set_time(path: &Path, seconds: i64, nanoseconds: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// A line for each object that says all there is to say of it, and the blocks it takes.
type Picture = BTreeMap<PathBuf, (String, u64)>;

fn picture(root: &Path) -> Picture {
    let all = paths(root);
    let mut groups: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut picture = Picture::new();
    for path in all {
        let relative = path.strip_prefix(root).unwrap().to_owned();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let mut line = format!(
            "{:o} {}:{} {}.{:09}",
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.mtime(),
            metadata.mtime_nsec()
        );
        if !metadata.is_dir() {
            let first = groups.entry(metadata.ino()).or_insert_with(|| relative.clone());
            write!(line, " {} links, first {first:?}", metadata.nlink()).unwrap();
        }
        if metadata.is_file() {
            write!(line, " {} bytes {}", metadata.len(), Hash::of(&fs::read(&path).unwrap())).unwrap();
        } else if metadata.is_symlink() {
            write!(line, " to {:?}", fs::read_link(&path).unwrap()).unwrap();
        }
        for (name, value) in attributes(&path) {
            write!(line, " {name}={}", value.escape_ascii()).unwrap();
        }
        let blocks = if metadata.is_file() { metadata.blocks() } else { 0 };
        picture.insert(relative, (line, blocks));
    }
    picture
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0u8; 4096];
    let length = llistxattr(path, &mut names).unwrap();
    let names = names[..length].split(|byte| *byte == 0).filter(|name| name.starts_with(b"user."));
    names
        .map(|name| {
            let mut value = vec![0u8; 4096];
            let length = lgetxattr(path, OsStr::from_bytes(name), &mut value).unwrap();
            value.truncate(length);
            (String::from_utf8_lossy(name).into_owned(), value)
        })
        .collect()
}

fn same(expected: &Picture, found: &Picture) -> Result<(), TestCaseError> {
    let mut text = String::new();
    for (path, (line, blocks)) in expected {
        match found.get(path) {
            None => writeln!(text, "missing: {path:?}: {line}").unwrap(),
            Some((other, _)) if other != line => {
                writeln!(text, "differs: {path:?}\n  expected {line}\n  found    {other}").unwrap();
            }
            // File systems lay small files out as they like: what counts is that holes stay holes.
            Some((_, other)) if blocks.abs_diff(*other) > 512.max(blocks / 10) => {
                writeln!(text, "holes: {path:?}: {blocks} blocks became {other}").unwrap();
            }
            Some(_) => {}
        }
    }
    for (path, (line, _)) in found.iter().filter(|(path, _)| !expected.contains_key(*path)) {
        writeln!(text, "too much: {path:?}: {line}").unwrap();
    }
    prop_assert!(text.is_empty(), "\n{text}");
    Ok(())
}

struct Lab {
    dir: tempfile::TempDir,
    repository: Packed,
    clock: Arc<dyn Clock>,
    writer: Writer,
}

impl Lab {
    fn new(codec: Codec) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new(clock.clone()));
        let repository = Packed::new(store, PackedOptions { codec, level: None }, clock.clone());
        repository.create("app").unwrap();
        let writer = Writer { volume_id: "v".into(), identity: "app".into(), host: "h".into() };
        Self { dir: tempfile::tempdir().unwrap(), repository, clock, writer }
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    fn with_request<T>(&self, root: &Path, run: impl FnOnce(&BackupRequest<'_>) -> T) -> T {
        run(&BackupRequest {
            root,
            walk: WalkOptions::default(),
            cache: &self.cache(),
            writer: &self.writer,
            epoch: None,
            take_over: false,
            workers: &workers(),
            fixed_chunks: &Excludes::new(&["*.db"]).unwrap(),
            read_retries: 2,
            guard: &|_, _| Ok(()),
            dry_run: false,
            clock: &self.clock,
            progress: &Progress::default(),
            cancel: &Cancel::new(),
        })
    }

    fn backup(&self, root: &Path) -> SnapshotId {
        let report = self.with_request(root, |request| self.repository.backup(request)).unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        report.snapshot.unwrap().id
    }

    fn restore(&self, id: &SnapshotId, name: &str) -> PathBuf {
        let target = self.dir.path().join(name);
        fs::create_dir_all(&target).unwrap();
        let request = RestoreRequest {
            target: &target,
            selector: &Selector::everything(),
            cache: None,
            workers: &workers(),
            progress: &Progress::default(),
            cancel: &Cancel::new(),
        };
        let report = self.repository.restore(id, &request).unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        target
    }

    /// Everything stored is whole.
    fn check(&self) -> Result<(), TestCaseError> {
        let request = CheckRequest {
            verify_percent: 100,
            verify_turn: None,
            cache: None,
            workers: workers(),
            cancel: Cancel::new(),
            progress: Progress::default(),
        };
        prop_assert_eq!(self.repository.check(&request).unwrap().findings, vec![]);
        Ok(())
    }
}

fn workers() -> Workers {
    Workers { threads: 2, connections: 4, memory: 16 << 20 }
}
