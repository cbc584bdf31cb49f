//! Which key a host is known by, from files in OpenSSH's format. Decides; must not know how a key came.

use std::io;
use std::path::PathBuf;

use data_encoding::BASE64;
use russh::keys::{Algorithm, PublicKey};
use sha1::{Digest, Sha1};

use crate::repository::HostKeyTrouble;

/// Of SHA-1, in bytes.
const BLOCK: usize = 64;
const USUAL_PORT: u16 = 22;

#[derive(Clone, Debug, Default)]
pub(super) struct KnownHosts {
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Line {
    hosts: Hosts,
    key: PublicKey,
    revoked: bool,
}

#[derive(Clone, Debug)]
enum Hosts {
    Patterns(Vec<String>),
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

impl KnownHosts {
    /// Files that are not there are passed over, and so are lines that nobody understands.
    pub(super) fn read(files: &[PathBuf]) -> Result<Self, (PathBuf, io::Error)> {
        let mut known = Self::default();
        for file in files {
            match std::fs::read(file) {
                Ok(bytes) => known.add(&String::from_utf8_lossy(&bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err((file.clone(), error)),
            }
        }
        Ok(known)
    }

    pub(super) fn add(&mut self, text: &str) {
        self.lines.extend(text.lines().filter_map(Line::parse));
    }

    pub(super) fn judge(&self, host: &str, port: u16, key: &PublicKey) -> Result<(), HostKeyTrouble> {
        let names = Names::of(host, port);
        let same = |line: &&Line| line.key.key_data() == key.key_data();
        if self.lines.iter().filter(|line| line.revoked && line.names_any(&names)).any(|line| same(&line)) {
            return Err(HostKeyTrouble::Revoked);
        }
        let mut lines = self.lines.iter().filter(|line| !line.revoked);
        if lines.clone().filter(|line| line.names_any(&names)).any(|line| same(&line)) {
            return Ok(());
        }
        // The plain name vouches for a key at another port, and does not say that there is no other.
        match lines.any(|line| line.hosts.match_name(&names.exact)) {
            true => Err(HostKeyTrouble::Changed),
            false => Err(HostKeyTrouble::Unknown),
        }
    }

    /// The kinds of keys that the host is known by: a server has several keys, and shows one of the kind it is asked for.
    pub(super) fn algorithms(&self, host: &str, port: u16) -> Vec<Algorithm> {
        let names = Names::of(host, port);
        let lines = self.lines.iter().filter(|line| !line.revoked && line.names_any(&names));
        lines.map(|line| line.key.algorithm()).collect()
    }
}

struct Names {
    /// As it is written for the port.
    exact: String,
    /// Without the port, where that is not the usual one.
    plain: Option<String>,
}

impl Names {
    fn of(host: &str, port: u16) -> Self {
        let plain = host.to_lowercase();
        match port {
            USUAL_PORT => Self { exact: plain, plain: None },
            _ => Self { exact: format!("[{plain}]:{port}"), plain: Some(plain) },
        }
    }
}

impl Line {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let mut hosts = words.next().filter(|first| !first.starts_with('#'))?;
        let mut revoked = false;
        if hosts.starts_with('@') {
            // Certificates of hosts are not asked for, so authorities say nothing of a host.
            if hosts != "@revoked" {
                return None;
            }
            revoked = true;
            hosts = words.next()?;
        }
        let (kind, key) = (words.next()?, words.next()?);
        let key = PublicKey::from_openssh(&format!("{kind} {key}")).ok()?;
        Some(Self { hosts: Hosts::parse(hosts)?, key, revoked })
    }

    fn names_any(&self, names: &Names) -> bool {
        self.hosts.match_name(&names.exact)
            || names.plain.as_ref().is_some_and(|plain| self.hosts.match_name(plain))
    }
}

impl Hosts {
    fn parse(text: &str) -> Option<Self> {
        let Some(hashed) = text.strip_prefix("|1|") else {
            return Some(Self::Patterns(text.split(',').map(str::to_lowercase).collect()));
        };
        let (salt, hash) = hashed.split_once('|')?;
        let decoded = |part: &str| BASE64.decode(part.as_bytes()).ok();
        Some(Self::Hashed { salt: decoded(salt)?, hash: decoded(hash)? })
    }

    fn match_name(&self, name: &str) -> bool {
        match self {
            Self::Hashed { salt, hash } => authenticated(salt, name.as_bytes()) == *hash,
            Self::Patterns(patterns) => {
                let matches = |pattern: &str| matches(pattern.as_bytes(), name.as_bytes());
                let mut found = false;
                for pattern in patterns {
                    match pattern.strip_prefix('!') {
                        // One that is excluded is not named by the line, whatever else there is.
                        Some(excluded) if matches(excluded) => return false,
                        Some(_) => {}
                        None => found |= matches(pattern),
                    }
                }
                found
            }
        }
    }
}

/// HMAC with SHA-1, as RFC 2104 says.
fn authenticated(key: &[u8], message: &[u8]) -> Vec<u8> {
    let short = if key.len() > BLOCK { Sha1::digest(key).to_vec() } else { key.to_vec() };
    let pad = |with: u8| -> Vec<u8> {
        short.iter().copied().chain(std::iter::repeat(0)).take(BLOCK).map(|byte| byte ^ with).collect()
    };
    let inner = Sha1::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha1::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

/// `*` stands for any characters, `?` for one.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut rest, mut left) = (pattern, name);
    // Where to go on when the last star takes one more.
    let mut again: Option<(&[u8], &[u8])> = None;
    loop {
        match (rest.split_first(), left.split_first()) {
            (Some((b'*', after)), _) => {
                rest = after;
                again = Some((after, left));
            }
            (None, None) => return true,
            (Some((sign, after)), Some((byte, tail))) if *sign == b'?' || sign == byte => {
                (rest, left) = (after, tail);
            }
            _ => match again {
                Some((after, tried)) => {
                    let Some((_, tail)) = tried.split_first() else { return false };
                    again = Some((after, tail));
                    (rest, left) = (after, tail);
                }
                None => return false,
            },
        }
    }
}

#[cfg(test)]
#[path = "known_hosts_tests.rs"]
mod tests;
