//! Gives a mount point the owner, mode, attributes and times of the restored tree's root, which cannot take
//! its place. Knows nothing of what lies below either.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use rustix::fs::{
    Timespec, Timestamps, UTIME_OMIT, XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr, futimens,
};
use rustix::io::Errno;

use crate::base::timestamp::Timestamp;

/// The kernel's bounds for a list of names and for one value.
const LONGEST: usize = 64 * 1024;

/// `modified` is the time to set: that of `from` has moved on with every entry taken out of it. Returns what
/// could not be copied, each with its reason: without privilege this is common and no reason to stop.
pub(crate) fn copy(from: &Path, to: &Path, modified: Timestamp) -> io::Result<Vec<String>> {
    let (from, to) = (File::open(from)?, File::open(to)?);
    let wanted = from.metadata()?;
    let found = to.metadata()?;
    let mut problems = Vec::new();
    let mut note = |what: &str, result: io::Result<()>| {
        if let Err(error) = result {
            problems.push(format!("{what}: {error}"));
        }
    };
    // The owner first: changing it clears set-id bits.
    if (found.uid(), found.gid()) != (wanted.uid(), wanted.gid()) {
        note("owner", fchown(&to, Some(wanted.uid()), Some(wanted.gid())));
    }
    if found.mode() != wanted.mode() {
        note("mode", to.set_permissions(std::fs::Permissions::from_mode(wanted.mode() & 0o7777)));
    }
    copy_attributes(&from, &to, &mut note);
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: modified.seconds, tv_nsec: modified.nanoseconds.into() },
    };
    // Last, because everything before may touch them.
    note("times", futimens(&to, &times).map_err(io::Error::from));
    Ok(problems)
}

/// ACLs are attributes, too; setting them after the mode makes both right.
fn copy_attributes(from: &File, to: &File, note: &mut dyn FnMut(&str, io::Result<()>)) {
    let (wanted, found) = match (names(from), names(to)) {
        (Ok(wanted), Ok(found)) => (wanted, found),
        (Err(Errno::OPNOTSUPP), _) | (_, Err(Errno::OPNOTSUPP)) => return,
        (Err(error), _) | (_, Err(error)) => return note("attributes", Err(error.into())),
    };
    for name in found.iter().filter(|name| !wanted.contains(name)) {
        // The system's own label of the mount is not ours to take away.
        if !name.starts_with(b"security.") {
            note(&String::from_utf8_lossy(name), fremovexattr(to, name.as_slice()).map_err(Into::into));
        }
    }
    for name in &wanted {
        let copied = value(from, name).and_then(|value| match self::value(to, name) {
            Ok(same) if same == value => Ok(()),
            _ => fsetxattr(to, name.as_slice(), &value, XattrFlags::empty()),
        });
        note(&String::from_utf8_lossy(name), copied.map_err(Into::into));
    }
}

fn names(file: &File) -> Result<Vec<Vec<u8>>, Errno> {
    let mut buffer = vec![0; LONGEST];
    let length = flistxattr(file, buffer.as_mut_slice())?;
    buffer.truncate(length);
    Ok(buffer.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
}

fn value(file: &File, name: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; LONGEST];
    let length = fgetxattr(file, name, buffer.as_mut_slice())?;
    buffer.truncate(length);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_and_times_are_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir(&from).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::set_permissions(&from, std::fs::Permissions::from_mode(0o2751)).unwrap();
        let attribute = "user.volkeep-test";
        let with_attributes =
            fsetxattr(File::open(&from).unwrap(), attribute, b"kept", XattrFlags::empty()).is_ok();
        if with_attributes {
            fsetxattr(File::open(&to).unwrap(), "user.old", b"", XattrFlags::empty()).unwrap();
        }
        assert_eq!(
            copy(&from, &to, Timestamp::new(1_000_000_000, 123_456_789)).unwrap(),
            Vec::<String>::new()
        );
        let metadata = std::fs::metadata(&to).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o2751);
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (1_000_000_000, 123_456_789));
        if with_attributes {
            let file = File::open(&to).unwrap();
            assert_eq!(value(&file, attribute.as_bytes()).unwrap(), b"kept");
            assert!(value(&file, b"user.old").is_err());
        }
    }
}
