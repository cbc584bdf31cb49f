//! Names of objects: relative, slash-separated, plain ASCII. A `Key` that exists can not leave the store it is
//! used in, and fits every kind of store.

use std::borrow::Borrow;
use std::fmt;

use crate::base::fs::TEMPORARY_PREFIX;
use crate::store::StoreError;

/// The bound of S3, in bytes.
const LONGEST: usize = 1024;
/// File systems take 255 bytes; a temporary name adds its prefix and a random part.
const LONGEST_COMPONENT: usize = 200;
/// Against loops of symbolic links in a local directory.
pub(super) const DEEPEST: usize = 32;

/// Ordered by its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    pub fn new(text: impl Into<String>) -> Result<Self, StoreError> {
        let text = text.into();
        match fault(&text) {
            None => Ok(Self(text)),
            Some(reason) => Err(StoreError::BadKey { key: text, reason }),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// What comes before the last slash; empty for a key at the top.
    pub fn directory(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(directory, _)| directory)
    }
}

/// A checked prefix without its last slash; `None` for everything.
pub(super) fn prefix(text: &str) -> Result<Option<Key>, StoreError> {
    match text.strip_suffix('/').unwrap_or(text) {
        "" if text.is_empty() => Ok(None),
        directory => Key::new(directory).map(Some),
    }
}

fn fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    if text.len() > LONGEST {
        return Some("it is longer than 1024 bytes");
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return Some("it holds something else than printable ASCII without spaces and backslashes");
    }
    if text.starts_with('/') {
        return Some("it is absolute");
    }
    if text.split('/').count() > DEEPEST {
        return Some("it has more than 32 components");
    }
    text.split('/').find_map(|component| match component {
        "" => Some("it has an empty component"),
        "." | ".." => Some("it has a component `.` or `..`"),
        name if name.len() > LONGEST_COMPONENT => Some("it has a component longer than 200 bytes"),
        name if name.starts_with(TEMPORARY_PREFIX) => Some("it has a component named as temporary files are"),
        _ => None,
    })
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_escape_or_hide_is_refused() {
        let long = "x".repeat(LONGEST_COMPONENT + 1);
        let deep = vec!["x"; DEEPEST + 1].join("/");
        for text in
            ["", "/a", "a/", "a//b", ".", "a/../b", "a b", "a\\b", "ä", "a\n", "a/.tmp-b", &long, &deep]
        {
            assert!(matches!(Key::new(text), Err(StoreError::BadKey { .. })), "{text:?}");
        }
    }

    #[test]
    fn parts_are_found() {
        let key = Key::new("packs/ab/cd.age").unwrap();
        assert_eq!((key.directory(), key.name()), ("packs/ab", "cd.age"));
        assert_eq!(Key::new("top").unwrap().directory(), "");
    }

    #[test]
    fn a_prefix_may_end_in_one_slash() {
        assert_eq!(prefix("").unwrap(), None);
        assert_eq!(prefix("packs/").unwrap(), prefix("packs").unwrap());
        for text in ["/", "packs//", "../x"] {
            assert!(prefix(text).is_err(), "{text}");
        }
    }
}
