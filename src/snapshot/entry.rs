//! One entry of a manifest: everything about a file-system object that a restore must bring back. Its stored
//! form is in `row`.

use serde::{Deserialize, Serialize};

use crate::base::bytes_text::BytesText;
use crate::base::hash::Hash;
use crate::base::timestamp::Timestamp;
use crate::snapshot::path::RelativePath;
use crate::snapshot::row::Row;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Row", into = "Row")]
pub struct Entry {
    pub path: RelativePath,
    pub kind: Kind,
    /// Permission bits with set-uid, set-gid and sticky: `0o7777` at most.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Timestamp,
    /// Extended attributes, ACLs among them, sorted by name.
    pub attributes: Vec<Attribute>,
    /// Hard links: the first path of the group in walk order, on every member but that first. A member
    /// carries its content as well, so each can be restored alone.
    pub hard_link: Option<RelativePath>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    File {
        size: u64,
        /// BLAKE3 of the whole content, holes as zeros.
        hash: Hash,
        holes: Vec<Hole>,
        /// The content without its holes, in order.
        extents: Vec<Extent>,
    },
    Directory,
    Symlink {
        target: BytesText,
    },
    Fifo,
    Socket,
    CharacterDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
}

/// A run of zeros that takes no space on disk: `[offset, length]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct Hole {
    pub offset: u64,
    pub length: u64,
}

/// Where a piece of the content lies: a frame of the segment's frame table, how many decoded bytes of it to
/// skip, how many to take: `[frame, skip, length]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u32, u32)", into = "(u32, u32, u32)")]
pub struct Extent {
    pub frame: u32,
    pub skip: u32,
    pub length: u32,
}

/// An extended attribute: `[name, value]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(BytesText, BytesText)", into = "(BytesText, BytesText)")]
pub struct Attribute {
    pub name: BytesText,
    pub value: BytesText,
}

impl Entry {
    pub fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }

    /// The size of a regular file's content; 0 for everything else.
    pub fn size(&self) -> u64 {
        match self.kind {
            Kind::File { size, .. } => size,
            _ => 0,
        }
    }

    pub fn extents(&self) -> &[Extent] {
        match &self.kind {
            Kind::File { extents, .. } => extents,
            _ => &[],
        }
    }
}

impl Kind {
    /// A word for messages.
    pub fn word(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Directory => "directory",
            Self::Symlink { .. } => "symlink",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::CharacterDevice { .. } => "character device",
            Self::BlockDevice { .. } => "block device",
        }
    }
}

impl From<(u64, u64)> for Hole {
    fn from((offset, length): (u64, u64)) -> Self {
        Self { offset, length }
    }
}

impl From<Hole> for (u64, u64) {
    fn from(hole: Hole) -> Self {
        (hole.offset, hole.length)
    }
}

impl From<(u32, u32, u32)> for Extent {
    fn from((frame, skip, length): (u32, u32, u32)) -> Self {
        Self { frame, skip, length }
    }
}

impl From<Extent> for (u32, u32, u32) {
    fn from(extent: Extent) -> Self {
        (extent.frame, extent.skip, extent.length)
    }
}

impl From<(BytesText, BytesText)> for Attribute {
    fn from((name, value): (BytesText, BytesText)) -> Self {
        Self { name, value }
    }
}

impl From<Attribute> for (BytesText, BytesText) {
    fn from(attribute: Attribute) -> Self {
        (attribute.name, attribute.value)
    }
}
