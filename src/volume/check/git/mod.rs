//! Checks bare git repositories, one or all below a directory, without changing them. What is called damage is what git
//! itself cannot read, or what is reachable and not there; what a crash leaves beside the data is not.

mod name;
mod objects;
mod packs;
mod reach;
mod refs;

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::{judge, real_volume, resolve};
use super::limit::{Limit, Tally, limited};
use super::{Level, Verdict};
use crate::snapshot::RelativePath;
use objects::Store;
use reach::Walk;
use refs::Refs;

/// Below the directory that is configured.
const MOST_LEVELS: usize = 16;

/// What was replaced, maybe because it is damaged, lies in the state directory, which may be in the volume.
pub(super) fn run(
    volume: &Path,
    state_dir: &Path,
    path: &RelativePath,
    level: Level,
    span: Duration,
) -> Verdict {
    let (volume, state_dir, path) = (volume.to_owned(), state_dir.to_owned(), path.clone());
    limited(span, move |limit| {
        let read = resolve(&volume, &path).and_then(|top| {
            let mut look = Look {
                volume: real_volume(&volume)?,
                state_dir: fs::canonicalize(state_dir).ok(),
                top,
                level,
                limit,
                repositories: 0,
            };
            let mut tally = Tally::default();
            if let Err(error) = look.all(&mut tally) {
                tally.unknown(error.to_string());
            }
            if look.repositories == 0 && tally.is_whole() {
                tally.unknown("there is no git repository in it");
            }
            Ok(tally.verdict())
        });
        judge(read)
    })
}

struct Look<'a> {
    volume: PathBuf,
    state_dir: Option<PathBuf>,
    top: PathBuf,
    level: Level,
    limit: &'a Limit,
    repositories: usize,
}

impl Look<'_> {
    /// An error says that the rest was not looked at.
    fn all(&mut self, tally: &mut Tally) -> io::Result<()> {
        let mut open = vec![(self.top.clone(), 0)];
        while let Some((directory, level)) = open.pop() {
            self.limit.check()?;
            let entries = match fs::read_dir(&directory).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
                // Removed since its name was read.
                Err(error) if level > 0 && error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) if level > 0 => {
                    tally.unknown(format!("{}: {error}", self.shown(&directory)));
                    continue;
                }
                read => read?,
            };
            if is_repository(&entries) {
                self.repositories += 1;
                self.one(&directory, tally);
                if tally.is_full() {
                    return Ok(());
                }
                continue;
            }
            let called_one = directory.extension().is_some_and(|extension| extension == "git");
            if called_one && level > 0 {
                tally.unknown(format!("{} is not a git repository", self.shown(&directory)));
            }
            for entry in entries {
                if !entry.file_type()?.is_dir() || Some(entry.path()) == self.state_dir {
                    continue;
                }
                match level < MOST_LEVELS {
                    true => open.push((entry.path(), level + 1)),
                    false => tally.unknown(format!("{} lies too deep", self.shown(&entry.path()))),
                }
            }
        }
        Ok(())
    }

    fn one(&self, directory: &Path, tally: &mut Tally) {
        let mut of_one = Tally::default();
        // What cannot be read of one says nothing about the next.
        if let Err(error) = self.parts(directory, &mut of_one) {
            of_one.unknown(error.to_string());
        }
        let at = match directory == self.top {
            true => String::new(),
            false => format!("{}: ", self.shown(directory)),
        };
        tally.add(match of_one.verdict() {
            Verdict::Damaged(message) => Verdict::Damaged(at + &message),
            Verdict::Unknown(reason) => Verdict::Unknown(at + &reason),
            other => other,
        });
    }

    fn parts(&self, directory: &Path, tally: &mut Tally) -> io::Result<()> {
        let Some(settings) = refs::settings(directory, tally) else { return Ok(()) };
        let refs = Refs::read(directory, self.limit, tally)?;
        for name in ["objects", "refs"] {
            if !directory.join(name).is_dir() {
                tally.damaged(format!("{name} is missing"));
                return Ok(());
            }
        }
        let packs = packs::look(&directory.join("objects/pack"), tally)?;
        if self.level == Level::Quick {
            return Ok(());
        }
        packs::check_sums(&packs, self.limit, tally)?;
        let store = Store::open(directory, &self.volume)?;
        let loose = objects::broken(&directory.join("objects"), self.limit, tally)?;
        let is_partial = settings.is_partial || packs::are_promised(directory)?;
        let mut of_walk = Tally::default();
        let mut walk = Walk::new(directory, &store, is_partial)?;
        let followed = walk.follow(&refs, &loose, self.limit, &mut of_walk);
        // What a ref led to may be gone with it, by a server at work.
        match of_walk.is_whole() || Refs::read(directory, self.limit, &mut Tally::default())? == refs {
            true => tally.add(of_walk.verdict()),
            false => tally.unknown("its refs are changed meanwhile"),
        }
        followed
    }

    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.top).unwrap_or(path).display().to_string()
    }
}

/// Two of the three that each has: one may be lost.
fn is_repository(entries: &[DirEntry]) -> bool {
    let there = |entry: &&DirEntry| match entry.file_name().to_str() {
        Some("HEAD") => entry.file_type().is_ok_and(|kind| !kind.is_dir()),
        Some("objects" | "refs") => entry.file_type().is_ok_and(|kind| kind.is_dir()),
        _ => false,
    };
    entries.iter().filter(there).count() >= 2
}
