//! Names of git objects: SHA-1 over kind, size and content.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use sha1::{Digest, Sha1};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Oid(pub [u8; 20]);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Commit,
    Tree,
    Blob,
}

impl Oid {
    /// As servers write "there is none".
    pub const ZERO: Self = Self([0; 20]);

    pub fn of(kind: Kind, content: &[u8]) -> Self {
        let mut hasher = Hasher::new(kind, content.len() as u64);
        hasher.update(content);
        hasher.finish()
    }

    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    pub fn to_hex(self) -> String {
        HEXLOWER.encode(&self.0)
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
        }
    }
}

/// For content that comes in pieces. The size has to be known before.
#[derive(Clone, Debug)]
pub struct Hasher(Sha1);

impl Hasher {
    pub fn new(kind: Kind, size: u64) -> Self {
        let mut hasher = Sha1::new();
        hasher.update(format!("{} {size}\0", kind.word()).as_bytes());
        Self(hasher)
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(self) -> Oid {
        Oid(self.0.finalize().into())
    }
}

impl FromStr for Oid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok();
        bytes
            .and_then(|bytes| Self::from_bytes(&bytes))
            .ok_or_else(|| format!("`{text}` is not the name of a git object"))
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_git() {
        // As `git hash-object` says.
        let empty = Oid::of(Kind::Blob, b"");
        assert_eq!(empty.to_string(), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(Oid::of(Kind::Tree, b"").to_string(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
        assert_eq!(empty.to_string().parse(), Ok(empty));
        assert!("e69d".parse::<Oid>().is_err() && "g".repeat(40).parse::<Oid>().is_err());
    }
}
