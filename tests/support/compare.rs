//! Whether two trees are the same, content and metadata. `rsync` judges; what it does not look at (nanoseconds,
//! holes, device numbers) is read here by plain `lstat`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{run, shell};

/// Our own directory, in the layout where it lies inside the data.
const STATE: &str = ".volkeep";

/// Every flag that makes rsync look at something, times to the nanosecond (`-@-1`).
const EVERYTHING: [&str; 5] =
    ["-aHAX", "--numeric-ids", "--modify-window=-1", "--exclude=/.volkeep", "--delete"];

/// Copies a tree with everything, our own directory left out. `cp` keeps holes as they are, and zeros that are none
/// (rsync would make holes of them); `rsync` does the root directory itself, which `cp` is not asked to copy.
#[track_caller]
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    shell(
        "cd \"$1\"
         find . -mindepth 1 -maxdepth 1 ! -name .volkeep -print0 | xargs -0 -r cp -a -t \"$2\" --
         rsync -dlptgoAX --numeric-ids --modify-window=-1 --exclude='/*' ./ \"$2/\"",
        &[from.as_os_str(), to.as_os_str()],
    );
}

#[track_caller]
pub fn same(expected: &Path, found: &Path) {
    let differences = differences(expected, found);
    assert!(differences.is_empty(), "{} is not as {}:\n{differences}", found.display(), expected.display());
}

/// A line for each difference, empty when there is none.
pub fn differences(expected: &Path, found: &Path) -> String {
    let judge = run(Command::new("rsync")
        .args(EVERYTHING)
        .args(["--dry-run", "--itemize-changes", "--checksum"])
        .arg(slashed(expected))
        .arg(slashed(found)))
    .expect_code(0);
    let mut text = judge.stdout;
    let (expected, found) = (listing(expected), listing(found));
    for (path, node) in &expected {
        match found.get(path) {
            None => writeln!(text, "missing: {}", path.display()).unwrap(),
            Some(other) => node.compare(other, path, &mut text),
        }
    }
    for path in found.keys().filter(|path| !expected.contains_key(*path)) {
        writeln!(text, "too much: {}", path.display()).unwrap();
    }
    text
}

/// The same names, kinds, content, modes, owners and times to the second: what a tar file can carry.
#[track_caller]
pub fn same_content(expected: &Path, found: &Path) {
    let judge = run(Command::new("rsync")
        .args(["-aH", "--numeric-ids", "--modify-window=1", "--exclude=/.volkeep", "--delete"])
        .args(["--dry-run", "--itemize-changes", "--checksum"])
        .arg(slashed(expected))
        .arg(slashed(found)))
    .expect_code(0);
    assert!(
        judge.stdout.is_empty(),
        "{} is not as {}:\n{}",
        found.display(),
        expected.display(),
        judge.stdout
    );
}

#[derive(Debug, PartialEq, Eq)]
pub struct Node {
    pub kind: char,
    pub mode: u32,
    pub owner: (u32, u32),
    /// Seconds and nanoseconds.
    pub modified: (i64, i64),
    /// Of a file; 0 for all else.
    pub size: u64,
    /// Of what is no directory.
    pub links: u64,
    pub device: u64,
    pub target: Option<OsString>,
    /// In units of 512 bytes; of a file.
    blocks: u64,
}

impl Node {
    fn compare(&self, other: &Self, path: &Path, text: &mut String) {
        let path = path.display();
        let exact = |node: &Self| {
            let Node { kind, mode, owner, modified, size, links, device, .. } = node;
            format!("{kind} {mode:o} {owner:?} {modified:?} {size} {links} {device:x} {:?}", node.target)
        };
        if exact(self) != exact(other) {
            writeln!(text, "differs: {path}\n  expected {}\n  found    {}", exact(self), exact(other))
                .unwrap();
        }
        // File systems round up, and lay small files out as they like: what counts is that holes stay holes.
        let slack = 512.max(self.blocks / 10);
        if self.blocks.abs_diff(other.blocks) > slack {
            writeln!(text, "holes: {path}: {} blocks became {}", self.blocks, other.blocks).unwrap();
        }
    }
}

/// Everything below `root`, and `root` itself as the empty path, without our own directory.
pub fn listing(root: &Path) -> BTreeMap<PathBuf, Node> {
    let mut nodes = BTreeMap::new();
    let mut open = vec![PathBuf::new()];
    while let Some(relative) = open.pop() {
        let path = root.join(&relative);
        let metadata =
            fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if metadata.is_dir() {
            for entry in fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())) {
                let name = entry.unwrap().file_name();
                if !(relative.as_os_str().is_empty() && name == STATE) {
                    open.push(relative.join(name));
                }
            }
        }
        nodes.insert(relative, node(&path, &metadata));
    }
    nodes
}

fn node(path: &Path, metadata: &Metadata) -> Node {
    let kind = metadata.file_type();
    let file = kind.is_file();
    Node {
        kind: match kind {
            _ if kind.is_dir() => 'd',
            _ if kind.is_symlink() => 'l',
            _ if kind.is_fifo() => 'p',
            _ if kind.is_socket() => 's',
            _ if kind.is_char_device() => 'c',
            _ if kind.is_block_device() => 'b',
            _ => '-',
        },
        mode: metadata.mode() & 0o7777,
        owner: (metadata.uid(), metadata.gid()),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        size: if file { metadata.len() } else { 0 },
        links: if kind.is_dir() { 0 } else { metadata.nlink() },
        device: if kind.is_char_device() || kind.is_block_device() { metadata.rdev() } else { 0 },
        target: kind.is_symlink().then(|| fs::read_link(path).unwrap().into_os_string()),
        blocks: if file { metadata.blocks() } else { 0 },
    }
}

fn slashed(path: &Path) -> OsString {
    let mut text = path.as_os_str().to_owned();
    text.push("/");
    text
}
