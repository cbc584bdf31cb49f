//! Asks a server to move one reference to a commit, and sends what belongs to it as one pack. Never by force: the
//! reference must be where it is expected. Must not know what the pack holds.

use std::fs::File;
use std::io::{self, Read};

use sha1::{Digest, Sha1};

use super::fetch::agent;
use super::packet::{self, Bands, Packet, Packets, trimmed};
use super::said::clean;
use super::{Advertisement, Body, Conversation, trouble};
use crate::repository::RepositoryError;
use crate::repository::git::oid::Oid;
use crate::store::StoreError;

/// In bytes: a few lines about one reference.
const LONGEST_REPORT: usize = 1 << 20;
/// Version 2, no objects.
const EMPTY_PACK: &[u8] = b"PACK\0\0\0\x02\0\0\0\0";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// By its full name.
    pub reference: String,
    /// Where it must be; `Oid::ZERO` where it must not exist.
    pub old: Oid,
    /// Where it goes; `Oid::ZERO` removes it.
    pub new: Oid,
}

/// Without a pack the server must have all that belongs to the commit.
///
/// `Rejected`: the server is as it was. `Temporary`: the connection ended before the server said what came of it,
/// and the reference may have moved all the same.
pub fn push(
    conversation: Box<dyn Conversation>,
    advertisement: &Advertisement,
    update: &Update,
    pack: Option<File>,
) -> Result<(), RepositoryError> {
    let location = conversation.location().to_owned();
    let rejected = |reason: String| RepositoryError::Rejected { location: location.clone(), reason };
    let there = advertisement.references.get(&update.reference).copied().unwrap_or(Oid::ZERO);
    if there != update.old {
        let named = |oid: Oid| if oid.is_zero() { "absent".to_owned() } else { format!("at {oid}") };
        let reason =
            format!("{} is {}, and was expected {}", update.reference, named(there), named(update.old));
        return Err(rejected(reason));
    }
    if update.new.is_zero() && !advertisement.can("delete-refs") {
        return Err(rejected(format!("it does not let {} be removed", update.reference)));
    }
    if !advertisement.can("report-status") {
        // Nobody could tell whether it was done.
        return Err(trouble::protocol(&location, "the server does not report what comes of a push"));
    }
    let bands = advertisement.can("side-band-64k");
    let head = command(advertisement, update, bands, pack.is_some(), &location)?;
    let body = Body { head, file: pack.filter(|_| !update.new.is_zero()) };
    let outcome = conversation.exchange(body, &mut |answer: &mut dyn Read| {
        let said = Bands::default();
        let report = Report { said, lines: Vec::new() }.read(answer, bands, &location)?;
        report.judge(&update.reference, &location)
    });
    outcome.map_err(|error| match error {
        RepositoryError::Store(StoreError::Temporary { location, reason }) => {
            let reason = format!("{reason}; the push may have been done all the same");
            StoreError::Temporary { location, reason }.into()
        }
        error => error,
    })
}

fn command(
    advertisement: &Advertisement,
    update: &Update,
    bands: bool,
    pack: bool,
    location: &str,
) -> Result<Vec<u8>, RepositoryError> {
    let mut capabilities = vec!["report-status".to_owned()];
    if bands {
        capabilities.push("side-band-64k".to_owned());
    }
    // Leaves what hooks say, and no progress.
    if advertisement.can("quiet") {
        capabilities.push("quiet".to_owned());
    }
    capabilities.extend(agent(advertisement));
    let Update { reference, old, new } = update;
    let mut head = Vec::new();
    packet::line(&mut head, &format!("{old} {new} {reference}\0 {}", capabilities.join(" ")), location)?;
    packet::flush(&mut head);
    if !pack && !new.is_zero() {
        head.extend_from_slice(EMPTY_PACK);
        head.extend_from_slice(&Sha1::digest(EMPTY_PACK));
    }
    Ok(head)
}

/// What a server says when it is done.
struct Report {
    lines: Vec<u8>,
    said: Bands,
}

impl Report {
    fn read(mut self, answer: &mut dyn Read, bands: bool, location: &str) -> Result<Self, RepositoryError> {
        let mut packets = Packets::new(answer, location);
        loop {
            let data = match packets.next() {
                Ok(Some(Packet::Data(data))) => data,
                Ok(Some(Packet::Flush)) => break,
                Ok(None) => return Err(self.ended("it ended without a report", location)),
                Err(RepositoryError::Store(StoreError::Temporary { reason, .. })) => {
                    return Err(self.ended(&reason, location));
                }
                Err(error) => return Err(error),
            };
            if bands {
                let part = self.said.sort(data, location)?;
                self.lines.extend_from_slice(part);
            } else {
                packet::line(&mut self.lines, &String::from_utf8_lossy(data), location)?;
            }
            if self.lines.len() > LONGEST_REPORT {
                return Err(trouble::protocol(location, "the report is too long"));
            }
        }
        if !bands {
            packet::flush(&mut self.lines);
        }
        // What runs after the push is let run to its end. Its trouble is not that of the push.
        let _ = io::copy(answer, &mut io::sink());
        Ok(self)
    }

    fn ended(&self, reason: &str, location: &str) -> RepositoryError {
        match self.said.said.text().as_str() {
            "" => trouble::temporary(location, reason),
            said => trouble::temporary(location, format!("{reason}, and said: {said}")),
        }
    }

    fn judge(&self, reference: &str, location: &str) -> Result<(), RepositoryError> {
        let mut source = self.lines.as_slice();
        let mut packets = Packets::new(&mut source, location);
        let mut unpacked = None;
        let mut refused = None;
        let mut accepted = false;
        while let Some(Packet::Data(line)) = packets.next()? {
            let line = clean(trimmed(line));
            match line.split_once(' ') {
                Some(("unpack", "ok")) => unpacked = Some(Ok(())),
                Some(("unpack", reason)) => unpacked = Some(Err(reason.to_owned())),
                Some(("ok", name)) => accepted |= name == reference,
                Some(("ng", rest)) => refused = Some(rest.to_owned()),
                // Options of a later form of the report.
                _ => {}
            }
        }
        let reason = match (unpacked, refused) {
            (Some(Err(reason)), _) => format!("it could not take the pack: {reason}"),
            (_, Some(reason)) => reason,
            (Some(Ok(())), None) if accepted => return Ok(()),
            _ => return Err(self.ended("its report does not say what came of the push", location)),
        };
        let reason = match self.said.said.text() {
            said if said.is_empty() => reason,
            said => format!("{reason} ({said})"),
        };
        Err(RepositoryError::Rejected { location: location.to_owned(), reason })
    }
}

#[cfg(test)]
#[path = "push_tests.rs"]
mod tests;
