//! Builds a tree below a directory: objects are made private (`0600`, `0700`), filled, and get their owner,
//! mode, attributes and times when they are finished. No umask, set-gid bit or default ACL above them counts.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, makedev};
use rustix::io::Errno;

use crate::snapshot::{Entry, Kind, RelativePath};
use crate::tree::TreeError;
use crate::tree::apply::{Target, apply, apply_after, handle_path};
use crate::tree::problems::{Aspect, Problems};
use crate::tree::remove::remove_tree;
use crate::tree::root::{LastParent, READ_DIRECTORY, Root, open_name};
use crate::tree::stat::{FileKind, Stat};

const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_DIRECTORY: u32 = 0o700;
/// Without the set-id bits, which only a finished file gets.
const PERMISSIONS: u32 = 0o777;

/// Cheap to clone; all clones share the root and the problems.
#[derive(Clone, Debug)]
pub struct TreeWriter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    root: Root,
    problems: Problems,
    /// User and group of this process: what it makes is theirs as a rule.
    owner: (u32, u32),
}

/// One worker's way into the tree. It keeps the last directory open, so that many files in one directory cost
/// one look-up. Directories must be made before what is in them, and not be renamed meanwhile.
#[derive(Debug)]
pub struct Cursor {
    tree: Arc<Shared>,
    parent: LastParent,
}

/// A new file being filled. Pieces may come in any order and from several threads; what is never written is a
/// hole.
#[derive(Debug)]
pub struct FileSink {
    tree: Arc<Shared>,
    path: RelativePath,
    file: File,
    position: u64,
}

impl TreeWriter {
    /// `path` is an existing directory.
    pub fn open(path: &Path) -> Result<Self, TreeError> {
        Ok(Self::new(Root::open(path)?))
    }

    pub fn new(root: Root) -> Self {
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Self(Arc::new(Shared { root, problems: Problems::new(), owner }))
    }

    pub fn root(&self) -> &Root {
        &self.0.root
    }

    /// Makes everything on the file system that the tree is on durable.
    pub fn sync_file_system(&self) -> Result<(), TreeError> {
        let root = self.root();
        let synced = rustix::fs::syncfs(root.fd());
        synced.map_err(|error| root.error("sync the file system of", &RelativePath::root(), error))
    }

    /// What could not be set, of everything written so far.
    pub fn problems(&self) -> &Problems {
        &self.0.problems
    }

    pub fn cursor(&self) -> Cursor {
        Cursor { tree: Arc::clone(&self.0), parent: LastParent::default() }
    }

    /// Removes whatever is at `path`, with all that is below it; nothing there is fine. Of the root itself only
    /// the content is removed.
    pub fn remove_tree(&self, path: &RelativePath) -> Result<(), TreeError> {
        remove_tree(&self.0.root, path)
    }
}

impl Cursor {
    /// An existing directory is kept, and made usable for its owner until it is finished.
    pub fn directory(&mut self, path: &RelativePath) -> Result<(), TreeError> {
        if path.is_root() {
            return Ok(());
        }
        let (directory, name) = self.parent.of(&self.tree.root, path)?;
        match rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(PRIVATE_DIRECTORY)) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => keep_directory(directory, name),
            Err(error) => Err(error),
        }
        .map_err(|error| self.tree.root.error("make the directory", path, error))
    }

    /// `path` with all directories above it that are missing.
    pub fn directories_to(&mut self, path: &RelativePath) -> Result<(), TreeError> {
        match self.directory(path) {
            Err(TreeError::Missing { .. }) => {}
            other => return other,
        }
        if let Some(above) = path.parent() {
            self.directories_to(&above)?;
        }
        self.directory(path)
    }

    /// A new, empty file; there must be nothing of that name yet.
    pub fn file(&mut self, path: &RelativePath) -> Result<FileSink, TreeError> {
        self.file_with_mode(path, PRIVATE_FILE)
    }

    /// As [`Cursor::file`], in a directory made by this writer, which nobody else can pass until it is finished. So
    /// the file may have its mode at once, which spares a call, if it is to belong to this process.
    pub fn file_in_private(&mut self, entry: &Entry) -> Result<FileSink, TreeError> {
        let ours = (entry.uid, entry.gid) == self.tree.owner;
        // Some file systems let nobody write what he may not, whoever made it.
        let writable = entry.mode & PRIVATE_FILE == PRIVATE_FILE;
        let mode = if ours && writable { entry.mode & PERMISSIONS } else { PRIVATE_FILE };
        self.file_with_mode(&entry.path, mode)
    }

    fn file_with_mode(&mut self, path: &RelativePath, mode: u32) -> Result<FileSink, TreeError> {
        let (directory, name) = self.parent.of(&self.tree.root, path)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(mode))
            .map_err(|error| self.tree.root.error("create", path, error))?;
        Ok(FileSink { tree: Arc::clone(&self.tree), path: path.clone(), file: File::from(file), position: 0 })
    }

    /// A file made before, to go on filling it.
    pub fn reopen(&mut self, path: &RelativePath) -> Result<FileSink, TreeError> {
        let (directory, name) = self.parent.of(&self.tree.root, path)?;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::RDWR | OFlags::CLOEXEC;
        let file =
            open_name(directory, name, flags).map_err(|error| self.tree.root.error("open", path, error))?;
        Ok(FileSink { tree: Arc::clone(&self.tree), path: path.clone(), file: File::from(file), position: 0 })
    }

    /// Makes and finishes a symbolic link, fifo, socket or device. `false`: it could not be made here, and that
    /// is among the problems.
    pub fn make(&mut self, entry: &Entry) -> Result<bool, TreeError> {
        let path = &entry.path;
        let Shared { root, problems, .. } = &*self.tree;
        let (directory, name) = self.parent.of(root, path)?;
        let private = Mode::from_raw_mode(PRIVATE_FILE);
        let node = |kind, device| rustix::fs::mknodat(directory, name, kind, private, device);
        let (made, aspect) = match &entry.kind {
            Kind::Symlink { target } => {
                (rustix::fs::symlinkat(target.as_bytes(), directory, name), Aspect::Entry)
            }
            Kind::Fifo => (node(FileType::Fifo, 0), Aspect::Entry),
            Kind::Socket => (node(FileType::Socket, 0), Aspect::Entry),
            Kind::CharacterDevice { major, minor } => {
                (node(FileType::CharacterDevice, makedev(*major, *minor)), Aspect::Device)
            }
            Kind::BlockDevice { major, minor } => {
                (node(FileType::BlockDevice, makedev(*major, *minor)), Aspect::Device)
            }
            Kind::File { .. } | Kind::Directory => (Err(Errno::INVAL), Aspect::Entry),
        };
        match made {
            Ok(()) => {}
            Err(error @ (Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS)) => {
                problems.add(aspect, path, format!("a {} can not be made here: {error}", entry.kind.word()));
                return Ok(false);
            }
            Err(error) => return Err(root.error("create", path, error)),
        }
        if matches!(entry.kind, Kind::Symlink { .. }) {
            apply(Target::Symlink { directory, name }, entry, root, problems)?;
        } else {
            let handle = open_name(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC)
                .map_err(|error| root.error("open", path, error))?;
            apply(Target::Special { directory, name, handle: handle.as_fd() }, entry, root, problems)?;
        }
        Ok(true)
    }

    /// `new` becomes another name of `existing`, which has or gets its metadata by its own name.
    pub fn hard_link(&mut self, existing: &RelativePath, new: &RelativePath) -> Result<(), TreeError> {
        let root = &self.tree.root;
        let (from, from_name) = root.parent(existing)?;
        let (directory, name) = self.parent.of(root, new)?;
        rustix::fs::linkat(&from, from_name, directory, name, AtFlags::empty())
            .map_err(|error| root.error("link", new, error))
    }

    /// After everything in the directory is finished: later changes in it would move its time.
    pub fn finish_directory(&mut self, entry: &Entry) -> Result<(), TreeError> {
        let Shared { root, problems, .. } = &*self.tree;
        let (parent, name) = self.parent.of(root, &entry.path)?;
        let directory = open_name(parent, name, READ_DIRECTORY)
            .map_err(|error| root.error("open", &entry.path, error))?;
        apply(Target::Open(directory.as_fd()), entry, root, problems)?;
        Ok(())
    }

    /// Sets the metadata of a file that is there already, such as one kept from an interrupted run. The
    /// content is left as it is.
    pub fn finish_file(&mut self, entry: &Entry) -> Result<(), TreeError> {
        let Shared { root, problems, .. } = &*self.tree;
        let (parent, name) = self.parent.of(root, &entry.path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = open_name(parent, name, flags).map_err(|error| root.error("open", &entry.path, error))?;
        apply(Target::Open(file.as_fd()), entry, root, problems)?;
        Ok(())
    }

    /// Anything but a directory; nothing there is fine.
    pub fn remove(&mut self, path: &RelativePath) -> Result<(), TreeError> {
        let (directory, name) = match self.parent.of(&self.tree.root, path) {
            Err(error) if error.is_missing() => return Ok(()),
            other => other?,
        };
        match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.tree.root.error("remove", path, error)),
        }
    }

    /// To be called when directories may have been renamed or removed.
    pub fn forget_directory(&mut self) {
        self.parent.forget();
    }
}

impl FileSink {
    pub fn path(&self) -> &RelativePath {
        &self.path
    }

    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), TreeError> {
        self.file.write_all_at(bytes, offset).map_err(|error| self.error("write", error))
    }

    /// Behind what `write_all` and `skip` did before.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), TreeError> {
        self.write_at(self.position, bytes)?;
        self.position = self.position.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// Leaves a hole.
    pub fn skip(&mut self, length: u64) {
        self.position = self.position.saturating_add(length);
    }

    /// For reading back what was written.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The entry's size is made the file's, and all its metadata set. Not synced: one `syncfs` at the end serves
    /// all files.
    pub fn finish(self, entry: &Entry) -> Result<(), TreeError> {
        let Shared { root, problems, .. } = &*self.tree;
        let before = Stat::of(&self.file).map_err(|error| self.error("stat", error))?;
        if before.size != entry.size() {
            self.file.set_len(entry.size()).map_err(|error| self.error("set the length of", error))?;
        }
        apply_after(before, Target::Open(self.file.as_fd()), entry, root, problems)?;
        Ok(())
    }

    fn error(&self, doing: &'static str, error: impl Into<std::io::Error>) -> TreeError {
        self.tree.root.error(doing, &self.path, error)
    }
}

/// Something else of that name is `EXIST`, a symbolic link `LOOP`.
fn keep_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let handle: OwnedFd = open_name(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC)?;
    let stat = Stat::of(&handle)?;
    match stat.kind {
        FileKind::Directory if stat.mode & PRIVATE_DIRECTORY == PRIVATE_DIRECTORY => Ok(()),
        FileKind::Directory => {
            let mode = Mode::from_raw_mode(stat.mode | PRIVATE_DIRECTORY);
            match rustix::fs::chmod(handle_path(handle.as_fd()), mode) {
                // Somebody else's, or no /proc: whether it can be used shows when it is.
                Err(Errno::PERM | Errno::NOENT) => Ok(()),
                other => other,
            }
        }
        FileKind::Symlink => Err(Errno::LOOP),
        _ => Err(Errno::EXIST),
    }
}
