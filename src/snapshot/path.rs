//! Paths inside a snapshot: relative, made of real names only, in any bytes. A `RelativePath` that exists can
//! not escape the directory it is joined to by its text.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::base::bytes_text::BytesText;

/// Linux takes paths up to 4096 bytes in one call; deeper trees are reached by handles, so the bound here is
/// only against nonsense.
const LONGEST: usize = 1 << 16;
const LONGEST_NAME: usize = 255;

/// The root is the empty path. Ordered as the walk goes: a directory, then all that is below it, then its
/// next sibling; siblings by the bytes of their names.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct RelativePath(BytesText);

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PathError {
    #[error("the path {0:?} is absolute")]
    Absolute(BytesText),
    #[error("the path {0:?} has a component that is empty, `.` or `..`")]
    Component(BytesText),
    #[error("the path {0:?} holds a NUL byte")]
    Nul(BytesText),
    #[error("a path of {0} bytes is longer than any file system takes")]
    TooLong(usize),
}

impl RelativePath {
    pub fn root() -> Self {
        Self::default()
    }

    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, PathError> {
        let bytes = BytesText(bytes.into());
        let raw = bytes.as_bytes();
        if raw.is_empty() {
            return Ok(Self::root());
        }
        if raw.len() > LONGEST {
            return Err(PathError::TooLong(raw.len()));
        }
        if raw.first() == Some(&b'/') {
            return Err(PathError::Absolute(bytes));
        }
        if raw.contains(&0) {
            return Err(PathError::Nul(bytes));
        }
        let bad = |name: &[u8]| name.is_empty() || name == b"." || name == b".." || name.len() > LONGEST_NAME;
        if raw.split(|byte| *byte == b'/').any(bad) {
            return Err(PathError::Component(bytes));
        }
        Ok(Self(bytes))
    }

    /// The path of `name` below this one. `name` is one directory entry's name, as the kernel gives it.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        let mut bytes = Vec::with_capacity(self.as_bytes().len() + 1 + name.len());
        if !self.is_root() {
            bytes.extend_from_slice(self.as_bytes());
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self::new(bytes)
    }

    pub fn is_root(&self) -> bool {
        self.as_bytes().is_empty()
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.as_bytes()))
    }

    pub fn below(&self, directory: &Path) -> PathBuf {
        if self.is_root() { directory.to_owned() } else { directory.join(self.as_path()) }
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        self.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.as_bytes().iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(BytesText(self.as_bytes().get(..end).unwrap_or_default().to_vec())))
    }

    /// As [`RelativePath::parent`], without making a path of it.
    pub fn parent_bytes(&self) -> Option<&[u8]> {
        if self.is_root() {
            return None;
        }
        let end = self.as_bytes().iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        self.as_bytes().get(..end)
    }

    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.as_bytes().split(|byte| *byte == b'/').filter(|name| !name.is_empty())
    }

    /// Whether this is `ancestor` itself or lies below it.
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        ancestor.is_root()
            || self
                .as_bytes()
                .strip_prefix(ancestor.as_bytes())
                .is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
    }
}

impl Ord for RelativePath {
    fn cmp(&self, other: &Self) -> Ordering {
        // `/` sorts before every other byte, so that what is below a directory follows it at once.
        let key = |byte: &u8| if *byte == b'/' { 0 } else { u16::from(*byte) + 1 };
        self.as_bytes().iter().map(key).cmp(other.as_bytes().iter().map(key))
    }
}

impl PartialOrd for RelativePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str(".") } else { fmt::Display::fmt(&self.0, f) }
    }
}

impl fmt::Debug for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for RelativePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// Stored paths come from a repository that anybody may have written: every one is checked here.
impl<'de> Deserialize<'de> for RelativePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(BytesText::deserialize(deserializer)?.0).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelativePath {
        RelativePath::new(text).unwrap()
    }

    #[test]
    fn what_could_escape_is_refused() {
        for text in ["/etc/passwd", "..", "a/../b", "a//b", "a/", "./a", "a/.", "a\0b"] {
            assert!(RelativePath::new(text).is_err(), "{text:?}");
        }
        assert!(serde_json::from_str::<RelativePath>("\"../x\"").is_err());
    }

    #[test]
    fn order_is_that_of_the_walk() {
        let mut paths = ["a.b", "a/b", "a", "a/b/c", "", "a-", "b", "a/b.c"].map(path);
        paths.sort();
        assert_eq!(paths.map(|p| p.0.to_string()), ["", "a", "a/b", "a/b/c", "a/b.c", "a-", "a.b", "b"]);
    }

    #[test]
    fn relatives_are_found() {
        assert_eq!(path("a/b").parent(), Some(path("a")));
        assert_eq!(path("a").parent(), Some(RelativePath::root()));
        assert_eq!(RelativePath::root().parent(), None);
        assert!(path("a/b").starts_with(&path("a")) && !path("ab").starts_with(&path("a")));
        assert_eq!(path("a/b").name(), b"b");
    }
}
