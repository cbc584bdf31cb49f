//! Checks the data directory of a PostgreSQL server, whether one runs on it or not, without changing it. What is called
//! damage is only what keeps every server of that version from starting, or what its own checksums deny.

mod control;
mod log;
mod pages;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::{judge, resolve};
use super::limit::{Limit, Tally, limited, read_start};
use super::{Level, Verdict};
use crate::base::fs::metadata_if_present;
use crate::snapshot::RelativePath;
use control::{Control, Reading};

/// Without them a server does not start, or stops at its first checkpoint. Those that it makes anew when they are
/// missing are not among them.
const DIRECTORIES: [&str; 12] = [
    "base",
    "global",
    "pg_commit_ts",
    "pg_logical/mappings",
    "pg_logical/snapshots",
    "pg_multixact/members",
    "pg_multixact/offsets",
    "pg_notify",
    "pg_replslot",
    "pg_subtrans",
    "pg_twophase",
    "pg_xact",
];
/// Of these, in which there is always something.
const NEVER_EMPTY: [&str; 4] = ["base", "pg_multixact/members", "pg_multixact/offsets", "pg_xact"];
/// Who brings it there at the next start is not known here, and neither is what that is.
const SUPPLIED_FROM_ELSEWHERE: [&str; 4] =
    ["backup_label", "recovery.signal", "standby.signal", "recovery.conf"];

pub(super) fn run(
    volume: &Path,
    path: &RelativePath,
    version: Option<u32>,
    level: Level,
    span: Duration,
) -> Verdict {
    let (volume, path) = (volume.to_owned(), path.clone());
    limited(span, move |limit| match resolve(&volume, &path) {
        Ok(directory) => {
            let mut tally = Tally::default();
            let look = Look { volume: &volume, directory, limit };
            match look.whole(version, level, &mut tally) {
                Ok(()) => {}
                Err(error) => tally.unknown(error.to_string()),
            }
            tally.verdict()
        }
        Err(error) => judge(Err(error)),
    })
}

struct Look<'a> {
    volume: &'a Path,
    directory: PathBuf,
    limit: &'a Limit,
}

impl Look<'_> {
    /// An error says that it cannot be told.
    fn whole(&self, wanted: Option<u32>, level: Level, tally: &mut Tally) -> io::Result<()> {
        let Some(major) = self.major(tally)? else { return Ok(()) };
        let control = match control::read(&self.directory.join("global/pg_control"), major)? {
            Reading::Known(control) => Some(control),
            Reading::Strange(reason) => {
                tally.unknown(reason);
                None
            }
            Reading::Damaged(message) => {
                tally.damaged(message);
                None
            }
        };
        // Of versions to come it is not known what they need.
        if control::is_known(major) {
            self.parts(tally)?;
        }
        if let (Some(control), Level::Full, true) = (control, level, tally.is_whole()) {
            self.content(&control, major, tally)?;
        }
        if let Some(wanted) = wanted.filter(|wanted| *wanted != major) {
            tally.unfit(format!("it is of PostgreSQL {major}, and `version` says {wanted}"));
        }
        Ok(())
    }

    /// The first number of the version that made the directory.
    fn major(&self, tally: &mut Tally) -> io::Result<Option<u32>> {
        let bytes = match read_start(&self.directory.join("PG_VERSION"), 64) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tally.damaged("PG_VERSION is missing");
                return Ok(None);
            }
            read => read?,
        };
        let text = String::from_utf8_lossy(&bytes);
        let major = text.trim().split('.').next().and_then(|first| first.parse().ok());
        if major.is_none() {
            tally.damaged("PG_VERSION does not hold a version");
        }
        Ok(major)
    }

    fn parts(&self, tally: &mut Tally) -> io::Result<()> {
        for name in DIRECTORIES {
            let place = self.directory.join(name);
            match metadata_if_present(&place)? {
                None => tally.damaged(format!("{name} is missing")),
                // It leads to wherever that is kept.
                Some(metadata) if metadata.is_symlink() => {}
                Some(metadata) if !metadata.is_dir() => {
                    tally.damaged(format!("{name} is not a directory"));
                }
                Some(_) if NEVER_EMPTY.contains(&name) => {
                    if std::fs::read_dir(&place)?.next().transpose()?.is_none() {
                        tally.damaged(format!("{name} is empty"));
                    }
                }
                Some(_) => {}
            }
        }
        for (name, is_directory) in [("pg_wal", true), ("global/pg_filenode.map", false)] {
            match metadata_if_present(&self.directory.join(name))? {
                None => tally.damaged(format!("{name} is missing")),
                // The log is often kept on another disk.
                Some(metadata) if metadata.is_symlink() => {}
                Some(metadata) if metadata.is_dir() != is_directory => {
                    tally.damaged(format!("{name} is of another kind"));
                }
                Some(metadata) if metadata.is_file() && metadata.len() == 0 => {
                    tally.damaged(format!("{name} is empty"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn content(&self, control: &Control, major: u32, tally: &mut Tally) -> io::Result<()> {
        let mut supplied = false;
        for name in SUPPLIED_FROM_ELSEWHERE {
            supplied |= metadata_if_present(&self.directory.join(name))?.is_some();
        }
        // A label or a signal tells the server to begin elsewhere than at the last checkpoint, and pages may be torn
        // that the log puts right.
        if supplied {
            return Ok(());
        }
        let mut control = control.clone();
        loop {
            let verdict = log::look(&self.directory, &control)?;
            if matches!(verdict, Verdict::Good) {
                break;
            }
            // A server that runs may have gone on to its next checkpoint and removed the log before.
            match self.again(major)? {
                Some(now) if now != control => control = now,
                _ => {
                    tally.add(verdict);
                    return Ok(());
                }
            }
            self.limit.check()?;
        }
        if control.checksums == 0 || !control.is_shut_down() {
            return Ok(());
        }
        let mut found = Tally::default();
        let read = pages::look(self.volume, &self.directory, &control, self.limit, &mut found);
        // A server that was started meanwhile has written to the pages.
        match self.again(major)? {
            Some(now) if now == control => tally.add(found.verdict()),
            _ => tally.unknown("a server was started on it meanwhile"),
        }
        read
    }

    fn again(&self, major: u32) -> io::Result<Option<Control>> {
        Ok(match control::read(&self.directory.join("global/pg_control"), major)? {
            Reading::Known(control) => Some(control),
            Reading::Strange(_) | Reading::Damaged(_) => None,
        })
    }
}
