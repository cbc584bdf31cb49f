//! Follows everything that the refs of a git repository lead to, and finds what is not there. Commits, trees and tags
//! are read; of blobs only whether they are there is asked, so that large ones cost nothing.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use git2::{ErrorCode, ObjectType};

use super::super::limit::{Limit, Tally, read_start};
use super::name::Name;
use super::objects::Store;
use super::refs::{Refs, if_there};

/// Beyond that the rest cannot be told: what was seen takes about 10 bytes each.
const MOST_OBJECTS: usize = 8_000_000;
/// The library keeps what it has read, up to 256 MiB: it is opened anew after so many.
const BEFORE_FORGETTING: usize = 20_000;
/// A tree or commit beyond that is none that anybody made by hand.
const LARGEST: usize = 64 << 20;

pub(super) struct Walk<'a> {
    store: &'a Store,
    objects: PathBuf,
    odb: git2::Odb<'static>,
    read: usize,
    /// Objects are missing on purpose.
    is_partial: bool,
    /// Commits whose parents are not meant to be there.
    shallow: HashSet<Name>,
    seen: HashSet<u64>,
    open: Vec<(Name, Wanted)>,
}

/// What it is, as far as is known from who names it.
#[derive(Clone, Copy)]
enum Wanted {
    Any,
    Tree,
}

impl<'a> Walk<'a> {
    pub(super) fn new(directory: &Path, store: &'a Store, is_partial: bool) -> io::Result<Self> {
        let objects = store.own().cloned().unwrap_or_default();
        let mut shallow = HashSet::new();
        let listed = if_there(read_start(&directory.join("shallow"), 64 << 20))?.unwrap_or_default();
        for line in
            listed.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty())
        {
            shallow.insert(
                Name::of_hex(line).ok_or_else(|| io::Error::other("the file shallow cannot be read"))?,
            );
        }
        Ok(Self {
            store,
            odb: open(&objects)?,
            objects,
            read: 0,
            is_partial,
            shallow,
            seen: HashSet::new(),
            open: Vec::new(),
        })
    }

    /// `broken` are objects that cannot be read: damage if they are needed, and else what a crash left.
    pub(super) fn follow(
        &mut self,
        refs: &Refs,
        broken: &[(Name, &'static str)],
        limit: &Limit,
        tally: &mut Tally,
    ) -> io::Result<()> {
        let followed = self.follow_all(refs, broken, limit, tally);
        for (name, why) in broken {
            let message = format!("the object {name} {why}");
            let needed = self.seen.contains(&name.short()) && !self.store.has_packed(name)?;
            match needed {
                true => tally.damaged(message),
                false => tally.unknown(format!("{message}, and no ref is known to lead there")),
            }
            if tally.is_full() {
                break;
            }
        }
        followed
    }

    fn follow_all(
        &mut self,
        refs: &Refs,
        broken: &[(Name, &'static str)],
        limit: &Limit,
        tally: &mut Tally,
    ) -> io::Result<()> {
        let known_broken: HashSet<Name> = broken.iter().map(|(name, _)| *name).collect();
        for (shown, name) in &refs.0 {
            if !self.has(name) && !known_broken.contains(name) {
                self.miss(&format!("the object {name} that {shown} names"), name, tally)?;
                continue;
            }
            self.visit(*name, Wanted::Any);
            while let Some((name, wanted)) = self.open.pop() {
                limit.check()?;
                if self.seen.len() > MOST_OBJECTS {
                    return Err(io::Error::other(format!("there are more than {MOST_OBJECTS} objects")));
                }
                if tally.is_full() {
                    return Ok(());
                }
                if known_broken.contains(&name) {
                    continue;
                }
                self.one(name, wanted, tally)?;
            }
        }
        Ok(())
    }

    fn one(&mut self, name: Name, wanted: Wanted, tally: &mut Tally) -> io::Result<()> {
        self.read += 1;
        if self.read.is_multiple_of(BEFORE_FORGETTING) {
            self.odb = open(&self.objects)?;
        }
        let read = self.odb.read_header(name.git()).and_then(|(size, kind)| match kind {
            ObjectType::Blob => Ok(None),
            _ if size > LARGEST => Err(git2::Error::from_str("it is too large to be read")),
            _ => self.odb.read(name.git()).map(|object| Some((object.kind(), object.data().to_vec()))),
        });
        let (kind, data) = match read {
            Ok(None) => return Ok(()),
            Ok(Some(read)) => read,
            Err(error) if error.code() == ErrorCode::NotFound => {
                let what = match wanted {
                    Wanted::Any => "the object",
                    Wanted::Tree => "the tree",
                };
                return self.miss(&format!("{what} {name}"), &name, tally);
            }
            Err(error) => {
                tally.unknown(format!("the object {name}: {}", error.message()));
                return Ok(());
            }
        };
        let understood = match kind {
            ObjectType::Tree => self.tree(&data, tally)?,
            ObjectType::Commit => self.commit(&name, &data),
            ObjectType::Tag => self.tag(&data),
            _ => true,
        };
        if !understood {
            tally.unknown(format!("the object {name} is written as no {kind} is"));
        }
        Ok(())
    }

    fn visit(&mut self, name: Name, wanted: Wanted) {
        if self.seen.insert(name.short()) {
            self.open.push((name, wanted));
        }
    }

    fn commit(&mut self, name: &Name, data: &[u8]) -> bool {
        let mut lines = data.split(|byte| *byte == b'\n');
        let named =
            |line: Option<&[u8]>, key: &[u8]| line.and_then(|line| Name::of_hex(line.strip_prefix(key)?));
        let Some(tree) = named(lines.next(), b"tree ") else { return false };
        self.visit(tree, Wanted::Tree);
        if self.shallow.contains(name) {
            return true;
        }
        while let Some(parent) = named(lines.next(), b"parent ") {
            self.visit(parent, Wanted::Any);
        }
        true
    }

    fn tag(&mut self, data: &[u8]) -> bool {
        let line = data.split(|byte| *byte == b'\n').next();
        match line.and_then(|line| Name::of_hex(line.strip_prefix(b"object ")?)) {
            Some(name) => {
                self.visit(name, Wanted::Any);
                true
            }
            None => false,
        }
    }

    fn tree(&mut self, mut data: &[u8], tally: &mut Tally) -> io::Result<bool> {
        while !data.is_empty() {
            let entry = || {
                let space = data.iter().position(|byte| *byte == b' ')?;
                let end = data.iter().position(|byte| *byte == 0)?;
                let name = Name::of_bytes(data.get(end + 1..end + 21)?)?;
                Some((data.get(..space)?, name, data.get(end + 21..)?))
            };
            let Some((mode, name, rest)) = entry() else { return Ok(false) };
            data = rest;
            match mode {
                b"40000" | b"040000" => self.visit(name, Wanted::Tree),
                // A commit of another repository.
                b"160000" => {}
                _ => {
                    if !self.is_partial && self.seen.insert(name.short()) && !self.has(&name) {
                        self.miss(&format!("the blob {name}"), &name, tally)?;
                    }
                }
            }
        }
        Ok(true)
    }

    fn has(&self, name: &Name) -> bool {
        self.odb.exists(name.git())
    }

    /// The library did not find it. Before that is called damage, it is looked for once more without its help.
    fn miss(&self, what: &str, name: &Name, tally: &mut Tally) -> io::Result<()> {
        if self.is_partial {
            return Ok(());
        }
        if self.store.has(name)? {
            tally.unknown(format!("{what} is there and is not found"));
        } else if self.store.leads_out {
            // There may be a million of them, and each is looked for on the disk.
            let message = format!("{what} is missing, and may be in a repository outside of the volume");
            return Err(io::Error::other(message));
        } else {
            tally.damaged(format!("{what} is missing"));
        }
        Ok(())
    }
}

/// Of a directory, without opening the repository: that would ask whose it is.
fn open(objects: &Path) -> io::Result<git2::Odb<'static>> {
    let sorry = |error: git2::Error| io::Error::other(error.message().to_owned());
    let path = objects.to_str().ok_or_else(|| io::Error::other("its path is not UTF-8"))?;
    let odb = git2::Odb::new().map_err(sorry)?;
    odb.add_disk_alternate(path).map_err(sorry)?;
    Ok(odb)
}
