//! The errors of this module, by what happened on the way to a git server; and what the words of servers mean. Must
//! not show more of what came than a short, printable piece.

use std::io;

use crate::repository::RepositoryError;
use crate::store::{Denial, Obstacle, StoreError};

/// What came is not git's protocol, or a part of it that we do not speak. Trying again does not help.
pub(super) fn protocol(location: &str, what: impl Into<String>) -> RepositoryError {
    let source = io::Error::new(io::ErrorKind::InvalidData, what.into());
    StoreError::Io { location: location.to_owned(), source }.into()
}

/// The server said in so many words that it will not. What it says may be of use to a person alone.
pub(super) fn refused(location: &str, words: &str) -> RepositoryError {
    match meaning(words) {
        Meaning::Denied => denied(location, words, Denial::Permission(None)),
        Meaning::NoRepository | Meaning::Other => {
            let source = io::Error::other(format!("the git server says: {words}"));
            StoreError::Io { location: location.to_owned(), source }.into()
        }
    }
}

pub(super) fn denied(location: &str, reason: impl Into<String>, denial: Denial) -> RepositoryError {
    StoreError::Denied { location: location.to_owned(), reason: reason.into(), denial }.into()
}

pub(super) fn temporary(location: &str, reason: impl Into<String>) -> RepositoryError {
    StoreError::Temporary { location: location.to_owned(), reason: reason.into() }.into()
}

pub(super) fn unreachable(location: &str, reason: impl Into<String>, obstacle: Obstacle) -> RepositoryError {
    StoreError::Unreachable { location: location.to_owned(), reason: reason.into(), obstacle }.into()
}

/// A connection that cannot be made.
pub(super) fn not_connected(location: &str, source: &io::Error) -> RepositoryError {
    let obstacle = match source.kind() {
        io::ErrorKind::ConnectionRefused => Obstacle::Refused,
        io::ErrorKind::TimedOut => Obstacle::Silence,
        _ => Obstacle::Network,
    };
    unreachable(location, source.to_string(), obstacle)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    NoRepository,
    Denied,
    Other,
}

/// What git, its hosts and shells say on the error channel when they do not serve a repository.
pub(super) fn meaning(words: &str) -> Meaning {
    let words = words.to_lowercase();
    let said = |any: &[&str]| any.iter().any(|part| words.contains(part));
    // A shell that has no git says "not found", too.
    if said(&["command not found", "git-upload-pack: not found", "git-receive-pack: not found"]) {
        return Meaning::Other;
    }
    let denied = [
        "denied",
        "not allowed",
        "forbidden",
        "unauthorized",
        "not authorized",
        "read-only",
        "read only",
        "insufficient permission",
        // A repository of another owner, which git does not open.
        "dubious ownership",
    ];
    let missing = [
        "not appear to be a git repository",
        "not found",
        "not exist",
        "no such",
        "could not be found",
        "cannot find",
    ];
    // GitLab says in one breath that it is missing or hidden.
    if said(&missing) {
        Meaning::NoRepository
    } else if said(&denied) {
        Meaning::Denied
    } else {
        Meaning::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_hosts_are_understood() {
        for words in [
            "fatal: '/srv/none.git' does not appear to be a git repository",
            "ERROR: Repository not found.",
            "ERROR: The project you were looking for could not be found or you don't have permission to view it.",
            "Gitea: Repository does not exist or you do not have access",
            "Forgejo: Cannot find repository: a/b",
        ] {
            assert_eq!(meaning(words), Meaning::NoRepository, "{words}");
        }
        for words in [
            "ERROR: Permission to a/b.git denied to deploy key",
            "FATAL: W any wiki alice DENIED by fallthru",
            "fatal: detected dubious ownership in repository at '/srv/wiki.git'",
            "ERROR: The key you are authenticating with has been marked as read only.",
            "remote: You are not allowed to push code to this project.",
        ] {
            assert_eq!(meaning(words), Meaning::Denied, "{words}");
        }
        for words in ["bash: line 1: git-upload-pack: command not found", "fatal: out of memory", ""] {
            assert_eq!(meaning(words), Meaning::Other, "{words}");
        }
    }
}
