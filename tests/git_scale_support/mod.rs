//! A volume that goes on changing, and what it looks like: kept as differences, since hundreds of full listings would be
//! too much.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use volkeep::snapshot::{Entry, Kind};

use crate::support::{Random, random_bytes};

/// By path; the root itself is the empty one.
pub type Seen = BTreeMap<PathBuf, Node>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub kind: char,
    pub mode: u32,
    /// Seconds and nanoseconds.
    pub modified: (i64, u32),
    /// BLAKE3 of a file's content or a symlink's target; zeros for a directory.
    pub hash: [u8; 32],
    pub size: u64,
}

#[derive(Clone, Debug)]
pub struct Difference {
    pub path: PathBuf,
    /// What it became; `None`: it is gone.
    pub node: Option<Node>,
}

/// What is on the disk now. Content is read unless it was known before and nobody has touched it since.
pub fn look(root: &Path, before: &Seen, touched: &BTreeSet<PathBuf>) -> Seen {
    let mut seen = Seen::new();
    let mut open = vec![PathBuf::new()];
    while let Some(path) = open.pop() {
        let whole = root.join(&path);
        let metadata = fs::symlink_metadata(&whole).unwrap();
        let kind = match metadata.file_type() {
            kind if kind.is_dir() => 'd',
            kind if kind.is_symlink() => 'l',
            _ => '-',
        };
        if kind == 'd' {
            open.extend(fs::read_dir(&whole).unwrap().map(|entry| path.join(entry.unwrap().file_name())));
        }
        let known = before.get(&path).filter(|known| known.kind == kind && !touched.contains(&path));
        let hash = match (kind, known) {
            ('d', _) => [0; 32],
            (_, Some(known)) => known.hash,
            ('l', _) => hash(fs::read_link(&whole).unwrap().as_os_str().as_encoded_bytes()),
            _ => hash(&fs::read(&whole).unwrap()),
        };
        let node = Node {
            kind,
            mode: metadata.mode() & 0o7777,
            modified: (metadata.mtime(), metadata.mtime_nsec() as u32),
            hash,
            size: if kind == '-' { metadata.len() } else { 0 },
        };
        seen.insert(path, node);
    }
    seen
}

/// What the program lists, a JSON object a line.
pub fn of_list(text: &str) -> Seen {
    let node = |line: &str| {
        let entry: Entry = serde_json::from_str(line).unwrap();
        let (kind, hash) = match &entry.kind {
            Kind::Directory => ('d', [0; 32]),
            Kind::Symlink { target } => ('l', hash(&target.0)),
            Kind::File { hash, .. } => ('-', hash.0),
            other => panic!("nobody made {other:?}"),
        };
        let modified = (entry.mtime.seconds, entry.mtime.nanoseconds);
        let path = PathBuf::from(entry.path.to_string());
        (path, Node { kind, mode: entry.mode, modified, hash, size: entry.size() })
    };
    let mut seen: Seen = text.lines().map(node).collect();
    if let Some(root) = seen.remove(Path::new(".")) {
        seen.insert(PathBuf::new(), root);
    }
    seen
}

pub fn between(before: &Seen, after: &Seen) -> Vec<Difference> {
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    let gone = gone.map(|path| Difference { path: path.clone(), node: None });
    let new = after.iter().filter(|(path, node)| before.get(*path) != Some(*node));
    gone.chain(new.map(|(path, node)| Difference { path: path.clone(), node: Some(node.clone()) })).collect()
}

pub fn apply(seen: &mut Seen, differences: &[Difference]) {
    for Difference { path, node } in differences {
        match node {
            Some(node) => drop(seen.insert(path.clone(), node.clone())),
            None => drop(seen.remove(path)),
        }
    }
}

/// Changes a few files at a time.
pub struct Churn {
    root: PathBuf,
    /// Files and symlinks.
    files: Vec<PathBuf>,
    directories: Vec<PathBuf>,
    random: Random,
    made: usize,
}

impl Churn {
    pub fn new(root: PathBuf, seen: &Seen, seed: u64) -> Self {
        let paths =
            |kind| seen.iter().filter(move |(_, node)| node.kind == kind).map(|(path, _)| path.clone());
        let (files, directories) = (paths('-').collect(), paths('d').collect());
        Self { root, files, directories, random: Random(seed.wrapping_mul(31) | 1), made: 0 }
    }

    /// Does so many things to the volume. The files whose content is another now.
    pub fn round(&mut self, count: usize) -> BTreeSet<PathBuf> {
        let mut touched = BTreeSet::new();
        for _ in 0..count {
            let at = self.below(self.files.len());
            let path = self.files[at].clone();
            let whole = self.root.join(&path);
            let is_link = whole.symlink_metadata().unwrap().is_symlink();
            match self.random.next() % 20 {
                0..8 if !is_link => {
                    fs::write(&whole, self.content()).unwrap();
                    touched.insert(path);
                }
                8..10 if !is_link => {
                    File::options().append(true).open(&whole).unwrap().write_all(b"and more\n").unwrap();
                    touched.insert(path);
                }
                10..12 => {
                    fs::remove_file(&whole).unwrap();
                    self.files.swap_remove(at);
                }
                12..14 => {
                    let new = self.new_name();
                    fs::rename(&whole, self.root.join(&new)).unwrap();
                    touched.insert(new.clone());
                    self.files[at] = new;
                }
                14 if !is_link => {
                    let mode = [0o600, 0o644, 0o755, 0o4711][self.below(4)];
                    fs::set_permissions(&whole, fs::Permissions::from_mode(mode)).unwrap();
                }
                15 if !is_link => {
                    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(self.random.next() % (1 << 60));
                    File::options().append(true).open(&whole).unwrap().set_modified(time).unwrap();
                }
                16 => {
                    let new = self.new_name();
                    symlink(format!("to-{}", self.made), self.root.join(&new)).unwrap();
                    touched.insert(new.clone());
                    self.files.push(new);
                }
                _ => {
                    let new = self.new_name();
                    fs::write(self.root.join(&new), self.content()).unwrap();
                    touched.insert(new.clone());
                    self.files.push(new);
                }
            }
        }
        touched
    }

    /// In a directory that is there, or sometimes in a new one.
    fn new_name(&mut self) -> PathBuf {
        self.made += 1;
        let at = self.below(self.directories.len());
        let mut directory = self.directories[at].clone();
        if self.made.is_multiple_of(10) {
            directory.push(format!("new-{}", self.made));
            fs::create_dir(self.root.join(&directory)).unwrap();
            self.directories.push(directory.clone());
        }
        directory.join(format!("new-{}.txt", self.made))
    }

    /// Now and then the same as another file's.
    fn content(&mut self) -> Vec<u8> {
        let seed = self.random.next() % 10_000;
        let length = (seed % 4000) as usize;
        random_bytes(seed, length).iter().map(|byte| b'a' + byte % 16).collect()
    }

    fn below(&mut self, end: usize) -> usize {
        (self.random.next() % end as u64) as usize
    }
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}
