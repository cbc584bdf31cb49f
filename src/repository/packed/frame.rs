//! A frame and where it lies: the unit that is compressed, deduplicated, fetched and verified.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::base::hash::Hash;
use crate::base::id::{is_hex, random_hex};

/// Decoded frames are never longer: the largest chunk.
pub const LONGEST_FRAME: u32 = 8 << 20;

/// A random name, chosen before the pack is filled, so that its place is known while it still grows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId(u128);

/// Where a frame lies and what it holds. `stored` and `plain` are its lengths before and after decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub pack: PackId,
    pub offset: u64,
    pub stored: u32,
    pub plain: u32,
    /// Of the decoded bytes.
    pub hash: Hash,
}

/// The packs that are there, with their sizes. Content in any other, or beyond the end of one, is gone.
#[derive(Clone, Debug, Default)]
pub struct StoredPacks(HashMap<PackId, u64>);

impl StoredPacks {
    pub fn extend(&mut self, packs: impl IntoIterator<Item = (PackId, u64)>) {
        self.0.extend(packs);
    }

    pub fn remove(&mut self, pack: PackId) {
        self.0.remove(&pack);
    }

    /// In bytes.
    pub fn size(&self, pack: PackId) -> Option<u64> {
        self.0.get(&pack).copied()
    }

    pub fn hold(&self, frame: &Frame) -> bool {
        self.size(frame.pack).is_some_and(|size| frame.end() <= size)
    }
}

/// A piece of content inside a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub frame: Frame,
    pub skip: u32,
    pub length: u32,
}

impl Frame {
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.stored))
    }

    pub fn whole(self) -> Piece {
        Piece { length: self.plain, skip: 0, frame: self }
    }
}

impl PackId {
    /// As random as the id: to spread packs by.
    pub fn number(self) -> u64 {
        // The lower half is as good as all of it.
        self.0 as u64
    }

    pub fn random() -> std::io::Result<Self> {
        let text = random_hex(16)?;
        Self::parse(&text).ok_or_else(|| std::io::Error::other("the kernel gave no random bytes"))
    }

    pub fn parse(text: &str) -> Option<Self> {
        is_hex(text, 32).then(|| u128::from_str_radix(text, 16).ok()).flatten().map(Self)
    }
}

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for PackId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PackId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&text), &"32 hex digits"))
    }
}
