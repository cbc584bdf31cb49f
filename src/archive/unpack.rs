//! An archive into a tree: names are checked, links are not followed, directories get their metadata last.
//! Whoever calls removes what was unpacked when this ends with an error.

use std::collections::BTreeMap;
use std::io::Read;

use crate::archive::ArchiveError;
use crate::archive::decode::Decoded;
use crate::archive::member::{Member, MemberKind, Members};
use crate::archive::name::checked;
use crate::base::bytes_text::BytesText;
use crate::base::hash::Hash;
use crate::snapshot::{Entry, Kind, RelativePath};
use crate::tree::{Aspect, Cursor, TreeError, TreeWriter};

const BUFFER: usize = 256 << 10;
/// Of a directory that an archive puts things in without having it itself.
const IMPLIED_MODE: u32 = 0o755;

/// Against archives made to fill a disk or a memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Decompressed, headers included.
    pub bytes: u64,
    pub entries: u64,
}

impl Limits {
    pub const NONE: Self = Self { bytes: u64::MAX, entries: u64::MAX };
}

/// What could not be set is in the writer's problems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnpackReport {
    pub entries: u64,
    pub files: u64,
    /// Of content; holes do not count.
    pub bytes: u64,
}

/// `reader` gives `.tar`, `.tar.gz` or `.tar.zst`, told by its first bytes. A member that comes twice is there
/// as it came last, as with other tools.
pub fn unpack(reader: impl Read, writer: &TreeWriter, limits: &Limits) -> Result<UnpackReport, ArchiveError> {
    let mut unpacking = Unpacking {
        members: Members::new(Decoded::open(reader, limits.bytes)?),
        writer,
        cursor: writer.cursor(),
        directories: BTreeMap::new(),
        buffer: vec![0; BUFFER],
        report: UnpackReport::default(),
    };
    while let Some(member) = unpacking.members.next()? {
        unpacking.report.entries += 1;
        if unpacking.report.entries > limits.entries {
            return Err(ArchiveError::TooLarge { limit: limits.entries, unit: "entries" });
        }
        unpacking.take(member)?;
    }
    unpacking.finish()
}

struct Unpacking<'w, 'r> {
    members: Members<'r>,
    writer: &'w TreeWriter,
    cursor: Cursor,
    /// Their metadata is applied at the end, from below upwards.
    directories: BTreeMap<RelativePath, Entry>,
    buffer: Vec<u8>,
    report: UnpackReport,
}

impl Unpacking<'_, '_> {
    fn take(&mut self, member: Member) -> Result<(), ArchiveError> {
        let path = checked(&member.name)?;
        if path.is_root() && !matches!(member.kind, MemberKind::Directory) {
            return Err(unsupported(&member, "it stands for the target directory, but is none"));
        }
        if member.has_text_acl {
            let reason = "an ACL that is stored as text, with names of users";
            self.writer.problems().add(Aspect::Attribute, &path, reason);
        }
        self.make_directories_above(&path, &member)?;
        match &member.kind {
            MemberKind::Directory => {
                self.cursor.directory(&path)?;
                let entry = entry(path.clone(), Kind::Directory, &member);
                self.directories.insert(path, entry);
            }
            MemberKind::File { size, runs } => {
                let kind =
                    Kind::File { size: *size, hash: Hash([0; 32]), holes: Vec::new(), extents: Vec::new() };
                let entry = entry(path.clone(), kind, &member);
                let sink = in_place(&mut self.cursor, &path, |cursor| cursor.file(&path))?;
                for run in runs {
                    let (mut at, end) = (run.offset, run.offset.saturating_add(run.length));
                    while at < end {
                        let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(BUFFER);
                        let piece = self.buffer.get_mut(..length).unwrap_or_default();
                        self.members.read_content(piece)?;
                        sink.write_at(at, piece)?;
                        at += length as u64;
                    }
                    self.report.bytes += run.length;
                }
                sink.finish(&entry)?;
                self.report.files += 1;
            }
            MemberKind::HardLink(target) => {
                let target = checked(target)?;
                if target == path {
                    return Err(unsupported(&member, "it is a hard link to itself"));
                }
                in_place(&mut self.cursor, &path, |cursor| cursor.hard_link(&target, &path))?;
                self.report.files += 1;
            }
            MemberKind::Symlink(target) => {
                if target.is_empty() || target.contains(&0) {
                    return Err(unsupported(&member, "it is a symbolic link to nothing"));
                }
                let target = BytesText(target.clone());
                self.make(entry(path, Kind::Symlink { target }, &member))?;
            }
            MemberKind::Fifo => self.make(entry(path, Kind::Fifo, &member))?,
            MemberKind::CharacterDevice { major, minor } => {
                let kind = Kind::CharacterDevice { major: *major, minor: *minor };
                self.make(entry(path, kind, &member))?;
            }
            MemberKind::BlockDevice { major, minor } => {
                let kind = Kind::BlockDevice { major: *major, minor: *minor };
                self.make(entry(path, kind, &member))?;
            }
        }
        Ok(())
    }

    fn make(&mut self, entry: Entry) -> Result<(), ArchiveError> {
        in_place(&mut self.cursor, &entry.path, |cursor| cursor.make(&entry))?;
        Ok(())
    }

    /// Archives need not hold the directories of what they hold.
    fn make_directories_above(&mut self, path: &RelativePath, member: &Member) -> Result<(), ArchiveError> {
        let mut missing = Vec::new();
        let mut above = path.parent();
        while let Some(directory) = above.filter(|above| !above.is_root()) {
            if self.directories.contains_key(&directory) {
                break;
            }
            match self.writer.root().stat(&directory) {
                Err(error) if error.is_missing() => {}
                other => {
                    other?;
                    break;
                }
            }
            above = directory.parent();
            missing.push(directory);
        }
        for directory in missing.into_iter().rev() {
            self.cursor.directory(&directory)?;
            let mut entry = entry(directory.clone(), Kind::Directory, member);
            entry.mode = IMPLIED_MODE;
            entry.attributes = Vec::new();
            self.directories.insert(directory, entry);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<UnpackReport, ArchiveError> {
        for entry in self.directories.values().rev() {
            self.cursor.finish_directory(entry)?;
        }
        Ok(self.report)
    }
}

/// What an earlier member left under the same name gives way.
fn in_place<T>(
    cursor: &mut Cursor,
    path: &RelativePath,
    make: impl Fn(&mut Cursor) -> Result<T, TreeError>,
) -> Result<T, TreeError> {
    match make(cursor) {
        Err(TreeError::Exists { .. }) => {
            cursor.remove(path)?;
            make(cursor)
        }
        other => other,
    }
}

fn entry(path: RelativePath, kind: Kind, member: &Member) -> Entry {
    let mut attributes = member.attributes.clone();
    attributes.sort_unstable();
    Entry {
        path,
        kind,
        mode: member.mode,
        uid: member.uid,
        gid: member.gid,
        mtime: member.mtime,
        attributes,
        hard_link: None,
    }
}

fn unsupported(member: &Member, reason: &str) -> ArchiveError {
    ArchiveError::Unsupported { member: BytesText::from(member.name.as_slice()), reason: reason.to_owned() }
}
