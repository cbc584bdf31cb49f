//! Sets owner, mode, extended attributes and times of one object to exactly what an entry says. The order is
//! what keeps it all: a change of owner drops set-uid bits and capabilities, everything changes the times.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::snapshot::Entry;
use crate::tree::TreeError;
use crate::tree::attributes::{Object, is_kept};
use crate::tree::problems::{Aspect, Problems};
use crate::tree::root::Root;
use crate::tree::stat::Stat;

const SET_ID: u32 = 0o6000;

/// An object and the way to it that follows no link.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'f> {
    /// A file or directory.
    Open(BorrowedFd<'f>),
    Symlink {
        directory: BorrowedFd<'f>,
        name: &'f [u8],
    },
    /// A fifo, socket or device; `handle` is open for its path only.
    Special {
        directory: BorrowedFd<'f>,
        name: &'f [u8],
        handle: BorrowedFd<'f>,
    },
}

/// Everything the entry says of the target but its content. What the process may not set or the file system
/// has not got goes to `problems`; a full disk or a broken one is an error.
pub(crate) fn apply(
    target: Target<'_>,
    entry: &Entry,
    root: &Root,
    problems: &Problems,
) -> Result<Stat, TreeError> {
    let work = Work { target, entry, root, problems };
    let before = target.stat().map_err(|error| work.error("stat", error))?;
    work.carry_out(before)
}

/// [`apply`] for whoever has looked at the target just now.
pub(crate) fn apply_after(
    before: Stat,
    target: Target<'_>,
    entry: &Entry,
    root: &Root,
    problems: &Problems,
) -> Result<Stat, TreeError> {
    Work { target, entry, root, problems }.carry_out(before)
}

struct Work<'w> {
    target: Target<'w>,
    entry: &'w Entry,
    root: &'w Root,
    problems: &'w Problems,
}

/// How the owner ended up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owned {
    AsBefore,
    Changed,
    Wrong,
}

impl Work<'_> {
    fn carry_out(&self, before: Stat) -> Result<Stat, TreeError> {
        let object = self.target.object();
        // A default ACL of the directory above would outlive the mode set below.
        self.remove_leftovers(&object)?;
        let owned = self.set_owner(&before)?;
        let mode = self.set_mode(&before, owned)?;
        self.set_attributes(&object)?;
        if mode & SET_ID != 0 || !self.entry.attributes.is_empty() {
            self.check_mode(mode)?;
        }
        self.set_time()?;
        Ok(before)
    }

    fn remove_leftovers(&self, object: &Object<'_>) -> Result<(), TreeError> {
        let names = match object.names() {
            Ok(names) => names,
            Err(error) => return self.refused(Aspect::Attribute, "list the attributes of", error),
        };
        for name in names {
            let wanted = self.entry.attributes.iter().any(|attribute| attribute.name.as_bytes() == name);
            if !wanted && let Err(error) = object.remove(&name) {
                self.refused(Aspect::Attribute, "remove an attribute of", error)?;
            }
        }
        Ok(())
    }

    fn set_owner(&self, before: &Stat) -> Result<Owned, TreeError> {
        let Entry { uid, gid, .. } = *self.entry;
        if (before.uid, before.gid) == (uid, gid) {
            return Ok(Owned::AsBefore);
        }
        // All ones means "leave it" to the kernel, and is nobody's number.
        let user = (uid != u32::MAX && before.uid != uid).then(|| Uid::from_raw(uid));
        let group = (gid != u32::MAX && before.gid != gid).then(|| Gid::from_raw(gid));
        let Err(error) = self.target.change_owner(user, group) else { return Ok(Owned::Changed) };
        // The group alone may be allowed where the user is not.
        if user.is_some() && group.is_some() {
            let _ = self.target.change_owner(None, group);
        }
        if !is_refusal(error) {
            return Err(self.error("change the owner of", error));
        }
        let reason = format!("{uid}:{gid} instead of {}:{}: {error}", before.uid, before.gid);
        self.problems.add(Aspect::Owner, &self.entry.path, reason);
        Ok(Owned::Wrong)
    }

    fn set_mode(&self, before: &Stat, owned: Owned) -> Result<u32, TreeError> {
        if matches!(self.target, Target::Symlink { .. }) {
            return Ok(0);
        }
        let mut mode = self.entry.mode & 0o7777;
        if owned == Owned::Wrong && !self.entry.is_directory() && mode & SET_ID != 0 {
            // A program must not run with the rights of somebody it never belonged to.
            mode &= !SET_ID;
            self.problems.add(Aspect::Mode, &self.entry.path, "set-id bits left out, the owner is another");
        }
        if before.mode != mode || owned != Owned::AsBefore {
            self.change_mode(mode)?;
        }
        Ok(mode)
    }

    fn set_attributes(&self, object: &Object<'_>) -> Result<(), TreeError> {
        for attribute in &self.entry.attributes {
            let name = attribute.name.as_bytes();
            if !is_kept(name) {
                continue;
            }
            match object.set(name, attribute.value.as_bytes()) {
                Ok(()) => {}
                Err(error) if is_refusal(error) || self.is_too_large(error) => {
                    let reason = format!("{}: {error}", attribute.name);
                    self.problems.add(Aspect::Attribute, &self.entry.path, reason);
                }
                Err(error) => return Err(self.error("set an attribute of", error)),
            }
        }
        Ok(())
    }

    /// The kernel drops set-id bits without a word, for an ACL or for a group the process is not in.
    fn check_mode(&self, mode: u32) -> Result<(), TreeError> {
        if matches!(self.target, Target::Symlink { .. }) || self.mode_now()? == mode {
            return Ok(());
        }
        self.change_mode(mode)?;
        let now = self.mode_now()?;
        if now != mode {
            self.problems.add(Aspect::Mode, &self.entry.path, format!("{mode:04o} became {now:04o}"));
        }
        Ok(())
    }

    fn mode_now(&self) -> Result<u32, TreeError> {
        self.target.stat().map(|stat| stat.mode).map_err(|error| self.error("stat", error))
    }

    fn change_mode(&self, mode: u32) -> Result<(), TreeError> {
        match self.target.change_mode(mode) {
            Ok(()) => Ok(()),
            Err(error) => self.refused(Aspect::Mode, "change the mode of", error),
        }
    }

    fn set_time(&self) -> Result<(), TreeError> {
        match self.target.change_times(&times(self.entry)) {
            Ok(()) => Ok(()),
            Err(error) => self.refused(Aspect::Time, "set the time of", error),
        }
    }

    fn refused(&self, aspect: Aspect, doing: &'static str, error: Errno) -> Result<(), TreeError> {
        if !is_refusal(error) {
            return Err(self.error(doing, error));
        }
        self.problems.add(aspect, &self.entry.path, error);
        Ok(())
    }

    /// Some file systems say "no space" of an attribute that is larger than they can take.
    fn is_too_large(&self, error: Errno) -> bool {
        match error {
            Errno::TOOBIG | Errno::RANGE => true,
            Errno::NOSPC => rustix::fs::fstatvfs(self.root.fd()).is_ok_and(|space| space.f_bavail > 0),
            _ => false,
        }
    }

    fn error(&self, doing: &'static str, error: Errno) -> TreeError {
        self.root.error(doing, &self.entry.path, error)
    }
}

impl<'f> Target<'f> {
    fn stat(self) -> Result<Stat, Errno> {
        match self {
            Self::Open(fd) | Self::Special { handle: fd, .. } => Stat::of(fd),
            Self::Symlink { directory, name } => Stat::at(directory, name),
        }
    }

    fn object(self) -> Object<'f> {
        match self {
            Self::Open(fd) => Object::Open(fd),
            Self::Symlink { directory, name } | Self::Special { directory, name, .. } => {
                Object::named(directory, name)
            }
        }
    }

    fn change_owner(self, user: Option<Uid>, group: Option<Gid>) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => rustix::fs::fchown(fd, user, group),
            Self::Symlink { directory, name } | Self::Special { directory, name, .. } => {
                rustix::fs::chownat(directory, name, user, group, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }

    fn change_mode(self, mode: u32) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Open(fd) => rustix::fs::fchmod(fd, mode),
            Self::Symlink { .. } => Ok(()),
            Self::Special { handle, .. } => rustix::fs::chmod(handle_path(handle), mode),
        }
    }

    fn change_times(self, times: &Timestamps) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => rustix::fs::futimens(fd, times),
            Self::Symlink { directory, name } | Self::Special { directory, name, .. } => {
                rustix::fs::utimensat(directory, name, times, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }
}

/// Names the very object behind a handle that is open for its path only.
pub(crate) fn handle_path(handle: BorrowedFd<'_>) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()))
}

/// This process may not, or this file system can not; another would.
fn is_refusal(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS)
}

fn times(entry: &Entry) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec {
            tv_sec: entry.mtime.seconds,
            tv_nsec: entry.mtime.nanoseconds.min(999_999_999).into(),
        },
    }
}
