//! What can go wrong with a store, sorted by who can help: the network, the owner of the credentials, the
//! owner of the disk, or nobody but a later try.

use std::io;

use rustix::io::Errno;
use thiserror::Error;

use crate::store::Key;

#[derive(Debug, Error)]
pub enum StoreError {
    /// The store answered, and there is no such object.
    #[error("there is no object {key}")]
    NotFound { key: Key },
    /// Nobody answered, or the container is gone. Worth another try, but for an untrusted certificate.
    #[error("{location} cannot be reached: {reason}")]
    Unreachable { location: String, reason: String, obstacle: Obstacle },
    /// The store answered and refused us: credentials, permissions, policy.
    #[error("{location} denies access: {reason}")]
    Denied { location: String, reason: String, denial: Denial },
    /// Throttled, an internal error of the store, a connection that was cut. Worth another try; a write may
    /// have been done all the same.
    #[error("{location} failed for the moment: {reason}")]
    Temporary { location: String, reason: String },
    /// No space, no inodes or no quota left.
    #[error("{location} is full: {reason}")]
    Full { location: String, reason: String },
    /// The object is shorter than what was asked for: it is damaged, or whoever asks has a wrong idea of it.
    /// A transfer that was cut is `Temporary`.
    #[error("the object {key} is too short: {expected} bytes expected, {found} there")]
    ShortRead { key: Key, expected: u64, found: u64 },
    #[error("{location} is read-only")]
    ReadOnly { location: String },
    /// Everything else, such as a failing disk. Another try would not help.
    #[error("{location} failed: {source}")]
    Io { location: String, source: io::Error },
    /// The caller's fault.
    #[error("{key:?} cannot name an object: {reason}")]
    BadKey { key: String, reason: &'static str },
}

/// What is in the way to a store that cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The directory or bucket itself is not there.
    Container,
    /// The host's name leads nowhere.
    Name,
    /// Nobody listens there.
    Refused,
    /// Something listens that is not trusted, or that speaks another protocol.
    Certificate,
    /// No answer in time.
    Silence,
    /// Any other trouble on the way.
    Network,
}

/// Why a store that answers refuses us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// We are known, and may not do this. The name of what is missing, where there is one, such as
    /// `s3:ListBucket`.
    Permission(Option<&'static str>),
    /// We are not who we say: the key is unknown, its secret is wrong, or it has expired.
    Credentials,
    /// We say nothing about who we are: no key was found.
    NoCredentials,
    /// Signatures hold for minutes, and the clocks are further apart.
    Clock,
    /// The bucket lives in another region than the one asked.
    Region,
}

impl StoreError {
    /// Whether the same call may succeed a little later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { obstacle, .. } => *obstacle != Obstacle::Certificate,
            Self::Temporary { .. } => true,
            _ => false,
        }
    }

    /// Sorts an error of the operating system. Not for `NotFound`, whose meaning depends on what was asked.
    pub fn from_io(location: impl Into<String>, source: io::Error) -> Self {
        let location = location.into();
        let reason = source.to_string();
        match Errno::from_io_error(&source) {
            Some(Errno::ACCESS | Errno::PERM) => {
                Self::Denied { location, reason, denial: Denial::Permission(None) }
            }
            Some(Errno::ROFS) => Self::ReadOnly { location },
            Some(Errno::NOSPC | Errno::DQUOT) => Self::Full { location, reason },
            // What a network file system says when its server restarted, is slow, or is busy.
            Some(Errno::STALE | Errno::TIMEDOUT | Errno::INTR | Errno::AGAIN | Errno::BUSY) => {
                Self::Temporary { location, reason }
            }
            Some(Errno::CONNRESET | Errno::CONNABORTED | Errno::PIPE) => Self::Temporary { location, reason },
            // What a network or user-space file system says when nobody is behind it any more.
            Some(
                Errno::NOTCONN
                | Errno::CONNREFUSED
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::SHUTDOWN,
            ) => Self::Unreachable { location, reason, obstacle: Obstacle::Network },
            // EIO belongs here: a dying disk does not heal, and waiting for it would stall every read of it.
            _ => Self::Io { location, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(errno: Errno) -> StoreError {
        StoreError::from_io("/backup", io::Error::from(errno))
    }

    #[test]
    fn errors_of_the_system_are_sorted_by_who_can_help() {
        assert!(matches!(sorted(Errno::ACCESS), StoreError::Denied { .. }));
        assert!(matches!(sorted(Errno::PERM), StoreError::Denied { .. }));
        assert!(matches!(sorted(Errno::ROFS), StoreError::ReadOnly { .. }));
        assert!(matches!(sorted(Errno::NOSPC), StoreError::Full { .. }));
        assert!(matches!(sorted(Errno::DQUOT), StoreError::Full { .. }));
        assert!(matches!(sorted(Errno::STALE), StoreError::Temporary { .. }));
        assert!(matches!(sorted(Errno::NOTCONN), StoreError::Unreachable { .. }));
        assert!(matches!(sorted(Errno::IO), StoreError::Io { .. }));
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (errno, retryable) in [
            (Errno::STALE, true),
            (Errno::HOSTUNREACH, true),
            (Errno::IO, false),
            (Errno::NOSPC, false),
            (Errno::ACCESS, false),
            (Errno::ROFS, false),
        ] {
            assert_eq!(sorted(errno).retryable(), retryable, "{errno:?}");
        }
        assert!(!StoreError::NotFound { key: Key::new("a").unwrap() }.retryable());
    }

    #[test]
    fn messages_name_the_place_and_the_cause() {
        let text = sorted(Errno::NOSPC).to_string();
        assert!(text.contains("/backup is full") && text.contains("No space left"), "{text}");
    }
}
