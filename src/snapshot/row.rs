//! The stored form of an entry: one flat JSON object with short keys, because there are millions of them.
//! `docs/format.md` spells the keys out. Reading checks what the entry's type cannot express.

use std::io;

use serde::{Deserialize, Serialize};

use crate::base::bytes_text::BytesText;
use crate::base::hash::Hash;
use crate::base::timestamp::Timestamp;
use crate::snapshot::entry::{Attribute, Entry, Extent, Hole, Kind};
use crate::snapshot::path::RelativePath;

/// A flat struct with everything optional reads several times faster than a tagged enum does.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    #[serde(rename = "p")]
    path: RelativePath,
    #[serde(rename = "t")]
    tag: Tag,
    #[serde(rename = "m")]
    mode: u32,
    #[serde(rename = "u")]
    uid: u32,
    #[serde(rename = "g")]
    gid: u32,
    #[serde(rename = "mt")]
    mtime: Timestamp,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    hash: Option<Hash>,
    #[serde(rename = "ho", default, skip_serializing_if = "Vec::is_empty")]
    holes: Vec<Hole>,
    #[serde(rename = "x", default, skip_serializing_if = "Vec::is_empty")]
    extents: Vec<Extent>,
    #[serde(rename = "to", default, skip_serializing_if = "Option::is_none")]
    target: Option<BytesText>,
    #[serde(rename = "ma", default, skip_serializing_if = "Option::is_none")]
    major: Option<u32>,
    #[serde(rename = "mi", default, skip_serializing_if = "Option::is_none")]
    minor: Option<u32>,
    #[serde(rename = "xa", default, skip_serializing_if = "Vec::is_empty")]
    attributes: Vec<Attribute>,
    #[serde(rename = "hl", default, skip_serializing_if = "Option::is_none")]
    hard_link: Option<RelativePath>,
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

/// An entry where contents have names instead of extents, and the name of its content: of a file, and of a symlink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Row", into = "Row")]
pub struct NamedEntry {
    pub entry: Entry,
    pub content: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Tag {
    #[serde(rename = "f")]
    File,
    #[serde(rename = "d")]
    Directory,
    #[serde(rename = "l")]
    Symlink,
    #[serde(rename = "p")]
    Fifo,
    #[serde(rename = "s")]
    Socket,
    #[serde(rename = "c")]
    CharacterDevice,
    #[serde(rename = "b")]
    BlockDevice,
}

impl From<Entry> for Row {
    fn from(entry: Entry) -> Self {
        let mut row = Self {
            path: entry.path,
            tag: Tag::Directory,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            size: None,
            hash: None,
            holes: Vec::new(),
            extents: Vec::new(),
            target: None,
            major: None,
            minor: None,
            attributes: entry.attributes,
            hard_link: entry.hard_link,
            content: None,
        };
        match entry.kind {
            Kind::File { size, hash, holes, extents } => {
                row.tag = Tag::File;
                row.size = Some(size);
                row.hash = Some(hash);
                row.holes = holes;
                row.extents = extents;
            }
            Kind::Directory => {}
            Kind::Symlink { target } => {
                row.tag = Tag::Symlink;
                row.target = Some(target);
            }
            Kind::Fifo => row.tag = Tag::Fifo,
            Kind::Socket => row.tag = Tag::Socket,
            Kind::CharacterDevice { major, minor } => {
                row.tag = Tag::CharacterDevice;
                (row.major, row.minor) = (Some(major), Some(minor));
            }
            Kind::BlockDevice { major, minor } => {
                row.tag = Tag::BlockDevice;
                (row.major, row.minor) = (Some(major), Some(minor));
            }
        }
        row
    }
}

impl From<NamedEntry> for Row {
    fn from(named: NamedEntry) -> Self {
        Self { content: named.content, ..Self::from(named.entry) }
    }
}

impl TryFrom<Row> for NamedEntry {
    type Error = String;

    fn try_from(mut row: Row) -> Result<Self, String> {
        let content = row.content.take();
        if !row.extents.is_empty() {
            return Err(format!("the entry {:?} has extents, which mean nothing here", row.path));
        }
        let entry = row.into_unchecked()?;
        if let Kind::File { size, holes, .. } = &entry.kind {
            check_holes(*size, holes).map_err(|why| format!("the file {:?} {why}", entry.path))?;
        }
        Ok(Self { entry, content })
    }
}

impl TryFrom<Row> for Entry {
    type Error = String;

    fn try_from(row: Row) -> Result<Self, String> {
        if row.content.is_some() {
            return Err(format!("the entry {:?} names its content, which means nothing here", row.path));
        }
        let entry = row.into_unchecked()?;
        entry.check()?;
        Ok(entry)
    }
}

impl Row {
    /// Whether holes and extents make up a file is not looked at.
    fn into_unchecked(self) -> Result<Entry, String> {
        let row = self;
        let missing = |field: &str| format!("the entry {:?} has no {field}", row.path);
        if row.mode > 0o7777 {
            return Err(format!("the entry {:?} has the impossible mode {:o}", row.path, row.mode));
        }
        let kind = match row.tag {
            Tag::File => {
                let size = row.size.ok_or_else(|| missing("size"))?;
                let hash = row.hash.ok_or_else(|| missing("hash"))?;
                Kind::File { size, hash, holes: row.holes, extents: row.extents }
            }
            Tag::Directory => Kind::Directory,
            Tag::Symlink => {
                let target = row.target.ok_or_else(|| missing("link target"))?;
                if target.as_bytes().is_empty() || target.as_bytes().contains(&0) {
                    return Err(format!("the symlink {:?} has an impossible target", row.path));
                }
                Kind::Symlink { target }
            }
            Tag::Fifo => Kind::Fifo,
            Tag::Socket => Kind::Socket,
            tag => {
                let major = row.major.ok_or_else(|| missing("device number"))?;
                let minor = row.minor.ok_or_else(|| missing("device number"))?;
                match tag {
                    Tag::CharacterDevice => Kind::CharacterDevice { major, minor },
                    _ => Kind::BlockDevice { major, minor },
                }
            }
        };
        Ok(Entry {
            path: row.path,
            kind,
            mode: row.mode,
            uid: row.uid,
            gid: row.gid,
            mtime: row.mtime,
            attributes: row.attributes,
            hard_link: row.hard_link,
        })
    }
}

impl Entry {
    /// Appends the entry as a line of JSON.
    pub fn write_line(self, lines: &mut impl io::Write) -> io::Result<()> {
        serde_json::to_writer(&mut *lines, &Row::from(self))?;
        lines.write_all(b"\n")
    }

    /// Whether holes and extents make up the size; `Err` says why not.
    pub fn check(&self) -> Result<(), String> {
        match &self.kind {
            Kind::File { size, holes, extents, .. } => {
                check_layout(*size, holes, extents).map_err(|why| format!("the file {:?} {why}", self.path))
            }
            _ => Ok(()),
        }
    }
}

/// Holes and extents must fill the size exactly, or a restore would write past the end or leave gaps.
fn check_layout(size: u64, holes: &[Hole], extents: &[Extent]) -> Result<(), String> {
    let empty = check_holes(size, holes)?;
    let stored = extents.iter().map(|extent| u64::from(extent.length)).sum::<u64>();
    if stored.checked_add(empty) != Some(size) {
        return Err(format!("is {size} bytes long, but {stored} are stored and {empty} are holes"));
    }
    Ok(())
}

/// Their length in all.
fn check_holes(size: u64, holes: &[Hole]) -> Result<u64, String> {
    let mut end = 0u64;
    let mut empty = 0u64;
    for hole in holes {
        let next = hole.offset.checked_add(hole.length).filter(|_| hole.offset >= end && hole.length > 0);
        end = next.ok_or("has holes that overlap")?;
        empty += hole.length;
    }
    if end > size {
        return Err(format!("is {size} bytes long, and has a hole behind its end"));
    }
    Ok(empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind) -> Entry {
        Entry {
            path: RelativePath::new("a/b").unwrap(),
            kind,
            mode: 0o4755,
            uid: 1,
            gid: 2,
            mtime: Timestamp::new(3, 4),
            attributes: vec![Attribute { name: "user.x".into(), value: vec![0xff, 0].into() }],
            hard_link: Some(RelativePath::new("a/a").unwrap()),
        }
    }

    #[test]
    fn every_kind_reads_back_as_written() {
        let file = Kind::File {
            size: 30,
            hash: Hash::of(b"x"),
            holes: vec![Hole { offset: 10, length: 20 }],
            extents: vec![Extent { frame: 1, skip: 2, length: 10 }],
        };
        let kinds = [
            file,
            Kind::Directory,
            Kind::Symlink { target: vec![0xfe].into() },
            Kind::Fifo,
            Kind::Socket,
            Kind::CharacterDevice { major: 1, minor: 3 },
            Kind::BlockDevice { major: 7, minor: 0 },
        ];
        for kind in kinds {
            let written = serde_json::to_string(&entry(kind.clone())).unwrap();
            assert_eq!(serde_json::from_str::<Entry>(&written).unwrap(), entry(kind), "{written}");
        }
    }

    #[test]
    fn contents_have_extents_or_names() {
        let kind = Kind::File {
            size: 30,
            hash: Hash::of(b"x"),
            holes: vec![Hole { offset: 10, length: 20 }],
            extents: Vec::new(),
        };
        let named = NamedEntry { entry: entry(kind), content: Some("abc".to_owned()) };
        let written = serde_json::to_string(&named).unwrap();
        assert_eq!(serde_json::from_str::<NamedEntry>(&written).unwrap(), named);
        assert!(serde_json::from_str::<Entry>(&written).is_err());
        for other in
            [written.replace("[[10,20]]", "[[10,21]]"), written.replace("\"o\":", "\"x\":[[0,0,30]],\"o\":")]
        {
            assert_ne!(other, written);
            assert!(serde_json::from_str::<NamedEntry>(&other).is_err(), "{other}");
        }
    }

    #[test]
    fn impossible_entries_are_refused() {
        let base = r#""p":"a","m":420,"u":0,"g":0,"mt":"0.0""#;
        for rest in [
            r#""t":"f""#,
            r#""t":"f","s":5,"h":"00""#,
            &format!(r#""t":"f","s":5,"h":"{}","x":[[0,0,4]]"#, "0".repeat(64)),
            &format!(r#""t":"f","s":5,"h":"{}","ho":[[3,9]]"#, "0".repeat(64)),
            &format!(r#""t":"f","s":5,"h":"{}","ho":[[0,18446744073709551615],[9,6]]"#, "0".repeat(64)),
            r#""t":"l""#,
            r#""t":"l","to":"""#,
            r#""t":"c","ma":1"#,
            r#""t":"z""#,
            r#""t":"d","unknown":1"#,
        ] {
            assert!(serde_json::from_str::<Entry>(&format!("{{{base},{rest}}}")).is_err(), "{rest}");
        }
        assert!(
            serde_json::from_str::<Entry>(r#"{"p":"a","t":"d","m":65535,"u":0,"g":0,"mt":"0.0"}"#).is_err()
        );
    }
}
