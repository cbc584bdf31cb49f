//! The name of a git object: twenty bytes, or forty digits.

use std::fmt;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Name(pub [u8; 20]);

impl Name {
    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(super) fn of_hex(text: &[u8]) -> Option<Self> {
        data_encoding::HEXLOWER_PERMISSIVE.decode(text).ok().and_then(|bytes| Self::of_bytes(&bytes))
    }

    /// For a set of millions. Two that are taken for one by chance hide something, and accuse nothing.
    pub(super) fn short(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    pub(super) fn git(self) -> git2::Oid {
        git2::Oid::from_bytes(&self.0).unwrap_or(git2::Oid::ZERO_SHA1)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}
