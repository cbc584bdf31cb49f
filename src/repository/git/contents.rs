//! What a commit holds, in the order of a walk: the data of its tree, with what the manifest beside it says of each.
//! The tree is the truth: what somebody changed, added or removed there by hand is so, and the manifest tells the rest.

use std::collections::{HashSet, VecDeque};

use crate::base::bytes_text::BytesText;
use crate::base::hash::Hash;
use crate::base::timestamp::Timestamp;
use crate::repository::RepositoryError;
use crate::repository::git::layout::{DESCRIPTOR, MANIFEST};
use crate::repository::git::name;
use crate::repository::git::object::{Mode, TreeEntry};
use crate::repository::git::objects::Reader;
use crate::repository::git::oid::{Kind as ObjectKind, Oid};
use crate::snapshot::{Entry, Kind, NamedEntry, RelativePath};

const PLAIN_DIRECTORY: u32 = 0o755;
const PLAIN_FILE: u32 = 0o644;
const EXECUTE: u32 = 0o111;

/// An entry, and of files the name of the content.
#[derive(Clone, Debug)]
pub struct Item {
    pub entry: Entry,
    pub content: Option<Oid>,
    /// What stands in the tree, if anything: files and symlinks.
    pub standing: Option<Oid>,
    /// Size and hash of the entry are not known: nobody but git has seen this content.
    pub uncounted: bool,
}

pub struct Contents<'r> {
    reader: &'r Reader,
    tree: Trees<'r>,
    manifest: Manifest<'r>,
    next_tree: Option<Standing>,
    next_entry: Option<NamedEntry>,
    /// When the commit was made: what was changed by hand has no other time.
    time: Timestamp,
    /// Owner of the directories that lead to where we are.
    owners: Vec<(RelativePath, u32, u32)>,
    top: Oid,
    /// What git does not hold and could not be left where it was.
    skipped: HashSet<RelativePath>,
    /// Commits of other repositories in the tree: nothing of them is here.
    pub left_out: Vec<RelativePath>,
}

/// Something in the tree.
#[derive(Clone, Debug)]
struct Standing {
    path: RelativePath,
    mode: Mode,
    oid: Oid,
}

impl<'r> Contents<'r> {
    /// The tree of a commit, which was made at that time.
    pub fn open(reader: &'r Reader, tree: Oid, seconds: i64) -> Result<Self, RepositoryError> {
        let mut top = reader.tree(tree)?;
        let own = top.iter().position(|entry| entry.name == name::OWN).map(|at| top.remove(at));
        let manifest = Manifest::open(reader, own.as_ref())?;
        let mut contents = Self {
            reader,
            tree: Trees::new(reader, top),
            manifest,
            next_tree: None,
            next_entry: None,
            time: Timestamp::new(seconds, 0),
            owners: Vec::new(),
            top: tree,
            skipped: HashSet::new(),
            left_out: Vec::new(),
        };
        contents.next_tree = contents.tree.next()?;
        contents.next_entry = contents.manifest.next()?;
        Ok(contents)
    }

    pub fn next(&mut self) -> Result<Option<Item>, RepositoryError> {
        loop {
            let item = match (self.next_tree.take(), self.next_entry.take()) {
                (None, None) => return Ok(None),
                (Some(standing), Some(said)) if standing.path == said.entry.path => {
                    self.next_tree = self.tree.next()?;
                    self.next_entry = self.manifest.next()?;
                    self.both(standing, said)?
                }
                (Some(standing), said)
                    if said.as_ref().is_none_or(|said| standing.path < said.entry.path) =>
                {
                    self.next_entry = said;
                    self.next_tree = self.tree.next()?;
                    self.only_standing(standing)?
                }
                (standing, said) => {
                    self.next_tree = standing;
                    self.next_entry = self.manifest.next()?;
                    said.and_then(|said| self.only_said(said))
                }
            };
            if let Some(item) = item {
                self.note_owner(&item.entry);
                return Ok(Some(item));
            }
        }
    }

    fn both(&mut self, standing: Standing, said: NamedEntry) -> Result<Option<Item>, RepositoryError> {
        let oid = standing.oid.to_hex();
        let NamedEntry { mut entry, content } = said;
        let same = content.as_deref() == Some(oid.as_str());
        match (standing.mode, &entry.kind) {
            (Mode::Tree, Kind::Directory) => Ok(Some(item(entry, None))),
            (Mode::File | Mode::Executable, Kind::File { .. }) => {
                let executable = standing.mode == Mode::Executable;
                if executable != (entry.mode & 0o100 != 0) {
                    entry.mode = if executable { entry.mode | EXECUTE } else { entry.mode & !EXECUTE };
                }
                if let Some(first) = &entry.hard_link
                    && !(same && self.stands(first, standing.oid)?)
                {
                    tracing::debug!(path = %entry.path, %first, "no hard link any more: changed by hand");
                    entry.hard_link = None;
                }
                if same {
                    return Ok(Some(item(entry, Some(standing.oid))));
                }
                entry.mtime = self.time;
                self.uncounted(entry, standing.oid).map(Some)
            }
            (Mode::Symlink, Kind::Symlink { .. }) => {
                if !same {
                    entry.kind = self.symlink(standing.oid)?;
                    entry.mtime = self.time;
                }
                if let Some(first) = &entry.hard_link
                    && !(same && self.stands(first, standing.oid)?)
                {
                    entry.hard_link = None;
                }
                Ok(Some(item(entry, Some(standing.oid))))
            }
            // Something else took its place.
            _ => self.only_standing(standing),
        }
    }

    fn only_standing(&mut self, standing: Standing) -> Result<Option<Item>, RepositoryError> {
        let Standing { path, mode, oid } = standing;
        let (uid, gid) = self.owner(&path);
        let (kind, permissions) = match mode {
            Mode::Tree => (Kind::Directory, PLAIN_DIRECTORY),
            Mode::File => (nothing(), PLAIN_FILE),
            Mode::Executable => (nothing(), PLAIN_FILE | EXECUTE),
            Mode::Symlink => (self.symlink(oid)?, 0o777),
            Mode::Submodule => {
                self.left_out.push(path);
                return Ok(None);
            }
        };
        let entry = Entry {
            path,
            mode: permissions,
            uid,
            gid,
            mtime: self.time,
            attributes: Vec::new(),
            hard_link: None,
            kind,
        };
        match mode {
            Mode::File | Mode::Executable => self.uncounted(entry, oid).map(Some),
            _ => Ok(Some(item(entry, (mode == Mode::Symlink).then_some(oid)))),
        }
    }

    /// What git does not hold is there, if its directory is. What git holds and does not stand in the tree was removed
    /// by hand.
    fn only_said(&mut self, said: NamedEntry) -> Option<Item> {
        let _ = self.owner(&said.entry.path);
        let above = self.owners.last().map(|(directory, ..)| directory.as_bytes());
        let stands = said.entry.path.is_root() || above == said.entry.path.parent_bytes();
        match said.entry.kind {
            Kind::File { .. } | Kind::Symlink { .. } => None,
            _ if !stands => {
                self.skipped.insert(said.entry.path);
                None
            }
            _ => {
                let mut entry = said.entry;
                entry.hard_link = entry.hard_link.filter(|first| !self.skipped.contains(first));
                Some(item(entry, None))
            }
        }
    }

    /// Whether a content stands in the tree under a path, whatever the manifest says.
    fn stands(&self, path: &RelativePath, content: Oid) -> Result<bool, RepositoryError> {
        let mut at = self.top;
        let mut components = path.components().peekable();
        while let Some(component) = components.next() {
            let name = name::encode(component);
            let tree = self.reader.tree(at)?;
            let Some(found) = tree.into_iter().find(|entry| entry.name == *name) else { return Ok(false) };
            match (components.peek().is_none(), found.mode) {
                (true, Mode::Tree | Mode::Submodule) => return Ok(false),
                (true, _) => return Ok(found.oid == content),
                (false, Mode::Tree) => at = found.oid,
                (false, _) => return Ok(false),
            }
        }
        Ok(false)
    }

    /// The size is cheap to know, the hash is not.
    fn uncounted(&self, mut entry: Entry, oid: Oid) -> Result<Item, RepositoryError> {
        let size = self.reader.size(oid)?;
        entry.kind = Kind::File { size, hash: Hash([0; 32]), holes: Vec::new(), extents: Vec::new() };
        Ok(Item { entry, content: Some(oid), standing: Some(oid), uncounted: true })
    }

    fn symlink(&self, oid: Oid) -> Result<Kind, RepositoryError> {
        let target = self.reader.read(ObjectKind::Blob, oid)?;
        if target.is_empty() || target.contains(&0) {
            return Err(self.reader.damaged(ObjectKind::Blob, oid, "it is no target of a link"));
        }
        Ok(Kind::Symlink { target: BytesText(target) })
    }

    /// Of the directory that `path` is in.
    fn owner(&mut self, path: &RelativePath) -> (u32, u32) {
        while self.owners.last().is_some_and(|(directory, ..)| !path.starts_with(directory)) {
            self.owners.pop();
        }
        let ours = || (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        self.owners.last().map_or_else(ours, |(_, uid, gid)| (*uid, *gid))
    }

    fn note_owner(&mut self, entry: &Entry) {
        if entry.is_directory() {
            let _ = self.owner(&entry.path);
            self.owners.push((entry.path.clone(), entry.uid, entry.gid));
        }
    }
}

fn item(entry: Entry, standing: Option<Oid>) -> Item {
    let content = standing.filter(|_| matches!(entry.kind, Kind::File { .. }));
    Item { entry, content, standing, uncounted: false }
}

fn nothing() -> Kind {
    Kind::File { size: 0, hash: Hash([0; 32]), holes: Vec::new(), extents: Vec::new() }
}

/// The tree, and all below it, in the order of a walk.
struct Trees<'r> {
    reader: &'r Reader,
    root: bool,
    open: Vec<VecDeque<Standing>>,
    top: Vec<TreeEntry>,
}

impl<'r> Trees<'r> {
    fn new(reader: &'r Reader, top: Vec<TreeEntry>) -> Self {
        Self { reader, root: true, open: Vec::new(), top }
    }

    fn next(&mut self) -> Result<Option<Standing>, RepositoryError> {
        if std::mem::take(&mut self.root) {
            let top = std::mem::take(&mut self.top);
            self.enter(&RelativePath::root(), top, Oid::ZERO)?;
            return Ok(Some(Standing { path: RelativePath::root(), mode: Mode::Tree, oid: Oid::ZERO }));
        }
        loop {
            let Some(level) = self.open.last_mut() else { return Ok(None) };
            let Some(standing) = level.pop_front() else {
                self.open.pop();
                continue;
            };
            if standing.mode == Mode::Tree {
                let below = self.reader.tree(standing.oid)?;
                self.enter(&standing.path, below, standing.oid)?;
            }
            return Ok(Some(standing));
        }
    }

    fn enter(
        &mut self,
        path: &RelativePath,
        entries: Vec<TreeEntry>,
        oid: Oid,
    ) -> Result<(), RepositoryError> {
        let mut level: Vec<(bool, Standing)> = Vec::with_capacity(entries.len());
        for TreeEntry { mode, name, oid: content } in entries {
            let decoded = name::decode(&name);
            let path = path
                .join(&decoded)
                .map_err(|error| self.reader.damaged(ObjectKind::Tree, oid, &error.to_string()))?;
            level.push((*decoded != *name, Standing { path, mode, oid: content }));
        }
        // Of two that mean the same name the plain one, which somebody put there, comes first.
        level.sort_unstable_by(|a, b| (a.1.path.name(), a.0).cmp(&(b.1.path.name(), b.0)));
        level.dedup_by(|second, first| {
            let twice = first.1.path == second.1.path;
            if twice {
                tracing::warn!(path = %first.1.path, "is there under two names; the one that begins with % is left out");
            }
            twice
        });
        let level: Vec<Standing> = level.into_iter().map(|(_, standing)| standing).collect();
        self.open.push(level.into());
        Ok(())
    }
}

/// The lines of all segments, in the order of a walk.
struct Manifest<'r> {
    reader: &'r Reader,
    /// By their first paths; the last one comes first.
    segments: Vec<(RelativePath, Oid)>,
    lines: VecDeque<NamedEntry>,
    last: Option<RelativePath>,
}

impl<'r> Manifest<'r> {
    fn open(reader: &'r Reader, own: Option<&TreeEntry>) -> Result<Self, RepositoryError> {
        let mut segments = Vec::new();
        let own = match own.filter(|own| own.mode == Mode::Tree) {
            Some(own) => reader.tree(own.oid)?,
            None => Vec::new(),
        };
        let entry = |name: &[u8]| own.iter().find(|entry| entry.name == name);
        if let Some(descriptor) = entry(DESCRIPTOR) {
            reader.check_format(descriptor.oid)?;
        }
        let parts = match entry(MANIFEST) {
            Some(manifest) => reader.tree(manifest.oid)?,
            None => Vec::new(),
        };
        for segment in parts {
            let bytes = reader.read(ObjectKind::Blob, segment.oid)?;
            let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
            if !first.is_empty() {
                segments.push((parse(reader, segment.oid, first)?.entry.path, segment.oid));
            }
        }
        segments.sort_unstable_by(|a, b| b.0.cmp(&a.0));
        Ok(Self { reader, segments, lines: VecDeque::new(), last: None })
    }

    fn next(&mut self) -> Result<Option<NamedEntry>, RepositoryError> {
        while self.lines.is_empty() {
            let Some((_, oid)) = self.segments.pop() else { return Ok(None) };
            let bytes = self.reader.read(ObjectKind::Blob, oid)?;
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let said = parse(self.reader, oid, line)?;
                if self.last.as_ref().is_some_and(|last| *last >= said.entry.path) {
                    let why = format!("its lines are not sorted: {}", said.entry.path);
                    return Err(self.reader.damaged(ObjectKind::Blob, oid, &why));
                }
                self.last = Some(said.entry.path.clone());
                self.lines.push_back(said);
            }
        }
        Ok(self.lines.pop_front())
    }
}

fn parse(reader: &Reader, oid: Oid, line: &[u8]) -> Result<NamedEntry, RepositoryError> {
    serde_json::from_slice(line)
        .map_err(|error| reader.damaged(ObjectKind::Blob, oid, &format!("a line of the manifest: {error}")))
}
