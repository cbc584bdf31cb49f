//! All of a tree in the order of a snapshot, one `statx` an entry. Keeps a handle on the directories it is in
//! and the names it has still to visit there, nothing else: memory does not grow with the tree.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::RawDir;
use rustix::io::Errno;

use crate::snapshot::RelativePath;
use crate::tree::TreeError;
use crate::tree::excludes::Excludes;
use crate::tree::root::{READ_DIRECTORY, Root, open_name, without_access_time};
use crate::tree::stat::{FileKind, Stat};

/// Directories kept open on the way down; those above are opened again on the way back.
const OPEN_LEVELS: usize = 64;
const READ_BUFFER: usize = 32 << 10;
const CACHE_TAG: &[u8] = b"CACHEDIR.TAG";
/// From the Cache Directory Tagging Specification.
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

#[derive(Clone, Debug, Default)]
pub struct WalkOptions {
    /// Names in the root that are not there for the walk.
    pub skip_at_root: Vec<Vec<u8>>,
    pub excludes: Excludes,
    /// A directory on another file system is yielded, what is in it is not.
    pub one_file_system: bool,
    /// Of a directory tagged as a cache only the tag is yielded. A tag in the root itself counts for nothing:
    /// it would silently make the whole tree vanish.
    pub honour_cache_tags: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub path: RelativePath,
    pub stat: Stat,
    /// Another file system begins here, and its content is left out.
    pub mount_point: bool,
}

/// Something the walk could not look at; it goes on behind it.
#[derive(Debug)]
pub struct Problem {
    pub path: RelativePath,
    pub error: TreeError,
}

/// The root itself comes first. What vanishes between being listed and being looked at was never there.
#[derive(Debug)]
pub struct Walk<'r> {
    root: &'r Root,
    options: WalkOptions,
    buffer: Vec<MaybeUninit<u8>>,
    levels: Vec<Level>,
    /// The directory yielded last, not yet entered.
    ahead: Option<Ahead>,
    begun: bool,
    device: u64,
    spare: Vec<(Vec<u8>, Vec<Name>)>,
}

#[derive(Debug)]
struct Ahead {
    path: RelativePath,
    identity: (u64, u64),
}

#[derive(Debug)]
struct Level {
    path: RelativePath,
    identity: (u64, u64),
    /// `None` while too many are open.
    directory: Option<OwnedFd>,
    /// Each name with its NUL.
    names: Vec<u8>,
    order: Vec<Name>,
    next: usize,
}

#[derive(Clone, Copy, Debug)]
struct Name {
    /// The first eight bytes as a number: most comparisons end here.
    prefix: u64,
    start: u32,
    /// With the NUL.
    length: u32,
}

impl<'r> Walk<'r> {
    pub fn new(root: &'r Root, options: WalkOptions) -> Self {
        Self {
            root,
            options,
            buffer: vec![MaybeUninit::uninit(); READ_BUFFER],
            levels: Vec::new(),
            ahead: None,
            begun: false,
            device: 0,
            spare: Vec::new(),
        }
    }

    /// Goes on behind the directory yielded last instead of into it.
    pub fn skip_contents(&mut self) {
        self.ahead = None;
    }

    fn begin(&mut self) -> Result<Found, Problem> {
        self.begun = true;
        let path = RelativePath::root();
        let stat = Stat::of(self.root.fd()).map_err(|error| self.problem("stat", &path, error))?;
        self.device = stat.device;
        self.ahead = Some(Ahead { path: path.clone(), identity: stat.identity() });
        Ok(Found { path, stat, mount_point: false })
    }

    /// Opens and lists a directory. What could be listed before an error is walked all the same.
    fn enter(&mut self, ahead: Ahead) -> Result<(), Problem> {
        let Ahead { path, identity } = ahead;
        let directory = match self.levels.last().and_then(|level| level.directory.as_ref()) {
            Some(parent) => {
                without_access_time(READ_DIRECTORY, |flags| open_name(parent.as_fd(), path.name(), flags))
            }
            None => without_access_time(READ_DIRECTORY, |flags| self.root.open_below(&path, flags)),
        };
        let directory = match directory {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(self.problem("open", &path, error)),
        };
        let (mut names, mut order) = self.spare.pop().unwrap_or_default();
        let listed = list(&directory, &mut self.buffer, &mut names, &mut order);
        if path.is_root() && !self.options.skip_at_root.is_empty() {
            let skipped = &self.options.skip_at_root;
            order.retain(|name| !skipped.iter().any(|skip| name.of(&names) == skip.as_slice()));
        }
        if self.options.honour_cache_tags && !path.is_root() && is_tagged(&directory, &names, &order) {
            order.retain(|name| name.of(&names) == CACHE_TAG);
        }
        let problem = listed.err().map(|error| self.problem("list", &path, error));
        self.levels.push(Level { path, identity, directory: Some(directory), names, order, next: 0 });
        if let Some(far) = self.levels.len().checked_sub(OPEN_LEVELS + 1)
            && let Some(level) = self.levels.get_mut(far)
        {
            level.directory = None;
        }
        problem.map_or(Ok(()), Err)
    }

    /// Back to the directory above, which may have to be opened again.
    fn leave(&mut self) -> Result<(), Problem> {
        let Some(mut left) = self.levels.pop() else { return Ok(()) };
        let child = left.directory.take();
        left.names.clear();
        left.order.clear();
        if self.spare.len() < OPEN_LEVELS {
            self.spare.push((left.names, left.order));
        }
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        if level.directory.is_some() {
            return Ok(());
        }
        // One step up costs the same at any depth. It counts only if it leads to the directory that was
        // entered: somebody may have moved the child.
        let is_same = |fd: &OwnedFd, identity| Stat::of(fd).is_ok_and(|stat| stat.identity() == identity);
        let above = child
            .and_then(|child| open_name(child.as_fd(), b"..", READ_DIRECTORY).ok())
            .filter(|fd| is_same(fd, level.identity));
        let above = match above {
            Some(above) => Ok(above),
            None => self
                .root
                .open_below(&level.path, READ_DIRECTORY)
                .and_then(|fd| if is_same(&fd, level.identity) { Ok(fd) } else { Err(Errno::STALE) }),
        };
        match above {
            Ok(above) => {
                level.directory = Some(above);
                Ok(())
            }
            Err(error) => {
                level.next = level.order.len();
                let path = level.path.clone();
                Err(self.problem("return to", &path, error))
            }
        }
    }

    /// The next entry of the directory the walk is in; `None` at its end.
    fn step(&mut self) -> Option<Result<Found, Problem>> {
        let level = self.levels.last_mut()?;
        while let Some(name) = level.order.get(level.next) {
            level.next += 1;
            let name = name.with_nul(&level.names);
            let directory = level.directory.as_ref()?;
            let path = match level.path.join(name.to_bytes()) {
                Ok(path) => path,
                Err(error) => {
                    let path = level.path.clone();
                    let error = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
                    return Some(Err(self.problem("name an entry of", &path, error)));
                }
            };
            let stat = match Stat::at(directory, name) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Some(Err(self.problem("stat", &path, error))),
            };
            let is_directory = stat.kind == FileKind::Directory;
            if self.options.excludes.excludes(&path, is_directory) {
                continue;
            }
            let mount_point = is_directory && self.options.one_file_system && stat.device != self.device;
            if is_directory && !mount_point {
                self.ahead = Some(Ahead { path: path.clone(), identity: stat.identity() });
            }
            return Some(Ok(Found { path, stat, mount_point }));
        }
        None
    }

    fn problem(&self, doing: &'static str, path: &RelativePath, error: impl Into<std::io::Error>) -> Problem {
        Problem { path: path.clone(), error: self.root.error(doing, path, error) }
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Found, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.begun {
            return Some(self.begin());
        }
        if let Some(ahead) = self.ahead.take()
            && let Err(problem) = self.enter(ahead)
        {
            return Some(Err(problem));
        }
        loop {
            if let Some(item) = self.step() {
                return Some(item);
            }
            if self.levels.is_empty() {
                return None;
            }
            if let Err(problem) = self.leave() {
                return Some(Err(problem));
            }
        }
    }
}

impl Name {
    fn of(self, names: &[u8]) -> &[u8] {
        self.with_nul(names).to_bytes()
    }

    fn with_nul(self, names: &[u8]) -> &CStr {
        let start = self.start as usize;
        let bytes = names.get(start..start + self.length as usize).unwrap_or_default();
        CStr::from_bytes_with_nul(bytes).unwrap_or_default()
    }
}

/// All names but `.` and `..`, sorted.
fn list(
    directory: &OwnedFd,
    buffer: &mut [MaybeUninit<u8>],
    names: &mut Vec<u8>,
    order: &mut Vec<Name>,
) -> Result<(), Errno> {
    let mut entries = RawDir::new(directory, buffer);
    let mut result = Ok(());
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Ok(entry) => entry,
            // Removed while it was open: it has no more names.
            Err(Errno::NOENT) => break,
            Err(error) => {
                result = Err(error);
                break;
            }
        };
        let name = entry.file_name().to_bytes_with_nul();
        if matches!(name, b".\0" | b"..\0") {
            continue;
        }
        let (Ok(start), Ok(length)) = (u32::try_from(names.len()), u32::try_from(name.len())) else {
            result = Err(Errno::FBIG);
            break;
        };
        let prefix =
            (0..8).fold(0, |number, at| number << 8 | name.get(at).map_or(0, |byte| u64::from(*byte)));
        names.extend_from_slice(name);
        order.push(Name { prefix, start, length });
    }
    order.sort_unstable_by(|a, b| a.prefix.cmp(&b.prefix).then_with(|| a.of(names).cmp(b.of(names))));
    // A name that is replaced while the directory is read may be listed twice.
    order.dedup_by(|a, b| a.prefix == b.prefix && a.of(names) == b.of(names));
    result
}

fn is_tagged(directory: &OwnedFd, names: &[u8], order: &[Name]) -> bool {
    if order.binary_search_by(|name| name.of(names).cmp(CACHE_TAG)).is_err() {
        return false;
    }
    let flags = READ_DIRECTORY.difference(rustix::fs::OFlags::DIRECTORY) | rustix::fs::OFlags::NONBLOCK;
    let Ok(tag) = open_name(directory.as_fd(), CACHE_TAG, flags) else { return false };
    let mut head = [0u8; CACHE_SIGNATURE.len()];
    matches!(rustix::io::pread(&tag, &mut head[..], 0), Ok(length) if length == head.len())
        && head == *CACHE_SIGNATURE
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn walk(root: &Root, options: WalkOptions) -> Vec<RelativePath> {
        Walk::new(root, options).map(|item| item.unwrap().path).collect()
    }

    #[test]
    fn the_order_is_that_of_paths_whatever_the_names() {
        let dir = tempfile::tempdir().unwrap();
        let names: [&[u8]; 11] = [
            b"a",
            b"a.b",
            b"a-",
            b"-rf",
            b"\xff\xfe",
            b"new\nline",
            b"abcdefgh",
            b"abcdefghi",
            b"abcdefgha",
            b"..x",
            &[b'n'; 255],
        ];
        for name in names {
            let sub = dir.path().join(OsStr::from_bytes(name));
            std::fs::create_dir(&sub).unwrap();
            std::fs::write(sub.join("z"), b"").unwrap();
            std::fs::write(sub.join("b"), b"").unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        let found = walk(&root, WalkOptions::default());
        assert_eq!(found.len(), 1 + 3 * names.len());
        assert!(found.is_sorted() && found.first().is_some_and(RelativePath::is_root));
    }

    #[test]
    fn what_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["state/x", "sub/state/x", "cache/deep/x", "keep.tmp", "a.tmp"] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        let tag = [CACHE_SIGNATURE, b"\n# by hand"].concat();
        std::fs::write(dir.path().join("cache/CACHEDIR.TAG"), &tag).unwrap();
        std::fs::write(dir.path().join("CACHEDIR.TAG"), &tag).unwrap();
        std::fs::write(dir.path().join("sub/CACHEDIR.TAG"), b"Signature: none").unwrap();
        let root = Root::open(dir.path()).unwrap();
        let found = walk(
            &root,
            WalkOptions {
                skip_at_root: vec![b"state".to_vec()],
                excludes: Excludes::new(&["*.tmp", "!keep.tmp"]).unwrap(),
                one_file_system: true,
                honour_cache_tags: true,
            },
        );
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                ".",
                "CACHEDIR.TAG",
                "cache",
                "cache/CACHEDIR.TAG",
                "keep.tmp",
                "sub",
                "sub/CACHEDIR.TAG",
                "sub/state",
                "sub/state/x"
            ]
        );
    }

    #[test]
    fn contents_are_skipped_on_request() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::create_dir_all(dir.path().join("c/d")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let mut walk = Walk::new(&root, WalkOptions::default());
        let mut found = Vec::new();
        while let Some(item) = walk.next() {
            let path = item.unwrap().path.to_string();
            if path == "a" {
                walk.skip_contents();
            }
            found.push(path);
        }
        assert_eq!(found, [".", "a", "c", "c/d"]);
    }

    /// Far more levels than are kept open, with files behind each directory to come back to.
    #[test]
    fn deep_trees_need_few_handles() {
        const DEPTH: usize = 600;
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let mut at = root.open_dir(&RelativePath::root()).unwrap();
        for _ in 0..DEPTH {
            rustix::fs::mkdirat(&at, "d", rustix::fs::Mode::RWXU).unwrap();
            rustix::fs::mkdirat(&at, "z", rustix::fs::Mode::RWXU).unwrap();
            at = open_name(at.as_fd(), b"d", READ_DIRECTORY).unwrap();
        }
        let mut found = Vec::new();
        let mut walk = Walk::new(&root, WalkOptions::default());
        while let Some(item) = walk.next() {
            found.push(item.unwrap().path);
            let open = walk.levels.iter().filter(|level| level.directory.is_some()).count();
            assert!(open <= OPEN_LEVELS + 1);
        }
        assert_eq!(found.len(), 1 + 2 * DEPTH);
        assert!(found.is_sorted());
    }

    #[test]
    fn a_directory_that_went_away_is_silent_and_one_replaced_is_not() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        let mut walk = Walk::new(&root, WalkOptions::default());
        walk.next().unwrap().unwrap();
        walk.next().unwrap().unwrap();
        std::fs::remove_dir(dir.path().join("a")).unwrap();
        let found = walk.next().unwrap().unwrap();
        assert_eq!(found.path.to_string(), "b");
        std::fs::remove_dir(dir.path().join("b")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("b")).unwrap();
        let problem = walk.next().unwrap().unwrap_err();
        assert!(matches!(problem.error, TreeError::Escape { .. }), "{problem:?}");
        assert_eq!(walk.next().unwrap().unwrap().path.to_string(), "c");
        assert!(walk.next().is_none());
    }
}
